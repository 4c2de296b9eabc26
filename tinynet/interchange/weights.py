"""Weights in safetensors files: a network's parameters under their full names. Nothing is pickled."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from tinynet.backend import to_device, to_host
from tinynet.files import sync


class CheckpointError(RuntimeError):
    """A file of weights is missing, damaged, or belongs to another network."""


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Writes host arrays and text as a safetensors file: beside it first, then renamed, so never by halves.

    CheckpointError when it cannot be written.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.partial")
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        with open(beside, "wb") as empty:
            mode = os.fstat(empty.fileno()).st_mode  # what this user's files usually have; safetensors' are private
        safetensors.numpy.save_file(contiguous, beside, metadata=dict(metadata or {}))
        os.chmod(beside, mode)
        sync(beside)
        os.replace(beside, path)
    except (OSError, safetensors.SafetensorError) as error:  # a full disk, a folder that is not there or not writable
        raise CheckpointError(f"{path}: cannot be written ({error}); what was there before is as it was") from error
    finally:
        beside.unlink(missing_ok=True)


def read_arrays(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays, metadata) of a safetensors file; CheckpointError when it cannot be read as one."""
    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except (OSError, TypeError, safetensors.SafetensorError) as error:  # TypeError: a dtype that NumPy does not have
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error


def save_weights(net, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes the parameters of `net` to `path` as safetensors, under full names ("conv1.weight"), and some text."""
    write_arrays(path, whole_parameters(net), metadata)


def load_weights(net, path: str | Path) -> None:
    """Sets the parameters of `net` from a file that save_weights wrote, converting to the net's dtype.

    CheckpointError, and a net as it was before, when the file cannot be read or its names or shapes are not the net's.
    """
    arrays, _ = read_arrays(path)
    set_parameters(net, arrays, str(path))


def set_parameters(net, arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Sets the parameters of `net` from host arrays, all or none; `source` names them in a CheckpointError."""
    check_arrays(net, arrays, source)
    set_arrays(net, {name: layer.params[key] for name, layer, key in net.parameters()}, arrays)


def check_arrays(net, arrays: Mapping[str, np.ndarray], source: str) -> None:
    """CheckpointError unless there is an array of the right shape for every parameter of `net`, and no other."""
    params = whole_parameters(net)
    problems = [f"{name} is missing" for name in params if name not in arrays]
    problems += [f"{name} is not in the net" for name in arrays if name not in params]
    problems += [
        f"{name} has the shape {arrays[name].shape}, expected {params[name].shape}"
        for name in params
        if name in arrays and arrays[name].shape != params[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(f"{source}: not this network's weights: {'; '.join(problems[:3])}{more}")


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
