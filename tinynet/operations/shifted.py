"""Convolution of stride 1 without columns: one product for each column j of the kernel, over rows of x shifted by j,
which BLAS adds to what the other columns gave. Forward and both gradients.

Batch-last memory makes this possible: W' pixels of N images are one run, so what column j sees of a row is a part of
that row as it lies. With x sorted by rows, (H, C, W*N), the kernel's kh rows of all channels are one matrix too. x is
copied once instead of kh * kw times, and no product is made with padding. Needs a BLAS that adds (operations/blas.py).
"""

import math
from functools import lru_cache
from typing import NamedTuple

from tinynet.backend import on_gpu
from tinynet.execution import cut, run, scratch, shares, workers
from tinynet.operations.blas import accumulate, can_accumulate
from tinynet.operations.window import Geometry

# Measured: below these, products are too small for BLAS, and columns are faster.
MIN_CHANNELS = 16
MIN_ROW = 96  # W' * N
MIN_PRODUCT = 3 * 2**20  # multiply-adds
MIN_BLOCK = 64  # kernels of a product, of which BLAS packs the other matrix anew: with fewer, threads share out rows


class Meeting(NamedTuple):
    """What a row of the output and column j of the kernel have to do with each other."""

    j: int
    kernel_rows: slice  # those of the kernel's rows that do not lie on padding
    input_rows: slice  # the rows of x that they see
    inputs: slice  # the part of those rows, of W*N, that column j sees
    outputs: slice  # the pixels, of H'*W'*N, that it serves


def suits(geometry: Geometry, weight_shape: tuple[int, ...], batch: int) -> bool:
    """Whether this way is possible, and the faster one, for a weight (K, C/groups, kh, kw)."""
    kernels, channels, height, _ = weight_shape
    row = geometry.horizontal.output * batch
    product = kernels // geometry.groups * channels * height * row
    possible = can_accumulate and not on_gpu and geometry.vertical.stride == geometry.horizontal.stride == 1
    return possible and channels >= MIN_CHANNELS and row >= MIN_ROW and product >= MIN_PRODUCT


@lru_cache(maxsize=64)
def _rows(geometry: Geometry, batch: int) -> list[tuple[slice, list[Meeting]]]:
    """Every row of the output as the slice that it is of the pixels (H'*W'*N), with all that meets there."""
    vertical, horizontal = geometry.vertical, geometry.horizontal
    width, rows = horizontal.output * batch, []
    for row in range(vertical.output):
        top = row - vertical.before
        first, last = max(0, -top), min(vertical.kernel, vertical.size - top)
        meetings = []
        for j in range(horizontal.kernel):
            outputs, inputs = horizontal.overlap(j)
            if first < last and outputs.start < outputs.stop:
                pixels = slice(row * width + outputs.start * batch, row * width + outputs.stop * batch)
                part = slice(inputs.start * batch, inputs.stop * batch)
                meetings.append(Meeting(j, slice(first, last), slice(top + first, top + last), part, pixels))
        rows.append((slice(row * width, (row + 1) * width), meetings))
    return rows


def _times(rows: slice, channels: int) -> slice:
    """Rows of so many channels each, in an axis of rows * channels."""
    return slice(rows.start * channels, rows.stop * channels)


