"""The pages on several processes: what they learn, what they leave behind, and how they end."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from examples.main_job import EXAMPLES, SCRIPT, SMALL, run, run_page
from examples.test_survival import SCRIPTED
from mpi import EMULATED, PATIENCE, environment, finished, job, several, words
from systems import posix

from tinynet.training import load_checkpoint, read_log

pytestmark = several
SHORT = [*SMALL, "--epochs", 7]  # 21 steps
MESHES = {"2x1": (), "1x2": (), "2x1 weird": ("--one-weird-trick",)}
not_emulated = pytest.mark.skipif(bool(EMULATED), reason="starts too slowly on emulated GPUs")


def mesh(name: str) -> list[str]:
    """The options."""
    return ["--mesh", name.split()[0], *MESHES[name]]


def weights(folder) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "final" / "weights.safetensors")


def difference(found: dict, expected: dict) -> float:
    """The largest, relative to the largest value of its array."""
    assert found.keys() == expected.keys()
    return max(float(np.abs(found[name] - value).max() / np.abs(value).max()) for name, value in expected.items())


@pytest.fixture(scope="module")
def pictures(data, tmp_path_factory):
    """The drawn pictures, of which one for training and one for validation cannot be read."""
    root = tmp_path_factory.mktemp("pictures") / "drawn"
    shutil.copytree(data, root)
    for split, number in (("train", 5), ("val", 2)):
        path = sorted((root / split).rglob("*.jpg"))[number]
        path.write_bytes(path.read_bytes()[:100])
    return root


@pytest.fixture(scope="module")
def alone(pictures, tmp_path_factory):
    """The folder of a run in one process."""
    folder = tmp_path_factory.mktemp("alone")
    done = run(folder, "--data", pictures, *SHORT, "--max-bad", 0.3, "--ledger", "--output-dir", "run")
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.mark.parametrize("name", MESHES)
def test_a_run_leaves_what_one_process_leaves(name, pictures, alone, tmp_path):
    """Batches of 16, 16 and 3 of 35 images that can be read, 11 for validation, two at a time in ten views."""
    options = "--data", pictures, *SHORT, "--max-bad", 0.3, "--output-dir", "run"
    done = job(2, SCRIPT, *options, *mesh(name), "--ledger", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run"
    assert difference(weights(folder), weights(alone)) <= 1e-5
    assert {path.name for path in folder.iterdir()} == {path.name for path in alone.iterdir()}
    assert json.loads((folder / "run.json").read_text()) == json.loads((alone / "run.json").read_text())
    statistics = "final/statistics.safetensors"
    assert (folder / statistics).read_bytes() == (alone / statistics).read_bytes()
    for found, expected in zip(read_log(folder / "log.jsonl"), read_log(alone / "log.jsonl"), strict=True):
        assert found["event"] == expected["event"] and found.get("step") == expected.get("step")
        if found["event"] == "epoch":
            assert found["left_out"] == expected["left_out"]
            assert found["train"] == pytest.approx(expected["train"], rel=1e-5)
            assert found["validation"] == pytest.approx(expected["validation"], rel=1e-5)
        if found["event"] == "bad_image":
            assert found["name"] == expected["name"]
        if found["event"] == "test":
            assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
            assert found["left_out"] == expected["left_out"] == 1
    assert "What crossed between the devices in the first epoch's last step" in done.stdout
    assert len(re.findall("^epoch", done.stdout, re.M)) == 7  # rank 0 alone speaks
    assert len(re.findall("left out .*jpg", done.stderr)) == 2


@posix
@not_emulated
@pytest.mark.parametrize("name", MESHES)
def test_a_signal_to_any_rank_saves_and_ends_all(name, pictures, alone, tmp_path):
    """And any number of processes goes on."""
    options = "--data", pictures, *SHORT, "--max-bad", 0.3, "--output-dir", "run"
    done = finished(scripted(1, int(signal.SIGTERM), "step", 5, 0, *options, *mesh(name)), tmp_path)
    assert done.returncode == 143, done.stderr
    assert "SIGTERM: finishing this step and saving" in done.stderr and "Traceback" not in done.stderr
    assert "stopped; go on with --resume run" in done.stderr
    newest = max((tmp_path / "run" / "checkpoints").glob("step-*"))
    state = load_checkpoint(newest)
    assert newest.name == "step-000000005" and state.running["batches"] == 2
    assert state.running["images"] in (31, 32)  # of all ranks
    assert read_log(tmp_path / "run" / "log.jsonl")[-1]["event"] == "stop"
    for other in ("alone", *MESHES):
        shutil.copytree(tmp_path / "run", tmp_path / other)
        if other == "alone":
            done = run(tmp_path, "--resume", other)
        else:
            done = job(2, SCRIPT, "--resume", other, *mesh(other), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert difference(weights(tmp_path / other), weights(alone)) <= 1e-5


def scripted(rank: int, what, where: str, number: int, more: int, *options) -> list[str]:
    """Two ranks, to one of which something happens at a place in its work: see test_survival.py."""
    chosen = "import sys\nfrom tinynet.processes import rank_and_size\n"
    chosen += "if rank_and_size()[0] != int(sys.argv.pop(1)): sys.argv[2:4] = 'step', '-1'\n"
    return words(2, "-c", chosen + SCRIPTED, rank, what, where, number, more, SCRIPT, *options)


def stopped(process: subprocess.Popen, log: Path) -> tuple[str, str]:
    """What mpiexec and its ranks still say after SIGTERM, which MPICH's mpiexec has been seen to lose: then it is sent
    again, as a user would.
    """
    while True:
        process.terminate()
        try:
            return process.communicate(timeout=PATIENCE / 10)
        except subprocess.TimeoutExpired:
            assert read_log(log)[-1]["event"] != "stop", "the ranks have stopped, and do not end"


@posix
@not_emulated
def test_a_signal_to_mpiexec_saves_and_ends_all(pictures, alone, tmp_path):
    options = "--data", pictures, *SHORT, "--max-bad", 0.3, "--output-dir", "run", "--epochs", 100_000
    process = subprocess.Popen(
        words(2, SCRIPT, *options, *mesh("2x1")), cwd=tmp_path, env=environment(), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert any(line.startswith("epoch  3") for line in process.stdout)
    _, stderr = stopped(process, tmp_path / "run" / "log.jsonl")
    assert process.returncode == 143, stderr
    assert "stopped; go on with --resume run" in stderr
    newest = max((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert load_checkpoint(newest).step == int(newest.name.removeprefix("step-")) > 6


@posix
@not_emulated
@pytest.mark.parametrize("name", ["2x1", "1x2"])
def test_ranks_that_are_killed(name, data, tmp_path):
    """Nobody waits for a rank that is no more, its checkpoints are whole, and the run ends with the same bits."""
    options = ["--data", data, *SHORT, *mesh(name)]
    whole = job(2, SCRIPT, *options, "--output-dir", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    often = [*options, "--output-dir", "run", "--resume", "--checkpoint-steps", 1, "--keep", 2]
    for rank, where, number in ((1, "step", 2), (0, "step", 3), (0, "saving", 40), (1, "call", 20_000), (1, "step", 4)):
        killed = finished(scripted(rank, int(signal.SIGKILL), where, number, 100, *often), tmp_path)
        assert killed.returncode not in (0, 1), killed.stderr
        assert "Falling back" not in killed.stderr
    end = job(2, SCRIPT, *often, cwd=tmp_path)
    assert end.returncode == 0 and "Falling back" not in end.stderr, end.stderr
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert all(found[one].tobytes() == expected[one].tobytes() for one in expected)


# ---- ranks that differ, or of which one fails ----


def unlike(first: list, second: list, folder) -> subprocess.CompletedProcess:
    """Two ranks with options of their own."""
    one = words(1, SCRIPT, *SMALL, "--epochs", 1, "--mesh", "2x1", *first)
    return finished([*one, ":", *words(1, SCRIPT, *SMALL, "--epochs", 1, "--mesh", "2x1", *second)[1:]], folder)


def test_ranks_with_other_images_or_settings(data, tmp_path):
    fewer = shutil.copytree(data, tmp_path / "fewer")
    min((fewer / "train").rglob("*.jpg")).unlink()
    other = unlike(["--data", data], ["--data", fewer], tmp_path)
    assert other.returncode == 1 and "Traceback" not in other.stderr, other.stderr
    told = rf"^rank 1: error: on \S+, other images in {fewer} than on rank 0: training images 35, there 36; fingerprint"
    assert re.search(told, other.stderr, re.M), other.stderr
    lacking = unlike(["--data", data], ["--data", tmp_path / "nowhere"], tmp_path)
    assert lacking.returncode == 1, lacking.stderr
    told = f"rank 1: error: {tmp_path / 'nowhere'}: looked for a folder, found nothing of that name"
    assert told in lacking.stderr, lacking.stderr
    faster = unlike(["--data", data], ["--data", data, "--lr", "0.5"], tmp_path)
    assert faster.returncode == 1, faster.stderr
    told = r"rank 1: error: on \S+, other settings than on rank 0: lr 0.5, there 0.01"
    assert re.search(told, faster.stderr), faster.stderr


def test_too_many_images_that_cannot_be_read(pictures, tmp_path):
    done = job(2, SCRIPT, "--data", pictures, *SMALL, "--epochs", 1, "--mesh", "2x1", "--max-bad", 0, cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(r"^rank [01]: error: 1 of 36 images .* cannot be read", done.stderr, re.M), done.stderr


def test_errors_that_all_ranks_would_tell(data, tmp_path):
    for wrong, told in (
        (["--mesh", "2x1", "--epocs", "1"], "unrecognized arguments: --epocs 1"),
        (["--mesh", "2y1"], "--mesh 2y1: expected REPLICASxTOWERS"),
        (["--mesh", "2x1", "--devices", "2"], "--devices and --mesh 2x1: one of them says what shares the net"),
        (["--one-weird-trick"], "--one-weird-trick is for several processes: --mesh says how many"),
        (["--mesh", "2x1", "--test-only", "--weights", "x"], "--mesh is for training"),
    ):
        done = job(2, SCRIPT, "--data", data, *wrong, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.count(told) == 1, done.stderr
    unsaid = job(2, SCRIPT, "--data", data, cwd=tmp_path)
    assert unsaid.returncode == 1
    assert "say how they share it, --mesh 2x1 or, for two towers, --mesh 1x2" in unsaid.stderr
    one = run(tmp_path, "--data", data, "--mesh", "2x1")
    assert one.returncode == 1 and "expected 2 processes, this is one: mpiexec -n 2 python -m mpi4py" in one.stderr


# ---- the other pages ----


def test_fine_tuning_on_ranks(data, alone, tmp_path):
    job_of = ["--data", data, "--weights", alone, "--freeze-below", "conv4", "--epochs", 2, "--batch-size", 8]
    done = run_page("finetune.py", tmp_path, *job_of, "--output-dir", "alone")
    assert done.returncode == 0, done.stderr
    for name in ("2x1", "1x2"):
        done = job(2, EXAMPLES / "finetune.py", *job_of, "--output-dir", name, *mesh(name), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert difference(weights(tmp_path / name), weights(tmp_path / "alone")) <= 1e-5
    done = job(2, EXAMPLES / "finetune.py", *job_of, "--cache-features", *mesh("2x1"), cwd=tmp_path)
    assert done.returncode == 1 and "--cache-features: in one process, without --mesh" in done.stderr


@pytest.mark.skipif(bool(EMULATED), reason="starts a module")
def test_the_train_command_on_ranks(data, tmp_path):
    options = ["train", "lenet", "--data", data, "--resize", 36, "--crop", 32, "--batch-size", 10, "--epochs", 2]
    command = [sys.executable, "-m", "tinynet", *map(str, options), "--output-dir", "alone"]
    alone = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    done = job(2, "-m", "tinynet", *options, "--output-dir", "ranks", "--mesh", "2x1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert difference(weights(tmp_path / "ranks"), weights(tmp_path / "alone")) <= 1e-5
