"""The gradient check of a whole network, layer by layer, as a report. How it is done is in gradient_check.py."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from tinynet.backend import Array, to_device
from tinynet.gradient_check import GradientCheckError, check_layer, check_network
from tinynet.layers.layer import Shape
from tinynet.network import Sequential, leaves
from tinynet.random import stream

WHOLE = "whole network"
IMAGES = 2


@dataclass(frozen=True)
class Checked:
    """Of one layer, or of the WHOLE network: the largest relative difference, or what is wrong."""

    name: str
    difference: float | None
    problem: str = ""


def check_layers(net: Sequential, shape: Shape, samples: int = 20, seed: int = 0) -> Iterator[Checked]:
    """Every layer by itself, on an input of its own without ties or zeros, where functions have their kinks; then the
    network's loss by the parameters of all, for images of `shape`. samples: elements of each array that are compared.

    The whole network is allowed 1e-4, since a moved weight takes some unit of thousands past its kink.
    """
    drawn = to_device(stream(seed, "check", "images").standard_normal((IMAGES, *shape)))
    for layer in leaves(net):
        needs_dx, layer.needs_dx = layer.needs_dx, True
        try:
            x = _spread((IMAGES, *shape), seed, layer.name)
            yield _checked(layer.name, partial(check_layer, layer, x, samples=samples, seed=seed))
        finally:
            layer.needs_dx = needs_dx
        shape = layer.output_shape(shape)
    labels = stream(seed, "check", "labels").integers(0, shape[0], IMAGES)
    whole = partial(check_network, net, drawn, labels, step=1e-6, relative=1e-4, absolute=1e-7)
    yield _checked(WHOLE, partial(whole, samples=samples, seed=seed))


def _checked(name: str, check: Callable[[], float]) -> Checked:
    try:
        return Checked(name, check())
    except GradientCheckError as error:
        return Checked(name, None, str(error))


def _spread(shape: tuple[int, ...], seed: int, name: str) -> Array:
    """Numbers from -3 to 3, evenly spread, each of them once, in an order that is drawn; none is 0."""
    count = math.prod(shape)
    values = 6 * (np.arange(count) + 0.5) / count - 3
    if count % 2:
        values[count // 2] = 3.1
    return to_device(stream(seed, "check", name).permutation(values).reshape(shape))
