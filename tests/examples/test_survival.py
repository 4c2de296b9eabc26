"""Runs that are killed, stopped, and short of disk space end where a run ends that never was."""

import json
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import safetensors.numpy
from examples.main_job import EMULATED, SMALL, command, run

from tinynet.training import read_log

pytestmark = pytest.mark.skipif(bool(EMULATED), reason="a run starts too slowly on emulated GPUs to be killed 20 times")

LONG = [*SMALL, "--epochs", 36]
OFTEN = ["--checkpoint-steps", 1, "--keep", 2]
DEVICES = {1: ["--devices", 1], 2: []}


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


def start(folder: Path, *options) -> subprocess.Popen:
    pipe = subprocess.PIPE
    return subprocess.Popen(command(*options), cwd=folder, stdout=pipe, stderr=pipe, text=True)


def wait_for(condition, process: subprocess.Popen, seconds: float = 60) -> bool:
    """Whether the condition came true while the process ran."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.0005)
    return True


def test_killed_at_20_moments(data, whole, tmp_path, tables):
    """Half of the kills come at a random time, half at a random time while a checkpoint is being written."""
    options, expected = whole
    folder, chance = tmp_path / "run", random.Random(0)
    kills = {"at any time": 0, "while saving": 0, "before the first checkpoint": 0}

    def saving() -> bool:
        return any((folder / "checkpoints").glob(".step-*.partial"))

    def steps() -> set[str]:
        return {path.name for path in (folder / "checkpoints").glob("step-*")}

    while sum(kills.values()) < 20:
        workers = ["--workers", chance.randrange(4)]  # the number of threads changes nothing
        before = steps()
        process = start(tmp_path, "--data", data, *options, *OFTEN, *workers, "--output-dir", folder, "--resume")
        if not before:
            time.sleep(chance.uniform(0.1, 1.0))
            kind = "before the first checkpoint"
        else:
            for _ in range(chance.choice([1, 1, 2, 3])):
                assert wait_for(lambda before=before: steps() != before, process), process.communicate()
                before = steps()
            kind = "while saving" if chance.random() < 0.5 else "at any time"
            time.sleep(chance.uniform(0, 0.03))
            if kind == "while saving":
                assert wait_for(saving, process), process.communicate()
                time.sleep(chance.uniform(0, 0.005))
        process.kill()
        _, stderr = process.communicate()
        assert process.returncode == -signal.SIGKILL, stderr
        kills[kind] += 1
    end = run(tmp_path, "--data", data, *options, "--output-dir", folder, "--resume")
    assert end.returncode == 0, end.stderr
    assert_same_weights(expected, folder)
    assert "Falling back" not in end.stderr  # a kill damages no checkpoint
    assert kills["while saving"] >= 5, kills
    tables["kills, after each of which the run went on and ended with the same weights"] = [str(kills)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_leaves_with_its_code(data, whole, tmp_path, number, code):
    options, expected = whole
    process = start(tmp_path, "--data", data, *options, "--output-dir", tmp_path / "run", "--checkpoint-minutes", 60)
    assert wait_for((tmp_path / "run" / "checkpoints" / "step-000000003").exists, process)
    time.sleep(0.03)
    sent = time.time() - 0.01  # files' times are that coarse
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == code, stderr
    assert "finishing this step and saving" in stderr and f"go on with --resume {tmp_path / 'run'}" in stderr
    assert "Traceback" not in stderr
    assert max((tmp_path / "run" / "checkpoints").glob("step-*")).stat().st_mtime >= sent  # it saved once more
    stop = read_log(tmp_path / "run" / "log.jsonl")[-1]
    assert stop["event"] == "stop" and "stopped by" in stop["reason"]
    end = run(tmp_path, "--resume", "run")  # which knows where its images are
    assert end.returncode == 0, end.stderr
    assert "/run/checkpoints/step-" in end.stdout
    assert_same_weights(expected, tmp_path / "run")


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
    assert re.search("^error: run/.final.*cannot be written", process.stderr, re.M)
    assert "Traceback" not in process.stderr
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    assert len(re.findall(r"^epoch", process.stdout, re.M)) == 2  # it trained all the same
    end = run(tmp_path, "--data", data, *options, "--output-dir", "run", "--resume")
    assert end.returncode == 0, end.stderr
    assert_same_weights(expected, tmp_path / "run")


def test_two_runs_do_not_share_a_folder(data, whole, tmp_path):
    process = start(tmp_path, "--data", data, *whole[0], "--output-dir", "run")
    try:
        assert wait_for((tmp_path / "run" / ".lock").exists, process)
        time.sleep(0.05)
        second = run(tmp_path, "--data", data, *SMALL, "--output-dir", "run")
        assert second.returncode == 1 and f"run is in use by process {process.pid}" in second.stderr
    finally:
        process.kill()
        process.communicate()
