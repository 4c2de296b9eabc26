"""Convolution, forward, and the gradients of weights, biases and input. With stride s and padding p,

    y[k, h, w] = bias[k] + the sum over c, i, j of weight[k, c, i, j] * x[c, h s + i - p, w s + j - p]

for each image. What is spelled out here is im2col (Chellapilla, Puri and Simard 2006): the windows of a tile of output
pixels become the columns of a matrix, and one product does the rest. Batch-last memory makes a column's row a long run:
im2col is a few long copies, and W @ columns is the output's tile in its final memory.

On a CPU two other ways are faster for some sizes, and their `suits` says for which. shifted.py needs no columns: for
strides of 1 and many channels. bands.py copies each row of the input once for all rows of the output that see it: for
few channels and long rows.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import ModuleType

import numpy as np

from tinynet import execution
from tinynet.backend import Array, on_gpu, xp
from tinynet.execution import cut, run, scratch, shares, tiles
from tinynet.operations import bands, kernels, shifted
from tinynet.operations.linear import sum_products
from tinynet.operations.window import Geometry, along


@dataclass(frozen=True)
class Segment:
    """A tile of output pixels whose memory is one run: some whole rows, or a part of one row."""

    geometry: Geometry
    batch: int
    rows: slice
    columns: slice

    @cached_property
    def pixels(self) -> slice:
        """The same in the flattened (H'*W'*N) axis."""
        width = self.geometry.horizontal.output
        start, stop = self.rows.start * width + self.columns.start, (self.rows.stop - 1) * width + self.columns.stop
        return slice(start * self.batch, stop * self.batch)

    @cached_property
    def size(self) -> tuple[int, int, int]:
        """(rows, columns, N)."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start, self.batch

    @cached_property
    def taps(self) -> list[tuple[int, int, tuple, tuple]]:
        """For every position (i, j) of the kernel: where in the segment, and where in the input, the two meet."""
        vertical, horizontal = self.geometry.vertical, self.geometry.horizontal
        taps = []
        for i, j in itertools.product(range(vertical.kernel), range(horizontal.kernel)):
            output_rows, input_rows = vertical.overlap(i, self.rows.start, self.rows.stop)
            output_columns, input_columns = horizontal.overlap(j, self.columns.start, self.columns.stop)
            taps.append((i, j, along(1, output_rows, output_columns), along(1, input_rows, input_columns)))
        return taps


