"""The main job, started as a user starts it, on a small data set of drawn JPEG files."""

import functools
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from examples.main_job import SMALL, run
from systems import posix

from tinynet.files import commit_folder
from tinynet.training import read_log

OTHER = ["--momentum", "0.8", "--weight-decay", "0.01", "--colour-noise", "0.3", "--lr-scheduler", "step"]
OTHER += ["--lr-step-size", "1", "--lr-divisor", "2", "--dropout", "0.3", "--order", "caffenet"]


def test_train_resume_and_test(data, tmp_path):
    """A resumed run is bit-equal, also where its settings are not the defaults, which a checkpoint remembers."""
    whole = run(tmp_path, "--data", data, *SMALL, *OTHER, "--epochs", 3, "--output-dir", "whole")
    assert whole.returncode == 0, whole.stderr
    assert "3 classes, 36 training and 12 validation images" in whole.stdout
    assert len(re.findall(r"^epoch .*/3  train: loss .* validation: .* images/s", whole.stdout, re.M)) == 3
    assert {path.name for path in (tmp_path / "whole").iterdir()} >= {
        "final", "checkpoints", "log.jsonl", "run.json",
    }  # fmt: skip
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [(record["event"], record.get("epoch")) for record in log] == [
        ("start", None), ("epoch", 1), ("epoch", 2), ("epoch", 3), ("test", None), ("test", None),
    ]  # fmt: skip
    assert log[1]["step"] == 3 and 0 < log[1]["parameters"]["conv1.weight"]["ratio"] < 1

    first = run(tmp_path, "--data", data, *SMALL, *OTHER, "--epochs", 1, "--output-dir", "parts")
    assert first.returncode == 0, first.stderr
    (first_checkpoint,) = (tmp_path / "parts" / "checkpoints").glob("step-000000003")
    second = run(tmp_path, "--data", data, "--resume", "parts", "--epochs", 3)
    assert second.returncode == 0, second.stderr
    finals = (tmp_path / name / "final" / "weights.safetensors" for name in ("whole", "parts"))
    one, other = map(safetensors.numpy.load_file, finals)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    log = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in log if record["event"] == "epoch"] == [1, 2, 3]

    checkpoint = max((tmp_path / "parts" / "checkpoints").glob("step-*"))
    before = sorted((tmp_path / "parts").rglob("*"))
    again = run(tmp_path, "--data", data, *SMALL, "--epochs", 1, "--output-dir", "parts")
    assert again.returncode and "parts has another run: --resume parts" in again.stderr
    assert sorted((tmp_path / "parts").rglob("*")) == before

    tested = run(tmp_path, "--data", data, "--resume", checkpoint, "--test-only")
    assert tested.returncode == 0, tested.stderr
    figures = re.findall(r"^Validation, .*$", tested.stdout, re.M)
    assert len(figures) == 2 and figures == re.findall(r"^Validation, .*$", whole.stdout, re.M)

    several = run(
        tmp_path, "--test-only", "--weights", "parts", "whole/final/weights.safetensors", first_checkpoint,
        "--views", "ten", "middle+vertical+rotations", "--class-table", "classes.csv",
    )  # fmt: skip
    assert several.returncode == 0, several.stderr
    assert f"{data}: 12 validation images of 3 classes" in several.stdout  # where the run found them
    assert [line.split(":")[0] for line in re.findall(r"^Validation, .*$", several.stdout, re.M)] == [
        "Validation, mean of 3 networks, ten views",
        "Validation, mean of 3 networks, 8 views (middle+vertical+rotations)",
    ]
    assert len((tmp_path / "classes.csv").read_text().splitlines()) == 4

    renamed = tmp_path / "renamed"
    shutil.copytree(data, renamed)
    for split in ("train", "val"):
        (renamed / split / "checkerboard").rename(renamed / split / "zebra")
    for option in ("--resume", checkpoint), ("--resume", checkpoint, "--test-only"):
        other_classes = run(tmp_path, "--data", renamed, *option)
        assert other_classes.returncode == 1 and "was trained on other classes than" in other_classes.stderr
    fewer = tmp_path / "fewer"
    shutil.copytree(data, fewer)
    next((fewer / "train" / "crescent").iterdir()).unlink()
    other_images = run(tmp_path, "--data", fewer, "--resume", checkpoint)
    assert other_images.returncode == 1 and "was trained on other images than those of" in other_images.stderr

    other_width = run(tmp_path, "--data", data, "--resume", checkpoint, "--width", 0.5)
    assert other_width.returncode == 1 and "--width 0.5: the checkpoint was made with 0.06" in other_width.stderr
    even_so = run(tmp_path, "--data", data, "--resume", checkpoint, "--override", "--width", 0.5, "--crop", 71)
    assert even_so.returncode == 1 and "Traceback" not in even_so.stderr
    fixed = "--override cannot change: --width 0.5 (made with 0.06), --crop 71 (made with 67)"
    assert f"the weights have other shapes, which {fixed}" in even_so.stderr
    told = ["--resume", checkpoint, "--override", "--batch-size", 12, "--epochs", 4, "--output-dir", "other"]
    other_batch = run(tmp_path, "--data", data, *told)
    assert other_batch.returncode == 0, other_batch.stderr
    assert "epoch  4/4" in other_batch.stdout
    assert json.loads((tmp_path / "other" / "run.json").read_text())["batch_size"] == 12


