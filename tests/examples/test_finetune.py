"""examples/finetune.py: from a trained network to other classes, with layers that stay, and their outputs kept."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from examples.main_job import SMALL, run, run_page

from tinynet.training import load_trained, read_log


@pytest.fixture(scope="module")
def start(data, tmp_path_factory) -> Path:
    """A run of a few steps on three classes."""
    root = tmp_path_factory.mktemp("start")
    result = run(root, "--data", data, *SMALL, "--epochs", 1, "--output-dir", "run")
    assert result.returncode == 0, result.stderr
    return root / "run"


@pytest.fixture(scope="module")
def other(data, tmp_path_factory) -> Path:
    """The same pictures under two other classes."""
    root = tmp_path_factory.mktemp("other")
    for split in ("train", "val"):
        for old, new in (("cross", "a"), ("crescent", "b")):
            shutil.copytree(data / split / old, root / split / new)
    return root


def weights(folder: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "final" / "weights.safetensors")


def finetune(folder: Path, *options):
    return run_page("finetune.py", folder, *options)


def losses(folder: Path) -> list[tuple[float, float]]:
    epochs = [record for record in read_log(folder / "log.jsonl") if record["event"] == "epoch"]
    return [(epoch["train"]["loss"], epoch["validation"]["loss"]) for epoch in epochs]


def test_other_classes_get_a_new_last_layer_and_what_is_frozen_stays(start, other, tmp_path):
    words = ["--data", other, "--weights", start, "--batch-size", 8, "--freeze", "conv1", "fc6"]
    result = finetune(tmp_path, *words, "--epochs", 2, "--output-dir", "a")
    assert result.returncode == 0, result.stderr
    assert "its last layer, fc8, is new, for 2 classes of its own" in result.stdout
    assert "Frozen: conv1, fc6" in result.stdout and "Validation, ten views: top-1 error" in result.stdout
    before, after = weights(start), weights(tmp_path / "a")
    for name, array in after.items():
        if name.startswith("fc8"):
            assert array.shape[0] == 2
        else:
            assert (array == before[name]).all() == name.startswith(("conv1", "fc6")), name
    trained, first = load_trained(tmp_path / "a"), load_trained(start)
    assert trained.settings["scale"] == first.settings["scale"] and trained.settings["resize"] == 72
    assert (trained.statistics.mean_image == first.statistics.mean_image).all()
    assert trained.settings["classes"] == ["a", "b"]

    begun = finetune(tmp_path, *words, "--epochs", 1, "--output-dir", "b", "--checkpoint-steps", 2)
    assert begun.returncode == 0, begun.stderr
    resumed = finetune(tmp_path, "--resume", "b", "--epochs", 2)
    assert resumed.returncode == 0, resumed.stderr
    assert all((array == after[name]).all() for name, array in weights(tmp_path / "b").items())
    tested = finetune(tmp_path, "--test-only", "--weights", "a", "--views", "middle")
    assert tested.returncode == 0 and "Validation, middle crop" in tested.stdout


def test_the_same_classes_keep_the_last_layer_on_two_devices(start, data, tmp_path):
    words = ["--data", data, "--weights", start, "--epochs", 1, "--lr", 0, "--devices", 2, "--output-dir", "a"]
    result = finetune(tmp_path, *words, "--freeze-below", "fc6")
    assert result.returncode == 0, result.stderr
    assert "its last layer, fc8, is kept: the classes are the same" in result.stdout
    assert "Frozen: conv1, conv2, conv3, conv4, conv5" in result.stdout
    before = weights(start)
    assert all((array == before[name]).all() for name, array in weights(tmp_path / "a").items())


@pytest.mark.parametrize("below", ["fc6", "fc8"])
def test_kept_features_train_as_computing_them_does(start, other, tmp_path, below):
    images = shutil.copytree(other, tmp_path / "images")
    min(images.glob("train/a/*")).write_bytes(b"no picture")
    words = ["--data", images, "--weights", start, "--freeze-below", below, "--batch-size", 8, "--epochs", 3]
    words += ["--max-bad", 0.1]
    for name, option in (("whole", "--no-augment"), ("kept", "--cache-features")):
        result = finetune(tmp_path, *words, option, "--output-dir", name)
        assert result.returncode == 0, result.stderr
    if below == "fc6":  # below fc8 lies dropout, and what is frozen above it is computed in each step
        np.testing.assert_allclose(losses(tmp_path / "kept"), losses(tmp_path / "whole"), rtol=1e-4)
        kept, whole = weights(tmp_path / "kept"), weights(tmp_path / "whole")
        for name, array in whole.items():
            np.testing.assert_allclose(kept[name], array, rtol=1e-3, atol=1e-5 * abs(array).max())
    np.testing.assert_allclose(losses(tmp_path / "kept"), losses(tmp_path / "whole"), rtol=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--weights PATH is missing"),
        (["--weights", "nowhere"], "error: nowhere: no such file or folder"),
        (["--weights", "START", "START"], "expected one network to start from, got 2"),
        (["--weights", "START", "--freeze", "conv7"], "no layer 'conv7' that could be frozen"),
        (["--weights", "START", "--freeze-below", "fc9"], "(did you mean fc8?)"),
        (["--weights", "START", "--crop", 69], "--crop 69: START/final/weights.safetensors was trained with 67"),
        (["--weights", "START", "--cache-features"], "the first layer, conv1, is trained"),
        (["--weights", "START", "--cache-features", "--devices", 2], "--cache-features: on one device, got"),
        (["--weights", "START", "--freeze-below", "fc8", "--freeze", "fc8"], "nothing is left to train"),
    ],
)
def test_mistakes_are_one_sentence(start, other, tmp_path, options, message):
    words = [str(start) if word == "START" else word for word in options]
    result = finetune(tmp_path, "--data", other, *words, "--epochs", 1)
    assert result.returncode and message.replace("START", str(start)) in result.stderr
    assert "Traceback" not in result.stderr
