"""The choice of the backend, told from fresh interpreters."""

import os
import subprocess
import sys

import pytest

from tinynet import backend


def start(**environment: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, **environment}
    command = [sys.executable, "-c", "from tinynet import SGD"]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_an_unknown_backend_names_the_choices():
    result = start(TINYNET_BACKEND="torch")
    assert result.returncode
    assert "BackendError: TINYNET_BACKEND=torch is unknown: choose one of numpy, cupy" in result.stderr


def test_cupy_that_is_not_there_says_what_to_install(tmp_path):
    (tmp_path / "cupy.py").write_text("raise ImportError('no cupy here')")  # whether or not it is installed
    result = start(TINYNET_BACKEND="cupy", PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert result.returncode
    assert "CuPy cannot be imported (no cupy here): install it with pip install 'tinynet[cuda13]'" in result.stderr


def test_cupy_without_a_gpu_is_found_out_at_once(tmp_path):
    """CuPy imports without a GPU; its first operation raises."""
    (tmp_path / "cupy.py").write_text(
        "__version__ = '14.2.0'\nfloat32 = 'f'\ndef ones(*arguments): raise RuntimeError('cudaErrorInsufficientDriver')"
    )
    result = start(TINYNET_BACKEND="cupy", PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert result.returncode
    assert "a first product on the GPU failed (RuntimeError: cudaErrorInsufficientDriver)" in result.stderr


@pytest.mark.parametrize("threads", ["0", "two", "-1", "1.5", ""])
def test_a_bad_number_of_threads_is_refused(threads):
    result = start(TINYNET_NUM_THREADS=threads, TINYNET_BACKEND="numpy")
    assert result.returncode
    assert f"TINYNET_NUM_THREADS={threads}: expected a whole number of threads" in result.stderr


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"TINYNET_NUM_THREADS": "3"}, 3),
        ({"TINYNET_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "5,2"}, 5),
        ({"OMP_NUM_THREADS": "many"}, None),  # not tinynet's variable: the others that read it will complain
        ({}, None),
    ],
)
def test_the_number_of_threads(settings, expected):
    command = "import tinynet.execution as execution; print(execution.num_threads)"
    environment = {**os.environ, "TINYNET_BACKEND": "numpy"}
    for name in ("TINYNET_NUM_THREADS", "OMP_NUM_THREADS"):
        environment.pop(name, None)
    environment |= settings
    result = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert result.stdout == f"{expected or cores}\n"


def test_host_arrays_cross_unchanged():
    values = backend.to_host(backend.xp.arange(6.0))
    assert values.tolist() == [0, 1, 2, 3, 4, 5]
    assert backend.to_host(backend.to_device(values)).tolist() == values.tolist()