@pytest.mark.parametrize("missing", [True, False])
def test_pictures_that_cannot_be_drawn_end_no_run(data, tmp_path, missing):
    if missing:
        (tmp_path / "matplotlib.py").write_text("raise ImportError('none')")
    else:
        (tmp_path / "my run" / "learning_curves.png").mkdir(parents=True)
    options = ["--data", data, *SMALL, "--epochs", 1, "--output-dir", "my run"]
    result = run(tmp_path, *options, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    assert result.returncode == 0, result.stderr
    last = "No pictures without matplotlib: pip install .* && " if missing else "No pictures: .*; to draw them: "
    assert re.fullmatch(f"{last}python -m tinynet plot 'my run'", result.stdout.splitlines()[-1])
    assert "top-5" not in result.stdout  # of three classes


def test_names_of_any_encoding_end_no_run_and_reach_the_terminal_escaped(data, tmp_path):
    root = tmp_path / os.fsdecode(b"caf\xe9 \xe7\x8c\xab\x1b[2J")  # a byte that is not UTF-8, a cat, an escape sequence
    shutil.copytree(data, root)
    for split in ("train", "val"):
        (root / split / "cross").rename(root / split / os.fsdecode(b"cr\xf6ss\x1b]0;P\x07"))
    (root / "train" / "crescent" / "x\x1b[2J\nwarning: forged.jpg").write_bytes(b"no")
    output = tmp_path / os.fsdecode(b"r\xfcn\x1b[2J")
    options = ["--data", root, *SMALL, "--output-dir", output, "--ledger"]
    first = run(tmp_path, *options, "--epochs", 1, PYTHONIOENCODING="ascii")
    second = run(tmp_path, "--resume", output, "--epochs", 2, PYTHONIOENCODING="ascii")
    tested = run(tmp_path, "--test-only", "--weights", output, "--class-table", "t.csv", PYTHONIOENCODING="ascii")
    refused = run(tmp_path, *options, PYTHONIOENCODING="ascii")
    for result in (first, second, tested, refused):
        assert result.returncode == (result is refused), result.stderr
        assert "\x1b" not in result.stdout + result.stderr and "Traceback" not in result.stderr
    assert r"left out" in first.stderr and r"x\x1b[2J\nwarning: forged.jpg: " in first.stderr
    assert r"caf\xe9 \u732b\x1b[2J: 3 classes" in first.stdout and r"r\xfcn\x1b[2J/checkpoints/step-" in second.stdout
    assert r"has another run: --resume $'" in refused.stderr


def test_two_devices_and_their_ledger(data, tmp_path):
    result = run(tmp_path, "--data", data, *SMALL, "--epochs", 1, "--ledger")
    assert result.returncode == 0, result.stderr
    assert "On 2 devices" in result.stdout and "gather_conv3" in result.stdout
    ledger = re.findall(r"^(\w+) +(forward|backward) +(\w+) ", result.stdout, re.M)
    assert ledger == [
        ("conv3", "forward", "all_gather"),
        ("fc6", "forward", "all_gather"),
        ("fc7", "forward", "all_gather"),
        ("fc8", "forward", "all_reduce"),
        ("fc7", "backward", "reduce_scatter"),
        ("fc6", "backward", "reduce_scatter"),
        ("conv3", "backward", "reduce_scatter"),
    ]


def test_a_run_never_writes_over_an_earlier_one(data, tmp_path):
    for _ in range(2):
        assert run(tmp_path, "--data", data, *SMALL, "--epochs", 1).returncode == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["alexnet-drawn-1", "alexnet-drawn-2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "nowhere"], "error: .*nowhere"),
        (["--data", "."], "error: .*train"),
        (["--test-only"], "--test-only needs --weights"),
        (["--weights", "w"], "--views, --class-table and --model are for --test-only"),
        (["--resume"], "--resume needs a PATH, or --output-dir"),
        (["--resume", "nothing.safetensors"], "nothing.safetensors: no such folder; a checkpoint is a folder with"),
        (["--widht", "0.5"], "unrecognized arguments: --widht"),
        (["--epochs", "0"], "--epochs 0: expected 1 or more"),
        (["--resume", ""], "--resume: expected a path, got nothing"),
        (["--views", "ten"], "--views, --class-table and --model are for --test-only"),
        (["--init", "xavier"], "invalid choice: 'xavier'"),
    ],
)
def test_mistakes_are_told(tmp_path, options, message):
    result = run(tmp_path, *options)
    assert result.returncode
    assert re.search(message, result.stderr) and "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists()


