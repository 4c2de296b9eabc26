"""Convolution of stride 1 without columns: for every position (tap) of the kernel one product of weight[:, :, i, j] and
the rows of x shifted by (i, j), which BLAS adds to what the other taps gave. Forward and both gradients.

Batch-last memory makes this possible: W' pixels of N images are one run, so a row of the output, and what a tap sees of
the input, are matrices as they lie. Nothing is copied, and no product is made with padding.
"""

import math
from functools import lru_cache

from tinynet.backend import on_gpu, xp
from tinynet.execution import cut, run, scratch, workers
from tinynet.operations.blas import accumulate, can_accumulate
from tinynet.operations.window import Geometry

# Measured: below these, products are too small for BLAS, and columns are faster.
MIN_CHANNELS = 16
MIN_ROW = 640  # W' * N


def suits(geometry: Geometry, channels: int, batch: int) -> bool:
    """Whether this way is possible, and the faster one, for x of so many channels."""
    possible = can_accumulate and not on_gpu and geometry.vertical.stride == geometry.horizontal.stride == 1
    thin = channels // geometry.groups < MIN_CHANNELS or geometry.horizontal.output * batch < MIN_ROW
    return possible and not thin


@lru_cache(maxsize=64)
def _rows(geometry: Geometry, batch: int, of_input: bool) -> list[tuple[slice, list[tuple[int, slice, slice]]]]:
    """Every row of the output (or of the input) as the slice that it is of the pixels, and what meets in it.

    What meets: (tap, slice of the output's pixels, slice of the input's), both of the flattened (H*W*N) axis.
    """
    vertical, horizontal = geometry.vertical, geometry.horizontal
    width = (horizontal.size if of_input else horizontal.output) * batch
    height = vertical.size if of_input else vertical.output
    rows = [(slice(row * width, (row + 1) * width), []) for row in range(height)]
    for output_row in range(vertical.output):
        for i in range(vertical.kernel):
            input_row = output_row + i - vertical.before
            if not 0 <= input_row < vertical.size:
                continue
            for j in range(horizontal.kernel):
                outputs, inputs = horizontal.overlap(j)
                if outputs.stop > outputs.start:
                    meeting = (
                        i * horizontal.kernel + j,
                        _run(output_row, outputs, horizontal.output, batch),
                        _run(input_row, inputs, horizontal.size, batch),
                    )
                    rows[input_row if of_input else output_row][1].append(meeting)
    return rows


def _run(row: int, pixels: slice, width: int, batch: int) -> slice:
    return slice((row * width + pixels.start) * batch, (row * width + pixels.stop) * batch)


def _blocks(channels: int, groups: int) -> list[slice]:
    """The result's channels in a group, cut so that groups * blocks is a multiple of the threads."""
    return cut(channels, workers().count // math.gcd(groups, workers().count))


def _taps(weight, geometry: Geometry):
    """weight (K, C/G, kh, kw) as (kh*kw, G, K/G, C/G), in the calling thread's scratch memory."""
    kernels, channels = weight.shape[:2]
    taps = scratch("taps", (geometry.taps, kernels, channels), weight.dtype)

    def task(part: slice) -> None:
        taps[:, part] = weight[part].reshape(-1, channels, geometry.taps).transpose(2, 0, 1)  # (kh*kw, K, C/G)

    run(task, cut(kernels, workers().count))
    return taps.reshape(geometry.taps, geometry.groups, -1, channels)


def forward(x, weight, bias, geometry: Geometry, y) -> None:
    """As conv2d_forward: y (K, H', W', N) = weight (K, C/groups, kh, kw) applied to x (C, H, W, N), plus bias (K,)."""
    groups = geometry.groups
    rows = _rows(geometry, x.shape[3], of_input=False)
    taps = _taps(weight, geometry)  # (kh*kw, G, K/G, C/G)
    x = x.reshape(groups, weight.shape[1], -1)  # (G, C/G, H*W*N)
    y = y.reshape(groups, taps.shape[2], -1)  # (G, K/G, H'*W'*N)
    bias = xp.zeros(y.shape[:2], y.dtype) if bias is None else bias.reshape(groups, -1)  # (G, K/G)

    def task(tile) -> None:
        group, block, (pixels, meetings) = tile
        target = y[group, block]
        target[:, pixels] = bias[group, block, None]
        for tap, outputs, inputs in meetings:
            accumulate(taps[tap, group, block], x[group][:, inputs], target[:, outputs])

    run(task, [(g, block, row) for g in range(groups) for block in _blocks(y.shape[1], groups) for row in rows])


def backward_weight(x, dy, geometry: Geometry, dweight) -> None:
    """As conv2d_backward_weight: dweight (K, C/groups, kh, kw), each tap's the sum over the rows of dy @ shifted x.T.

    A task owns some kernels and walks all rows: nothing that threads have summed up has to be joined.
    """
    groups, channels = geometry.groups, dweight.shape[1]
    rows = _rows(geometry, x.shape[3], of_input=False)
    x = x.reshape(groups, channels, -1)  # (G, C/G, H*W*N)
    dy = dy.reshape(groups, dweight.shape[0] // groups, -1)  # (G, K/G, H'*W'*N)
    dweight = dweight.reshape(groups, -1, channels, geometry.taps)  # (G, K/G, C/G, kh*kw)

    def task(tile: tuple[int, slice]) -> None:
        group, block = tile
        taps = scratch("dtaps", (geometry.taps, block.stop - block.start, channels), dweight.dtype)
        taps[...] = 0
        for _, meetings in rows:
            for tap, outputs, inputs in meetings:
                accumulate(dy[group, block, outputs], x[group, :, inputs].T, taps[tap])
        dweight[group, block] = taps.transpose(1, 2, 0)  # (K of the block, C/G, kh*kw)

    run(task, [(group, block) for group in range(groups) for block in _blocks(dweight.shape[1], groups)])


def backward_input(dy, weight, geometry: Geometry, dx) -> None:
    """As conv2d_backward_input: a row of dx (C, H, W, N) is the sum over the taps of weight[:, :, i, j].T @ dy."""
    groups = geometry.groups
    rows = _rows(geometry, dx.shape[3], of_input=True)
    taps = _taps(weight, geometry)  # (kh*kw, G, K/G, C/G)
    dx = dx.reshape(groups, weight.shape[1], -1)  # (G, C/G, H*W*N)
    dy = dy.reshape(groups, taps.shape[2], -1)  # (G, K/G, H'*W'*N)

    def task(tile) -> None:
        group, block, (pixels, meetings) = tile
        target = dx[group, block]
        target[:, pixels] = 0
        for tap, outputs, inputs in meetings:
            accumulate(taps[tap, group, :, block].T, dy[group][:, outputs], target[:, inputs])

    run(task, [(g, block, row) for g in range(groups) for block in _blocks(dx.shape[1], groups) for row in rows])
