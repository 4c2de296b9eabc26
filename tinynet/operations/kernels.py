"""CUDA for operations that would take a GPU many launches or passes over memory: each function here is one launch.

What an operation means stands where it calls its kernel, with the body for the CPU. All arrays are C-contiguous, and
neighbouring threads take neighbouring images. No kernel adds to memory that another thread writes: each element of a
result gathers what it needs in a fixed order, so that two runs agree to the last bit.
"""

from tinynet.backend import on_gpu, xp
from tinynet.operations.window import Window

# Memory offsets pass 2^31 where an array has 8 GiB: everything that counts elements is a ptrdiff_t.
_PREAMBLE = """
struct Place { ptrdiff_t channel, row, column, image; };

struct Maps {  // an array (channels, rows, columns, images)
    ptrdiff_t rows, columns, images;
    __device__ Place place(ptrdiff_t i) const {
        return {i / images / columns / rows, i / images / columns % rows, i / images % columns, i % images};
    }
    __device__ ptrdiff_t index(ptrdiff_t channel, ptrdiff_t row, ptrdiff_t column, ptrdiff_t image) const {
        return ((channel * rows + row) * columns + column) * images + image;
    }
};

struct Window {  // one axis of a sliding window, as in operations/window.py
    ptrdiff_t size, output, kernel, stride, before, after;
    // what an output reads, padding left out: low <= position < high
    __device__ ptrdiff_t start(ptrdiff_t o) const { return o * stride - before; }
    __device__ ptrdiff_t low(ptrdiff_t o) const { return max(start(o), ptrdiff_t(0)); }
    __device__ ptrdiff_t high(ptrdiff_t o) const { return min(start(o) + kernel, size); }
    // which outputs read a position: first <= output < last
    __device__ ptrdiff_t first(ptrdiff_t position) const {
        const ptrdiff_t reach = position + before - kernel;
        return reach < 0 ? 0 : reach / stride + 1;
    }
    __device__ ptrdiff_t last(ptrdiff_t position) const { return min((position + before) / stride + 1, output); }
    // what an average divides by
    __device__ ptrdiff_t count(ptrdiff_t o, bool padding) const {
        return padding ? min(start(o) + kernel, size + after) - start(o) : high(o) - low(o);
    }
};

template <typename T> __device__ T power(T s, T beta) {
    return beta == T(0.75) ? sqrt(s) * sqrt(sqrt(s)) : pow(s, beta);
}
"""

_FIELDS = ("size", "output", "kernel", "stride", "before", "after")
_GEOMETRY = ", ".join(f"int64 {axis}_{field}" for axis in ("vertical", "horizontal") for field in _FIELDS)
_GEOMETRY_STRUCTS = """
    const Window vertical = {vertical_size, vertical_output, vertical_kernel,
                             vertical_stride, vertical_before, vertical_after};
    const Window horizontal = {horizontal_size, horizontal_output, horizontal_kernel,
                               horizontal_stride, horizontal_before, horizontal_after};
    const Maps input = {vertical.size, horizontal.size, images};
    const Maps output = {vertical.output, horizontal.output, images};
"""


def _kernel(name: str, inputs: str, outputs: str, body: str):
    """A kernel that runs `body` for every element i of its outputs; compiled for T = float or double at first use."""
    return xp.ElementwiseKernel(inputs, outputs, body, f"tinynet_{name}", preamble=_PREAMBLE) if on_gpu else None


def _window_kernel(name: str, inputs: str, outputs: str, body: str):
    """The same with the number of images and two windows behind the inputs, which _geometry turns into arguments."""
    return _kernel(name, f"{inputs}, int64 images, {_GEOMETRY}", outputs, _GEOMETRY_STRUCTS + body)


def _geometry(images: int, vertical: Window, horizontal: Window) -> list[int]:
    return [images, *(getattr(window, field) for window in (vertical, horizontal) for field in _FIELDS)]


# ---- convolution: columns is (C, kh, kw, rows, columns, N) for the outputs of one tile ----

_TILE = "int64 first_row, int64 last_row, int64 first_column, int64 last_column"


def _tile(rows: slice, columns: slice) -> tuple[int, ...]:
    return rows.start, rows.stop, columns.start, columns.stop


# One division of i into a place for all kh * kw values that a thread copies.
_im2col = _window_kernel(
    "im2col",
    f"raw T x, {_TILE}",
    "raw T columns",
    """
    const Maps tile = {last_row - first_row, last_column - first_column, images};
    const Place to = tile.place(i);
    const ptrdiff_t top = vertical.start(first_row + to.row), left = horizontal.start(first_column + to.column);
    const ptrdiff_t pixels = tile.rows * tile.columns * images;
    ptrdiff_t target = to.channel * vertical.kernel * horizontal.kernel * pixels + i % pixels;
    for (ptrdiff_t row = top; row < top + vertical.kernel; ++row)
        for (ptrdiff_t column = left; column < left + horizontal.kernel; ++column, target += pixels) {
            const bool inside = 0 <= row && row < input.rows && 0 <= column && column < input.columns;
            columns[target] = inside ? x[input.index(to.channel, row, column, to.image)] : T(0);
        }
    """,
)


