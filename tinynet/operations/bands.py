"""Convolution of few channels, without most of im2col's copies: neighbouring rows of the output share rows of columns.

Each row of the input is copied once for every column of the kernel, into memory sorted by rows, (H, C, kw, W'*N). What
a row of the output sees, kh rows of the input, is one matrix (kh*C*kw, W'*N) then, as it lies; the next row's begins
`stride` rows later. im2col would copy each of these rows kh / stride times. For the CPU and for long rows, since each
row of the output is a product of its own.
"""

import math
from collections.abc import Iterator

from tinynet import execution
from tinynet.backend import Array, on_gpu, xp
from tinynet.execution import cut, run, scratch, shares, tiles
from tinynet.operations.linear import sum_products
from tinynet.operations.window import Geometry

MIN_ROW = 512  # W' * N; measured: with shorter ones, products are too small for BLAS, and im2col is faster

Band = tuple[int, slice, slice]  # (group, rows of the output, columns of the output)


def suits(geometry: Geometry, batch: int) -> bool:
    """Whether rows are shared at all, and long enough."""
    shared = geometry.vertical.kernel > geometry.vertical.stride
    return not on_gpu and shared and geometry.horizontal.output * batch >= MIN_ROW


def _bands(x, weight, geometry: Geometry) -> list[Band]:
    """Cuts the output so that a band's rows of columns fit a tile; as many bands as there are threads for the work, or
    a multiple of them.
    """
    vertical, horizontal, batch = geometry.vertical, geometry.horizontal, x.shape[3]
    pixel_bytes = weight.shape[1] * horizontal.kernel * batch * x.itemsize  # of one of the rows
    columns = tiles(horizontal.output, vertical.kernel * pixel_bytes, execution.COLUMN_BYTES // 2)
    row_bytes = max(part.stop - part.start for part in columns) * pixel_bytes
    fit = max(1, 1 + (execution.COLUMN_BYTES // row_bytes - vertical.kernel) // vertical.stride)
    threads = shares(weight.size * vertical.output * horizontal.output * batch)
    threads //= math.gcd(threads, geometry.groups * len(columns))
    count = -(-vertical.output // (fit * threads)) * threads
    rows = cut(vertical.output, count)
    return [(group, row, part) for group in range(geometry.groups) for row in rows for part in columns]


def _rows_of_columns(x, geometry: Geometry, rows: slice, columns: slice):
    """What these pixels of the output see of x (C, H, W, N), as a matrix (input rows * C * kw, pixels * N) in scratch
    memory.
    """
    vertical, horizontal = geometry.vertical, geometry.horizontal
    top = rows.start * vertical.stride - vertical.before
    height = (rows.stop - rows.start - 1) * vertical.stride + vertical.kernel
    first = min(height, max(0, -top))  # the rows before it are padding, and so are those from `last`
    last = max(first, min(height, vertical.size - top))
    shape = height, x.shape[0], horizontal.kernel, columns.stop - columns.start, x.shape[3]
    band = scratch("columns", shape, x.dtype)
    band[:first] = 0
    band[last:] = 0
    source = x[:, top + first : top + last].transpose(1, 0, 2, 3)  # (input rows, C, W, N)
    for j in range(horizontal.kernel):
        outputs, inputs = horizontal.overlap(j, columns.start, columns.stop)
        target = band[first:last, :, j]
        target[:, :, : outputs.start] = 0
        target[:, :, outputs.stop :] = 0
        target[:, :, outputs] = source[:, :, inputs]
    return band.reshape(-1, shape[3] * shape[4])


def _seen(x, band: Band, geometry: Geometry) -> Iterator[tuple[int, slice, Array]]:
    """(row of the output, its pixels of W'*N, what it sees as a matrix (kh*C*kw, pixels*N)) for the rows of a band.

    x: (G, C/G, H, W, N).
    """
    group, rows, columns = band
    matrix = _rows_of_columns(x[group], geometry, rows, columns)
    step = x.shape[1] * geometry.horizontal.kernel
    pixels = slice(columns.start * x.shape[4], columns.stop * x.shape[4])
    for row in range(rows.start, rows.stop):
        start = (row - rows.start) * geometry.vertical.stride * step
        yield row, pixels, matrix[start : start + geometry.vertical.kernel * step]


def forward(x, weight, bias, geometry: Geometry, y) -> None:
    """As conv2d_forward: y (K, H', W', N) = weight (K, C/groups, kh, kw) applied to x (C, H, W, N), plus bias (K,)."""
    groups, batch, bands = geometry.groups, x.shape[3], _bands(x, weight, geometry)
    x = x.reshape(groups, -1, *x.shape[1:])  # (G, C/G, H, W, N)
    by_rows = weight.transpose(0, 2, 1, 3).reshape(groups, -1, weight[0].size)  # (G, K/G, kh*C/G*kw)
    y = y.reshape(groups, by_rows.shape[1], y.shape[1], -1)  # (G, K/G, H', W'*N)
    bias = None if bias is None else bias.reshape(groups, -1, 1, 1)  # (G, K/G, 1, 1)

    def task(band: Band) -> None:
        group, rows, columns = band
        for row, pixels, seen in _seen(x, band, geometry):
            xp.matmul(by_rows[group], seen, out=y[group, :, row, pixels])
        if bias is not None:
            target = y[group, :, rows, columns.start * batch : columns.stop * batch]
            target += bias[group]

    run(task, bands)


def backward_weight(x, dy, geometry: Geometry, dweight) -> None:
    """As conv2d_backward_weight: dweight (K, C/groups, kh, kw) = the sum over the rows of dy @ what they saw.T."""
    groups, bands = geometry.groups, _bands(x, dweight, geometry)
    x = x.reshape(groups, -1, *x.shape[1:])  # (G, C/G, H, W, N)
    kernels, channels, height, width = dweight.shape
    dy = dy.reshape(groups, kernels // groups, dy.shape[1], -1)  # (G, K/G, H', W'*N)

    def products(band: Band) -> Iterator[tuple[int, Array, Array]]:
        for row, pixels, seen in _seen(x, band, geometry):
            yield band[0], seen, dy[band[0], :, row, pixels].T

    by_kernel = dweight.reshape(groups, -1, channels, height, width)
    sum_products(products, bands, by_kernel.transpose(0, 3, 2, 4, 1))  # (G, kh, C/G, kw, K/G)
