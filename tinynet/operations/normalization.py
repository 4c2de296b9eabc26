"""Local response normalisation on batch-last arrays, across channels and within a channel, forward and backward.

y = x / s^beta with s = k + alpha * (the sum of x^2 over a window), Krizhevsky et al. 2012, section 3.3. `alpha` here
multiplies the plain sum: a layer that averages divides it by the window's size before.
"""

from tinynet.backend import on_gpu, xp
from tinynet.execution import run, scratch, tiles
from tinynet.operations import kernels
from tinynet.operations.window import along

Axes = tuple[int, ...]


def _windows(x, groups: int, within_channel: bool):
    """x (C, H, W, N) as an array whose window runs along `axes`, and the tiles to cut it into along `axis`.

    Across channels the pixels are cut, (groups, C/groups, H*W*N), and a tile holds all channels; within a channel the
    channels are.
    """
    if within_channel:
        return x, (1, 2), [along(0, tile) for tile in tiles(x.shape[0], x[0].nbytes)]
    x = x.reshape(groups, x.shape[0] // groups, -1)
    pixel_bytes = x.shape[0] * x.shape[1] * x.itemsize
    return x, (1,), [along(2, tile) for tile in tiles(x.shape[2], pixel_bytes)]


def _window_sum(q, before: int, after: int, axes: Axes, out):
    """out[i] = the sum of q[i - before .. i + after] along each of the axes, clipped at the ends. q is overwritten."""
    for axis in axes:
        if axis != axes[0]:
            q, out = out, q
        xp.copyto(out, q)
        for shift in range(1, min(before, q.shape[axis] - 1) + 1):
            out[along(axis, slice(shift, None))] += q[along(axis, slice(None, -shift))]
        for shift in range(1, min(after, q.shape[axis] - 1) + 1):
            out[along(axis, slice(None, -shift))] += q[along(axis, slice(shift, None))]
    return out


def _power(s, beta: float, out) -> None:
    """out = s^beta; the paper's 3/4 by two square roots, several times faster than a power."""
    if beta == 0.75:
        quarter = scratch("quarter", s.shape, s.dtype)
        xp.sqrt(s, out=out)
        xp.sqrt(out, out=quarter)
        out *= quarter
    else:
        xp.power(s, beta, out=out)


def lrn_forward(x, size: int, alpha: float, beta: float, k: float, groups: int, within_channel: bool, y, s) -> None:
    """y = x / s^beta and s = k + alpha * (sum of x^2 over the window), both of x's shape; s is kept for backward."""
    before, after = size // 2, (size - 1) // 2
    x, axes, cut = _windows(x, groups, within_channel)
    y, s = y.reshape(x.shape), s.reshape(x.shape)
    if on_gpu:
        kernels.lrn_forward(x, axes, before, after, alpha, beta, k, y, s)
        return

    def task(tile: tuple) -> None:
        squares = scratch("squares", x[tile].shape, x.dtype)
        sums = scratch("sums", x[tile].shape, x.dtype)
        xp.multiply(x[tile], x[tile], out=squares)
        xp.multiply(_window_sum(squares, before, after, axes, sums), alpha, out=s[tile])
        s[tile] += k
        _power(s[tile], beta, squares)
        xp.divide(x[tile], squares, out=y[tile])

    run(task, cut)


def lrn_backward(x, y, s, dy, size: int, alpha: float, beta: float, groups: int, within_channel: bool, dx) -> None:
    """dx_j = dy_j / s_j^beta - 2 alpha beta x_j * (the sum of dy_i y_i / s_i over the windows i that hold j).

    Derivation: y_i = x_i s_i^-beta, and x_j enters y_i directly (i = j) and through s_i, where ds_i/dx_j = 2 alpha x_j
    if j is in i's window, so dy_i/dx_j there is -beta x_i s_i^(-beta - 1) 2 alpha x_j = -2 alpha beta x_j y_i / s_i.
    j is in the window of i when i is in the mirrored window of j: `before` and `after` change places.
    """
    before, after = size // 2, (size - 1) // 2
    x, axes, cut = _windows(x, groups, within_channel)
    y, s, dy, dx = (array.reshape(x.shape) for array in (y, s, dy, dx))
    if on_gpu:
        kernels.lrn_backward(x, y, s, dy, axes, after, before, alpha, beta, dx)
        return

    def task(tile: tuple) -> None:
        ratio = scratch("squares", x[tile].shape, x.dtype)
        sums = scratch("sums", x[tile].shape, x.dtype)
        xp.multiply(dy[tile], y[tile], out=ratio)
        ratio /= s[tile]
        total = _window_sum(ratio, after, before, axes, sums)
        total *= x[tile]
        total *= 2 * alpha * beta
        other = sums if total is ratio else ratio  # the window's sum ends in one of the two; the other is free again
        _power(s[tile], beta, other)
        xp.divide(dy[tile], other, out=dx[tile])
        dx[tile] -= total

    run(task, cut)
