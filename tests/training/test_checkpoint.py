"""Checkpoints: a run that goes on is bit-equal to one that never stopped, and nothing damaged is ever loaded."""

import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest

from tinynet import CheckpointError, models, save_weights
from tinynet.backend import to_host
from tinynet.files import CHECKSUMS, recover
from tinynet.training import (
    Checkpoints,
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
    return train_epoch(run.net, run.loss, run.optimizer, run.train, run.prepare, number, report, state)


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
        history.append({"epoch": number, "validation": {"top1_error": error}})
        save(run, tmp_path, step=10 * number, epoch=number, history=history)
    assert [int(path.name.removeprefix("step-")) for path in Checkpoints(tmp_path).paths()] == [20, 50, 55, 60]
    # going on from step 50: what was saved after it is no longer this run's
    save(run, tmp_path, step=52, epoch=5, running=EpochState().counts(), history=history[:5])
    assert [int(path.name.removeprefix("step-")) for path in Checkpoints(tmp_path).paths()] == [20, 50, 52]
    assert {path.name[:5] for path in tmp_path.iterdir()} == {"step-"}


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
        with pytest.raises(CheckpointError, match=f"{path}: not a checkpoint that can be used"):
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
