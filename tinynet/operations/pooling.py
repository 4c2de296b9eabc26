"""Max-pooling and average pooling over overlapping windows, (C, H, W, N) to (C, H', W', N), forward and backward.

A rectangular window's maximum and sum are separable: first down the columns, where a whole row of pixels is one run of
memory, then along the rows of the smaller result. That takes kh + kw passes in place of kh * kw.
"""

import itertools
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from tinynet import execution
from tinynet.backend import on_gpu, xp
from tinynet.execution import run, scratch, tiles
from tinynet.operations import kernels
from tinynet.operations.elementwise import keep_where
from tinynet.operations.window import Window, along


def _channel_tiles(x) -> list[slice]:
    # Larger than other tiles: most steps work on the half or the quarter of x that is left after the first of them.
    return tiles(x.shape[0], x[0].nbytes, 2 * execution.TILE_BYTES)


def _row_buffer(name: str, x, horizontal: Window):
    """Scratch for x (C, H, W, N) pooled along its rows only: (C, H, W', N)."""
    return scratch(name, (*x.shape[:2], horizontal.output, x.shape[3]), x.dtype)


def _column_buffer(name: str, x, vertical: Window):
    """Scratch for x (C, H, W, N) pooled down its columns only: (C, H', W, N)."""
    return scratch(name, (x.shape[0], vertical.output, *x.shape[2:]), x.dtype)


def _reduce(operation: Callable, start: float, x, window: Window, axis: int, y) -> None:
    """y = the maximum (from minus infinity) or the sum (from 0) of x along `axis` over every position of the window, of
    which those on padding have no part in it.
    """
    positions = [window.overlap(offset) for offset in range(window.kernel)]
    whole = [inputs for outputs, inputs in positions if outputs == slice(0, window.output)]
    if len(whole) > 1:  # the first two together, which saves a copy
        operation(x[along(axis, whole[0])], x[along(axis, whole[1])], out=y)
    else:
        y[...] = x[along(axis, whole[0])] if whole else start
    for outputs, inputs in positions:
        if inputs not in whole[:2]:
            target = y[along(axis, outputs)]
            operation(target, x[along(axis, inputs)], out=target)


# ---- maximum ----


def _route(x, y, dy, window: Window, axis: int, dx) -> None:
    """Gives each dy to the first x of its window that equals the window's maximum y. dy is used up.

    What no earlier position has taken is the last one's, without a look at x. The positions 0 to stride - 1 meet each x
    at most once, so that what they give is written, and only what later ones give is added.
    """
    for index in _met_late(window):
        dx[along(axis, index)] = 0
    for offset in range(window.kernel):
        outputs, inputs = (along(axis, part) for part in window.overlap(offset))
        waiting, target, first = dy[outputs], dx[inputs], offset < window.stride
        if offset == window.kernel - 1:
            xp.copyto(target, waiting) if first else xp.add(target, waiting, out=target)
            return
        taken = target if first else scratch("taken", waiting.shape, dy.dtype)
        _take(x[inputs], y[outputs], waiting, taken)
        if not first:
            target += taken


def _take(x, y, waiting, taken) -> None:
    """Moves from `waiting` to `taken`, which has zeros elsewhere, what is waiting where x equals y."""
    wins = scratch("wins", waiting.shape, bool)
    xp.equal(x, y, out=wins)
    keep_where(wins, waiting, taken)
    bits = f"i{waiting.itemsize}"
    xp.bitwise_xor(waiting.view(bits), taken.view(bits), out=waiting.view(bits))


@lru_cache(maxsize=64)
def _met_late(window: Window) -> list[slice]:
    """The places of the axis that none of the positions 0 to stride - 1 meets."""
    met = np.zeros(window.size, bool)
    for offset in range(min(window.stride, window.kernel)):
        met[window.overlap(offset)[1]] = True
    return [slice(place, place + 1) for place in np.flatnonzero(~met).tolist()]


def _apart(window: Window) -> bool:
    """Whether windows neither overlap nor reach beyond the axis."""
    whole = slice(0, window.output)
    return window.kernel <= window.stride and all(window.overlap(o)[0] == whole for o in range(window.kernel))


def _route_apart(x, y, dy, vertical: Window, horizontal: Window, dx) -> None:
    """The same for windows that are apart, in both directions at once: each x has one window, and is written once."""
    if any(axis.stride * axis.output != axis.size or axis.kernel < axis.stride for axis in (vertical, horizontal)):
        dx[...] = 0
    waiting = scratch("waiting", dy.shape, dy.dtype)
    xp.copyto(waiting, dy)
    positions = list(itertools.product(range(vertical.kernel), range(horizontal.kernel)))
    for i, j in positions[:-1]:
        seen = along(1, vertical.overlap(i)[1], horizontal.overlap(j)[1])
        _take(x[seen], y, waiting, dx[seen])
    i, j = positions[-1]
    dx[along(1, vertical.overlap(i)[1], horizontal.overlap(j)[1])] = waiting


