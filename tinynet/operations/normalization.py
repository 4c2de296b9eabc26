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
    """x (C, H, W, N) as an array whose window runs along `axes`, the axes, and its tiles as indices.

    Across channels a tile is a run of pixels with all channels of a group, of (groups, C/groups, H*W*N); within a
    channel it is some channels.
    """
    if within_channel:
        return x, (1, 2), [along(0, tile) for tile in tiles(x.shape[0], x[0].nbytes)]
    x = x.reshape(groups, x.shape[0] // groups, -1)
    pixels = tiles(x.shape[2], x.shape[1] * x.itemsize)
    return x, (1,), [(slice(group, group + 1), slice(None), tile) for group in range(groups) for tile in pixels]


def _sides(axis: int, shift: int) -> tuple[tuple, tuple]:
    """Along `axis`, all but the first `shift` and all but the last: neighbours stand at equal places."""
    return along(axis, slice(shift, None)), along(axis, slice(None, -shift))


def _window_sum(q, before: int, after: int, axes: Axes, out):
    """The sum of q[i - before .. i + after] along each of the axes, clipped at the ends, in `out` or in q: returned.

    Both arrays are overwritten.
    """
    for axis in axes:
        if axis != axes[0]:
            q, out = out, q
        last = q.shape[axis] - 1
        if min(before, last) >= 1:  # out = q and the first neighbour together, which saves a copy
            later, earlier = _sides(axis, 1)
            xp.add(q[later], q[earlier], out=out[later])
            edge = along(axis, slice(None, 1))
            out[edge] = q[edge]
        else:
            xp.copyto(out, q)
        for shift in range(2, min(before, last) + 1):
            later, earlier = _sides(axis, shift)
            target = out[later]
            target += q[earlier]
        for shift in range(1, min(after, last) + 1):
            later, earlier = _sides(axis, shift)
            target = out[earlier]
            target += q[later]
    return out


def _scale(x, before: int, after: int, axes: Axes, alpha: float, k: float):
    """s = k + alpha * (the sum of x^2 over the window) of a tile, and another array of its shape to work in."""
    squares = scratch("squares", x.shape, x.dtype)
    sums = scratch("sums", x.shape, x.dtype)
    xp.multiply(x, x, out=squares)
    s = _window_sum(squares, before, after, axes, sums)
    s *= alpha
    s += k
    return s, squares if s is sums else sums


def _power(s, beta: float, out, spare) -> None:
    """out = s^beta; the paper's 3/4 by two square roots, several times faster than a power. `spare`, which may be s
    itself, is overwritten.
    """
    if beta == 0.75:
        xp.sqrt(s, out=out)
        xp.sqrt(out, out=spare)
        out *= spare
    else:
        xp.power(s, beta, out=out)


def lrn_forward(x, size: int, alpha: float, beta: float, k: float, groups: int, within_channel: bool, y) -> None:
    """y = x / s^beta with s = k + alpha * (sum of x^2 over the window); y, of x's shape, may be x itself."""
    before, after = size // 2, (size - 1) // 2
    x, axes, cut = _windows(x, groups, within_channel)
    y = y.reshape(x.shape)
    if on_gpu:
        kernels.lrn_forward(x, axes, before, after, alpha, beta, k, y)
        return

    def task(tile: tuple) -> None:
        s, power = _scale(x[tile], before, after, axes, alpha, k)
        _power(s, beta, power, s)
        xp.divide(x[tile], power, out=y[tile])

    run(task, cut)


def lrn_backward(x, dy, size: int, alpha: float, beta: float, k: float, groups: int, within_channel: bool, dx) -> None:
    """dx_j = dy_j / s_j^beta - 2 alpha beta x_j * (the sum of dy_i y_i / s_i over the windows i that hold j).

    Derivation: y_i = x_i s_i^-beta, and x_j enters y_i directly (i = j) and through s_i, where ds_i/dx_j = 2 alpha x_j
    if j is in i's window, so dy_i/dx_j there is -beta x_i s_i^(-beta - 1) 2 alpha x_j = -2 alpha beta x_j y_i / s_i.
    j is in the window of i when i is in the mirrored window of j: `before` and `after` change places.

    s and y are computed again from x: that takes less time than keeping them, which is a way to memory and back.
    """
    before, after = size // 2, (size - 1) // 2
    x, axes, cut = _windows(x, groups, within_channel)
    dy, dx = dy.reshape(x.shape), dx.reshape(x.shape)
    if on_gpu:
        kernels.lrn_backward(x, dy, axes, before, after, alpha, beta, k, scratch("ratio", x.shape, x.dtype), dx)
        return

    def task(tile: tuple) -> None:
        s, direct = _scale(x[tile], before, after, axes, alpha, k)
        total = scratch("total", x[tile].shape, x.dtype)
        _power(s, beta, direct, total)
        xp.divide(dy[tile], direct, out=direct)  # dy / s^beta
        ratio = xp.divide(2 * alpha * beta, s, out=s)
        ratio *= x[tile]
        ratio *= direct  # 2 alpha beta dy y / s
        total = _window_sum(ratio, after, before, axes, total)
        total *= x[tile]
        xp.subtract(direct, total, out=dx[tile])

    run(task, cut)