def test_what_a_run_goes_on_from(data, tmp_path):
    """From any checkpoint, into any folder, with other settings: steps only grow, and the log stays one story."""
    first = run(tmp_path, "--data", data, *SMALL, "--epochs", 2, "--output-dir", "a", "--keep", 8, "--max-bad", 0.5)
    assert first.returncode == 0, first.stderr

    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "a" / "checkpoints" / "step-000000003", elsewhere / "step-000000003")
    lost = run(elsewhere, "--resume", "step-000000003")
    assert lost.returncode == 1 and "is in no run's folder: say with --output-dir" in lost.stderr
    assert [path.name for path in elsewhere.iterdir()] == ["step-000000003"]
    changed = ["--override", "--batch-size", 36, "--epochs", 3]
    b = run(elsewhere, "--resume", "step-000000003", "--output-dir", "b", *changed)
    assert b.returncode == 0, b.stderr
    assert json.loads((elsewhere / "b" / "run.json").read_text())["max_bad"] == 0.5
    records = read_log(elsewhere / "b" / "log.jsonl")
    epochs = [(record["epoch"], record["step"]) for record in records if record["event"] == "epoch"]
    assert epochs == [(1, 3), (2, 4), (3, 5)]
    assert names(elsewhere / "b") == ["step-000000004", "step-000000005"]

    inside = run(tmp_path / "a" / "checkpoints", "--resume", "step-000000003", "--epochs", 2)
    assert inside.returncode == 0, inside.stderr
    told = "later checkpoints stay, beside those of --keep, until the run has passed them: step-000000006"
    assert f"going on from step-000000003; {told}" in inside.stderr
    assert names(tmp_path / "a") == ["step-000000000", "step-000000003", "step-000000006"]
    nothing_left = run(tmp_path, "--resume", "a")
    assert nothing_left.returncode == 0 and "2 of 2 epochs done" in nothing_left.stdout
    assert (tmp_path / "a" / "final" / "weights.safetensors").exists()

    shutil.rmtree(tmp_path / "a" / "checkpoints")
    for option in [], ["--resume"]:
        again = run(tmp_path, "--data", data, *SMALL, "--output-dir", "a", *option)
        assert again.returncode == 1 and "a has another run" in again.stderr


