"""MaxPool2d and AvgPool2d. Their arithmetic is operations/pooling.py."""

from tinynet.backend import Array
from tinynet.layers.layer import Layer, Shape, both_sides, pair
from tinynet.operations import pooling
from tinynet.operations.window import Window

Sides = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]


class _Pool2d(Layer):
    """What both poolings share: windows of kernel_size moved by stride over zero-padded rows and columns.

    padding: a number, (vertical, horizontal), or ((top, bottom), (left, right)).
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: Sides = 0,
        ceil_mode: bool = False,
    ):
        super().__init__()
        self.kernel_size = pair(kernel_size, f"{self.name}: kernel_size", 1)
        self.stride = pair(kernel_size if stride is None else stride, f"{self.name}: stride", 1)
        self.padding = padding
        self.ceil_mode = ceil_mode
        pairs = list(zip(self._sides(), self.kernel_size, strict=True))
        even = all(before == after for (before, after), _ in pairs)
        if any(2 * max(side) > kernel if even else max(side) >= kernel for side, kernel in pairs):
            most = "at most half of the kernel" if even else "smaller than the kernel"
            raise ValueError(
                f"{self.name}: padding must be {most}, or a window would see padding only;"
                f" got padding={padding}, kernel_size={kernel_size}"
            )

    def _sides(self) -> list[tuple[int, int]]:
        """((top, bottom), (left, right))."""
        return both_sides(self.padding, f"{self.name}: padding")

    def _windows(self, shape: tuple) -> tuple[Window, Window]:
        if len(shape) != 4:
            raise self._shape_error("(N, C, H, W)", shape)
        return self._planned(self._make_windows, shape, self.kernel_size, self.stride, self.padding, self.ceil_mode)

    def _make_windows(self, shape: tuple, kernel_size, stride, padding, ceil_mode: bool) -> tuple[Window, Window]:
        vertical, horizontal = (
            Window(size, kernel, step, *sides, ceil_mode)
            for size, kernel, step, sides in zip(shape[2:], kernel_size, stride, self._sides(), strict=True)
        )
        if min(vertical.output, horizontal.output) < 1:
            raise ValueError(
                f"{self.name}: a kernel of {self.kernel_size[0]} x {self.kernel_size[1]} does not fit an input of"
                f" {shape[2]} x {shape[3]} with padding {padding}"
            )
        return vertical, horizontal

    def windows(self, input_shape: Shape) -> tuple[Window, Window]:
        return self._windows(("N", *input_shape))

    def _output_shape(self, shape: tuple) -> Shape:
        vertical, horizontal = self._windows(shape)
        return shape[1], vertical.output, horizontal.output

    def __repr__(self) -> str:
        def short(value):
            return value[0] if value[0] == value[1] else tuple(value)

        sides = self._sides()
        padding = f", padding {short([short(side) for side in sides])}" if any(map(any, sides)) else ""
        ceil = ", ceil" if self.ceil_mode else ""
        return f"{type(self).__name__}({short(self.kernel_size)}, stride {short(self.stride)}{padding}{ceil})"


class MaxPool2d(_Pool2d):
    """y[n, c, h, w] = the largest x of the window at (h * stride - padding, w * stride - padding).

    (N, C, H, W) to (N, C, H', W') with H' = floor((H + 2 * padding - kernel) / stride) + 1, or ceil with `ceil_mode`.
    stride defaults to kernel_size; smaller than it, windows overlap (Krizhevsky et al. 2012, section 3.4: 3 and 2).
    Padding never wins. Where several x are equal, the first in row order takes the gradient.
    """

    formula = "y[c, i, j] = max x[c, s·i + u − p, s·j + v − p]  over u, v"

    def forward(self, x: Array, train: bool = False) -> Array:
        self._cache = None
        vertical, horizontal = self._windows(self._check(x))
        x = self._enter(x)  # (C, H, W, N)
        y = self._array("y", (x.shape[0], vertical.output, horizontal.output, x.shape[3]), x.dtype)
        pooling.max_pool_forward(x, vertical, horizontal, y)
        if train:
            self._cache = x, y, vertical, horizontal
        return self._leave(y)

    def backward(self, dy: Array) -> Array | None:
        """y depends on one x of each window, with slope 1: dx is the sum of the dy of the windows that x won."""
        x, y, vertical, horizontal = self._kept()
        dy = self._enter_gradient(dy, y.shape, x.dtype)
        if not self.needs_dx:
            return None
        dx = self._array("dx", x.shape, x.dtype)
        pooling.max_pool_backward(x, y, dy, vertical, horizontal, dx)
        return self._leave(dx)


class AvgPool2d(_Pool2d):
    """y = the mean of the window, shapes as for MaxPool2d.

    Padding counts as zeros with `count_include_pad` (PyTorch's default); without it, the mean is over real inputs.
    What a last window of `ceil_mode` has beyond the padding never counts.
    """

    formula = "y[c, i, j] = mean x[c, s·i + u − p, s·j + v − p]  over u, v"

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: Sides = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x: Array, train: bool = False) -> Array:
        self._cache = None
        vertical, horizontal = self._windows(self._check(x))
        x = self._enter(x)  # (C, H, W, N)
        y = self._array("y", (x.shape[0], vertical.output, horizontal.output, x.shape[3]), x.dtype)
        pooling.avg_pool_forward(x, vertical, horizontal, self.count_include_pad, y)
        if train:
            self._cache = x.shape, x.dtype, vertical, horizontal
        return self._leave(y)

    def backward(self, dy: Array) -> Array | None:
        """y is 1 / count times a sum: every x receives dy / count from each window that holds it."""
        shape, dtype, vertical, horizontal = self._kept()
        dy = self._enter_gradient(dy, (shape[0], vertical.output, horizontal.output, shape[3]), dtype)
        if not self.needs_dx:
            return None
        dx = self._array("dx", shape, dtype)
        pooling.avg_pool_backward(dy, vertical, horizontal, self.count_include_pad, dx)
        return self._leave(dx)
