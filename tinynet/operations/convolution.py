"""Convolution by im2col: the windows of a tile of output pixels become the columns of a matrix, and one product does
the rest. Forward, the gradient of the weights and the gradient of the input.

Batch-last memory makes a column's row a long run: im2col is kh * kw slice copies, and W @ columns is the output's tile
in its final memory. Chellapilla, Puri and Simard 2006 introduced the unrolling.
"""

from dataclasses import dataclass

from tinynet.backend import on_gpu, xp
from tinynet.execution import COLUMN_BYTES, run, run_shares, scratch, thread_tiles, tiles, workers
from tinynet.operations import kernels, shifted
from tinynet.operations.window import Geometry


@dataclass(frozen=True)
class Segment:
    """A tile of output pixels whose memory is one run: some whole rows, or a part of one row."""

    rows: slice
    columns: slice
    pixels: slice  # the same in the flattened (H'*W'*N) axis


def _segments(geometry: Geometry, batch: int, bytes_per_column: int) -> list[Segment]:
    """Cuts the output so that a segment's columns, of `bytes_per_column` for one pixel of one image, fit a tile."""
    height, width = geometry.vertical.output, geometry.horizontal.output
    bytes_per_row = width * batch * bytes_per_column
    rows = tiles(height, bytes_per_row, COLUMN_BYTES)
    parts = tiles(width, batch * bytes_per_column, COLUMN_BYTES) if len(rows) == height else [slice(0, width)]

    def pixels(row: slice, part: slice) -> slice:
        return slice((row.start * width + part.start) * batch, ((row.stop - 1) * width + part.stop) * batch)

    return [Segment(row, part, pixels(row, part)) for row in rows for part in parts]


def _taps(geometry: Geometry, segment: Segment):
    """For every position (i, j) of the kernel: where in the segment, and where in the input, the two meet."""
    for i in range(geometry.vertical.kernel):
        output_rows, input_rows = geometry.vertical.overlap(i, segment.rows.start, segment.rows.stop)
        for j in range(geometry.horizontal.kernel):
            output_columns, input_columns = geometry.horizontal.overlap(j, segment.columns.start, segment.columns.stop)
            yield i, j, (slice(None), output_rows, output_columns), (slice(None), input_rows, input_columns)


def _columns(geometry: Geometry, segment: Segment, channels: int, batch: int, dtype):
    """Scratch for a segment's columns, (C, kh, kw, rows, columns, N)."""
    size = (segment.rows.stop - segment.rows.start, segment.columns.stop - segment.columns.start)
    shape = (channels, geometry.vertical.kernel, geometry.horizontal.kernel, *size, batch)
    return scratch("columns", shape, dtype)


def _im2col(x, geometry: Geometry, segment: Segment):
    """The windows of x (C, H, W, N) over a segment, as a matrix (C*kh*kw, pixels*N) in scratch memory."""
    columns = _columns(geometry, segment, x.shape[0], x.shape[3], x.dtype)
    matrix = columns.reshape(x.shape[0] * geometry.taps, -1)  # (C*kh*kw, pixels*N)
    if on_gpu:
        kernels.im2col(x, geometry.vertical, geometry.horizontal, segment.rows, segment.columns, columns)
        return matrix
    for i, j, outputs, inputs in _taps(geometry, segment):
        target = columns[:, i, j]  # (C, rows, columns, N)
        _, rows, cols = outputs
        if rows.stop - rows.start < target.shape[1] or cols.stop - cols.start < target.shape[2]:
            target[:, : rows.start] = 0  # what the window sees of the padding
            target[:, rows.stop :] = 0
            target[:, rows, : cols.start] = 0
            target[:, rows, cols.stop :] = 0
        target[outputs] = x[inputs]
    return matrix


def _col2im(columns, geometry: Geometry, segment: Segment, dx) -> None:
    """Adds a segment's columns (C, kh, kw, rows, columns, N) to dx (C, H, W, N); the first segment starts from zero."""
    first = segment.pixels.start == 0
    if on_gpu:
        windows = geometry.vertical, geometry.horizontal
        kernels.col2im(columns, *windows, segment.rows, segment.columns, not first, dx)
        return
    if first:
        dx[...] = 0
    for i, j, outputs, inputs in _taps(geometry, segment):
        dx[inputs] += columns[:, i, j][outputs]


