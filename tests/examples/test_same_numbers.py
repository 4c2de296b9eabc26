"""A small run of the main job against figures that were kept: no change of the code around the step may move them.

They are as close as all machines agree; to compare two states of the code bit for bit, see tests/same_numbers.py.
"""

from pathlib import Path

import numpy as np
import pytest
from examples.main_job import SMALL, run
from PIL import Image

from tinynet.training import read_log

OTHER = ["--momentum", 0.8, "--weight-decay", 0.01, "--colour-noise", 0.3, "--dropout", 0.3, "--order", "caffenet"]
OTHER += ["--lr-scheduler", "step", "--lr-step-size", 1, "--lr-divisor", 2, "--lr", 0.02]
OTHER += ["--groups", 1, "--init", "he-conv1", "--seed", 5, "--batch-size", 10]
# of each epoch, of a few steps, the mean training loss and the validation loss; processors differ in the eighth digit
FIGURES = {
    "two devices": ([], [(1.634167, 1.273509), (1.712163, 1.110350)]),
    "one device": (["--devices", 1], [(1.634167, 1.273509), (1.712163, 1.110350)]),
    "other settings": (OTHER, [(1.109371, 1.088712), (1.121831, 0.906656), (0.893459, 0.715284)]),
}


@pytest.fixture(scope="module")
def gratings(tmp_path_factory) -> Path:
    """Three classes of stripes, of their own width and direction, with noise: pixels that no decoder can change."""
    root, generator = tmp_path_factory.mktemp("gratings"), np.random.default_rng(0)
    rows, columns = np.ogrid[:72, :90]
    for name, down, across in (("a", 1, 4), ("b", 5, 2), ("c", 3, -3)):
        for split, count in (("train", 12), ("val", 4)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                shift = generator.integers(40)
                stripes = 100 * ((rows * down + columns * across + shift) // 20 % 2)
                pixels = stripes[..., None] + generator.integers(0, 150, (72, 90, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{number}.png")
    return root


@pytest.mark.parametrize("job", FIGURES)
def test_a_small_run_has_the_losses_that_were_kept(gratings, tmp_path, job):
    options, expected = FIGURES[job]
    result = run(tmp_path, "--data", gratings, *SMALL, *options, "--epochs", len(expected), "--output-dir", "run")
    assert result.returncode == 0, result.stderr
    epochs = [record for record in read_log(tmp_path / "run" / "log.jsonl") if record["event"] == "epoch"]
    found = [(epoch["train"]["loss"], epoch["validation"]["loss"]) for epoch in epochs]
    assert found == [pytest.approx(losses, rel=1e-4) for losses in expected]
