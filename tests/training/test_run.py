"""The folder of a run: when a checkpoint is due, what a kill left, images left out, and where a run goes on."""

import json
import time

import numpy as np
import pytest

from tinynet import CheckpointError
from tinynet.data import Statistics
from tinynet.training import NonFiniteError, Run, read_log

SETTINGS = {"network": {}, "classes": []}


def save(run: Run, fresh, step: int) -> None:
    state = {"settings": SETTINGS, "history": [], "step": step, "epoch": 0, "running": {}}
    run.save(fresh.net, fresh.optimizer, fresh.statistics, state | {"left_out": {"train": {7: "truncated"}, "val": {}}})


def test_a_checkpoint_is_due_after_steps_or_minutes(tmp_path, make_run, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    run = Run(tmp_path)
    run.start(None, steps=3)
    assert [run.due() for _ in range(4)] == [False, False, True, True]
    save(run, make_run(), 4)
    assert [run.due() for _ in range(3)] == [False, False, True]
    run.close()

    run = Run(tmp_path / "minutes")
    run.start(None, minutes=2)
    assert not run.due()
    now[0] += 119
    assert not run.due()
    now[0] += 2
    assert run.due()


def test_a_run_recovers_what_a_kill_left_between_two_renames(tmp_path, make_run):
    run = Run(tmp_path)
    run.start(None)
    save(run, make_run(), 4)
    run.close()
    path = tmp_path / "checkpoints" / "step-000000004"
    path.rename(path.with_name(f".{path.name}.replaced"))
    checkpoint = Run(tmp_path).find()
    assert checkpoint.path == path and checkpoint.left_out == {"train": {7: "truncated"}, "val": {}}


def test_a_checkpoint_that_cannot_be_written_is_remembered_until_one_is(tmp_path, make_run, monkeypatch, capsys):
    run, fresh = Run(tmp_path), make_run()
    run.start(None)

    def full(*_):
        raise CheckpointError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(type(run.checkpoints), "save", full)
        save(run, fresh, 1)
    assert isinstance(run.unsaved, CheckpointError)
    assert "no checkpoint of step 1: no space left" in capsys.readouterr().err
    assert read_log(tmp_path / "log.jsonl")[-1]["event"] == "unsaved"
    save(run, fresh, 2)
    assert run.unsaved is None


def test_velocities_that_are_not_finite_are_not_saved(tmp_path, make_run):
    run, fresh = Run(tmp_path), make_run()
    run.start(None)
    next(iter(fresh.optimizer.velocity.values()))[...] = np.nan
    with pytest.raises(NonFiniteError, match=r"step 3: no checkpoint, since the velocity of .* is not finite"):
        save(run, fresh, 3)
    assert run.checkpoints.paths() == []


def test_an_image_that_is_left_out_is_named_once_also_after_the_run_went_on(tmp_path, make_run, capsys):
    run = Run(tmp_path)
    run.start(None)
    for _ in range(2):
        run.bad_image("a.jpg", "truncated")
    save(run, make_run(), 1)
    run.close()
    with open(tmp_path / "log.jsonl", "a", encoding="utf-8") as log:
        log.write(json.dumps({"evemt": "bad_image"}) + "\n" + json.dumps({"event": "bad_image", "nale": 1}) + "\n")
    run = Run(tmp_path)
    run.start(run.find())
    run.bad_image("a.jpg", "truncated")
    assert capsys.readouterr().err.count("left out a.jpg: truncated") == 1
    assert [record.get("name") for record in read_log(tmp_path / "log.jsonl")].count("a.jpg") == 1


@pytest.mark.parametrize("folder", ["checkpoints/run", "checkpoints"])
def test_a_run_goes_on_in_its_own_folder_whatever_that_is_called(tmp_path, make_run, folder):
    run = Run(tmp_path / folder)
    run.start(None)
    save(run, make_run(), 1)
    run.close()
    for path in ("", "checkpoints", "checkpoints/step-000000001"):
        run, checkpoint = Run.resume(tmp_path / folder / path)
        assert run.folder == (tmp_path / folder).resolve() and checkpoint.step == 1
        run.close()


def test_after_going_back_to_an_earlier_checkpoint_the_next_one_is_due_at_once(tmp_path, make_run):
    run, fresh = Run(tmp_path), make_run()
    run.start(None)
    for step in (1, 2):
        save(run, fresh, step)
    run.close()
    run, checkpoint = Run.resume(tmp_path / "checkpoints" / "step-000000001")
    run.start(checkpoint)
    assert run.due()
    save(run, fresh, 2)
    assert not run.due()
    run.close()
    run, checkpoint = Run.resume(tmp_path)
    run.start(checkpoint)
    assert not run.due()


def test_statistics_come_back(tmp_path, make_run):
    run, fresh = Run(tmp_path), make_run()
    run.start(None)
    save(run, fresh, 1)
    found = run.find().statistics
    assert isinstance(found, Statistics)
    for name, array in fresh.statistics.to_arrays().items():
        np.testing.assert_array_equal(found.to_arrays()[name], array)
