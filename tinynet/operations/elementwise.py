"""Activations, dropout, softmax and the update of weights, and the copy that brings an array into batch-last memory.

All arrays of a call are C-contiguous and of one shape, unless stated.
"""

from collections.abc import Callable, Sequence

from tinynet import execution
from tinynet.backend import on_gpu, xp
from tinynet.execution import run, scratch, tiles
from tinynet.operations import kernels


def flat_tiles(*arrays) -> list[tuple]:
    """The same tiles of C-contiguous arrays of one shape, seen flat; small arrays are one tile as they are.

    ValueError for other arrays: flattened, they would be copies, and what is written lost.
    """
    if not all(array.flags.c_contiguous for array in arrays):
        raise ValueError("expected C-contiguous arrays")
    size, itemsize = arrays[0].size, max(array.itemsize for array in arrays)
    if size * itemsize <= execution.TILE_BYTES:
        return [arrays]
    flat = [array.reshape(-1) for array in arrays]
    return [tuple(array[tile] for array in flat) for tile in tiles(size, itemsize)]


def run_flat(task: Callable, *arrays) -> None:
    """`task(*slices)` for the tiles of `flat_tiles`."""
    run(lambda tile: task(*tile), flat_tiles(*arrays))


def copy(x, out) -> None:
    """out = x, whatever the memory order of x: cut along the first axis, which neither of the two runs along."""

    def task(tile: slice) -> None:
        out[tile] = x[tile]

    run(task, tiles(out.shape[0], out[0].nbytes))


def relu_forward(x, y) -> None:
    """y = max(x, 0); y may be x itself."""
    if on_gpu:
        kernels.relu_forward(x, y)
        return
    run_flat(lambda x, y: xp.maximum(x, 0, out=y), x, y)


def relu_backward(y, dy, dx) -> None:
    """dx = dy where y > 0, else 0; dx may be dy itself."""
    if on_gpu:
        kernels.relu_backward(y, dy, dx)
        return

    def task(y, dy, dx) -> None:
        positive = scratch("positive", y.shape, bool)
        xp.greater(y, 0, out=positive)
        xp.multiply(dy, positive, out=dx)

    run_flat(task, y, dy, dx)


def tanh_forward(x, y) -> None:
    """y = tanh(x)."""
    run_flat(lambda x, y: xp.tanh(x, out=y), x, y)


def tanh_backward(y, dy, dx) -> None:
    """dx = dy * (1 - y^2)."""

    def task(y, dy, dx) -> None:
        slope = scratch("slope", y.shape, y.dtype)
        xp.multiply(y, y, out=slope)
        xp.subtract(1, slope, out=slope)
        xp.multiply(dy, slope, out=dx)

    run_flat(task, y, dy, dx)


def sigmoid_forward(x, y) -> None:
    """y = 1 / (1 + exp(-x)), written as (1 + tanh(x / 2)) / 2, which never overflows."""

    def task(x, y) -> None:
        xp.multiply(x, 0.5, out=y)
        xp.tanh(y, out=y)
        y += 1
        y *= 0.5

    run_flat(task, x, y)


def sigmoid_backward(y, dy, dx) -> None:
    """dx = dy * y * (1 - y)."""

    def task(y, dy, dx) -> None:
        slope = scratch("slope", y.shape, y.dtype)
        xp.subtract(1, y, out=slope)
        slope *= y
        xp.multiply(dy, slope, out=dx)

    run_flat(task, y, dy, dx)


def masked_scale(x, mask, scale: float, y) -> None:
    """y = scale * x where `mask` (bool) holds, else 0: dropout's forward and its backward pass."""
    if on_gpu:
        kernels.masked_scale(x, mask, scale, y)
        return

    def task(x, mask, y) -> None:
        xp.multiply(x, mask, out=y)
        if scale != 1:
            y *= scale

    run_flat(task, x, mask, y)


def scaled(x, scale: float, y) -> None:
    """y = scale * x."""
    run_flat(lambda x, y: xp.multiply(x, scale, out=y), x, y)


def softmax_forward(x, y) -> None:
    """y = exp(x) / sum(exp(x)) along the first axis, shifted by the maximum so that it cannot overflow."""
    xp.subtract(x, x.max(axis=0), out=y)
    xp.exp(y, out=y)
    y /= y.sum(axis=0)


def softmax_backward(y, dy, dx) -> None:
    """dx = y * (dy - sum(dy * y)), the sum along the first axis."""
    xp.multiply(dy, y, out=dx)
    total = dx.sum(axis=0)
    xp.subtract(dy, total, out=dx)
    dx *= y


def sgd_update(parameters: Sequence[tuple], momentum: float) -> None:
    """velocity = momentum * velocity - lr * (gradient + decay * weight); weight += velocity, for all parameters.

    Each is (weight, gradient, velocity, lr, decay), the three arrays C-contiguous and of one shape; else ValueError.
    """
    if on_gpu:
        for weight, gradient, velocity, lr, decay in parameters:
            kernels.sgd_update(gradient, lr, momentum, decay, weight, velocity)
        return

    def task(tile: tuple) -> None:
        weight, gradient, velocity, lr, decay = tile
        change = scratch("change", weight.shape, weight.dtype)
        xp.multiply(weight, decay, out=change)
        change += gradient
        change *= lr
        velocity *= momentum
        velocity -= change
        weight += velocity

    cut = [(*tile, lr, decay) for *arrays, lr, decay in parameters for tile in flat_tiles(*arrays)]
    run(task, cut, work=sum(weight.size for weight, *_ in parameters))
