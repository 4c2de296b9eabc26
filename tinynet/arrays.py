"""Files of arrays: safetensors in and out, on the host. Nothing is pickled.

What a file holds is compared with what is expected before it is read: a hostile one costs an error and no memory.
A network's parameters are in weights.py.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from tinynet.errors import CheckpointError
from tinynet.files import brief_text, check_regular, shown, written_whole

Shapes = dict[str, tuple[int, ...]]

# the types of safetensors that are read: NumPy's own, not bfloat16 nor floats of 8 bits, and no complex numbers
TYPES = ("F16", "F32", "F64", "BOOL", *(f"{sign}{bits}" for sign in "IU" for bits in (8, 16, 32, 64)))


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Writes host arrays and text as a safetensors file: beside it first, then renamed, so never by halves.

    CheckpointError when it cannot be written.
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        with written_whole(Path(path)) as partial:
            with open(partial, "xb") as empty:
                mode = os.fstat(empty.fileno()).st_mode  # what this user's files usually have; safetensors' are private
            safetensors.numpy.save_file(contiguous, partial, metadata=dict(metadata or {}))
            os.chmod(partial, mode)
    except (OSError, ValueError, safetensors.SafetensorError) as error:  # a full disk, no such folder, no name at all
        found = shown(path) or "an empty name"
        reason = f"{found}: cannot be written ({shown(error)}); what was there before is as it was"
        raise CheckpointError(reason) from error


def read_arrays(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays, metadata) of a safetensors file; CheckpointError when it cannot be read as one, or NumPy has no such
    numbers.
    """
    with _opened(path) as file:
        for name in file.keys():  # noqa: SIM118
            if file.get_slice(name).get_dtype() not in TYPES:
                raise TypeError(f"{shown(name)} is of type {file.get_slice(name).get_dtype()}")
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def read_shapes(path: str | Path) -> tuple[Shapes, dict[str, str]]:
    """(the arrays' shapes, metadata) of a safetensors file, none of whose arrays is read; CheckpointError likewise."""
    with _opened(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return shapes, dict(file.metadata() or {})


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[safetensors.safe_open]:
    """The open file; whatever is found to be wrong with it within the context is a CheckpointError."""
    try:
        check_regular(path)
        with safetensors.safe_open(str(path), framework="numpy") as file:
            yield file
    except FileNotFoundError as error:
        raise CheckpointError(f"{shown(path)}: no such file") from error
    except (AttributeError, OSError, TypeError, ValueError, safetensors.SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CheckpointError(f"{shown(path)}: not a readable safetensors file ({brief_text(reason)})") from error
