"""The folder of a run: when a checkpoint is due, what a kill left, images left out, and where a run goes on."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tinynet import CheckpointError
from tinynet.data import Statistics
from tinynet.files import LockedError
from tinynet.training import NonFiniteError, RunFolder, Stopped, read_log

SETTINGS = {"network": {}, "classes": []}
RESULT = {"loss": 1.0, "top1_error": 50.0, "top5_error": 0.0}
EPOCH = {"epoch": 1, "step": 2, "lr": 0.01, "train": RESULT, "validation": RESULT}


def save(run: RunFolder, fresh, step: int) -> None:
    state = {"settings": SETTINGS, "history": [], "step": step, "epoch": 0, "running": {}}
    run.save(fresh.net, fresh.optimizer, fresh.statistics, state | {"left_out": {"train": {7: "truncated"}, "val": {}}})


def test_a_checkpoint_is_due_after_steps_or_minutes(tmp_path, make_run, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    run = RunFolder(tmp_path)
    run.start(None, steps=3)
    assert [run.due() for _ in range(4)] == [False, False, True, True]
    save(run, make_run(), 4)
    assert [run.due() for _ in range(3)] == [False, False, True]
    run.close()

    run = RunFolder(tmp_path / "minutes")
    run.start(None, minutes=2)
    assert not run.due()
    now[0] += 119
    assert not run.due()
    now[0] += 2
    assert run.due()


def test_a_run_recovers_what_a_kill_left_between_two_renames(tmp_path, make_run):
    run = RunFolder(tmp_path)
    run.start(None)
    save(run, make_run(), 4)
    run.close()
    path = tmp_path / "checkpoints" / "step-000000004"
    path.rename(path.with_name(f".{path.name}.replaced"))
    checkpoint = RunFolder(tmp_path).find()
    assert checkpoint.path == path and checkpoint.left_out == {"train": {7: "truncated"}, "val": {}}


def test_a_checkpoint_that_cannot_be_written_is_remembered_until_one_is(tmp_path, make_run, monkeypatch, capsys):
    run, fresh = RunFolder(tmp_path), make_run()
    run.start(None)

    def full(*_):
        raise CheckpointError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(type(run.checkpoints), "write", full)
        save(run, fresh, 1)
    assert isinstance(run.unsaved, CheckpointError)
    assert "no checkpoint of step 1: no space left" in capsys.readouterr().err
    assert read_log(tmp_path / "log.jsonl")[-1]["event"] == "unsaved"
    save(run, fresh, 2)
    assert run.unsaved is None


def test_velocities_that_are_not_finite_are_not_saved(tmp_path, make_run):
    run, fresh = RunFolder(tmp_path), make_run()
    run.start(None)
    next(iter(fresh.optimizer.velocity.values()))[...] = np.nan
    with pytest.raises(NonFiniteError, match=r"step 3: no checkpoint, since the velocity of .* is not finite"):
        save(run, fresh, 3)
    assert run.checkpoints.paths() == []


def test_an_image_that_is_left_out_is_named_once_also_after_the_run_went_on(tmp_path, make_run, capsys):
    run = RunFolder(tmp_path)
    run.start(None)
    for _ in range(2):
        run.bad_image("a.jpg", "truncated")
    save(run, make_run(), 1)
    run.close()
    with open(tmp_path / "log.jsonl", "a", encoding="utf-8") as log:
        log.write(json.dumps({"evemt": "bad_image"}) + "\n" + json.dumps({"event": "bad_image", "nale": 1}) + "\n")
        log.write(json.dumps({"event": "bad_image", "name": ["a.jpg"]}) + "\n")
    run = RunFolder(tmp_path)
    run.start(run.find())
    run.bad_image("a.jpg", "truncated")
    assert capsys.readouterr().err.count("left out a.jpg: truncated") == 1
    assert [record.get("name") for record in read_log(tmp_path / "log.jsonl")].count("a.jpg") == 1


@pytest.mark.parametrize("folder", ["checkpoints/run", "checkpoints"])
def test_a_run_goes_on_in_its_own_folder_whatever_that_is_called(tmp_path, make_run, folder):
    run = RunFolder(tmp_path / folder)
    run.start(None)
    save(run, make_run(), 1)
    run.close()
    for path in ("", "checkpoints", "checkpoints/step-000000001"):
        run, checkpoint = RunFolder.resume(tmp_path / folder / path)
        assert run.path == (tmp_path / folder).resolve() and checkpoint.step == 1
        run.close()


def test_after_going_back_to_an_earlier_checkpoint_the_later_ones_stay(tmp_path, make_run, capsys):
    run, fresh = RunFolder(tmp_path), make_run()
    run.start(None)
    for step in (1, 2, 3):
        save(run, fresh, step)
    run.close()
    run, checkpoint = RunFolder.resume(tmp_path / "checkpoints" / "step-000000001")
    run.start(checkpoint, keep=1)
    told = "later checkpoints stay, beside those of --keep, until the run has passed them: step-000000002, step-0"
    assert f"going on from step-000000001; {told}" in capsys.readouterr().err
    run.close()  # killed before its first save
    run, checkpoint = RunFolder.resume(tmp_path)
    assert checkpoint.step == 1
    run.start(checkpoint, keep=1)
    save(run, fresh, 2)
    assert [path.name for path in run.checkpoints.paths()] == ["step-000000003", "step-000000002"]
    save(run, fresh, 4)
    assert [path.name for path in run.checkpoints.paths()] == ["step-000000004"]


def walk(run: RunFolder, fresh, checkpoint, errors: list[float]) -> None:
    """A run that goes on from a checkpoint, with epochs of two steps and these errors."""
    run.start(checkpoint, keep=9)
    history = list(checkpoint.history) if checkpoint else []
    for error in errors:
        number = len(history) + 1
        record = EPOCH | {"epoch": number, "step": 2 * number, "validation": RESULT | {"top1_error": error}}
        history.append(record)
        run.log("epoch", **record, parameters={"conv1.weight": {"weight": 1.0}})
        state = {"settings": SETTINGS, "history": list(history), "step": 2 * number, "epoch": number, "running": {}}
        run.save(fresh.net, fresh.optimizer, fresh.statistics, state | {"left_out": {}})
    run.close()


def errors_in(folder) -> list[tuple[int, float]]:
    """Of the epochs that the log tells of: (step, error)."""
    epochs = (record for record in read_log(folder / "log.jsonl") if record["event"] == "epoch")
    return [(record["step"], record["validation"]["top1_error"]) for record in epochs]


def test_after_going_back_and_forth_log_and_best_are_those_of_the_checkpoint(tmp_path, make_run):
    run, fresh, checkpoints = RunFolder(tmp_path), make_run(), tmp_path / "checkpoints"
    walk(run, fresh, None, [60.0, 50.0, 41.0, 40.0, 42.0])
    run, checkpoint = RunFolder.resume(checkpoints / "step-000000004")
    walk(run, fresh, checkpoint, [1.0])
    assert errors_in(tmp_path) == [(2, 60.0), (4, 50.0), (6, 1.0)]
    run, checkpoint = RunFolder.resume(checkpoints / "step-000000010")  # left behind, of the way that had 41
    run.start(checkpoint)
    run.close()  # killed before its first save
    whole = [(2, 60.0), (4, 50.0), (6, 41.0), (8, 40.0), (10, 42.0)]
    assert errors_in(tmp_path) == whole
    run = RunFolder(tmp_path)
    checkpoint = run.find()
    assert checkpoint.step == 10 and run.checkpoints.paths()[0].name[-2:] == "06"  # of another way
    walk(run, fresh, checkpoint, [43.0])
    assert errors_in(tmp_path) == [*whole, (12, 43.0)]
    run.checkpoints.keep = 1
    state = {"settings": SETTINGS, "history": checkpoint.history, "step": 13, "epoch": 6, "running": {}}
    run.checkpoints.save(fresh.net, fresh.optimizer, fresh.statistics, state)
    assert [path.name[-2:] for path in run.checkpoints.paths()] == ["08", "13"]  # the best is not the other way's


def test_epochs_that_a_full_disk_took_from_the_log_come_back(tmp_path, make_run):
    fresh = make_run()
    walk(RunFolder(tmp_path), fresh, None, [60.0, 50.0])
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    (tmp_path / "log.jsonl").write_text("".join(f"{line}\n" for line in lines if '"step": 2,' not in line))
    run = RunFolder(tmp_path)
    run.start(run.find())
    run.close()
    assert errors_in(tmp_path) == [(2, 60.0), (4, 50.0)]
    before = (tmp_path / "log.jsonl").read_text()
    run = RunFolder(tmp_path)
    run.start(run.find())
    run.close()
    after = (tmp_path / "log.jsonl").read_text()  # what is told is not told again
    assert after.startswith(before) and json.loads(after[len(before) :])["event"] == "resume"


def test_a_later_checkpoint_that_is_damaged_is_said_to_be(tmp_path, make_run, capsys):
    run, fresh = RunFolder(tmp_path), make_run()
    run.start(None)
    for step in (1, 2, 3):
        save(run, fresh, step)
    run.close()
    (tmp_path / "checkpoints" / "step-000000003" / "weights.safetensors").write_bytes(b"")
    run, checkpoint = RunFolder.resume(tmp_path / "checkpoints" / "step-000000001")
    run.start(checkpoint)
    assert "has passed them: step-000000002, step-000000003 (damaged)\n" in capsys.readouterr().err


def test_epochs_of_a_checkpoint_may_have_fields_of_any_name(tmp_path, make_run):
    run, fresh = RunFolder(tmp_path / "a"), make_run()
    run.start(None)
    history = [EPOCH | {"event": "start", "self": 1, "time": "x", "record": 2}]
    state = {"settings": SETTINGS, "history": history, "step": 2, "epoch": 1, "running": {}, "left_out": {}}
    run.save(fresh.net, fresh.optimizer, fresh.statistics, state)
    run.close()
    run, checkpoint = RunFolder.resume(tmp_path / "a", tmp_path / "b")
    run.start(checkpoint)
    start, epoch, resume = read_log(tmp_path / "b" / "log.jsonl")
    assert [start["event"], epoch["event"], resume["event"]] == ["start", "epoch", "resume"]
    assert epoch["self"] == 1 and epoch["record"] == 2 and epoch["time"] != "x"


def moved(folder, how: str):
    """What may become of a folder under a live process; where it is then."""
    aside = folder.with_name("moved")
    folder.rename(aside)
    if how == "deleted":
        shutil.rmtree(aside)
    if how == "replaced":
        folder.mkdir()
    if how == "another run's":
        RunFolder(folder).start(None)
    return aside


@pytest.mark.parametrize("how", ["moved", "deleted", "replaced", "another run's"])
def test_a_run_whose_folder_is_gone_goes_on_in_a_new_one_and_says_so(tmp_path, make_run, capsys, how):
    run, fresh, folder = RunFolder(tmp_path / "a"), make_run(), tmp_path / "a"
    run.start(None, keep=1)
    run.describe({"width": 1})
    save(run, fresh, 1)
    aside = moved(folder, how)
    before = sorted(tmp_path.rglob("*"))
    run.log("epoch")
    run.unfinish()
    assert "a record of the log cannot be written: " in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before  # nothing is made again
    state = {"settings": SETTINGS, "history": [EPOCH], "step": 2, "epoch": 0, "running": {}}
    run.save(fresh.net, fresh.optimizer, fresh.statistics, state)
    run.finish(fresh.net, fresh.statistics, SETTINGS)
    told = capsys.readouterr().err
    free = how in ("moved", "deleted")
    where = "a new folder of that name" if free else f"{folder}-2"
    assert f"{folder} was moved, deleted or replaced: the run goes on in {where}" in told and run.unsaved is None
    assert run.path == (folder if free else tmp_path / "a-2")
    assert [path.name for path in run.checkpoints.paths()] == ["step-000000002"]
    assert [record["event"] for record in read_log(run.path / "log.jsonl")] == ["start", "epoch"]
    assert json.loads((run.path / "run.json").read_text()) == {"width": 1} and (run.path / "final").is_dir()
    with pytest.raises(LockedError):
        RunFolder(run.path)
    if not free:
        assert not (folder / "final").exists() and not (folder / "checkpoints").exists()
    if how == "moved":  # which others may have now
        with contextlib.closing(RunFolder(aside)) as other:
            assert other.find().step == 1


def test_a_run_that_can_go_on_nowhere_goes_on_in_memory(tmp_path, make_run, monkeypatch, capsys):
    run, fresh = RunFolder(tmp_path / "a"), make_run()
    run.start(None)
    moved(tmp_path / "a", "deleted")

    def refuse(self, **options):
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        save(run, fresh, 1)
    assert "no checkpoint of step 1: " in capsys.readouterr().err
    assert "a was moved, deleted or replaced, and " in str(run.unsaved) and list(tmp_path.iterdir()) == []
    save(run, fresh, 2)
    assert run.unsaved is None and run.path == tmp_path / "a" and run.checkpoints.paths()


def test_a_loop_of_links_leads_nowhere(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"/a: (leads nowhere|no such folder)"):
        RunFolder.resume(tmp_path / "a")


@pytest.mark.parametrize("saved", [False, True])
def test_a_run_that_is_stopped_says_how_to_go_on_or_that_nothing_was_saved(tmp_path, make_run, capsys, saved):
    folder = tmp_path / "it's one"
    run, fresh = RunFolder(folder), make_run()
    run.start(None)
    if saved:
        save(run, fresh, 1)
    with pytest.raises(Stopped), run.logged():
        raise Stopped(signal.SIGINT)
    told = capsys.readouterr().err
    assert (f"go on with --resume {shlex.quote(str(folder))}" in told) == saved
    assert ("stopped before the first checkpoint: nothing was saved" in told) != saved


def test_names_reach_the_terminal_escaped_and_the_log_as_they_are(tmp_path, capsys):
    run = RunFolder(tmp_path)
    run.start(None)
    name = "x\x1b[2J\nwarning: forged" + os.fsdecode(b"caf\xe9")
    run.bad_image(name, "no\x07")
    assert capsys.readouterr().err == r"warning: left out x\x1b[2J\nwarning: forgedcaf\xe9: no\x07" + "\n"
    assert read_log(tmp_path / "log.jsonl")[-1]["name"] == name


def test_statistics_come_back(tmp_path, make_run):
    run, fresh = RunFolder(tmp_path), make_run()
    run.start(None)
    save(run, fresh, 1)
    found = run.find().statistics
    assert isinstance(found, Statistics)
    for name, array in fresh.statistics.to_arrays().items():
        np.testing.assert_array_equal(found.to_arrays()[name], array)


@pytest.mark.parametrize("when", ["before the first checkpoint", "after the last"])
def test_a_folder_may_be_moved_at_any_time(tmp_path, make_run, capsys, when):
    run, fresh = RunFolder(tmp_path / "a"), make_run()
    run.start(None)
    if when == "after the last":
        run.describe({"width": 1})
        save(run, fresh, 1)
        run.finish(fresh.net, fresh.statistics, SETTINGS)
        moved(tmp_path / "a", "deleted")
        assert run.keep_folder() and not run.keep_folder()
        run.finish(fresh.net, fresh.statistics, SETTINGS)
        assert (tmp_path / "a" / "final").is_dir()
    else:
        moved(tmp_path / "a", "moved")
        run.describe({"width": 1})
    assert json.loads((tmp_path / "a" / "run.json").read_text()) == {"width": 1}
    assert "goes on in a new folder of that name" in capsys.readouterr().err
    with pytest.raises(LockedError):
        RunFolder(tmp_path / "a")


def test_final_weights_that_go_are_told_of(tmp_path, make_run, capsys):
    run, fresh = RunFolder(tmp_path / "a"), make_run()
    run.start(None)
    run.unfinish()
    assert "final" not in capsys.readouterr().err
    run.finish(fresh.net, fresh.statistics, SETTINGS)
    run.unfinish()
    assert f"{tmp_path / 'a' / 'final'} goes, since the run goes on" in capsys.readouterr().err
    assert not (tmp_path / "a" / "final").exists()
