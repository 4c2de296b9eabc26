"""Conv2d: the convolution layer, its parameters, shapes and padding. Its arithmetic is operations/convolution.py."""

import math
from typing import Any

from tinynet.backend import Array, to_device
from tinynet.initializers import he_uniform, zeros
from tinynet.layers.layer import Layer, Shape, both_sides, pair, whole
from tinynet.operations.convolution import (
    bias_gradient,
    conv2d_backward_input,
    conv2d_backward_weight,
    conv2d_forward,
)
from tinynet.operations.window import Geometry, Window, same_padding
from tinynet.random import stream

Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]] | str


class Conv2d(Layer):
    """y[n, k, h, w] = bias[k] + sum over c, i, j of weight[k, c, i, j] * x[n, c, h * stride + i - padding, w * ...].

    (N, in_channels, H, W) to (N, out_channels, H', W') with H' = floor((H + 2 * padding - kernel) / stride) + 1; rows
    left over at the end are not read. With `groups`, output channels of group g see the input channels of group g only:
    the connectivity between the paper's two devices (Krizhevsky et al. 2012, section 3.2).

    weight: (out_channels, in_channels / groups, kh, kw); bias: (out_channels,). At the start a uniform distribution
    with He's variance, and zeros: the same numbers in every layer of this shape, until `initializers.initialize` gives
    each layer of a net its own.

    kernel_size, stride: a number or (vertical, horizontal). padding: a number, (vertical, horizontal),
    ((top, bottom), (left, right)), "valid" (none), or "same": H' = ceil(H / stride), an odd pixel going to the end.
    """

    formula = "y[k, i, j] = b[k] + Σ w[k, c, u, v] · x[c, s·i + u − p, s·j + v − p]  over c of k's group, u, v"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: Padding = 0,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        for what, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
            whole(value, f"Conv2d: {what}")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2d: groups must divide the channels, got in_channels={in_channels},"
                f" out_channels={out_channels}, groups={groups}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair(kernel_size, "Conv2d: kernel_size", 1)
        self.stride = pair(stride, "Conv2d: stride", 1)
        self.padding = padding
        self._sides(1, 1)  # complains about an unknown padding now, not with the first image
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.add_parameter("weight", to_device(he_uniform(shape, stream(0, "Conv2d", *shape))))
        if bias:
            self.add_parameter("bias", to_device(zeros((out_channels,))))

    def _sides(self, height: int, width: int) -> list[tuple[int, int]]:
        """((top, bottom), (left, right)): how many zeros stand around an input of height x width."""
        padding: Any = self.padding  # whatever a user gave, looked at here and in `both_sides`
        if padding == "valid":
            return [(0, 0), (0, 0)]
        if padding == "same":
            axes = zip((height, width), self.kernel_size, self.stride, strict=True)
            return [same_padding(size, kernel, stride) for size, kernel, stride in axes]
        if isinstance(padding, str):
            raise ValueError(f"{self.name}: padding must be a number, a pair, 'same' or 'valid', got {padding!r}")
        return both_sides(padding, f"{self.name}: padding")

    def _geometry(self, shape: tuple) -> Geometry:
        if len(shape) != 4 or shape[1] != self.in_channels:
            raise self._shape_error(f"(N, {self.in_channels}, H, W)", shape)
        return self._planned(self._make_geometry, shape, self.kernel_size, self.stride, self.padding, self.groups)

    def _make_geometry(self, shape: tuple, kernel_size, stride, padding: Padding, groups: int) -> Geometry:
        vertical, horizontal = (
            Window(size, kernel, step, before, after)
            for size, kernel, step, (before, after) in zip(
                shape[2:], kernel_size, stride, self._sides(*shape[2:]), strict=True
            )
        )
        if min(vertical.output, horizontal.output) < 1:
            raise ValueError(
                f"{self.name}: a kernel of {kernel_size[0]} x {kernel_size[1]} does not fit an input of"
                f" {shape[2]} x {shape[3]} with padding {padding!r}"
            )
        return Geometry(vertical, horizontal, groups)

    def _output_shape(self, shape: tuple) -> Shape:
        geometry = self._geometry(shape)
        return self.out_channels, geometry.vertical.output, geometry.horizontal.output

    def windows(self, input_shape: Shape) -> tuple[Window, Window]:
        geometry = self._geometry(("N", *input_shape))
        return geometry.vertical, geometry.horizontal

    def multiply_adds(self, input_shape: Shape) -> int:
        _, height, width = self.output_shape(input_shape)
        return math.prod(self._shapes["weight"]) * height * width

    def forward(self, x: Array, train: bool = False) -> Array:
        self._cache = None
        geometry = self._geometry(self._check(x))
        x = self._enter(x)  # (C, H, W, N)
        shape = (self.out_channels, geometry.vertical.output, geometry.horizontal.output, x.shape[3])
        y = self._array("y", shape, x.dtype)
        conv2d_forward(x, self.parameter("weight", x.dtype), self.parameter("bias", x.dtype), geometry, y)
        if train:
            self._cache = x, geometry, shape
        return self._leave(y)

    def backward(self, dy: Array) -> Array | None:
        """With columns X of the input's windows, y = W X + b: dW = dy X^T, db = sum(dy), and dX = W^T dy, each window's
        part added back to the pixels it was copied from."""
        x, geometry, shape = self._kept()
        dy = self._enter_gradient(dy, shape, x.dtype)
        if self.trainable:
            conv2d_backward_weight(x, dy, geometry, self._gradient("weight", x.dtype))
            if "bias" in self.params:
                bias_gradient(dy, self._gradient("bias", x.dtype))
        if not self.needs_dx:
            return None
        dx = self._array("dx", x.shape, x.dtype)
        conv2d_backward_input(dy, self.parameter("weight", x.dtype), geometry, dx)
        return self._leave(dx)

    def __repr__(self) -> str:
        kernel = " x ".join(map(str, self.kernel_size))
        options = [f"stride {self.stride[0]}" if self.stride[0] == self.stride[1] else f"stride {self.stride}"]
        options += [f"padding {self.padding}"] if self.padding not in (0, "valid") else []
        options += [f"{self.groups} groups"] if self.groups > 1 else []
        options += ["no bias"] if "bias" not in self.params else []
        return f"Conv2d({self.in_channels} -> {self.out_channels}, {kernel}, {', '.join(options)})"
