"""Which array module computes: NumPy on the host (the default) or CuPy on a GPU, chosen by TINYNET_BACKEND.

The rest of tinynet computes with `xp` and does not ask which it is. How work is cut and run lives in execution.py.
"""

import contextlib
import os
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np

from tinynet.errors import BackendError

BACKENDS = ("numpy", "cupy")

Array = Any  # NumPy's or CuPy's, of which the latter has no types


def _import_cupy() -> ModuleType:
    install = "install it with pip install 'tinynet[cuda13]' (or cuda12), or unset TINYNET_BACKEND to use NumPy"
    try:
        import cupy
    except ImportError as error:
        raise BackendError(f"TINYNET_BACKEND=cupy, but CuPy cannot be imported ({error}): {install}") from error
    try:  # CuPy imports without a GPU, and loads its compiler and cuBLAS on first use only: one product proves them all
        ones = cupy.ones((2, 2), cupy.float32)
        proof = float((ones @ ones).sum())
    except Exception as error:  # CUDA's runtime, compiler and libraries each raise their own
        raise BackendError(
            f"TINYNET_BACKEND=cupy, and CuPy {cupy.__version__} is installed, but a first product on the GPU failed"
            f" ({type(error).__name__}: {error}): a GPU, its driver and CUDA's libraries are needed; {install}"
        ) from error
    if proof != 8.0:
        raise BackendError(f"TINYNET_BACKEND=cupy: the product of two 2 x 2 matrices of ones sums to {proof}, not 8")
    return cupy


def _choose(name: str) -> ModuleType:
    if name not in BACKENDS:
        raise BackendError(f"TINYNET_BACKEND={name} is unknown: choose one of {', '.join(BACKENDS)}")
    return np if name == "numpy" else _import_cupy()


name = os.environ.get("TINYNET_BACKEND", "numpy")
xp = _choose(name)
on_gpu = name == "cupy"


def to_host(array: Array) -> np.ndarray:
    """`array` as a NumPy array on the host: itself where it lies there already, else a copy."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


def finish() -> None:
    """Waits until the current device has done all that it was given; the host has."""
    if on_gpu:
        xp.cuda.get_current_stream().synchronize()


def to_device(array: np.ndarray) -> Array:
    """`array` as an array of the backend: itself where it is one already, else a copy on the current device."""
    return xp.asarray(array)


# ---- several devices: on the host they share memory, and none of this does anything ----


class PerDevice(tuple):
    """The same array once on every GPU, for what each of them knows without being told by another: images, logits."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self[0].shape

    def get(self) -> np.ndarray:
        return self[0].get()


def on_device(array: Array, index: int) -> Array:
    """Device `index`'s own of a PerDevice; any other array as it is."""
    return array[index] if isinstance(array, PerDevice) else array


def use_device(index: int) -> None:
    """Makes GPU number `index`, modulo those there are, the calling thread's current device."""
    if on_gpu:
        xp.cuda.Device(index % xp.cuda.runtime.getDeviceCount()).use()


def device_of(array: Array) -> AbstractContextManager:
    """A context in which the device that holds `array` is the current one."""
    return array.device if on_gpu else contextlib.nullcontext()


def record_event() -> Any:
    """What `wait_for_event` takes: the moment when the work queued on the current device so far will be done."""
    return xp.cuda.get_current_stream().record() if on_gpu else None


def wait_for_event(event: Any) -> None:
    """Work queued on the current device from now on starts after `event`, whichever device that is of."""
    if on_gpu:
        xp.cuda.get_current_stream().wait_event(event)


def here(array: Array) -> Array:
    """`array` (contiguous) readable on the current device: itself, or a copy if another GPU holds it."""
    return xp.asarray(array) if on_gpu else array


def pinned(shape: Any, dtype: Any) -> np.ndarray:
    """An array on the host that GPUs copy from and to at full speed; without them, any array."""
    if not on_gpu:
        return np.empty(shape, dtype)
    count = int(np.prod(shape))
    memory = xp.cuda.alloc_pinned_memory(max(1, count * np.dtype(dtype).itemsize))
    return np.frombuffer(memory, dtype, count).reshape(shape)


# ---- from the host to the device, while the device computes ----


class Upload:
    """Copies host arrays to the current GPU through pinned memory, on a stream of its own; the host has them already.

    send(array) starts a copy, receive(array) gives the array on the device (the copy, if it was the one sent last), and
    release() says that the work queued so far is the last to read it. Two buffers take turns.
    """

    def __init__(self):
        self._slots = [_Slot(), _Slot()] if on_gpu else []
        self._stream = xp.cuda.Stream(non_blocking=True) if on_gpu else None

    def send(self, array: np.ndarray) -> None:
        if on_gpu:
            self._slots.reverse()  # the slot that is not in use comes first
            self._slots[0].send(array, self._stream)

    def receive(self, array: np.ndarray) -> Array:
        if not on_gpu:
            return array
        if not any(slot.source is array for slot in self._slots):
            self.send(array)
        self._current = next(slot for slot in self._slots if slot.source is array)
        wait_for_event(self._current.copied)
        return self._current.device

    def release(self) -> None:
        if on_gpu:
            self._current.source, self._current.read = None, record_event()


class _Slot:
    """A pinned buffer, its counterpart on the device, and the events that say when each may be written again."""

    def __init__(self):
        self.source = self.pinned = self.copied = self.read = None
        self.device: Array = None

    def send(self, array: np.ndarray, stream) -> None:
        if self.copied is not None:
            self.copied.synchronize()
        if self.pinned is None or self.pinned.shape != array.shape or self.pinned.dtype != array.dtype:
            self.pinned = pinned(array.shape, array.dtype)
            self.device = xp.empty(array.shape, array.dtype)
            self.read = record_event()  # this memory may have been another array's, which queued work still uses
        np.copyto(self.pinned, array)
        if self.read is not None:
            stream.wait_event(self.read)
        self.device.set(self.pinned, stream=stream)
        self.copied, self.source = stream.record(), array
