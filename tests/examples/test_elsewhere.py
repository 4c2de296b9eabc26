"""The main job and `prepare` on a system that has nothing of POSIX alone, as tests/elsewhere makes one of this."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.numpy
from examples.main_job import ROOT, SMALL

SCRIPT = str(ROOT / "examples" / "alexnet_imagenet.py")
PATHS = [str(ROOT / "tests" / "elsewhere"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
# of Western Europe's Windows, which has no Chinese characters
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(PATHS), "PYTHONIOENCODING": "cp1252", "TINYNET_BACKEND": "numpy"}
pytestmark = pytest.mark.skipif(os.name != "posix", reason="removes what only POSIX has")


def python(folder: Path, *words, code: int = 0) -> subprocess.CompletedProcess:
    command = [sys.executable, *map(str, words)]
    result = subprocess.run(command, cwd=folder, capture_output=True, env=os.environ | ENVIRONMENT)
    assert result.returncode == code, result.stderr.decode("cp1252")
    assert b"Traceback" not in result.stderr, result.stderr.decode("cp1252")
    return result


def weights(folder: Path) -> dict[str, bytes]:
    found = safetensors.numpy.load_file(folder / "final" / "weights.safetensors")
    return {name: array.tobytes() for name, array in found.items()}


def test_nothing_that_only_posix_has_is_needed(data, tmp_path):
    lacking = "import os, signal, sys, fcntl" + "\n"
    assert b"ModuleNotFoundError" in subprocess.run(
        [sys.executable, "-c", lacking], env=os.environ | ENVIRONMENT, capture_output=True
    ).stderr
    python(tmp_path, "-c", "import os, signal; assert not hasattr(os, 'fork') and not hasattr(signal, 'SIGHUP')")

    images = tmp_path / "猫"
    shutil.copytree(data, images)
    job = [SCRIPT, "--data", images, *SMALL]
    whole = python(tmp_path, *job, "--epochs", 2, "--checkpoint-steps", 2, "--output-dir", "whole")
    assert rb"\u732b: 3 classes" in whole.stdout
    assert {path.name for path in (tmp_path / "whole" / "checkpoints").iterdir()} >= {"step-000000006"}

    python(tmp_path, *job, "--epochs", 1, "--output-dir", "parts")
    resumed = python(tmp_path, SCRIPT, "--resume", "parts", "--epochs", 2)
    assert b"Going on from " in resumed.stdout and weights(tmp_path / "parts") == weights(tmp_path / "whole")

    python(tmp_path, "-m", "tinynet", "prepare", "--data", images, "--out", "cache", "--size", 72, "--workers", 2)
    python(tmp_path, SCRIPT, "--data", "cache", *SMALL, "--epochs", 2, "--output-dir", "cached")
    assert weights(tmp_path / "cached") == weights(tmp_path / "whole")
    tested = python(tmp_path, SCRIPT, "--test-only", "--weights", "cached")
    assert b"Validation, ten views: top-1 error" in tested.stdout
    drawn = python(tmp_path, "-m", "tinynet", "plot", "whole", "--images", 2, "--out", "pictures")
    assert b"conv1_filters.png" in drawn.stdout and len(list((tmp_path / "pictures").glob("*.png"))) == 4
    image = min((images / "val").rglob("*.jpg"))
    asked = python(tmp_path, "-m", "tinynet", "predict", "whole", image, "--out", "answers.csv")
    assert b"1 pictures: answers.csv" in asked.stdout and (tmp_path / "answers.csv").read_bytes().count(b"\n") == 4
    cores = f"processes that decode (default: the cores, {os.cpu_count()})"
    shown = python(tmp_path, "-m", "tinynet", "prepare", "--help").stdout.decode("cp1252")
    assert cores in " ".join(shown.split())
    assert list((tmp_path / "parts").glob(".*.partial")) == []
