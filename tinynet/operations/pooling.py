"""Max-pooling and average pooling over overlapping windows, (C, H, W, N) to (C, H', W', N), forward and backward.

A rectangular window's maximum and sum are separable: first along each row, then down the columns of the result. That
takes kh + kw passes in place of kh * kw, and the backward pass retraces the same two steps.
"""

import itertools
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


# ---- maximum ----


def _window_max(x, window: Window, axis: int, y) -> None:
    """The maximum of x along `axis` over every position of the window; padding never wins."""
    for offset in range(window.kernel):
        outputs, inputs = window.overlap(offset)
        if offset == 0 and outputs == slice(0, window.output):
            y[...] = x[along(axis, inputs)]
            continue
        if offset == 0:
            y[...] = -xp.inf
        target = y[along(axis, outputs)]
        xp.maximum(target, x[along(axis, inputs)], out=target)


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
        rows = _row_buffer("rows", x[tile], horizontal)
        _window_max(x[tile], horizontal, 2, rows)
        _window_max(rows, vertical, 1, y[tile])

    run(task, _channel_tiles(x))


def max_pool_backward(x, y, dy, vertical: Window, horizontal: Window, dx) -> None:
    """dx: each dy goes to the x that was its window's maximum, and to the first in row order where several were equal.

    The first row whose maximum equals y, and in that row the first x that equals the row's maximum, is the first in
    row order. Windows that overlap add up.
    """
    if on_gpu:
        kernels.max_pool_backward(x, y, dy, vertical, horizontal, dx)
        return

    if _apart(vertical) and _apart(horizontal):
        run(lambda t: _route_apart(x[t], y[t], dy[t], vertical, horizontal, dx[t]), _channel_tiles(x))
        return

    def task(tile: slice) -> None:
        rows = _row_buffer("rows", x[tile], horizontal)
        _window_max(x[tile], horizontal, 2, rows)
        drows = _row_buffer("drows", x[tile], horizontal)
        waiting = scratch("waiting", dy[tile].shape, dy.dtype)
        xp.copyto(waiting, dy[tile])
        _route(rows, y[tile], waiting, vertical, 1, drows)
        _route(x[tile], rows, drows, horizontal, 2, dx[tile])

    run(task, _channel_tiles(x))


# ---- average ----


def _window_sum(x, window: Window, axis: int, y) -> None:
    """The sum of x along `axis` over every position of the window."""
    for offset in range(window.kernel):
        outputs, inputs = window.overlap(offset)
        if offset == 0 and outputs == slice(0, window.output):
            y[...] = x[along(axis, inputs)]
            continue
        if offset == 0:
            y[...] = 0
        target = y[along(axis, outputs)]
        target += x[along(axis, inputs)]


def _spread(dy, window: Window, axis: int, dx) -> None:
    """The transpose of _window_sum: every x of a window receives the window's dy. As in _route, the first positions
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
        rows = _row_buffer("rows", x[tile], horizontal)
        _window_sum(x[tile], horizontal, 2, rows)
        _window_sum(rows, vertical, 1, y[tile])
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
        drows = _row_buffer("drows", dx[tile], horizontal)
        _spread(share, vertical, 1, drows)
        _spread(drows, horizontal, 2, dx[tile])

    run(task, _channel_tiles(dx))