def conv2d_forward(x, weight, bias, geometry: Geometry, y) -> None:
    """y (K, H', W', N) = weight (K, C/groups, kh, kw) applied to x (C, H, W, N), plus bias (K,) or None."""
    if shifted.suits(geometry, x.shape[0], x.shape[3]):
        shifted.forward(x, weight, bias, geometry, y)
        return
    groups, batch = geometry.groups, x.shape[3]
    x = x.reshape(groups, -1, *x.shape[1:])  # (G, C/G, H, W, N)
    weight = weight.reshape(groups, -1, weight[0].size)  # (G, K/G, C/G*kh*kw)
    y = y.reshape(groups, weight.shape[1], -1)  # (G, K/G, H'*W'*N)
    bias = None if bias is None else bias.reshape(groups, -1, 1)  # (G, K/G, 1)

    def task(tile: tuple[int, Segment]) -> None:
        group, segment = tile
        target = y[group][:, segment.pixels]
        xp.matmul(weight[group], _im2col(x[group], geometry, segment), out=target)
        if bias is not None:
            target += bias[group]

    segments = _segments(geometry, batch, weight.shape[2] * x.itemsize)
    run(task, [(group, segment) for group in range(groups) for segment in segments])


def conv2d_backward_weight(x, dy, geometry: Geometry, dweight) -> None:
    """dweight (K, C/groups, kh, kw) = the sum over pixels and images of dy times the window that it saw.

    Each thread adds up its own share of the tiles, in order, and the shares are added in order: the sum does not
    depend on which thread is faster.
    """
    if shifted.suits(geometry, x.shape[0], x.shape[3]):
        shifted.backward_weight(x, dy, geometry, dweight)
        return
    groups, batch = geometry.groups, x.shape[3]
    x = x.reshape(groups, -1, *x.shape[1:])  # (G, C/G, H, W, N)
    dweight = dweight.reshape(groups, -1, dweight[0].size)  # (G, K/G, C/G*kh*kw)
    dy = dy.reshape(groups, dweight.shape[1], -1)  # (G, K/G, H'*W'*N)

    def sum_share(share: list[tuple[int, Segment]]) -> dict:
        sums = {}
        for group, segment in share:
            columns = _im2col(x[group], geometry, segment)
            if group not in sums:
                # not scratch: a quick thread may take a second share before this one's sum has been used
                sums[group] = xp.empty(dweight.shape[1:], dweight.dtype)
                xp.matmul(dy[group][:, segment.pixels], columns.T, out=sums[group])
            else:
                product = scratch("dweight of tile", dweight.shape[1:], dweight.dtype)
                xp.matmul(dy[group][:, segment.pixels], columns.T, out=product)
                sums[group] += product
        return sums

    segments = _segments(geometry, batch, dweight.shape[2] * x.itemsize)
    dweight[...] = 0
    for sums in run_shares(sum_share, [(group, segment) for group in range(groups) for segment in segments]):
        for group, partial in sums.items():
            dweight[group] += partial


def conv2d_backward_input(dy, weight, geometry: Geometry, dx) -> None:
    """dx (C, H, W, N): every window's columns' gradient, weight.T @ dy, added back to where it came from (col2im).

    Windows overlap, so neighbouring pixels add to the same places. A task therefore owns some channels of dx and walks
    all pixels: no two threads ever write to the same memory, and the order of additions is fixed.
    """
    if shifted.suits(geometry, dx.shape[0], dx.shape[3]):
        shifted.backward_input(dy, weight, geometry, dx)
        return
    groups, batch = geometry.groups, dx.shape[3]
    dx = dx.reshape(groups, -1, *dx.shape[1:])  # (G, C/G, H, W, N)
    channels = dx.shape[1]
    weight = weight.reshape(groups, -1, channels, geometry.taps)  # (G, K/G, C/G, kh*kw)
    dy = dy.reshape(groups, weight.shape[1], -1)  # (G, K/G, H'*W'*N)
    blocks = thread_tiles(channels, max(1, workers().count // groups))
    block_bytes = max(block.stop - block.start for block in blocks) * geometry.taps * dx.itemsize
    segments = _segments(geometry, batch, block_bytes)

    def task(tile: tuple[int, slice]) -> None:
        group, block = tile
        target = dx[group, block]  # (C of the block, H, W, N)
        block_weight = weight[group][:, block].reshape(weight.shape[1], -1)  # (K/G, C of the block*kh*kw)
        for segment in segments:
            columns = _columns(geometry, segment, target.shape[0], batch, dx.dtype)
            matrix = columns.reshape(block_weight.shape[1], -1)
            xp.matmul(block_weight.T, dy[group][:, segment.pixels], out=matrix)
            _col2im(columns, geometry, segment, target)

    run(task, [(group, block) for group in range(groups) for block in blocks])


def bias_gradient(dy, dbias) -> None:
    """dbias (K,) = dy (K, ..., N) summed over everything but its first axis."""
    dy = dy.reshape(dy.shape[0], -1)

    def task(tile: slice) -> None:
        xp.sum(dy[tile], axis=1, out=dbias[tile])

    run(task, thread_tiles(dy.shape[0]))