@lru_cache(maxsize=256)
def _segments(geometry: Geometry, batch: int, bytes_per_column: int, at_least: int, tile_bytes: int) -> list[Segment]:
    """Cuts the output so that a segment's columns, of `bytes_per_column` for one pixel of one image, fit a tile."""
    height, width = geometry.vertical.output, geometry.horizontal.output
    bytes_per_row = width * batch * bytes_per_column
    rows = tiles(height, bytes_per_row, min(tile_bytes, -(-height * bytes_per_row // at_least)))
    parts = tiles(width, batch * bytes_per_column, tile_bytes) if len(rows) == height else [slice(0, width)]
    return [Segment(geometry, batch, row, part) for row in rows for part in parts]


def _tiles(x, weight, geometry: Geometry) -> list[tuple[int, Segment]]:
    """(group, segment) for all columns of x: at least as many as there are threads for the work."""
    depth, pixels = weight[0].size, geometry.vertical.output * geometry.horizontal.output * x.shape[3]
    at_least = -(-shares(weight.size * pixels) // geometry.groups)
    segments = _segments(geometry, x.shape[3], depth * x.itemsize, at_least, execution.COLUMN_BYTES)
    return [(group, segment) for group in range(geometry.groups) for segment in segments]


def _columns(segment: Segment, channels: int, dtype):
    """Scratch for a segment's columns, (C, kh, kw, rows, columns, N)."""
    geometry = segment.geometry
    shape = (channels, geometry.vertical.kernel, geometry.horizontal.kernel, *segment.size)
    return scratch("columns", shape, dtype)


def _phases(x, geometry: Geometry):
    """x (C, H, W, N) with its padding, as (G, C/G, stride, H + padding, W / stride, N): column w is at w // stride of
    phase w % stride. What one position of the kernel sees of a row is one run of memory then, whatever the stride.

    In the calling thread's scratch memory; x itself where there is nothing to do, and on a GPU, which needs no runs.
    """
    vertical, horizontal = geometry.vertical, geometry.horizontal
    stride, before = horizontal.stride, horizontal.before
    padded = [axis.before + axis.size + axis.after for axis in (vertical, horizontal)]
    if on_gpu or (stride == 1 and padded == [vertical.size, horizontal.size]):
        return x.reshape(geometry.groups, -1, 1, *x.shape[1:])
    phases = scratch("copy of x", (x.shape[0], stride, padded[0], -(-padded[1] // stride), x.shape[3]), x.dtype)
    rows = slice(vertical.before, vertical.before + vertical.size)

    def task(channels: slice) -> None:
        if padded != [vertical.size, horizontal.size]:
            phases[channels] = 0
        for phase in range(stride):
            first = (phase - before) % stride  # the first column of x in this phase, at first + before of the padded
            columns = x[channels, :, first::stride]
            start = (first + before) // stride
            phases[channels, phase, rows, start : start + columns.shape[2]] = columns

    run(task, cut(x.shape[0], shares(x.size)))
    return phases.reshape(geometry.groups, -1, *phases.shape[1:])


def _im2col(phases, segment: Segment):
    """The windows of a segment, as a matrix (C*kh*kw, pixels*N) in scratch memory. phases: a group's, see _phases."""
    vertical, horizontal = segment.geometry.vertical, segment.geometry.horizontal
    columns = _columns(segment, phases.shape[0], phases.dtype)  # (C, kh, kw, rows, columns, N)
    matrix = columns.reshape(phases.shape[0] * segment.geometry.taps, -1)  # (C*kh*kw, pixels*N)
    if on_gpu:
        kernels.im2col(phases[:, 0], vertical, horizontal, segment.rows, segment.columns, columns)
        return matrix
    channel, phase, row, pixel, image = phases.strides
    strides = (channel, row, phase, vertical.stride * row, pixel, image)
    corner = segment.rows.start * vertical.stride * row + segment.columns.start * pixel
    for j in range(0, horizontal.kernel, horizontal.stride):  # `stride` columns of the kernel at a time: one per phase
        target = columns[:, :, j : j + horizontal.stride]
        offset = corner + j // horizontal.stride * pixel
        target[...] = np.ndarray(target.shape, phases.dtype, phases, offset, strides)  # the windows overlap: a view
    return matrix


def _col2im(columns, segment: Segment, dx) -> None:
    """Adds a segment's columns (C, kh, kw, rows, columns, N) to dx (C, H, W, N); the first segment starts from zero."""
    first = segment.pixels.start == 0
    if on_gpu:
        windows = segment.geometry.vertical, segment.geometry.horizontal
        kernels.col2im(columns, *windows, segment.rows, segment.columns, not first, dx)
        return
    if first:
        dx[...] = 0
    for i, j, outputs, inputs in segment.taps:
        target = dx[inputs]
        target += columns[:, i, j][outputs]


def other_way(geometry: Geometry, weight_shape: tuple[int, ...], batch: int) -> ModuleType | None:
    """The module that convolves faster than im2col: shifted, bands, which has no gradient of x, or None."""
    if shifted.suits(geometry, weight_shape, batch):
        return shifted
    return bands if bands.suits(geometry, batch) else None


def conv2d_forward(x, weight, bias, geometry: Geometry, y) -> None:
    """y (K, H', W', N) = weight (K, C/groups, kh, kw) applied to x (C, H, W, N), plus bias (K,) or None.

    By shifted rows or by bands where those suit the geometry, the channels and the batch, else by im2col: other last
    bits.
    """
    if way := other_way(geometry, weight.shape, x.shape[3]):
        way.forward(x, weight, bias, geometry, y)
        return
    groups, work = geometry.groups, _tiles(x, weight, geometry)
    phases = _phases(x, geometry)  # (G, C/G, stride, H, W / stride, N)
    weight = weight.reshape(groups, -1, weight[0].size)  # (G, K/G, C/G*kh*kw)
    y = y.reshape(groups, weight.shape[1], -1)  # (G, K/G, H'*W'*N)
    bias = None if bias is None else bias.reshape(groups, -1, 1)  # (G, K/G, 1)

    def task(tile: tuple[int, Segment]) -> None:
        group, segment = tile
        target = y[group][:, segment.pixels]
        xp.matmul(weight[group], _im2col(phases[group], segment), out=target)
        if bias is not None:
            target += bias[group]

    run(task, work)


def conv2d_backward_weight(x, dy, geometry: Geometry, dweight) -> None:
    """dweight (K, C/groups, kh, kw) = the sum over pixels and images of dy times the window that it saw.

    Derivation: weight[k, c, i, j] enters y[k, h, w] of every pixel of every image once, times x[c, h s + i - p,
    w s + j - p]. So by the chain rule dweight[k, c, i, j] is the sum over h, w and the images of dy[k, h, w] times that
    x: with all windows as columns, dy (K, pixels) @ columns.T (pixels, C*kh*kw). The bias enters each y once, times 1:
    dbias[k] is the sum of dy[k].

    Each way makes its transpose, columns @ dy.T, which BLAS does faster than dy @ columns.T where kernels are few.
    """
    if way := other_way(geometry, dweight.shape, x.shape[3]):
        way.backward_weight(x, dy, geometry, dweight)
        return
    groups, work = geometry.groups, _tiles(x, dweight, geometry)
    phases = _phases(x, geometry)  # (G, C/G, stride, H, W / stride, N)
    dweight = dweight.reshape(groups, -1, dweight[0].size)  # (G, K/G, C/G*kh*kw)
    dy = dy.reshape(groups, dweight.shape[1], -1)  # (G, K/G, H'*W'*N)

    def product(tile: tuple[int, Segment]) -> Iterator[tuple[int, Array, Array]]:
        group, segment = tile
        yield group, _im2col(phases[group], segment), dy[group][:, segment.pixels].T

    sum_products(product, work, dweight.transpose(0, 2, 1))  # (G, C/G*kh*kw, K/G)


def conv2d_backward_input(dy, weight, geometry: Geometry, dx) -> None:
    """dx (C, H, W, N): every window's columns' gradient, weight.T @ dy, added back to where it came from (col2im).

    Derivation: x[c, u, v] enters y[k, h, w] of each pixel whose window holds it, at the i and j with h s + i - p = u
    and w s + j - p = v, times weight[k, c, i, j]. So dx[c, u, v] is the sum over those h, w, i, j, and over k, of
    weight[k, c, i, j] * dy[k, h, w]. The sum over k alone is weight.T (C*kh*kw, K) @ dy (K, pixels): for each window
    what its columns' entries receive; the sum over the windows adds each entry to the pixel that it was copied from.

    By shifted rows or im2col. Windows overlap, so neighbouring pixels add to the same places. A task therefore owns
    some channels of dx and walks all pixels: no two threads ever write to the same memory, and the order of additions
    is fixed.
    """
    if shifted.suits(geometry, weight.shape, dx.shape[3]):
        shifted.backward_input(dy, weight, geometry, dx)
        return
    groups, batch = geometry.groups, dx.shape[3]
    dx = dx.reshape(groups, -1, *dx.shape[1:])  # (G, C/G, H, W, N)
    channels = dx.shape[1]
    weight = weight.reshape(groups, -1, channels, geometry.taps)  # (G, K/G, C/G, kh*kw)
    dy = dy.reshape(groups, weight.shape[1], -1)  # (G, K/G, H'*W'*N)
    blocks = cut(channels, -(-shares(weight.size * dy.shape[2]) // groups))
    block_bytes = max(block.stop - block.start for block in blocks) * geometry.taps * dx.itemsize
    segments = _segments(geometry, batch, block_bytes, 1, execution.COLUMN_BYTES)

    def task(tile: tuple[int, slice]) -> None:
        group, block = tile
        target = dx[group, block]  # (C of the block, H, W, N)
        block_weight = weight[group][:, block].reshape(weight.shape[1], -1)  # (K/G, C of the block*kh*kw)
        for segment in segments:
            columns = _columns(segment, target.shape[0], dx.dtype)
            matrix = columns.reshape(block_weight.shape[1], -1)
            xp.matmul(block_weight.T, dy[group][:, segment.pixels], out=matrix)
            _col2im(columns, segment, target)

    run(task, [(group, block) for group in range(groups) for block in blocks])


def bias_gradient(dy, dbias) -> None:
    """dbias (K,) = dy (K, ..., N) summed over everything but its first axis."""
    dy = dy.reshape(dy.shape[0], -1)

    def task(tile: slice) -> None:
        xp.sum(dy[tile], axis=1, out=dbias[tile])

    run(task, cut(dy.shape[0], shares(dy.size)))