def im2col(x, vertical: Window, horizontal: Window, rows: slice, cols: slice, columns) -> None:
    """columns = the windows of x (C, H, W, N) over the outputs `rows`, `cols`."""
    size = columns.size // (vertical.kernel * horizontal.kernel)
    _im2col(x, *_tile(rows, cols), *_geometry(x.shape[3], vertical, horizontal), columns, size=size)


_col2im = _window_kernel(
    "col2im",
    f"raw T columns, bool add, {_TILE}",
    "T dx",
    """
    const Maps tile = {last_row - first_row, last_column - first_column, images};
    const ptrdiff_t pixels = tile.rows * tile.columns * images;
    const Place to = input.place(i);
    T sum = add ? dx : T(0);
    const ptrdiff_t low_row = max(vertical.first(to.row), ptrdiff_t(first_row));
    const ptrdiff_t high_row = min(vertical.last(to.row), ptrdiff_t(last_row));
    const ptrdiff_t low_column = max(horizontal.first(to.column), ptrdiff_t(first_column));
    const ptrdiff_t high_column = min(horizontal.last(to.column), ptrdiff_t(last_column));
    for (ptrdiff_t row = low_row; row < high_row; ++row)
        for (ptrdiff_t column = low_column; column < high_column; ++column) {
            const ptrdiff_t tap = (to.row - vertical.start(row)) * horizontal.kernel
                + to.column - horizontal.start(column);
            sum += columns[(to.channel * vertical.kernel * horizontal.kernel + tap) * pixels
                + tile.index(0, row - first_row, column - first_column, to.image)];
        }
    dx = sum;
    """,
)


def col2im(columns, vertical: Window, horizontal: Window, rows: slice, cols: slice, add: bool, dx) -> None:
    """dx (C, H, W, N) = the sum of its windows' columns over the outputs `rows`, `cols`; added to dx with `add`."""
    _col2im(columns, add, *_tile(rows, cols), *_geometry(dx.shape[3], vertical, horizontal), dx)


# ---- pooling: every window holds at least one input ----

_max_pool_forward = _window_kernel(
    "max_pool_forward",
    "raw T x",
    "T y",
    """
    const Place at = output.place(i);
    const ptrdiff_t top = vertical.low(at.row), left = horizontal.low(at.column);
    T best = x[input.index(at.channel, top, left, at.image)];
    for (ptrdiff_t row = top; row < vertical.high(at.row); ++row)
        for (ptrdiff_t column = left; column < horizontal.high(at.column); ++column) {
            const T value = x[input.index(at.channel, row, column, at.image)];
            if (value > best || value != value) best = value;  // not a number wins and stays, as in NumPy
        }
    y = best;
    """,
)


def max_pool_forward(x, vertical: Window, horizontal: Window, y) -> None:
    _max_pool_forward(x, *_geometry(x.shape[3], vertical, horizontal), y)


_max_pool_backward = _window_kernel(
    "max_pool_backward",
    "raw T x, raw T y, raw T dy",
    "T dx",
    """
    const Place at = input.place(i);
    const T value = x[i];
    T sum = 0;
    for (ptrdiff_t row = vertical.first(at.row); row < vertical.last(at.row); ++row)
        for (ptrdiff_t column = horizontal.first(at.column); column < horizontal.last(at.column); ++column) {
            const ptrdiff_t window = output.index(at.channel, row, column, at.image);
            bool wins = value == y[window];  // unless an equal one stands before it
            for (ptrdiff_t r = vertical.low(row); wins && r <= at.row; ++r) {
                const ptrdiff_t end = r < at.row ? horizontal.high(column) : at.column;
                for (ptrdiff_t c = horizontal.low(column); wins && c < end; ++c)
                    wins = x[input.index(at.channel, r, c, at.image)] != value;
            }
            if (wins) sum += dy[window];
        }
    dx = sum;
    """,
)


def max_pool_backward(x, y, dy, vertical: Window, horizontal: Window, dx) -> None:
    _max_pool_backward(x, y, dy, *_geometry(x.shape[3], vertical, horizontal), dx)


_avg_pool_forward = _window_kernel(
    "avg_pool_forward",
    "raw T x, bool padding",
    "T y",
    """
    const Place at = output.place(i);
    T sum = 0;
    for (ptrdiff_t row = vertical.low(at.row); row < vertical.high(at.row); ++row)
        for (ptrdiff_t column = horizontal.low(at.column); column < horizontal.high(at.column); ++column)
            sum += x[input.index(at.channel, row, column, at.image)];
    y = sum / (vertical.count(at.row, padding) * horizontal.count(at.column, padding));
    """,
)


