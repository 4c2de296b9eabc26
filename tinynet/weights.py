"""A network's parameters under their full names, "conv1.weight": saved, loaded, looked at and set, all or none.

The files are safetensors; arrays.py reads and writes them.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinynet.arrays import read_arrays, read_shapes, write_arrays
from tinynet.backend import Array, to_device, to_host
from tinynet.errors import CheckpointError
from tinynet.files import brief_text, shown
from tinynet.layers.layer import Layer


def save_weights(net: Layer, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes the parameters of `net` to `path` as safetensors, under full names ("conv1.weight"), and some text."""
    write_arrays(path, whole_parameters(net), metadata)


def load_weights(net: Layer, path: str | Path) -> None:
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


def set_parameters(net: Layer, arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Sets the parameters of `net` from host arrays, all or none; `source` names them in a CheckpointError."""
    check_arrays(net, arrays, source)
    set_arrays(net, {name: layer.params[key] for name, layer, key in net.parameters()}, arrays)


def check_shapes(net: Layer, shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
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


def check_arrays(net: Layer, arrays: Mapping[str, np.ndarray], source: str) -> None:
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
        first = "; ".join(brief_text(problem) for problem in problems[:3])
        raise CheckpointError(f"{source}: not this network's weights: {first}{more}")


def whole_parameters(net: Layer) -> dict[str, np.ndarray]:
    """The parameters of `net` on the host under their full names, joined where several devices hold parts of them."""
    return net.merge({name: to_host(layer.params[key]) for name, layer, key in net.parameters()})


def set_arrays(net: Layer, targets: Mapping[str, Array], whole: Mapping[str, np.ndarray]) -> None:
    """Fills `targets`, one array for each of the net's parameters by its name, from whole arrays on the host."""
    parts = net.split(whole)

    def fill(device: int) -> None:
        for name, _, _ in net.parameters(device):
            targets[name][...] = to_device(parts[name].astype(targets[name].dtype, copy=False))

    net.on_devices(fill)
