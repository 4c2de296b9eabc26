"""The main job and the other pages, started as a user starts them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SCRIPT = EXAMPLES / "alexnet_imagenet.py"
# where the tests run on emulated GPUs, so does the script
EMULATED = ["-c", "import emu, runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"]
EMULATED = EMULATED if "emu" in sys.modules else []
SMALL = ["--width", "0.06", "--resize", "72", "--crop", "67", "--init", "he", "--batch-size", "16", "--workers", "1"]
SMALL += ["--preset", "paper"]  # for the rest, whatever the pictures are


def command(*options) -> list[str]:
    return [sys.executable, *EMULATED, str(SCRIPT), *map(str, options)]


def run(folder: Path, *options, **environment) -> subprocess.CompletedProcess:
    environment = os.environ | environment
    return subprocess.run(command(*options), cwd=folder, capture_output=True, text=True, env=environment)


def run_page(name: str, folder: Path, *options) -> subprocess.CompletedProcess:
    words = [sys.executable, *EMULATED, EXAMPLES / name, *options]
    return subprocess.run(list(map(str, words)), cwd=folder, capture_output=True, text=True)
