"""Every operation again, forwards and backwards, in plain loops over ordinary (N, C, H, W) NumPy arrays in float64.

Written from the formulas and for reading only: no im2col, no separable windows, no batch-last memory. A backward pass
adds up, output by output, what each input contributed; it shares no algebra with the engine's.
"""

import math

import numpy as np

Pair = tuple[int, int]
Sides = tuple[Pair, Pair]  # ((top, bottom), (left, right))


def window_starts(size: int, kernel: int, stride: int, sides: Pair, ceil_mode: bool = False) -> list[int]:
    """Where windows start on an axis, padding being negative: every one that fits, and with `ceil_mode` one more if
    something is left over for it, and it starts in the input or in the padding before."""
    end, start, starts = size + sides[1], -sides[0], []
    while start + kernel <= end:
        starts.append(start)
        start += stride
    if ceil_mode and start - stride + kernel < end and start < size:
        starts.append(start)
    return starts


def windows(shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Sides, ceil_mode: bool = False):
    """(h, w, pixels) of every output pixel; pixels: the (i, j, row, column) of its window that lie on the input."""
    height, width = shape[2:]
    for h, top in enumerate(window_starts(height, kernel[0], stride[0], padding[0], ceil_mode)):
        for w, left in enumerate(window_starts(width, kernel[1], stride[1], padding[1], ceil_mode)):
            pixels = [
                (i, j, top + i, left + j)
                for i in range(kernel[0])
                for j in range(kernel[1])
                if 0 <= top + i < height and 0 <= left + j < width
            ]
            yield h, w, pixels


def output_size(shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Sides, ceil_mode: bool = False) -> Pair:
    """(H', W')."""
    rows, columns = (
        len(window_starts(shape[2 + axis], kernel[axis], stride[axis], padding[axis], ceil_mode)) for axis in (0, 1)
    )
    return rows, columns


# ---- convolution and linear ----


def conv2d(x, weight, bias, stride: Pair, padding: Sides, groups: int):
    """y (N, K, H', W') of x (N, C, H, W) and weight (K, C/groups, kh, kw)."""
    kernels, channels = weight.shape[:2]
    kernel = weight.shape[2:]
    y = np.zeros((len(x), kernels, *output_size(x.shape, kernel, stride, padding)))
    for h, w, pixels in windows(x.shape, kernel, stride, padding):
        for k in range(kernels):
            first = k // (kernels // groups) * channels  # the first input channel that kernel k sees
            for c in range(channels):
                for i, j, row, column in pixels:
                    y[:, k, h, w] += weight[k, c, i, j] * x[:, first + c, row, column]
            y[:, k, h, w] += bias[k]
    return y


def conv2d_backward(x, weight, dy, stride: Pair, padding: Sides, groups: int):
    """(dx, dweight, dbias)."""
    kernels, channels = weight.shape[:2]
    dx, dweight, dbias = np.zeros(x.shape), np.zeros(weight.shape), np.zeros(kernels)
    for h, w, pixels in windows(x.shape, weight.shape[2:], stride, padding):
        for k in range(kernels):
            first = k // (kernels // groups) * channels
            for c in range(channels):
                for i, j, row, column in pixels:
                    dx[:, first + c, row, column] += weight[k, c, i, j] * dy[:, k, h, w]
                    dweight[k, c, i, j] += sum(x[:, first + c, row, column] * dy[:, k, h, w])
            dbias[k] += sum(dy[:, k, h, w])
    return dx, dweight, dbias


def linear(x, weight, bias):
    """y (N, out) of x (N, in) and weight (out, in)."""
    y = np.zeros((len(x), len(weight)))
    for n in range(len(x)):
        for k in range(len(weight)):
            y[n, k] = sum(weight[k, c] * x[n, c] for c in range(x.shape[1])) + bias[k]
    return y


def linear_backward(x, weight, dy):
    """(dx, dweight, dbias)."""
    dx, dweight, dbias = np.zeros(x.shape), np.zeros(weight.shape), np.zeros(len(weight))
    for n in range(len(x)):
        for k in range(len(weight)):
            for c in range(x.shape[1]):
                dx[n, c] += dy[n, k] * weight[k, c]
                dweight[k, c] += dy[n, k] * x[n, c]
            dbias[k] += dy[n, k]
    return dx, dweight, dbias


