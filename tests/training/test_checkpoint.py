"""Checkpoints: a run that goes on is bit-equal to one that never stopped, and nothing damaged is ever loaded."""

import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from odd_files import NO_FILES

from tinynet import CheckpointError, models, save_weights
from tinynet.backend import to_host
from tinynet.files import CHECKSUMS, recover
from tinynet.training import (
    Checkpoints,
    Epoch,
    EpochState,
    NonFiniteError,
    find_checkpoint,
    load_checkpoint,
    train_epoch,
)
from tinynet.training.checkpoint import FILES


class Leave(Exception):
    """What a test's report raises to leave an epoch."""


def epoch(run, number: int, report=lambda state: None, state=None):
    return train_epoch(run.net, run.loss, run.optimizer, run.train, run.prepare, Epoch(number, state), report)


def save(run, folder: Path, step: int, epoch: int = 0, running: dict | None = None, history=(), keep: int = 3) -> Path:
    state = {"settings": {"width": 0.06}, "history": list(history), "step": step, "epoch": epoch}
    return Checkpoints(folder, keep).save(run.net, run.optimizer, run.statistics, state | {"running": running or {}})


def assert_same_state(one, other) -> None:
    for name, parameter in one.net.params.items():
        assert to_host(parameter).tobytes() == to_host(other.net.params[name]).tobytes(), name
        assert to_host(one.optimizer.velocity[name]).tobytes() == to_host(other.optimizer.velocity[name]).tobytes()


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_run_resumed_in_the_middle_of_an_epoch_is_bit_equal(make_run, tmp_path, devices, stop_after):
    whole = make_run(devices=devices)
    expected = epoch(whole, 1)

    first = make_run(workers=1, devices=devices)

    def leave(state: EpochState) -> None:
        if state.batches == stop_after:
            save(first, tmp_path, step=3 + stop_after, epoch=1, running=state.counts())
            raise Leave

    with pytest.raises(Leave):
        epoch(first, 1, leave)

    checkpoint = find_checkpoint(tmp_path / f"step-{3 + stop_after:09}")
    np.testing.assert_array_equal(checkpoint.statistics.mean_image, whole.statistics.mean_image)
    resumed = make_run(workers=3, seed=0, devices=devices)
    checkpoint.restore(resumed.net, resumed.optimizer)
    result = epoch(resumed, checkpoint.epoch, state=EpochState(**checkpoint.running))
    assert_same_state(whole, resumed)
    for name in ("images", "batches", "loss", "top1_error", "top5_error"):
        assert getattr(result, name) == getattr(expected, name)


def test_wrong_folders_are_refused(make_run, tmp_path):
    run = make_run()
    with pytest.raises(CheckpointError, match="none: no such folder; a checkpoint is a folder with weights"):
        load_checkpoint(tmp_path / "none")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="a run without a checkpoint so far"):
        find_checkpoint(tmp_path)
    save_weights(run.net, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"not a checkpoint that can be used: .*SHA256SUMS: cannot be read"):
        load_checkpoint(tmp_path)
    path = save(run, tmp_path / "checkpoints", step=1)
    wider = models.alexnet(3, width=0.1, input_size=67)
    with pytest.raises(CheckpointError, match="the shape"):
        find_checkpoint(tmp_path).restore(wider)
    assert find_checkpoint(tmp_path).path == find_checkpoint(path).path == path


def test_the_last_and_the_best_are_kept(make_run, tmp_path):
    run, history = make_run(), []
    for number, error in enumerate([50.0, 20.0, 30.0, 20.0, 25.0, 40.0], start=1):
        save(run, tmp_path, step=10 * number - 5, epoch=number - 1, running=EpochState().counts(), history=history)
        result = {"loss": 1.0, "top1_error": error, "top5_error": 0.0}
        record = {"epoch": number, "step": 10 * number, "lr": 0.01, "train": result, "validation": result}
        history.append(record)
        save(run, tmp_path, step=10 * number, epoch=number, history=history)
    assert [int(path.name.removeprefix("step-")) for path in Checkpoints(tmp_path).paths()] == [20, 50, 55, 60]
    assert {path.name[:5] for path in tmp_path.iterdir()} == {"step-"}


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))


def test_what_a_run_leaves_behind_stays_until_it_has_passed_it(make_run, tmp_path):
    run = make_run()
    for step in (10, 20, 30, 40, 50):
        save(run, tmp_path, step=step, keep=5)
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert [path.name[-2:] for path in checkpoints.go_on_from(tmp_path / "step-000000020")] == ["30", "40", "50"]
    assert checkpoints.load_newest(pytest.fail).step == 20  # a kill before the first save leads back to it
    save(run, tmp_path, step=25, keep=2)
    assert steps(tmp_path) == [20, 25, 30, 40, 50]
    save(run, tmp_path, step=30, keep=2)  # is now the run's own
    assert steps(tmp_path) == [25, 30, 40, 50] and checkpoints.load_newest(pytest.fail).step == 30
    for name in ("step-000000025", "step-000000030"):
        (tmp_path / name / "state.json").unlink()
    assert checkpoints.load_newest(lambda message: None).step == 50  # better than nothing
    save(run, tmp_path, step=45, keep=2)
    assert steps(tmp_path) == [30, 45, 50]
    assert [path.name[-2:] for path in checkpoints.go_on_from(tmp_path / "step-000000050")] == []
    save(run, tmp_path, step=55, keep=2)
    assert steps(tmp_path) == [50, 55]  # to which it went back


