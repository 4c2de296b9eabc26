"""A trained network from disk: every place it may lie in, and what is said when something is missing."""

import json
import math
import shutil
import tracemalloc

import numpy as np
import pytest
from odd_files import NO_FILES
from run_on_disk import settings_of, write_weights

from tinynet import CheckpointError, DataError, save_weights
from tinynet.arrays import read_arrays, write_arrays
from tinynet.backend import to_host
from tinynet.inspection.pictures import draw_pictures
from tinynet.training import Checkpoints, RunFolder, find_checkpoint, load_checkpoint, load_trained, trained

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
        assert found.settings == run.settings | {"model": "alexnet"}
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


def test_where_its_images_are_may_be_unknown(run, tmp_path):
    assert load_trained(write(run, tmp_path)).data() == run.settings["data"]
    del run.settings["data"]
    with pytest.raises(DataError, match=r"weights.safetensors: its settings do not say where its images are"):
        load_trained(write(run, tmp_path)).data()


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


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b"])
def test_names_that_no_file_can_have_are_told(name):
    draw = lambda path: list(draw_pictures(path))  # noqa: E731
    for read in (load_trained, find_checkpoint, load_checkpoint, RunFolder.resume, draw):
        with pytest.raises(CheckpointError, match="a") as caught:
            read(name)
        assert "\0" not in str(caught.value)


def test_settings_that_are_no_object_are_named(run, tmp_path):
    write(run, tmp_path)
    arrays, _ = read_arrays(tmp_path / "weights.safetensors")
    for settings in ("{", "7", json.dumps(["network"])):
        write_arrays(tmp_path / "weights.safetensors", arrays, {"settings": settings})
        with pytest.raises(CheckpointError, match=r"weights.safetensors: its settings"):
            load_trained(tmp_path)


NETWORK = {"num_classes": 3, "width": 0.06, "input_size": CROP, "initialization": "he"}
HOSTILE = [
    *({"network": network} for network in ([], "abc", None, 7, {}, [["width", 1]])),
    *({"network": NETWORK | {"width": width}} for width in (3, 1e300, math.inf, math.nan, -1, 0, "x", [1], True, None)),
    *({"network": NETWORK | {"groups": groups}} for groups in (10**9, 0, -2, 1.5, "2", True, None)),
    *({"network": NETWORK | {"num_classes": classes}} for classes in (10**6, 4, 2, 0, -1, 3.0, "3", True, [])),
    *({"network": NETWORK | {"input_size": size}} for size in (6000, 10**12, 99, 3, 0, -1, 67.0, "67", True, [])),
    *({"network": NETWORK | {"dropout": dropout}} for dropout in (5, 1, -1, math.nan, "x", [0.5])),
    *({"network": NETWORK | change} for change in ({"order": []}, {"initialization": 7}, {"seed": "x"}, {"widht": 1})),
    *({"resize": resize} for resize in (10**6, 10**300, 71, 66, 0, -1, 72.0, "72", True, [], {})),
    *({"crop": crop} for crop in (73, 40, 99, 0, -1, 67.0, "67", True, [])),
    *({"scale": scale} for scale in (0, -1, math.nan, math.inf, 10**400, "1", True, [])),
    *({"classes": classes} for classes in ([], "abc", [1, 2, 3], ["a"], ["a"] * 4, {"a": 1, "b": 2, "c": 3}, 3)),
    *({"names": names} for names in ([], "abc", [1, 2, 3], ["a"], None)),
    {"network": NETWORK | {"width": json.loads("[" * 400 + "]" * 400)}},
    {"data": ["path"]},
    {"data": 7},
]


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: json.dumps(change)[:60])
def test_hostile_settings_are_one_error_and_take_no_memory(run, tmp_path, change):
    write(run, tmp_path)
    settings = json.dumps(run.settings | change)
    arrays, _ = read_arrays(tmp_path / "weights.safetensors")
    write_arrays(tmp_path / "weights.safetensors", arrays, {"settings": settings})
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"weights\.safetensors: ") as caught:
            load_trained(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
    assert str(caught.value).isprintable() and len(str(caught.value)) < 700


@pytest.mark.parametrize("settings", ["[" * 5000, '{"network":' * 5000, "9" * 5000])
def test_settings_without_end_are_one_error(run, tmp_path, settings):
    write(run, tmp_path)
    arrays, _ = read_arrays(tmp_path / "weights.safetensors")
    write_arrays(tmp_path / "weights.safetensors", arrays, {"settings": settings})
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: "):
        load_trained(tmp_path)


def test_a_few_bytes_ask_for_no_gigabytes(run, tmp_path):
    write(run, tmp_path)
    for network in ({"num_classes": 3}, NETWORK | {"width": 0.5}):
        settings = json.dumps(run.settings | {"network": network})
        write_arrays(tmp_path / "weights.safetensors", {"a": np.zeros(1, "f")}, {"settings": settings})
        with pytest.raises(CheckpointError, match="ask for far more parameters than the file holds"):
            load_trained(tmp_path)


def test_statistics_of_another_size_are_named(run, tmp_path):
    write(run, tmp_path)
    for mean, message in (
        (np.zeros((3, CROP, CROP), "f"), r"a mean image of \(3, 67, 67\), and resize 72"),
        (np.full((3, SIZE, SIZE), np.nan, "f"), "mean_image: has values that are not finite"),
    ):
        arrays = run.statistics.to_arrays() | {"statistics.mean_image": mean}
        write_arrays(tmp_path / "statistics.safetensors", arrays)
        with pytest.raises(CheckpointError, match=f"cannot be rebuilt: .*{message}"):
            load_trained(tmp_path)


@pytest.mark.parametrize("name", ["weights.safetensors", "statistics.safetensors"])
@pytest.mark.parametrize("make", NO_FILES)
def test_what_is_no_file_is_named(run, tmp_path, name, make):
    write(run, tmp_path)
    (tmp_path / name).unlink()
    make(tmp_path / name)
    with pytest.raises(CheckpointError, match=f"{name}: not a readable safetensors file .expected a file, found a"):
        load_trained(tmp_path)


def test_a_checkpoint_that_is_left_behind_is_not_the_newest(run, tmp_path):
    for step in (10, 20):
        write(run, tmp_path / "checkpoints" / f"step-{step:09}")
    assert load_trained(tmp_path).path.parent.name == "step-000000020"
    Checkpoints(tmp_path / "checkpoints").go_on_from(tmp_path / "checkpoints" / "step-000000010")
    assert load_trained(tmp_path).path.parent.name == "step-000000010"
