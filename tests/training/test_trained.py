"""A trained network from disk: every place it may lie in, and what is said when something is missing."""

import json
import shutil

import numpy as np
import pytest
from run_on_disk import settings_of, write_weights

from tinynet import CheckpointError, save_weights
from tinynet.backend import to_host
from tinynet.interchange.weights import read_arrays, write_arrays
from tinynet.training import load_trained, trained

SIZE, CROP = 72, 67


@pytest.fixture
def run(make_run, data):
    run = make_run(seed=3)
    run.settings = settings_of(data, SIZE, CROP, scale=0.02)
    return run


def write(run, folder):
    return write_weights(folder, run.net, run.statistics, run.settings)


def test_weights_a_checkpoint_and_a_run_give_the_same_network(run, tmp_path):
    finished = write(run, tmp_path / "finished")
    checkpoint = write(run, tmp_path / "going" / "checkpoints" / "step-000000020")
    (batch,) = run.middle.epoch()
    run.prepare = trained.Trained(run.net, run.statistics, run.settings, finished).prepare()
    expected = to_host(run.net.forward(run.prepare(batch))).copy()
    for path in (finished, finished / "weights.safetensors", checkpoint, str(tmp_path / "going")):
        found = load_trained(path)
        assert to_host(found.net.forward(found.prepare()(batch))).tobytes() == expected.tobytes()
        assert found.settings == run.settings
        assert found.statistics.images == run.statistics.images
    assert found.path == checkpoint / "weights.safetensors"


def test_the_newest_checkpoint_counts_until_the_run_is_finished(run, tmp_path):
    for step in (9, 10, 2):
        write(run, tmp_path / "checkpoints" / f"step-{step:09}")
    assert load_trained(tmp_path).path.parent.name == "step-000000010"
    write(run, tmp_path)
    assert load_trained(tmp_path).path.parent == tmp_path


def test_a_checkpoint_that_vanishes_while_it_is_read_gives_way_to_the_next(run, tmp_path, monkeypatch):
    checkpoints = tmp_path / "checkpoints"
    write(run, checkpoints / "step-000000010")

    def pruning_read(path):
        arrays = read_arrays(path)
        if "step-000000010" in str(path):  # the run goes on: it writes a checkpoint, and removes this one
            write(run, checkpoints / "step-000000020")
            shutil.rmtree(checkpoints / "step-000000010")
        return arrays

    monkeypatch.setattr(trained, "read_arrays", pruning_read)
    assert load_trained(tmp_path).path.parent.name == "step-000000020"


def test_a_damaged_checkpoint_gives_way_to_an_older_one(run, tmp_path):
    write(run, tmp_path / "checkpoints" / "step-000000010")
    newest = write(run, tmp_path / "checkpoints" / "step-000000020") / "weights.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    assert load_trained(tmp_path).path.parent.name == "step-000000010"
    shutil.rmtree(tmp_path / "checkpoints" / "step-000000010")
    with pytest.raises(CheckpointError, match=r"none of its 1 checkpoints can be read; .*step-000000020"):
        load_trained(tmp_path)


def test_names_are_the_classes_unless_given(run, tmp_path):
    del run.settings["names"]
    assert load_trained(write(run, tmp_path)).settings["names"] == run.settings["classes"]


def test_what_is_missing_is_said(run, tmp_path):
    with pytest.raises(CheckpointError, match="nowhere: no such file or folder"):
        load_trained(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"looked for final/weights.safetensors or checkpoints/step-\*"):
        load_trained(tmp_path)
    save_weights(run.net, tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match=r"bare.safetensors: has weights but no settings"):
        load_trained(tmp_path / "bare.safetensors")
    write(run, tmp_path / "run")
    (tmp_path / "run" / "statistics.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"weights.safetensors: statistics.safetensors, .* is missing beside it"):
        load_trained(tmp_path / "run")
    write_arrays(tmp_path / "run" / "statistics.safetensors", {"other": np.zeros(1)})
    with pytest.raises(CheckpointError, match="cannot be rebuilt: Statistics: expected arrays named"):
        load_trained(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": None}, "its settings lack crop; found network, resize"),
        ({"network": {"num_classes": 3, "widht": 1}}, "cannot be rebuilt: .*widht"),
        ({"network": {"num_classes": 3, "width": 0.12, "input_size": CROP}}, "not this network's weights: conv1"),
    ],
)
def test_settings_that_do_not_fit_are_named(run, tmp_path, change, message):
    run.settings = {name: value for name, value in (run.settings | change).items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        load_trained(write(run, tmp_path))


def test_settings_that_are_no_object_are_named(run, tmp_path):
    write(run, tmp_path)
    arrays, _ = read_arrays(tmp_path / "weights.safetensors")
    for settings in ("{", "7", json.dumps(["network"])):
        write_arrays(tmp_path / "weights.safetensors", arrays, {"settings": settings})
        with pytest.raises(CheckpointError, match=r"weights.safetensors: its settings"):
            load_trained(tmp_path)
