"""Initial values of parameters: single arrays, and whole networks with one named stream per parameter."""

import contextlib
import math
from collections.abc import Iterator
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


def zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros, float32 on the host."""
    values = _blank(shape)
    return np.zeros(shape, np.float32) if values is None else values


def initialize(net: "Layer", seed: int = 0, std: float | None = None, ones: tuple[str, ...] = ()) -> None:
    """Draws every weight of `net` anew from stream(seed, "initialize", its full name) and sets the biases.

    std: the standard deviation of all weights; None for He's. ones: the names of the layers whose biases start at 1, as
    in Krizhevsky et al. 2012, section 5; all others start at 0.
    """
    if _room.get() is not None:
        return
    for full_name, layer, key in net.parameters():
        parameter = layer.params[key]
        if key == "bias":
            parameter[...] = 1 if layer.name in ones else 0
            continue
        generator = stream(seed, "initialize", full_name)
        shape = parameter.shape
        values = he_normal(shape, generator) if std is None else normal(shape, generator, std)
        parameter[...] = to_device(values.astype(parameter.dtype, copy=False))