# ---- pooling ----


def max_pool(x, kernel: Pair, stride: Pair, padding: Sides, ceil_mode: bool = False):
    """(y, winners): the largest value of each window, and the (row, column) of the first one that has it."""
    shape = (*x.shape[:2], *output_size(x.shape, kernel, stride, padding, ceil_mode))
    y, winners = np.zeros(shape), np.zeros((*shape, 2), int)
    for h, w, pixels in windows(x.shape, kernel, stride, padding, ceil_mode):
        for n in range(shape[0]):
            for c in range(shape[1]):
                best = -math.inf
                for _, _, row, column in pixels:
                    if x[n, c, row, column] > best:
                        best = x[n, c, row, column]
                        winners[n, c, h, w] = row, column
                y[n, c, h, w] = best
    return y, winners


def max_pool_backward(x, winners, dy):
    """dx."""
    dx = np.zeros(x.shape)
    for n, c, h, w in np.ndindex(dy.shape):
        row, column = winners[n, c, h, w]
        dx[n, c, row, column] += dy[n, c, h, w]
    return dx


def _average_counts(shape, kernel: Pair, stride: Pair, padding: Sides, ceil_mode: bool, count_include_pad: bool):
    """What each window's sum is divided by, (H', W'). What a last window has beyond the padding never counts."""
    counts = np.zeros(output_size(shape, kernel, stride, padding, ceil_mode))
    if not count_include_pad:
        for h, w, pixels in windows(shape, kernel, stride, padding, ceil_mode):
            counts[h, w] = len(pixels)
        return counts
    for h, top in enumerate(window_starts(shape[2], kernel[0], stride[0], padding[0], ceil_mode)):
        for w, left in enumerate(window_starts(shape[3], kernel[1], stride[1], padding[1], ceil_mode)):
            rows = [top + i for i in range(kernel[0]) if top + i < shape[2] + padding[0][1]]
            columns = [left + j for j in range(kernel[1]) if left + j < shape[3] + padding[1][1]]
            counts[h, w] = len(rows) * len(columns)
    return counts


def avg_pool(x, kernel: Pair, stride: Pair, padding: Sides, ceil_mode: bool = False, count_include_pad: bool = True):
    """y: the mean of each window."""
    counts = _average_counts(x.shape, kernel, stride, padding, ceil_mode, count_include_pad)
    y = np.zeros((*x.shape[:2], *counts.shape))
    for h, w, pixels in windows(x.shape, kernel, stride, padding, ceil_mode):
        for _, _, row, column in pixels:
            y[:, :, h, w] += x[:, :, row, column] / counts[h, w]
    return y


def avg_pool_backward(
    shape, dy, kernel: Pair, stride: Pair, padding: Sides, ceil_mode: bool = False, count_include_pad: bool = True
):
    """dx for an input of `shape`."""
    counts = _average_counts(shape, kernel, stride, padding, ceil_mode, count_include_pad)
    dx = np.zeros(shape)
    for h, w, pixels in windows(shape, kernel, stride, padding, ceil_mode):
        for _, _, row, column in pixels:
            dx[:, :, row, column] += dy[:, :, h, w] / counts[h, w]
    return dx


# ---- local response normalisation ----


