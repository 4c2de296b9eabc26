"""What a network's answer rests on, of one image x (1, C, H, W) in the net's own units and one class: four measures.

All take the network as it is at test, so nothing is dropped out, and leave it as it was. None of them proves anything:
they show where the answer would change, each in its own sense of changing.
"""

import contextlib
from collections.abc import Iterator

import numpy as np

from tinynet.backend import Array, to_device, to_host, xp
from tinynet.layers import Conv2d, Dropout, ReLU
from tinynet.layers.layer import Layer
from tinynet.network import Sequential, leaves
from tinynet.training.evaluation import mean_softmax

AT_ONCE = 64  # occluded images in a batch


def input_gradient(net: Sequential, x: Array, label: int, guided: bool = False) -> np.ndarray:
    """The gradient of the class's logit by each value of x, (C, H, W): Simonyan, Vedaldi and Zisserman 2013, section 3.

    guided: ReLUs pass on positive gradients only, dx = max(dy, 0) where y > 0 (Springenberg et al. 2014, section 3.4):
    no longer a gradient, but a picture of what the units that speak for the class look at.
    """
    with _as_at_test(net):
        layers = leaves(net)
        logits = _forward(layers, xp.array(x, order="K"))
        return to_host(_backward(layers, _for_class(logits, label), guided))[0]


def grad_cam(net: Sequential, x: Array, label: int) -> np.ndarray | None:
    """Where the last convolution's maps A speak for the class, (h, w) >= 0: max(0, sum_k w_k A_k), with w_k the mean of
    the logit's gradient over map k (Selvaraju et al. 2017, section 3). A is taken behind the ReLU that follows; None
    for a network without convolutions.
    """
    layers = leaves(net)
    convolutions = [place for place, layer in enumerate(layers) if isinstance(layer, Conv2d)]
    if not convolutions:
        return None
    top = convolutions[-1] + 1
    top += top < len(layers) and isinstance(layers[top], ReLU)
    with _as_at_test(net):
        maps = xp.array(_forward(layers[:top], xp.array(x, order="K")))  # a copy: what follows may write to it
        dy = _for_class(_forward(layers[top:], xp.array(maps, order="K")), label)
        gradient = to_host(_backward(layers[top:], dy))[0]  # (K, h, w)
    weights = gradient.mean(axis=(1, 2))
    return np.maximum(0, np.tensordot(weights, to_host(maps)[0], axes=1))  # (K) x (K, h, w) -> (h, w)


def occlusion(net: Sequential, x: Array, label: int, size: int | None = None, stride: int | None = None) -> np.ndarray:
    """How much of the class's probability is lost when a square of zeros, which is the mean image's grey, covers a
    pixel: (H, W), the mean over the squares that do (Zeiler and Fergus 2013, section 4.2).

    size, stride: of the square and of its steps, in pixels; by default a sixth of the image's side, and half of that.
    ValueError for sizes that do not fit.
    """
    _, _, height, width = x.shape
    size = max(1, round(min(height, width) / 6)) if size is None else size
    stride = max(1, size // 2) if stride is None else stride
    if not (1 <= size <= min(height, width) and stride >= 1):
        fits = f"a size from 1 to {min(height, width)} and a stride of 1 or more"
        raise ValueError(f"occlusion: expected {fits}, got {size} and {stride}")
    places = [(top, left) for top in _steps(height, size, stride) for left in _steps(width, size, stride)]
    host = np.asarray(to_host(x))
    whole = _probability(net, host, label)[0]
    lost, covered = np.zeros((height, width)), np.zeros((height, width))
    for first in range(0, len(places), AT_ONCE):
        some = places[first : first + AT_ONCE]
        images = np.repeat(host, len(some), axis=0)
        for image, (top, left) in zip(images, some, strict=True):
            image[:, top : top + size, left : left + size] = 0
        for (top, left), probability in zip(some, _probability(net, images, label), strict=True):
            square = slice(top, top + size), slice(left, left + size)
            lost[square] += whole - probability
            covered[square] += 1
    return lost / covered


def _steps(length: int, size: int, stride: int) -> list[int]:
    """Where squares begin, so that the last ends at the edge."""
    return sorted({*range(0, length - size + 1, stride), length - size})


def _probability(net: Sequential, images: np.ndarray, label: int) -> np.ndarray:
    """Of the class, (N,)."""
    memory = to_device(np.ascontiguousarray(images.transpose(1, 2, 3, 0)))  # (N, C, H, W) -> (C, H, W, N)
    return mean_softmax(to_host(net.forward(memory.transpose(3, 0, 1, 2))), 1)[:, label]


# ---- forwards and backwards without dropout ----


@contextlib.contextmanager
def _as_at_test(net: Sequential) -> Iterator[None]:
    """Within it every layer gives the gradient of its input, and of no parameter; all is as it was afterwards."""
    before = [(layer, layer.needs_dx, layer.trainable) for layer in leaves(net)]
    try:
        for layer, _, _ in before:
            layer.needs_dx, layer.trainable = True, False
        yield
    finally:
        for layer, needs_dx, trainable in before:
            layer.needs_dx, layer.trainable = needs_dx, trainable


def _forward(layers: list[Layer], x: Array) -> Array:
    """Through these layers, each of which keeps what backward needs, but dropout, which scales as it does at test."""
    for layer in layers:
        x = layer.forward(x, train=not isinstance(layer, Dropout))
    return x


def _backward(layers: list[Layer], dy: Array, guided: bool = False) -> Array:
    for layer in reversed(layers):
        if isinstance(layer, Dropout):
            dy = dy * (1 - layer.p if layer.scale == "test" else 1)
            continue
        dy = layer.backward(xp.maximum(dy, 0) if guided and isinstance(layer, ReLU) else dy)
    return dy


def _for_class(logits: Array, label: int) -> Array:
    """The gradient of one class's logit by the logits (1, classes)."""
    dy = np.zeros(logits.shape, logits.dtype)
    dy[0, label] = 1
    return to_device(dy)