def max_pool_forward(x, vertical: Window, horizontal: Window, y) -> None:
    """y = the largest x of each window."""
    if on_gpu:
        kernels.max_pool_forward(x, vertical, horizontal, y)
        return

    def task(tile: slice) -> None:
        columns = _column_buffer("columns", x[tile], vertical)
        _reduce(xp.maximum, -xp.inf, x[tile], vertical, 1, columns)
        _reduce(xp.maximum, -xp.inf, columns, horizontal, 2, y[tile])

    run(task, _channel_tiles(x))


def max_pool_backward(x, y, dy, vertical: Window, horizontal: Window, dx) -> None:
    """dx: each dy goes to the x that was its window's maximum, and to the first in row order where several were equal.

    The first row whose maximum equals y, and in that row the first x that equals the row's maximum, is the first in
    row order: so rows come first here. Windows that overlap add up.
    """
    if on_gpu:
        kernels.max_pool_backward(x, y, dy, vertical, horizontal, dx)
        return

    if _apart(vertical) and _apart(horizontal):
        run(lambda t: _route_apart(x[t], y[t], dy[t], vertical, horizontal, dx[t]), _channel_tiles(x))
        return

    def task(tile: slice) -> None:
        rows = _row_buffer("rows", x[tile], horizontal)
        _reduce(xp.maximum, -xp.inf, x[tile], horizontal, 2, rows)
        drows = _row_buffer("drows", x[tile], horizontal)
        waiting = scratch("waiting", dy[tile].shape, dy.dtype)
        xp.copyto(waiting, dy[tile])
        _route(rows, y[tile], waiting, vertical, 1, drows)
        _route(x[tile], rows, drows, horizontal, 2, dx[tile])

    run(task, _channel_tiles(x))


# ---- average ----


def _spread(dy, window: Window, axis: int, dx) -> None:
    """The transpose of a sum: every x of a window receives the window's dy. As in _route, the first positions
    write, and the later ones add.
    """
    for index in _met_late(window):
        dx[along(axis, index)] = 0
    for offset in range(window.kernel):
        outputs, inputs = (along(axis, part) for part in window.overlap(offset))
        if offset < window.stride:
            dx[inputs] = dy[outputs]
        else:
            dx[inputs] += dy[outputs]


@lru_cache(maxsize=64)
def _inverse_counts(vertical: Window, horizontal: Window, include_padding: bool, dtype) -> np.ndarray:
    """1 / (positions in each window), (H', W', 1)."""
    counts = np.outer(vertical.counts(include_padding), horizontal.counts(include_padding))
    return (1 / counts).astype(dtype)[:, :, None]


def avg_pool_forward(x, vertical: Window, horizontal: Window, include_padding: bool, y) -> None:
    """y = the mean of each window; padding counts as zeros with `include_padding`, and not at all without."""
    if on_gpu:
        kernels.avg_pool_forward(x, vertical, horizontal, include_padding, y)
        return
    inverse = _inverse_counts(vertical, horizontal, include_padding, x.dtype)

    def task(tile: slice) -> None:
        columns = _column_buffer("columns", x[tile], vertical)
        _reduce(xp.add, 0, x[tile], vertical, 1, columns)
        _reduce(xp.add, 0, columns, horizontal, 2, y[tile])
        xp.multiply(y[tile], inverse, out=y[tile])

    run(task, _channel_tiles(x))


def avg_pool_backward(dy, vertical: Window, horizontal: Window, include_padding: bool, dx) -> None:
    """dx: every x receives dy / (positions in the window) from each window that holds it."""
    if on_gpu:
        kernels.avg_pool_backward(dy, vertical, horizontal, include_padding, dx)
        return
    inverse = _inverse_counts(vertical, horizontal, include_padding, dx.dtype)

    def task(tile: slice) -> None:
        share = scratch("share", dy[tile].shape, dx.dtype)
        xp.multiply(dy[tile], inverse, out=share)
        dcolumns = _column_buffer("dcolumns", dx[tile], vertical)
        _spread(share, horizontal, 2, dcolumns)
        _spread(dcolumns, vertical, 1, dx[tile])

    run(task, _channel_tiles(dx))
