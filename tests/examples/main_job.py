"""The main job, started as a user starts it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "alexnet_imagenet.py"
# where the tests run on emulated GPUs, so does the script
EMULATED = ["-c", "import emu, runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"]
EMULATED = EMULATED if "emu" in sys.modules else []
SMALL = ["--width", "0.06", "--resize", "72", "--crop", "67", "--init", "he", "--batch-size", "16", "--workers", "1"]


def command(*options) -> list[str]:
    return [sys.executable, *EMULATED, str(SCRIPT), *map(str, options)]


def run(folder: Path, *options, **environment) -> subprocess.CompletedProcess:
    environment = os.environ | environment
    return subprocess.run(command(*options), cwd=folder, capture_output=True, text=True, env=environment)