def test_what_a_state_says_is_checked(make_run, tmp_path):
    """Whatever state.json is, also under a checksum that is right."""
    run = make_run()
    path = save(run, tmp_path, step=1, running=EpochState().counts())
    good = json.loads((path / "state.json").read_text())
    running = good["running"]
    hostile = [
        *({"step": step} for step in ("1", -1, True, 1e300, 10**30)),
        {"epoch": None}, {"history": {}}, {"history": [[]]}, {"history": [{"epoch": 1}]},
        *({"running": counts} for counts in ({"images": 1}, running | {"images": "1"}, running | {"before": math.inf})),
        *({"settings": settings} for settings in ([], {"classes": "abc"}, {"scale": 0}, {"names": [1]})),
        {"settings": {"crop": 8, "resize": 7}}, {"settings": {"classes": ["a"], "names": ["a", "b"]}},
        *({"left_out": bad} for bad in ([], {"train": {"-1": "x"}}, {"train": {"1": []}})),
        {"other": 1},
    ]  # fmt: skip
    texts = [json.dumps(good | change) for change in hostile] + ["[" * 5000, "7", "", "\0", '{"step": 1}']
    for text in texts:
        (path / "state.json").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        lines = (path / CHECKSUMS).read_text().splitlines()
        lines = [f"{digest}  state.json" if line.endswith("  state.json") else line for line in lines]
        (path / CHECKSUMS).write_text("\n".join(lines) + "\n")
        with pytest.raises(CheckpointError, match="not a checkpoint that can be used: ") as caught:
            load_checkpoint(path)
        assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