def _by_rows(x, groups: int):
    """x (C, H, W, N) as (G, H*C/G, W*N), in the calling thread's scratch memory."""
    channels, height, width, batch = x.shape
    rows = scratch("copy of x", (groups, height, channels // groups, width * batch), x.dtype)
    x = x.reshape(groups, channels // groups, height, width * batch)  # (G, C/G, H, W*N)

    def task(part: slice) -> None:
        rows[:, :, part] = x[:, part].transpose(0, 2, 1, 3)  # (G, H, C of the part, W*N)

    run(task, cut(channels // groups, shares(x.size)))
    return rows.reshape(groups, -1, width * batch)


def _by_columns(weight, out) -> None:
    """out (kw, K, kh*C) = weight (K, C, kh, kw): for each column of the kernel what multiplies rows of x."""
    kernels, channels, height, width = weight.shape
    out.reshape(width, kernels, height, channels)[...] = weight.transpose(3, 0, 2, 1)  # (kw, K, kh, C)


def _blocks(channels: int, groups: int, rows: int) -> list[tuple[int, slice, slice]]:
    """(group, block of its channels of the result, block of the rows) for all groups: as many as threads, or as a
    multiple of them.
    """
    parts = workers().count // math.gcd(groups, workers().count)
    many = channels // parts >= MIN_BLOCK
    return [
        (group, block, part)
        for group in range(groups)
        for block in cut(channels, parts if many else 1)
        for part in cut(rows, 1 if many else parts)
    ]


def forward(x, weight, bias, geometry: Geometry, y) -> None:
    """As conv2d_forward: y (K, H', W', N) = weight (K, C/groups, kh, kw) applied to x (C, H, W, N), plus bias (K,)."""
    groups, channels, (kernel_height, kernel_width) = geometry.groups, weight.shape[1], weight.shape[2:]
    rows = _rows(geometry, x.shape[3])
    x = _by_rows(x, groups)  # (G, H*C/G, W*N)
    weight = weight.reshape(groups, -1, *weight.shape[1:])  # (G, K/G, C/G, kh, kw)
    y = y.reshape(groups, weight.shape[1], -1)  # (G, K/G, H'*W'*N)
    bias = None if bias is None else bias.reshape(groups, -1, 1)  # (G, K/G, 1)

    def task(tile: tuple[int, slice, slice]) -> None:
        group, block, part = tile
        target = y[group, block]
        columns = scratch("columns of weight", (kernel_width, len(target), kernel_height * channels), x.dtype)
        _by_columns(weight[group, block], columns)
        for pixels, meetings in rows[part]:
            target[:, pixels] = 0 if bias is None else bias[group, block]
            for j, kernel_rows, input_rows, inputs, outputs in meetings:
                left = columns[j][:, _times(kernel_rows, channels)]
                accumulate(left, x[group][_times(input_rows, channels), inputs], target[:, outputs])

    run(task, _blocks(y.shape[1], groups, len(rows)))


def backward_weight(x, dy, geometry: Geometry, dweight) -> None:
    """As conv2d_backward_weight: dweight (K, C/groups, kh, kw), for column j the sum over the rows of dy @ shifted x.T.

    A task owns some kernels and walks all rows; or it owns some rows, and what tasks have summed up is added in order.
    """
    groups, channels, (kernel_height, kernel_width) = geometry.groups, dweight.shape[1], dweight.shape[2:]
    rows = _rows(geometry, x.shape[3])
    x = _by_rows(x, groups)  # (G, H*C/G, W*N)
    dweight = dweight.reshape(groups, -1, *dweight.shape[1:])  # (G, K/G, C/G, kh, kw)
    dy = dy.reshape(groups, dweight.shape[1], -1)  # (G, K/G, H'*W'*N)
    tiles = _blocks(dweight.shape[1], groups, len(rows))
    shape = len(tiles), kernel_width, kernel_height * channels, max(b.stop - b.start for _, b, _ in tiles)
    sums = scratch("sums of weight", shape, dweight.dtype)

    def task(number: int) -> None:
        group, block, part = tiles[number]
        source = dy[group, block]
        columns = sums[number, :, :, : len(source)]  # (kw, kh*C, K of the block)
        columns[...] = 0
        for _, meetings in rows[part]:
            for j, kernel_rows, input_rows, inputs, outputs in meetings:
                target = columns[j][_times(kernel_rows, channels)]
                accumulate(x[group][_times(input_rows, channels), inputs], source[:, outputs].T, target)

    run(task, range(len(tiles)))
    for (group, block, part), columns in zip(tiles, sums, strict=True):
        kernels = block.stop - block.start
        by_columns = columns[:, :, :kernels].reshape(kernel_width, kernel_height, channels, kernels)
        by_kernel = by_columns.transpose(3, 2, 1, 0)
        if part.start == 0:
            dweight[group, block] = by_kernel  # (K of the block, C/G, kh, kw)
        else:
            dweight[group, block] += by_kernel


def backward_input(dy, weight, geometry: Geometry, dx) -> None:
    """As conv2d_backward_input: weight[:, :, :, j].T @ dy, for every row of dy added to the kh rows of dx it came from.

    A task owns some channels, or some rows, of dx, sorted by rows as x is above, and walks the rows of dy in order.
    """
    groups, (kernel_height, kernel_width) = geometry.groups, weight.shape[2:]
    _, height, width, batch = dx.shape
    rows = _rows(geometry, batch)
    dx = dx.reshape(groups, -1, height, width * batch)  # (G, C/G, H, W*N)
    weight = weight.reshape(groups, -1, *weight.shape[1:])  # (G, K/G, C/G, kh, kw)
    dy = dy.reshape(groups, weight.shape[1], -1)  # (G, K/G, H'*W'*N)

    def task(tile: tuple[int, slice, slice]) -> None:
        group, block, part = tile
        channels = block.stop - block.start
        columns = scratch("columns of weight", (kernel_width, dy.shape[1], kernel_height * channels), dx.dtype)
        _by_columns(weight[group][:, block], columns)
        by_rows = scratch("rows of dx", (part.stop - part.start, channels, width * batch), dx.dtype)
        by_rows[...] = 0
        target = by_rows.reshape(-1, width * batch)  # (H of the part * C of the block, W*N)
        for _, meetings in rows:
            for j, kernel_rows, input_rows, inputs, outputs in meetings:
                first, last = max(input_rows.start, part.start), min(input_rows.stop, part.stop)
                if first < last:
                    start = kernel_rows.start + first - input_rows.start
                    left = columns[j][:, _times(slice(start, start + last - first), channels)].T
                    own = _times(slice(first - part.start, last - part.start), channels)
                    accumulate(left, dy[group][:, outputs], target[own, inputs])
        dx[group, block, part] = by_rows.transpose(1, 0, 2)  # (C of the block, H of the part, W*N)

    run(task, _blocks(dx.shape[1], groups, height))
