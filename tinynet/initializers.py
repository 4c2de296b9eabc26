"""Initial values of parameters: single arrays, and whole networks with one named stream per parameter."""

import math

import numpy as np

from tinynet.backend import to_device
from tinynet.random import stream


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
    values = generator.random(shape, np.float32)
    values -= 0.5
    values *= math.sqrt(24 / math.prod(shape[1:]))  # a width of a has the variance a^2 / 12
    return values


def zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros, float32 on the host."""
    return np.zeros(shape, np.float32)


def initialize(net, seed: int = 0, std: float | None = None, ones: tuple[str, ...] = ()) -> None:
    """Draws every weight of `net` anew from stream(seed, "initialize", its full name) and sets the biases.

    std: the standard deviation of all weights; None for He's. ones: the names of the layers whose biases start at 1, as
    in Krizhevsky et al. 2012, section 5; all others start at 0.
    """
    for full_name, layer, key in net.parameters():
        parameter = layer.params[key]
        if key == "bias":
            parameter[...] = 1 if layer.name in ones else 0
            continue
        generator = stream(seed, "initialize", full_name)
        shape = parameter.shape
        values = he_normal(shape, generator) if std is None else normal(shape, generator, std)
        parameter[...] = to_device(values.astype(parameter.dtype, copy=False))
