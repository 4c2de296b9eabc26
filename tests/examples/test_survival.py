"""Runs that are killed, stopped, and short of disk space end where a run ends that never was."""

import collections
import json
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.numpy
from examples.main_job import EMULATED, SCRIPT, SMALL, command, run
from systems import posix

from tinynet.training import read_log

slow = pytest.mark.skipif(bool(EMULATED), reason="a run starts too slowly on emulated GPUs to be killed 20 times")
pytestmark = [posix, slow]

LONG = [*SMALL, "--epochs", 36]
OFTEN = ["--checkpoint-steps", 1, "--keep", 2]
DEVICES = {1: ["--devices", 1], 2: []}

# The main job, to which something happens at a place in its work and not at a time: the machine's speed plays no part.
# WHAT: the number of a signal that it sends itself, or "hold": it says so, and waits for its standard input.
# WHERE: "call" N, so many function calls after the start; "step" N M, so many calls after the loss of the N-th step;
# "saving" N, before the N-th operation on files of those that write checkpoints; else the name of a function of
# tinynet.data, when the run calls it.
SCRIPTED = """
import os, runpy, shutil, signal, sys
from pathlib import Path
from tinynet import SoftmaxCrossEntropy
from tinynet.training import Checkpoints, batches, sources

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs are born without
what, where, number, more = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
del sys.argv[:5]

def happen():
    sys.setprofile(None)
    if what == "hold":
        print("holding", flush=True)
        sys.stdin.read()
    else:
        os.kill(os.getpid(), int(what))

def count(calls):
    def profile(frame, event, argument):
        nonlocal calls
        calls -= 1
        if calls < 0:
            happen()
    sys.setprofile(profile)

def counted(owner, name, then, counts=lambda: True):
    function = getattr(owner, name)
    def call(*args, **kwargs):
        global number
        number -= counts()
        if number == 0:
            number = -1
            then()
        return function(*args, **kwargs)
    setattr(owner, name, call)

saving = False

def watched(*args, write=Checkpoints.write):
    global saving
    saving = True
    path = write(*args)
    saving = False
    return path

if where == "call":
    count(number)
elif where == "step":
    counted(SoftmaxCrossEntropy, "forward", lambda: count(more))
elif where == "saving":
    Checkpoints.write = watched
    for owner, names in ((os, "fsync replace unlink"), (Path, "rename mkdir write_text unlink"), (shutil, "rmtree")):
        for name in names.split():
            counted(owner, name, happen, lambda: saving)
else:
    counted(batches if where == "measure" else sources, where, happen)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def scripted(what: int | str, where: str, number: int, more: int, *options) -> list[str]:
    return list(map(str, (sys.executable, "-c", SCRIPTED, what, where, number, more, SCRIPT, *options)))


def happens(folder: Path, *words) -> subprocess.CompletedProcess:
    return subprocess.run(scripted(*words), cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module", params=[1, 2])
def whole(request, data, tmp_path_factory):
    """(options, weights) of a run that was never stopped, on one device or two."""
    folder = tmp_path_factory.mktemp("whole")
    options = [*LONG, *DEVICES[request.param]]
    result = run(folder, "--data", data, *options, "--output-dir", "whole")
    assert result.returncode == 0, result.stderr
    return options, safetensors.numpy.load_file(folder / "whole" / "final" / "weights.safetensors")


def assert_same_weights(expected: dict, folder: Path) -> None:
    found = safetensors.numpy.load_file(folder / "final" / "weights.safetensors")
    assert found.keys() == expected.keys()
    assert all(found[name].tobytes() == expected[name].tobytes() for name in found)


def test_killed_at_20_moments(data, whole, tmp_path, tables):
    """Before its first checkpoint, in the middle of its steps, and in the middle of writing checkpoints."""
    options, expected = whole
    folder, chance, kills = tmp_path / "run", random.Random(0), collections.Counter()
    moments = [("call", chance.randrange(30_000), 0) for _ in range(2)]
    moments += [("step", chance.randrange(1, 4), chance.randrange(400)) for _ in range(8)]
    moments += [("saving", chance.randrange(1, 60), 0) for _ in range(10)]
    for where, number, more in moments:
        workers = ["--workers", chance.randrange(4)]  # the number of threads changes nothing
        job = "--data", data, *options, *OFTEN, *workers, "--output-dir", folder, "--resume"
        killed = happens(tmp_path, int(signal.SIGKILL), where, number, more, *job)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert "Falling back" not in killed.stderr  # a kill damages no checkpoint
        half = any((folder / "checkpoints").glob(".*"))
        kills["while a checkpoint is half written" if half else "at another time"] += 1
    assert kills["while a checkpoint is half written"] >= 5, kills
    end = run(tmp_path, "--data", data, *options, "--output-dir", folder, "--resume")
    assert end.returncode == 0, end.stderr
    assert_same_weights(expected, folder)
    assert "Falling back" not in end.stderr
    assert not any((folder / "checkpoints").glob(".*"))
    tables["kills, after each of which the run went on and ended with the same weights"] = [str(dict(kills))]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_leaves_with_its_code(data, whole, tmp_path, number, code):
    options, expected = whole
    job = "--data", data, *options, "--output-dir", tmp_path / "run", "--checkpoint-minutes", 60
    stopped = happens(tmp_path, int(number), "step", 5, 0, *job)
    assert stopped.returncode == code, stopped.stderr
    assert "finishing this step and saving" in stopped.stderr
    assert f"go on with --resume {tmp_path / 'run'}" in stopped.stderr and "Traceback" not in stopped.stderr
    newest = max((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert newest.name == "step-000000005"  # the step in which it came
    stop = read_log(tmp_path / "run" / "log.jsonl")[-1]
    assert stop["event"] == "stop" and "stopped by" in stop["reason"]
    end = run(tmp_path, "--resume", "run")  # which knows where its images are
    assert end.returncode == 0, end.stderr
    assert "/run/checkpoints/step-" in end.stdout
    assert_same_weights(expected, tmp_path / "run")


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("open_dataset", "Interrupted: nothing was saved."),
        ("measure", "warning: stopped before the first checkpoint: nothing was saved"),
    ],
)
def test_a_signal_before_the_first_checkpoint_says_that_nothing_was_saved(data, tmp_path, where, told):
    job = "--data", data, *SMALL, "--output-dir", "run"
    stopped = happens(tmp_path, int(signal.SIGINT), where, 1, 0, *job)
    assert stopped.returncode == 130 and "Traceback" not in stopped.stderr
    assert stopped.stderr.endswith(f"{told}\n") and "--resume" not in stopped.stderr
    assert not any(tmp_path.rglob("*.safetensors"))


def test_a_run_whose_folder_is_moved_ends_in_another(data, whole, tmp_path):
    options, expected = whole
    job = "--data", data, *options, "--output-dir", "run"
    process = subprocess.Popen(
        scripted("hold", "step", 5, 0, *job), cwd=tmp_path, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while process.stdout.readline() != "holding\n":
        assert process.poll() is None, process.communicate()
    (tmp_path / "run").rename(tmp_path / "moved")
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert "run was moved, deleted or replaced: the run goes on in a new folder of that name" in stderr
    assert_same_weights(expected, tmp_path / "run")
    assert not (tmp_path / "moved" / "final").exists()
    records = read_log(tmp_path / "run" / "log.jsonl")
    assert [record["epoch"] for record in records if record["event"] == "epoch"] == list(range(1, 37))


def test_a_damaged_checkpoint_is_passed_over_and_said(data, whole, tmp_path):
    options, expected = whole
    first = run(tmp_path, "--data", data, *options, "--epochs", 2, "--output-dir", "run")
    assert first.returncode == 0, first.stderr
    newest = max((tmp_path / "run" / "checkpoints").glob("step-*"))
    damaged = bytearray((newest / "weights.safetensors").read_bytes())
    damaged[len(damaged) // 2] ^= 4
    (newest / "weights.safetensors").write_bytes(damaged)
    second = run(tmp_path, "--data", data, "--resume", "run", "--epochs", 36)
    assert second.returncode == 0, second.stderr
    assert f"{newest.name}/weights.safetensors: damaged" in second.stderr and "Falling back" in second.stderr
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [len(record["damaged"]) for record in log if record["event"] == "resume"] == [1]
    assert_same_weights(expected, tmp_path / "run")


def test_a_full_disk_ends_no_run(data, whole, tmp_path):
    """No file may grow beyond 100 kB: no checkpoint can be written, which is said each time; later there is space."""
    options, expected = whole
    limited = ["bash", "-c", 'ulimit -f 100; exec "$@"', "bash"]
    process = subprocess.run(
        [*limited, *command("--data", data, *options, *OFTEN, "--epochs", 2, "--output-dir", "run")],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 1
    assert "warning: no checkpoint of step 0: " in process.stderr and "no checkpoint of step 6: " in process.stderr
    assert re.search("^error: run/final: cannot be written", process.stderr, re.M)
    assert "Traceback" not in process.stderr
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    assert len(re.findall(r"^epoch", process.stdout, re.M)) == 2  # it trained all the same
    end = run(tmp_path, "--data", data, *options, "--output-dir", "run", "--resume")
    assert end.returncode == 0, end.stderr
    assert_same_weights(expected, tmp_path / "run")


def test_two_runs_do_not_share_a_folder(data, whole, tmp_path):
    job = "--data", data, *whole[0], "--output-dir", "run"
    pipe = subprocess.PIPE
    process = subprocess.Popen(scripted("hold", "step", 1, 0, *job), cwd=tmp_path, text=True, stdin=pipe, stdout=pipe)
    try:
        while process.stdout.readline() != "holding\n":
            assert process.poll() is None
        second = run(tmp_path, "--data", data, *SMALL, "--output-dir", "run")
        assert second.returncode == 1 and f"run is in use by process {process.pid}" in second.stderr
        shutil.rmtree(tmp_path / "run")  # whoever deletes it may have a new one
        third = run(tmp_path, "--data", data, *SMALL, "--epochs", 1, "--output-dir", "run")
        assert third.returncode == 0, third.stderr
    finally:
        process.kill()
        process.communicate()
