"""A user's own pictures in folders of classes, with no option but --data: the main job learns, and says what is missing
where it cannot.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from examples.main_job import run
from PIL import Image

from tinynet.training import read_log


def write_pictures(folder: Path, classes: int, count: int, height: int = 72) -> Path:
    """Noise, lighter in one stripe for each class."""
    generator, stripe = np.random.default_rng(0), height // classes
    for number in range(classes):
        (folder / f"stripe{number:03}").mkdir(parents=True)
        for picture in range(count):
            pixels = generator.normal(110, 40, (height, height + 8, 3))
            pixels[stripe * number : stripe * (number + 1)] += generator.uniform(30, 80)
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(folder / f"stripe{number:03}" / f"{picture}.png")
    return folder


def errors(folder: Path) -> list[float]:
    records = read_log(folder / "log.jsonl")
    return [record["validation"]["top1_error"] for record in records if record["event"] == "epoch"]


def test_they_are_learnt_by_default_and_with_the_papers_settings_are_not(tmp_path):
    pictures = tmp_path / "own"
    write_pictures(pictures / "train", classes=2, count=48)
    write_pictures(pictures / "val", classes=2, count=16)
    small = run(tmp_path, "--data", pictures, "--epochs", 4, "--output-dir", "small")
    assert small.returncode == 0, small.stderr
    assert re.search(r"^Preset small \(these are not ImageNet's 1,000 classes\): ", small.stdout, re.M)
    for line in (
        r"  resize 76, crop 67 +for pictures whose shorter side is 72 pixels", r"  batch size 16 +for 96 pictures",
        r"  epochs 60 +to see 250,000 pictures", r"  rate 0\.01, a tenth of it after 36 epochs",
        r"  width 0\.5, init he-conv1", r"  but, as typed: --epochs 4 \(the preset: 60\)", r"  --preset paper: ",
    ):  # fmt: skip
        assert re.search(f"^{line}", small.stdout, re.M), line
    told = json.loads((tmp_path / "small" / "run.json").read_text())
    assert (told["preset"], told["init"], told["width"], told["lr_step_size"]) == ("small", "he-conv1", 0.5, 3)
    assert errors(tmp_path / "small")[-1] < 10

    shape = "--resize", 76, "--crop", 67, "--width", 0.5, "--batch-size", 16, "--epochs", 4
    paper = run(tmp_path, "--data", pictures, "--preset", "paper", *shape, "--output-dir", "paper")
    assert paper.returncode == 0, paper.stderr
    assert min(errors(tmp_path / "paper")) > 30
    assert paper.stdout.count("The loss stands still: ") == 1
    assert re.search(r"gives 0\.693\. If it stays there, what helps is another start, --init he-conv1", paper.stdout)


@pytest.mark.parametrize(
    ("classes", "count", "message"),
    [
        (1, 12, "Only one folder in it holds images, stripe000: two classes or more are needed, a folder for each"),
        (2, 1, "none of 2 images is in a validation share of 0.1: expected a larger"),
    ],
)
def test_what_is_missing_is_said(tmp_path, classes, count, message):
    result = run(tmp_path, "--data", write_pictures(tmp_path / "own", classes, count))
    assert result.returncode == 1 and message in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists()


def test_a_hundred_classes_of_five_pictures_train(tmp_path):
    pictures = write_pictures(tmp_path / "own", classes=100, count=5, height=100)
    result = run(tmp_path, "--data", pictures, "--epochs", 1, "--width", 0.06, "--output-dir", "a")
    assert result.returncode == 0, result.stderr
    assert re.search(r"classes have no validation image: stripe\d+", result.stderr)
    assert "  but, as typed: --epochs 1 (the preset: 60), --width 0.06 (the preset: 0.5)" in result.stdout


def test_a_rate_that_overflows_and_a_preset_that_is_not_there(tmp_path):
    pictures = write_pictures(tmp_path / "own", classes=2, count=16)
    result = run(tmp_path, "--data", pictures, "--width", 0.06, "--lr", 1e9)
    assert result.returncode == 1 and result.stderr.splitlines()[-1].endswith(" Try --lr 0.01.")
    result = run(tmp_path, "--data", pictures, "--preset", "tiny")
    assert result.returncode == 2 and "--preset: invalid choice: 'tiny'" in result.stderr
