"""Jobs of several processes under MPI, for tests that are skipped where there is none."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from examples.main_job import EMULATED  # where the tests run on emulated GPUs, so do the ranks

TESTS = Path(__file__).parent
PATIENCE = 900  # seconds after which a job counts as one that waits for ever


def mpiexec() -> str | None:
    """The one of this Python's environment, else the system's."""
    beside = shutil.which("mpiexec", path=os.path.dirname(sys.executable))
    return beside or shutil.which("mpiexec")


def words(count: int, *program: object) -> list[str]:
    """The command that starts a program, its path and its options, on so many ranks."""
    return [str(mpiexec()), "-n", str(count), sys.executable, "-m", "mpi4py", *EMULATED, *map(str, program)]


def environment(threads: int | None = 1) -> dict[str, str]:
    """So many threads for each rank, and the tests' own modules to be found."""
    path = os.pathsep.join([str(TESTS), *map(os.path.abspath, sys.path)])
    ours = "TINYNET_NUM_THREADS", "OMP_NUM_THREADS"
    found = {name: value for name, value in os.environ.items() if name not in ours}
    return found | {"PYTHONPATH": path} | ({"TINYNET_NUM_THREADS": str(threads)} if threads else {})


def job(count: int, *program: object, cwd: Path | None = None, threads: int | None = 1) -> subprocess.CompletedProcess:
    """What came of it."""
    return finished(words(count, *program), cwd, threads)


def finished(command: list[str], cwd: Path | None = None, threads: int | None = 1) -> subprocess.CompletedProcess:
    streams = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    return subprocess.run(command, cwd=cwd, env=environment(threads), timeout=PATIENCE, **streams)


@functools.cache
def _lacking() -> str:
    """Why there can be no job of two ranks."""
    try:
        import mpi4py  # noqa: F401
    except ImportError:
        return "mpi4py is not installed: pip install 'tinynet[mpi]'"
    if mpiexec() is None:
        return "there is no mpiexec: pip install 'tinynet[mpi]'"
    command = [str(mpiexec()), "-n", "2", sys.executable, "-c", "from mpi4py import MPI; print(MPI.COMM_WORLD.size)"]
    try:
        told = finished(command)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"mpiexec does not work here: {error}"
    works = told.returncode == 0 and told.stdout.count("2") == 2  # in whatever order their letters and lines come
    return "" if works else f"mpiexec does not work here: {(told.stdout + told.stderr)[:300]}"


several = pytest.mark.skipif(bool(_lacking()), reason=_lacking() or "MPI is there")
