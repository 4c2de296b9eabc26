"""Weights in safetensors files: a network's parameters under their full names. Nothing is pickled.

What a file holds is compared with what is expected before it is read: a hostile one costs an error and no memory.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from tinynet.backend import to_device, to_host
from tinynet.files import check_regular, shown, written_whole

Shapes = dict[str, tuple[int, ...]]

# the types of safetensors that are read: NumPy's own, not bfloat16 nor floats of 8 bits, and no complex numbers
TYPES = ("F16", "F32", "F64", "BOOL", *(f"{sign}{bits}" for sign in "IU" for bits in (8, 16, 32, 64)))


class CheckpointError(RuntimeError):
    """A file of weights is missing, damaged, or belongs to another network."""


# ---- files of arrays ----


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
        raise CheckpointError(f"{shown(path)}: not a readable safetensors file ({_short(reason)})") from error


# ---- a network's parameters ----


def save_weights(net, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes the parameters of `net` to `path` as safetensors, under full names ("conv1.weight"), and some text."""
    write_arrays(path, whole_parameters(net), metadata)


def load_weights(net, path: str | Path) -> None:
    """Sets the parameters of `net` from a file that save_weights wrote, converting to the net's dtype.

    The file may hold float16, float32 or float64; bfloat16 and floats of 8 bits, which NumPy has not, are to be
    converted before. NaN and infinities are taken as they are, so that a net that has diverged can be looked at.
    CheckpointError, and a net as it was before, when the file cannot be read, when its names or shapes are not the
    net's, when it holds other numbers than these, or finite ones that are too large for the net's dtype.
    """
    shapes, _ = read_shapes(path)
    check_shapes(net, shapes, shown(path))
    arrays, _ = read_arrays(path)
    set_parameters(net, arrays, shown(path))


def set_parameters(net, arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Sets the parameters of `net` from host arrays, all or none; `source` names them in a CheckpointError."""
    check_arrays(net, arrays, source)
    set_arrays(net, {name: layer.params[key] for name, layer, key in net.parameters()}, arrays)


def check_shapes(net, shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
    """CheckpointError unless there is the right shape for every parameter of `net`, and no other."""
    expected = {name: parameter.shape for name, parameter in whole_parameters(net).items()}
    problems = [f"{name} is missing" for name in expected if name not in shapes]
    problems += [f"{name} is not in the net" for name in shapes if name not in expected]
    problems += [
        f"{name} has the shape {tuple(shapes[name])}, expected {shape}"
        for name, shape in expected.items()
        if name in shapes and tuple(shapes[name]) != shape
    ]
    _refuse(problems, source)


def check_arrays(net, arrays: Mapping[str, np.ndarray], source: str) -> None:
    """CheckpointError unless `arrays` has the shapes of the parameters of `net`, and floating-point numbers that its
    dtype can hold.
    """
    check_shapes(net, {name: array.shape for name, array in arrays.items()}, source)
    problems = []
    for name, parameter in whole_parameters(net).items():
        if arrays[name].dtype.kind != "f":
            problems.append(f"{name} is of type {arrays[name].dtype}, expected float16, float32 or float64")
            continue
        with np.errstate(all="ignore"):
            lost = np.isinf(arrays[name].astype(parameter.dtype, copy=False)) & np.isfinite(arrays[name])
        if lost.any():
            problems.append(f"{name} has {np.count_nonzero(lost)} values that are too large for {parameter.dtype}")
    _refuse(problems, source)


def _refuse(problems: list[str], source: str) -> None:
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        first = "; ".join(_short(problem) for problem in problems[:3])
        raise CheckpointError(f"{source}: not this network's weights: {first}{more}")


def _short(text: object) -> str:
    """Words that come from a file, fit for a sentence."""
    text = str(text)
    return shown(text if len(text) <= 300 else f"{text[:300]} ...")


def whole_parameters(net) -> dict[str, np.ndarray]:
    """The parameters of `net` on the host under their full names, joined where several devices hold parts of them."""
    return net.merge({name: to_host(layer.params[key]) for name, layer, key in net.parameters()})


def set_arrays(net, targets: Mapping, whole: Mapping[str, np.ndarray]) -> None:
    """Fills `targets`, one array for each of the net's parameters by its name, from whole arrays on the host."""
    parts = net.split(whole)

    def fill(device: int) -> None:
        for name, _, _ in net.parameters(device):
            targets[name][...] = to_device(parts[name].astype(targets[name].dtype, copy=False))

    net.on_devices(fill)