def test_statistics_of_images_of_another_size_are_refused(make_run, tmp_path):
    """Also where all checksums are right; a run that went on with them would prepare its images otherwise."""
    run = make_run()
    state = {"settings": {"resize": 73}, "history": [], "step": 1, "epoch": 0, "running": {}}
    path = Checkpoints(tmp_path).save(run.net, run.optimizer, run.statistics, state)
    with pytest.raises(CheckpointError, match=r"can be used: a mean image of \(3, 72, 72\), and resize 73"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", [*FILES, CHECKSUMS])
@pytest.mark.parametrize("make", NO_FILES)
def test_what_is_no_file_is_no_part_of_a_checkpoint(make_run, tmp_path, name, make):
    path = save(make_run(), tmp_path, step=1)
    (path / name).unlink()
    make(path / name)
    with pytest.raises(CheckpointError, match=r"not a checkpoint that can be used: .*expected a file, found a"):
        load_checkpoint(path)


def test_a_checkpoint_of_no_run_or_of_another_job_is_refused(make_run, tmp_path):
    path = save(make_run(), tmp_path, step=1)
    with pytest.raises(CheckpointError, match="its settings lack classes, data, data_set, drawn, network, scale"):
        load_checkpoint(path).check_job("alexnet")
    settings = {"network": {}, "scale": 1, "classes": [], "data": "", "data_set": "", "drawn": False}
    checkpoint = dataclasses.replace(load_checkpoint(path), settings=settings)
    checkpoint.check_job("alexnet")
    for job in ("lenet", "x\n" * 100):
        other = dataclasses.replace(checkpoint, settings=settings | {"job": job})
        with pytest.raises(CheckpointError, match=r"a run of '[lx].*, which alexnet cannot go on with$"):
            other.check_job("alexnet")


def test_a_network_of_other_shapes_is_refused_before_it_takes_memory(make_run, tmp_path):
    run = make_run()
    network = {"num_classes": 3, "width": 0.06, "input_size": 67, "initialization": "he"}
    checkpoint = load_checkpoint(save(run, tmp_path, step=1))
    checkpoint = dataclasses.replace(checkpoint, settings={"network": network})
    net = checkpoint.build("alexnet", network | {"dropout": 0.1})
    checkpoint.restore(net)
    for name, parameter in run.net.params.items():
        assert to_host(parameter).tobytes() == to_host(net.params[name]).tobytes()
    for change, what in (
        ({"width": 0.1}, r"--width 0\.1 \(made with 0\.06\)$"),
        ({"width": 40.0}, r"--width 40\.0 \(made with 0\.06\)$"),
        ({"groups": 1, "input_size": 6000}, r"--groups 1 .*, --crop 6000 \(made with 67\)$"),
    ):
        with pytest.raises(CheckpointError, match=f"other shapes, which --override cannot change: {what}"):
            checkpoint.build("alexnet", network | change)
    with pytest.raises(CheckpointError, match="has the weights of 'alexnet', not of lenet"):
        checkpoint.build("lenet", network)


def offsets(size: int, count: int) -> list[int]:
    """Some, from the first byte to the last."""
    return sorted({round(place) for place in np.linspace(0, size - 1, count)})


@pytest.mark.parametrize("name", [*FILES, CHECKSUMS])
@pytest.mark.parametrize("damage", ["a flipped bit", "a truncation"])
def test_nothing_damaged_is_loaded(make_run, tmp_path, name, damage):
    """At 40 places of each file: an error that names the file, and the checkpoint before it instead."""
    run, reports = make_run(), []
    before = save(run, tmp_path, step=1)
    epoch(run, 0)
    path = save(run, tmp_path, step=2)
    whole = (path / name).read_bytes()
    for offset in offsets(len(whole), 40):
        damaged = bytearray(whole)
        if damage == "a flipped bit":
            damaged[offset] ^= 1 << offset % 8
        else:
            del damaged[offset:]
        (path / name).write_bytes(damaged)
        if bytes(damaged) + b"\n" == whole and name == CHECKSUMS:
            continue  # only the last line's end is gone
        with pytest.raises(CheckpointError, match=f"{re.escape(str(path))}: not a checkpoint that can be used"):
            load_checkpoint(path)
        reports.clear()
        assert Checkpoints(tmp_path).load_newest(reports.append).path == before
        assert len(reports) == 1 and "Falling back to the checkpoint before it" in reports[0]
    (before / name).unlink()
    (path / name).unlink()
    with pytest.raises(CheckpointError, match="none of 2 checkpoints can be used"):
        Checkpoints(tmp_path).load_newest(reports.append)


class Kill(BaseException):
    """Stands for a kill: from then on the process touches no file."""


@pytest.mark.parametrize("number", [1, 2])
def test_a_kill_at_any_file_operation_costs_at_most_the_checkpoint_being_written(make_run, tmp_path, number):
    """Of one beside it, of which it keeps none, and of one with the same number, which it replaces."""
    run, folder = make_run(), tmp_path / "checkpoints"
    old = save(run, folder, step=1, keep=1)
    old_weights = load_checkpoint(old).weights
    epoch(run, 0)
    template = tmp_path / "template"
    shutil.copytree(folder, template)
    survivors, operations = [], 0
    while True:
        shutil.rmtree(folder)
        shutil.copytree(template, folder)
        with pytest.MonkeyPatch.context() as patch:
            countdown = [operations]

            def guarded(function, countdown=countdown):
                def call(*args, **kwargs):
                    if countdown[0] == 0:
                        raise Kill
                    countdown[0] -= 1
                    return function(*args, **kwargs)

                return call

            for module, name in (
                (os, "fsync"), (os, "replace"), (Path, "rename"), (Path, "mkdir"), (Path, "write_text"),
                (Path, "unlink"), (shutil, "rmtree"),
            ):  # fmt: skip
                patch.setattr(module, name, guarded(getattr(module, name)))
            try:
                save(run, folder, step=number, epoch=1, keep=1)
                finished = True
            except Kill:
                finished = False
        recover(folder)  # as a run does that has the folder
        newest = Checkpoints(folder).load_newest(pytest.fail)  # none is damaged
        survivors.append(newest.epoch)
        if newest.epoch == 0:
            assert all(np.array_equal(newest.weights[name], old_weights[name]) for name in old_weights)
        else:
            assert all(np.array_equal(newest.weights[name], to_host(run.net.params[name])) for name in old_weights)
        save(run, folder, step=3, keep=1)  # nothing that was left behind is in the way
        assert [path.name for path in folder.iterdir()] == ["step-000000003"]
        if finished:
            break
        operations += 1
    assert operations >= 15 and survivors == sorted(survivors) and {0, 1} == set(survivors)


def test_a_full_disk_leaves_the_checkpoints_before(make_run, tmp_path):
    resource = pytest.importorskip("resource", reason="bounds the size of files, which Windows cannot")
    run = make_run()
    path = save(run, tmp_path, step=1)
    size = sum(file.stat().st_size for file in path.iterdir())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 1000, size // 4, size // 3):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(CheckpointError, match=r"step-000000002.*cannot be written"):
                save(run, tmp_path, step=2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert [entry.name for entry in tmp_path.iterdir()] == ["step-000000001"]
        assert load_checkpoint(path).step == 1
    save(run, tmp_path, step=2)
    assert find_checkpoint(tmp_path / "step-000000002").step == 2


def test_weights_that_are_not_finite_are_not_saved(make_run, tmp_path):
    run = make_run()
    save(run, tmp_path, step=1)
    run.net["conv3"].params["bias"][1] = np.inf
    with pytest.raises(NonFiniteError, match=r"step 2: no checkpoint, since the parameter conv3\.bias is not finite"):
        save(run, tmp_path, step=2)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-000000001"]
