"""Initial values of parameters: single arrays, and whole networks with one named stream per parameter."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

import numpy as np

from tinynet.backend import to_device
from tinynet.random import stream

if TYPE_CHECKING:  # layers begin with these values
    from tinynet.layers.layer import Layer

_room: ContextVar[int | None] = ContextVar("room", default=None)  # numbers that may still be made, within `blank`


@contextlib.contextmanager
def blank(at_most: int) -> Iterator[None]:
    """Within this context parameters are zeros, and not drawn: for a network whose weights come from a file.

    at_most: how many numbers they may have in all; more are a ValueError, before they take any memory. So settings that
    a file names cannot ask for more than what the file itself holds.
    """
    token = _room.set(at_most)
    try:
        yield
    finally:
        _room.reset(token)


def _blank(shape: tuple[int, ...]) -> np.ndarray | None:
    """Zeros within `blank`, else None."""
    room = _room.get()
    if room is None:
        return None
    if math.prod(shape) > room:
        raise ValueError("its settings ask for far more parameters than the file holds")
    _room.set(room - math.prod(shape))
    return np.zeros(shape, np.float32)  # whose pages the system provides when they are first written


def he_normal(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """N(0, 2 / fan_in) for weights (out, in, ...), float32 on the host (He, Zhang, Ren and Sun 2015, section 2.2)."""
    return normal(shape, generator, math.sqrt(2 / math.prod(shape[1:])))


def normal(shape: tuple[int, ...], generator: np.random.Generator, std: float) -> np.ndarray:
    """N(0, std^2), float32 on the host."""
    values = generator.standard_normal(shape, np.float32)
    values *= std
    return values


def he_uniform(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Uniform with He's variance 2 / fan_in, float32 on the host: what a layer on its own starts with."""
    values = _blank(shape)
    if values is not None:
        return values
    values = generator.random(shape, np.float32)
    values -= 0.5
    values *= math.sqrt(24 / math.prod(shape[1:]))  # a width of a has the variance a^2 / 12
    return values


def xavier_uniform(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Uniform within sqrt(3 / fan_in) for weights (out, in, ...), float32 on the host: the variance is 1 / fan_in.

    Caffe's filler "xavier", after Glorot and Bengio 2010, who divide by the mean of fan_in and fan_out. fan_in is
    in_channels / groups * kh * kw of a convolution, in_features of a linear layer.
    """
    values = generator.random(shape, np.float32)
    values -= 0.5
    values *= math.sqrt(12 / math.prod(shape[1:]))
    return values


def zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros, float32 on the host."""
    values = _blank(shape)
    return np.zeros(shape, np.float32) if values is None else values


METHODS: dict[str, Callable[[tuple[int, ...], np.random.Generator], np.ndarray]] = {
    "he": he_normal,
    "xavier": xavier_uniform,
}


def initialize(
    net: "Layer",
    seed: int = 0,
    std: float | Mapping[str, float] | None = None,
    biases: Mapping[str, float] | None = None,
    method: str | None = None,
) -> None:
    """Draws every weight of `net` anew from stream(seed, "initialize", its full name) and sets the biases.

    std: the standard deviation of all weights, normally distributed, or one for each layer that has a weight:
    {"conv1": 0.0001, "fc2": 0.1}. method: "he", which is what both None mean, or "xavier" (he_normal, xavier_uniform):
    for all layers, or for those that std leaves out. biases: the value of these layers' biases, by name; all others
    start at 0. ValueError for another method, for one std and a method, for a std that is not 0 or more or, without a
    method, leaves a layer out, and for names of layers that have no such parameter.
    """
    if _room.get() is not None:
        return
    if method is not None and std is not None and not isinstance(std, Mapping):
        raise ValueError(f"initialize: expected a std or a method, got std={std!r} and method={method!r}")
    if method is not None and method not in METHODS:
        raise ValueError(f"initialize: method must be {' or '.join(map(repr, METHODS))}, got {method!r}")
    deviations = {} if std is None else _deviations(net, std, all_layers=method is None)
    if unknown := set(biases or ()) - {layer.name for _, layer, key in net.parameters() if key == "bias"}:
        raise ValueError(f"initialize: no layer with a bias is called {', '.join(map(str, unknown))}")
    for full_name, layer, key in net.parameters():
        parameter = layer.params[key]
        if key == "bias":
            parameter[...] = (biases or {}).get(layer.name, 0)
            continue
        generator = stream(seed, "initialize", full_name)
        if layer.name in deviations:
            values = normal(parameter.shape, generator, deviations[layer.name])
        else:
            values = METHODS[method or "he"](parameter.shape, generator)
        parameter[...] = to_device(values.astype(parameter.dtype, copy=False))


def _deviations(net: "Layer", std: float | Mapping[str, float], all_layers: bool) -> dict[str, float]:
    """The standard deviation of each layer with a weight, by the layer's name; unless `all_layers`, of some."""
    layers = dict.fromkeys(layer.name for _, layer, key in net.parameters() if key != "bias")
    deviations = dict(std) if isinstance(std, Mapping) else dict.fromkeys(layers, std)
    missing = [name for name in layers if name not in deviations and all_layers]
    unknown = [name for name in deviations if name not in layers]
    if missing or unknown:
        found = [f"{', '.join(missing)} missing"] if missing else []
        found += [f"{', '.join(map(str, unknown))} unknown"] if unknown else []
        raise ValueError(f"initialize: expected a std for each of {', '.join(layers)}; {' and '.join(found)}")
    for name, deviation in deviations.items():
        if not 0 <= deviation < math.inf:
            raise ValueError(f"initialize: expected a std of 0 or more, got {deviation} for {name}")
    return deviations