def _neighbours(shape, c: int, h: int, w: int, size: int, groups: int, within_channel: bool):
    """The (channel, row, column) that the window around (c, h, w) holds."""
    offsets = range(-(size // 2), (size - 1) // 2 + 1)
    if within_channel:
        around = [(c, h + i, w + j) for i in offsets for j in offsets]
        return [(c, row, column) for c, row, column in around if 0 <= row < shape[2] and 0 <= column < shape[3]]
    block = shape[1] // groups
    return [(c + i, h, w) for i in offsets if 0 <= c + i < shape[1] and (c + i) // block == c // block]


def _alpha(alpha: float, size: int, average: bool, within_channel: bool) -> float:
    return alpha / (size * size if within_channel else size) if average else alpha


def lrn(x, size, alpha, beta, k, groups=1, average=False, within_channel=False):
    """y_i = x_i / (k + alpha * sum of x_j^2 over i's window)^beta."""
    alpha = _alpha(alpha, size, average, within_channel)
    y = np.zeros(x.shape)
    for n, c, h, w in np.ndindex(x.shape):
        around = _neighbours(x.shape, c, h, w, size, groups, within_channel)
        total = sum(x[n, *place] ** 2 for place in around)
        y[n, c, h, w] = x[n, c, h, w] / (k + alpha * total) ** beta
    return y


def lrn_backward(x, dy, size, alpha, beta, k, groups=1, average=False, within_channel=False):
    """dx, by each output's own partial derivatives: with s = k + alpha * sum x^2, dy_i/dx_j is s^-beta where i = j, and
    -beta * x_i * s^(-beta - 1) * 2 * alpha * x_j for every j in i's window."""
    alpha = _alpha(alpha, size, average, within_channel)
    dx = np.zeros(x.shape)
    for n, c, h, w in np.ndindex(x.shape):
        around = _neighbours(x.shape, c, h, w, size, groups, within_channel)
        s = k + alpha * sum(x[n, *place] ** 2 for place in around)
        dx[n, c, h, w] += dy[n, c, h, w] * s**-beta
        for place in around:
            slope = -beta * x[n, c, h, w] * s ** (-beta - 1) * 2 * alpha * x[n, *place]
            dx[n, *place] += dy[n, c, h, w] * slope
    return dx


# ---- element by element ----


def relu(x):
    return np.array([value if value > 0 else 0.0 for value in x.flat]).reshape(x.shape)


def relu_backward(x, dy):
    return np.array([d if value > 0 else 0.0 for value, d in zip(x.flat, dy.flat, strict=True)]).reshape(x.shape)


def tanh(x):
    return np.array([math.tanh(value) for value in x.flat]).reshape(x.shape)


def tanh_backward(x, dy):
    """The slope of tanh is 1 / cosh^2."""
    return np.array([d / math.cosh(value) ** 2 for value, d in zip(x.flat, dy.flat, strict=True)]).reshape(x.shape)


def sigmoid(x):
    return np.array([1 / (1 + math.exp(-value)) for value in x.flat]).reshape(x.shape)


def sigmoid_backward(x, dy):
    """The slope of the sigmoid is 1 / (2 + 2 cosh x)."""
    slopes = [1 / (2 + 2 * math.cosh(value)) for value in x.flat]
    return np.array([d * slope for slope, d in zip(slopes, dy.flat, strict=True)]).reshape(x.shape)


def dropout(x, mask, scale: float):
    """y = scale * x where the mask holds, else 0; dx of dy is the same function."""
    return np.array([scale * v if kept else 0.0 for v, kept in zip(x.flat, mask.flat, strict=True)]).reshape(x.shape)


# ---- softmax and cross entropy, over axis 1 ----


def softmax(x):
    y = np.zeros(x.shape)
    for n, *place in np.ndindex(x.shape[0], *x.shape[2:]):
        column = [math.exp(x[n, c, *place] - max(x[n, :, *place])) for c in range(x.shape[1])]
        for c, value in enumerate(column):
            y[n, c, *place] = value / sum(column)
    return y


def softmax_backward(x, dy):
    """dx, by the full matrix of partial derivatives dy_i/dx_j = y_i * ((i = j) - y_j)."""
    y, dx = softmax(x), np.zeros(x.shape)
    for n, *place in np.ndindex(x.shape[0], *x.shape[2:]):
        for i in range(x.shape[1]):
            for j in range(x.shape[1]):
                dx[n, j, *place] += dy[n, i, *place] * y[n, i, *place] * ((i == j) - y[n, j, *place])
    return dx


def cross_entropy(logits, labels) -> float:
    """The mean over the batch of -log softmax(logits)[label]."""
    probabilities = softmax(logits)
    return sum(-math.log(probabilities[n, label]) for n, label in enumerate(labels)) / len(labels)


def cross_entropy_backward(logits, labels):
    """d loss / d logits."""
    dlogits = softmax(logits)
    for n, label in enumerate(labels):
        dlogits[n, label] -= 1
    return dlogits / len(labels)