def avg_pool_forward(x, vertical: Window, horizontal: Window, include_padding: bool, y) -> None:
    _avg_pool_forward(x, include_padding, *_geometry(x.shape[3], vertical, horizontal), y)


_avg_pool_backward = _window_kernel(
    "avg_pool_backward",
    "raw T dy, bool padding",
    "T dx",
    """
    const Place at = input.place(i);
    T sum = 0;
    for (ptrdiff_t row = vertical.first(at.row); row < vertical.last(at.row); ++row)
        for (ptrdiff_t column = horizontal.first(at.column); column < horizontal.last(at.column); ++column)
            sum += dy[output.index(at.channel, row, column, at.image)]
                / (vertical.count(row, padding) * horizontal.count(column, padding));
    dx = sum;
    """,
)


def avg_pool_backward(dy, vertical: Window, horizontal: Window, include_padding: bool, dx) -> None:
    _avg_pool_backward(dy, include_padding, *_geometry(dy.shape[3], vertical, horizontal), dx)


# ---- local response normalisation: a window over rows and columns of (blocks, rows, columns, inner) ----

_NEIGHBOURS = "int64 rows, int64 columns, int64 inner, int64 up, int64 down, int64 left, int64 right"
_NEIGHBOURS_LOOP = """
    const Maps maps = {rows, columns, inner};
    const Place at = maps.place(i);
    const ptrdiff_t top = max(at.row - up, 0LL), bottom = min(at.row + down, rows - 1);
    const ptrdiff_t first = max(at.column - left, 0LL), last = min(at.column + right, columns - 1);
    T sum = 0;
    for (ptrdiff_t row = top; row <= bottom; ++row)
        for (ptrdiff_t column = first; column <= last; ++column) {
            const ptrdiff_t j = maps.index(at.channel, row, column, at.image);
"""


def _neighbours(x, axes: tuple[int, ...], before: int, after: int) -> tuple[int, ...]:
    """The arguments for x as operations.normalization sees it: (groups, C/groups, H*W*N), or (C, H, W, N) within."""
    if axes == (1,):  # each channel is a row, and there is one column
        return x.shape[1], 1, x.shape[2], before, after, 0, 0
    return *x.shape[1:], before, after, before, after


_lrn_forward = _kernel(
    "lrn_forward",
    f"raw T x, {_NEIGHBOURS}, T alpha, T beta, T k",
    "T y",
    f"""
    {_NEIGHBOURS_LOOP}
            sum += x[j] * x[j];
        }}
    y = x[i] / power<T>(k + alpha * sum, beta);
    """,
)


def lrn_forward(x, axes: tuple[int, ...], before: int, after: int, alpha: float, beta: float, k: float, y) -> None:
    _lrn_forward(x, *_neighbours(x, axes, before, after), alpha, beta, k, y)


_lrn_terms = _kernel(
    "lrn_terms",
    f"raw T x, T dy, {_NEIGHBOURS}, T alpha, T beta, T k",
    "T direct, T ratio",
    f"""
    {_NEIGHBOURS_LOOP}
            sum += x[j] * x[j];
        }}
    const T s = k + alpha * sum;
    direct = dy / power<T>(s, beta);
    ratio = direct * x[i] / s;
    """,
)

_lrn_backward = _kernel(
    "lrn_backward",
    f"raw T x, raw T ratio, {_NEIGHBOURS}, T factor",
    "T dx",
    f"""
    {_NEIGHBOURS_LOOP}
            sum += ratio[j];
        }}
    dx -= factor * x[i] * sum;
    """,
)


def lrn_backward(
    x, dy, axes: tuple[int, ...], before: int, after: int, alpha: float, beta: float, k: float, ratio, dx
) -> None:
    """Two passes: dy / s^beta into dx and dy y / s into `ratio`, then the window's sum of the latter, mirrored."""
    _lrn_terms(x, dy, *_neighbours(x, axes, before, after), alpha, beta, k, dx, ratio)
    _lrn_backward(x, ratio, *_neighbours(x, axes, after, before), 2 * alpha * beta, dx)


# ---- element by element: an output may be an input ----

relu_forward = _kernel("relu_forward", "T x", "T y", "y = x > 0 || x != x ? x : T(0)")
relu_backward = _kernel("relu_backward", "T y, T dy", "T dx", "dx = y > 0 ? dy : T(0)")
masked_scale = _kernel("masked_scale", "T x, bool mask, T scale", "T y", "y = mask ? x * scale : T(0)")
sgd_update = _kernel(
    "sgd_update",
    "G gradient, T lr, T momentum, T decay",  # a float64 input gives float32 parameters float64 gradients
    "T weight, T velocity",
    "velocity = momentum * velocity - lr * (T(gradient) + decay * weight); weight += velocity;",
)
