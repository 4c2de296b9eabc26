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


def keep_where(mask, x, out) -> None:
    """out = x where `mask` (bool) holds, else 0, whatever is there: infinity times 0 would not be a number.

    A product all the same, of x's bits as a whole number; for the CPU. `out` may be x itself.
    """
    bits = f"i{x.itemsize}"
    xp.multiply(x.view(bits), mask, out=out.view(bits))


def relu_backward(y, dy, dx) -> None:
    """dx = dy where y > 0, else 0; dx may be dy itself."""
    if on_gpu:
        kernels.relu_backward(y, dy, dx)
        return

    def task(y, dy, dx) -> None:
        positive = scratch("positive", y.shape, bool)
        xp.greater(y, 0, out=positive)
        keep_where(positive, dy, dx)

    run_flat(task, y, dy, dx)


def tanh_forward(x, y) -> None:
    """y = tanh(x)."""
    run_flat(lambda x, y: xp.tanh(x, out=y), x, y)


def tanh_backward(x, dy, dx) -> None:
    """dx = dy * 4 e / (1 + e)^2 with e = exp(-2 |x|): 1 - tanh(x)^2, small as it may be."""
    run_flat(lambda x, dy, dx: _times_slope(x, dy, dx, 2, 4), x, dy, dx)


def sigmoid_forward(x, y) -> None:
    """y = 1 / (1 + exp(-x)), as 1 / (1 + e) for x >= 0 and e / (1 + e) for the others, with e = exp(-|x|).

    So nothing overflows, and small values keep all their digits.
    """

    def task(x, y) -> None:
        e = scratch("e", x.shape, x.dtype)
        xp.copysign(x, -1, out=e)  # -|x|
        xp.exp(e, out=e)
        xp.maximum(e, xp.greater_equal(x, 0, out=scratch("positive", x.shape, bool)), out=y)  # 1 for x >= 0, else e
        e += 1
        y /= e

    run_flat(task, x, y)


def sigmoid_backward(x, dy, dx) -> None:
    """dx = dy * e / (1 + e)^2 with e = exp(-|x|): sigmoid(x) * (1 - sigmoid(x)), small as it may be."""
    run_flat(lambda x, dy, dx: _times_slope(x, dy, dx, 1, 1), x, dy, dx)


def _times_slope(x, dy, dx, rate: float, factor: float) -> None:
    """dx = dy * factor * e / (1 + e)^2 with e = exp(-rate * |x|)."""
    e, below = scratch("e", x.shape, x.dtype), scratch("below", x.shape, x.dtype)
    xp.copysign(x, -1, out=e)  # -|x|
    if rate != 1:
        e *= rate
    xp.exp(e, out=e)
    xp.add(e, 1, out=below)
    below *= below
    e /= below
    if factor != 1:
        e *= factor
    xp.multiply(dy, e, out=dx)


def masked_scale(x, mask, scale: float, y) -> None:
    """y = scale * x where `mask` (bool) holds, else 0: dropout's forward and its backward pass."""
    if on_gpu:
        kernels.masked_scale(x, mask, scale, y)
        return

    def task(x, mask, y) -> None:
        keep_where(mask, x, y)
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
    """dx = y * (dy - sum(dy * y)), the sum along the first axis.

    dy is counted from its value for the most probable class, since sum(y) = 1 makes that the same: where that class has
    nearly all of the probability, dy - sum(dy * y) would otherwise be the small difference of two large numbers.
    """
    best = xp.take_along_axis(dy, y.argmax(axis=0)[None], axis=0)
    xp.subtract(dy, best, out=dx)
    total = (dx * y).sum(axis=0)
    dx -= total
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
    passes = 6  # over all weights, each of which takes at least as long as a multiply-add of a product
    run(task, cut, work=passes * sum(weight.size for weight, *_ in parameters))