def test_settings_of_a_checkpoint_that_no_run_has_are_told(data, tmp_path):
    first = run(tmp_path, "--data", data, *SMALL, "--epochs", 1, "--output-dir", "a")
    assert first.returncode == 0, first.stderr
    checkpoint = tmp_path / "a" / "checkpoints" / "step-000000003"
    state = json.loads((checkpoint / "state.json").read_text())

    def write(folder: Path, settings: dict) -> None:
        for name in ("weights", "velocity", "statistics"):
            shutil.copy(checkpoint / f"{name}.safetensors", folder)
        (folder / "state.json").write_text(json.dumps(state | {"settings": state["settings"] | settings}))

    for settings, message in (
        ({"lr_scheduler": "x"}, "its settings: lr_scheduler cannot be 'x'"),
        ({"epochs": 0}, "step-000000003: its settings: epochs cannot be 0, expected 1 or more"),
        ({"devices": 10**6}, "partition: expected 1 to 256 devices, got 1000000"),
    ):
        commit_folder(tmp_path / "step-000000003", functools.partial(write, settings=settings))
        result = run(tmp_path, "--resume", "step-000000003", "--output-dir", "b")
        assert result.returncode == 1 and message in result.stderr and "Traceback" not in result.stderr


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_evaluation_finds_mistakes_before_it_works(data, tmp_path):
    trained = run(tmp_path, "--data", data, *SMALL, "--epochs", 1, "--output-dir", "a", "--checkpoint-steps", 1)
    assert trained.returncode == 0, trained.stderr
    for options, message in (
        (["a", "--class-table", "none/table.csv"], "no such folder"),
        (["a", "--class-table", "no\nwarning: ne/table.csv"], r"no\nwarning: ne/table.csv: no such folder"),
        (["a", "--views", "ten", "tne"], "got 'tne'"),
        (["a", "b"], "b: no such file or folder"),
    ):
        result = run(tmp_path, "--test-only", "--weights", *options)
        assert result.returncode == 1 and message in result.stderr and "Validation" not in result.stdout
    weights = tmp_path / "a" / "final" / "weights.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1000] ^= 1
    weights.write_bytes(damaged)
    result = run(tmp_path, "--test-only", "--weights", "a")
    assert result.returncode == 0 and "final/weights.safetensors: damaged" in result.stderr
    assert "Evaluating\n  a/checkpoints/step-000000003/weights.safetensors" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--crop", "300"], "--crop 300: expected no more than --resize, 72"),
        (["--crop", "50", "--resize", "64"], r"pool5: a kernel .* does not fit .*: expected .* \(crop\) of 67 or more"),
        (["--lr", "-1"], "lr"),
        (["--lr", "nan"], "--lr nan: expected 0 or more"),
        (["--batch-size", "0"], "--batch-size 0: expected 1 or more"),
        (["--workers", "-1"], "--workers -1: expected 0 or more"),
        (["--lr-divisor", "0"], r"--lr-divisor 0\.0: expected more than 0"),
        (["--devices", "3"], "conv2: 2 groups cannot be shared out over 3 devices"),
        pytest.param(["--output-dir", "/dev/null"], "/dev/null", marks=posix),
        (["--width", "0"], "width"),
        (["--keep", "0"], "--keep 0: expected 1 or more"),
        (["--checkpoint-minutes", "0"], r"--checkpoint-minutes 0\.0: expected more than 0"),
        (["--max-bad", "2"], r"--max-bad 2\.0: expected 1 or less"),
        (["--measure-images", "0"], "--measure-images 0: expected 1 or more"),
        (["--lr", "1e9"], r"the loss is \w+ at a learning rate of 1e\+09"),
    ],
)
def test_mistakes_with_data_are_told(data, tmp_path, options, message):
    result = run(tmp_path, "--data", data, *SMALL, "--epochs", 1, *options)
    assert result.returncode
    assert re.search(f"^error: .*{message}", result.stderr, re.M) and "Traceback" not in result.stderr


def test_images_that_cannot_be_read_are_named_counted_and_too_many_stop_a_run(data, tmp_path):
    images = shutil.copytree(data, tmp_path / "images")
    broken = [sorted(images.glob("train/*/*"))[place] for place in (3, 20)] + [min(images.glob("val/*/*"))]
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    options = ["--data", images, *SMALL, "--output-dir", "a"]
    first = run(tmp_path, *options, "--epochs", 1, "--max-bad", 0.1)
    second = run(tmp_path, *options, "--epochs", 2, "--resume")
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    log = read_log(tmp_path / "a" / "log.jsonl")
    assert [record["left_out"] for record in log if record["event"] == "epoch"] == [3, 3]
    named = [record["name"] for record in log if record["event"] == "bad_image"]
    for path in broken:
        assert first.stderr.count(f"left out {path}: ") == 1 and named.count(str(path)) == 1
    assert "left out" not in second.stderr

    # what a run knew before it went on counts towards the limit
    third = sorted(images.glob("train/*/*"))[30]
    third.write_bytes(b"")
    few = run(tmp_path, *options, "--epochs", 3, "--resume", "--max-bad", 0.06)
    assert few.returncode == 1 and "3 of 36 images" in few.stderr and "more than the 6.00%" in few.stderr

    tested = run(tmp_path, "--test-only", "--weights", "a", "--views", "middle", "--max-bad", 0.1)
    assert tested.returncode == 0 and "without 1 that cannot be read" in tested.stdout
    tested = run(tmp_path, "--test-only", "--weights", "a", "--views", "middle", "--max-bad", 0)
    assert tested.returncode == 1 and "1 of 12 images" in tested.stderr
