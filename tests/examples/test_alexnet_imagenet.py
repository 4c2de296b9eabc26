"""The main job, started as a user starts it, on a small data set of drawn JPEG files."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tinynet.data.synthetic import make_dataset

SCRIPT = Path(__file__).parents[2] / "examples" / "alexnet_imagenet.py"
# where the tests run on emulated GPUs, so does the script
EMULATED = ["-c", "import emu, runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"]
EMULATED = EMULATED if "emu" in sys.modules else []
SMALL = ["--width", "0.06", "--resize", "72", "--crop", "67", "--init", "he", "--batch-size", "16", "--workers", "1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("images") / "drawn"
    return make_dataset(root, size=72, classes=3, train_per_class=12, val_per_class=4)


def run(folder: Path, *options) -> subprocess.CompletedProcess:
    command = [sys.executable, *EMULATED, SCRIPT, *map(str, options)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


OTHER = ["--momentum", "0.8", "--weight-decay", "0.01", "--colour-noise", "0.3", "--lr-scheduler", "step"]
OTHER += ["--lr-step-size", "1", "--lr-divisor", "2", "--dropout", "0.3", "--order", "caffenet"]


def test_train_resume_and_test(data, tmp_path):
    """A resumed run is bit-equal, also where its settings are not the defaults, which a checkpoint remembers."""
    whole = run(tmp_path, "--data", data, *SMALL, *OTHER, "--epochs", 3, "--output-dir", "whole")
    assert whole.returncode == 0, whole.stderr
    assert "3 classes, 36 training and 12 validation images" in whole.stdout
    assert len(re.findall(r"^epoch .*/3  train: loss .* validation: .* images/s", whole.stdout, re.M)) == 3
    assert {path.name for path in (tmp_path / "whole").iterdir()} >= {
        "weights.safetensors", "checkpoint.safetensors", "log.jsonl",
    }  # fmt: skip
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in log] == [1, 2, 3]

    first = run(tmp_path, "--data", data, *SMALL, *OTHER, "--epochs", 1, "--output-dir", "parts")
    assert first.returncode == 0, first.stderr
    checkpoint = tmp_path / "parts" / "checkpoint.safetensors"
    second = run(tmp_path, "--data", data, "--resume", checkpoint, "--epochs", 3, "--output-dir", "parts")
    assert second.returncode == 0, second.stderr
    one, other = (safetensors.numpy.load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert len((tmp_path / "parts" / "log.jsonl").read_text().splitlines()) == 3

    before = checkpoint.read_bytes()
    again = run(tmp_path, "--data", data, *SMALL, "--epochs", 1, "--output-dir", "parts")
    assert again.returncode and "parts has the checkpoint of another run: go on with --resume" in again.stderr
    assert checkpoint.read_bytes() == before

    tested = run(tmp_path, "--data", data, "--resume", checkpoint, "--test-only")
    assert tested.returncode == 0, tested.stderr
    figures = re.findall(r"^Validation, .*$", tested.stdout, re.M)
    assert len(figures) == 2 and figures == re.findall(r"^Validation, .*$", whole.stdout, re.M)

    single = run(tmp_path, "--data", data, "--resume", checkpoint, "--test-only", "--devices", 1)
    assert single.returncode == 0, single.stderr
    assert [line.split(":")[0] for line in re.findall(r"^Validation, .*$", single.stdout, re.M)] == [
        "Validation, middle crop", "Validation, ten views",
    ]  # fmt: skip

    renamed = tmp_path / "renamed"
    shutil.copytree(data, renamed)
    for split in ("train", "val"):
        (renamed / split / "checkerboard").rename(renamed / split / "zebra")
    other_classes = run(tmp_path, "--data", renamed, "--resume", checkpoint, "--test-only")
    assert other_classes.returncode == 1 and "was trained on other classes than those of" in other_classes.stderr

    other_width = run(tmp_path, "--data", data, "--resume", checkpoint, "--width", 0.5)
    assert other_width.returncode == 2 and "--width 0.5: the checkpoint was made with 0.06" in other_width.stderr


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
        (["--test-only"], "--test-only needs --resume"),
        (["--resume", "nothing.safetensors"], "nothing.safetensors: no such file"),
        (["--widht", "0.5"], "unrecognized arguments: --widht"),
        (["--epochs", "0"], "--epochs 0: expected 1 or more"),
        (["--init", "xavier"], "invalid choice: 'xavier'"),
    ],
)
def test_mistakes_are_told(tmp_path, options, message):
    result = run(tmp_path, *options)
    assert result.returncode
    assert re.search(message, result.stderr) and "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--crop", "300"], "crop"),
        (["--crop", "50", "--resize", "64"], "pool5: a kernel of 3 x 3 does not fit"),
        (["--lr", "-1"], "lr"),
        (["--lr", "nan"], "lr"),
        (["--batch-size", "0"], "batch_size"),
        (["--workers", "-1"], "workers"),
        (["--lr-divisor", "0"], "factor"),
        (["--devices", "3"], "conv2: 2 groups cannot be shared out over 3 devices"),
        (["--output-dir", "/dev/null"], "/dev/null"),
        (["--width", "0"], "width"),
        (["--lr", "1e9"], "the loss is"),
    ],
)
def test_mistakes_with_data_are_told(data, tmp_path, options, message):
    result = run(tmp_path, "--data", data, *SMALL, "--epochs", 1, *options)
    assert result.returncode
    assert re.search(f"^error: .*{message}", result.stderr, re.M) and "Traceback" not in result.stderr
