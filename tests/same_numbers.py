"""Whether two states of the code train the same numbers, bit for bit: the main job as it is, on one device, interrupted
and resumed, and on folders of photos.

    python tests/same_numbers.py BEFORE [AFTER] [--photos DIR]      folders of the code; AFTER: this one

Not a test: bits depend on the processor, on BLAS and on the number of threads, so both run here, one after the other.
test_same_numbers.py holds a small run to figures that are kept, as closely as all machines agree.
"""

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import safetensors.numpy

PHOTOS = ["--width", "0.25", "--init", "he", "--resize", "96", "--crop", "83", "--batch-size", "32", "--epochs", "3"]
FILES = "weights.safetensors", "velocity.safetensors", "statistics.safetensors"


def start(code: Path, folder: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, str(code / "examples" / "alexnet_imagenet.py"), *options]
    environment = os.environ | {"PYTHONPATH": str(code)}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)


def finish(process: subprocess.Popen, expected: int = 0) -> None:
    if process.wait() != expected:
        sys.exit(f"{' '.join(process.args)}: exit code {process.returncode}")


def newest(folder: Path) -> int:
    """The step of the last checkpoint of the run in `folder`."""
    return max((int(path.name[5:]) for path in (folder / "run" / "checkpoints").glob("step-*")), default=-1)


def interrupted(before: Path, code: Path, folder: Path, *options: str) -> None:
    """Begun with the code before, stopped by Ctrl-C in its second epoch and in its sixth, and gone on with."""
    process = start(before, folder, *options, "--checkpoint-steps", "7")
    for step in (130, 510):
        while process.poll() is None and newest(folder) < step:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        finish(process, 128 + signal.SIGINT)
        process = start(code, folder, "--resume", "run")
    finish(process)


def numbers(folder: Path) -> dict[str, str]:
    """A digest of each file's arrays in the last checkpoint of the run in `folder`: names, types, shapes and bytes."""
    step = newest(folder)
    found = {"steps": str(step)}
    checkpoint = folder / "run" / "checkpoints" / f"step-{step:09}"
    for name in FILES:
        digest = hashlib.sha256()
        for key, array in sorted(safetensors.numpy.load_file(checkpoint / name).items()):
            digest.update(f"{key} {array.dtype} {array.shape}\n".encode() + array.tobytes())
        found[name.removesuffix(".safetensors")] = digest.hexdigest()[:32]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path, nargs="?", default=Path(__file__).parents[1])
    parser.add_argument("--photos", type=Path, metavar="DIR", help="a data set of photos, train/CLASS and val/CLASS")
    args = parser.parse_args()
    jobs = {"no option": [], "one device": ["--devices", "1"], "interrupted": []}
    if args.photos:
        jobs["photos"] = ["--data", str(args.photos.resolve()), *PHOTOS]
    differ = False
    for job, options in jobs.items():
        found = []
        for code in (args.before.resolve(), args.after.resolve()):
            with tempfile.TemporaryDirectory() as name:
                folder, options = Path(name), [*options, "--output-dir", "run"]
                if job == "interrupted":
                    interrupted(args.before.resolve(), code, folder, *options)
                else:
                    finish(start(code, folder, *options))
                found.append(numbers(folder))
        same = found[0] == found[1]
        differ |= not same
        print(f"{job}: {'the same' if same else 'OTHER NUMBERS'}", *found[: 2 - same], sep="\n  ", flush=True)
    sys.exit(differ)


if __name__ == "__main__":
    main()
