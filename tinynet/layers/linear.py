"""Linear and Flatten: fully connected layers and the step from feature maps to vectors."""

import math

from tinynet.backend import Array, to_device
from tinynet.initializers import he_uniform, zeros
from tinynet.layers.layer import Layer, Shape, whole
from tinynet.operations.convolution import bias_gradient
from tinynet.operations.linear import linear_backward_input, linear_backward_weight, linear_forward
from tinynet.random import stream


class Linear(Layer):
    """y = weight x + bias: (N, in_features) to (N, out_features).

    weight: (out_features, in_features); bias: (out_features,). At the start a uniform distribution with He's variance,
    and zeros: the same numbers in every layer of this shape, until `initializers.initialize` gives each layer of a net
    its own.
    """

    formula = "y[k] = b[k] + Σ w[k, i] · x[i]  over i"

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        whole(in_features, "Linear: in_features")
        whole(out_features, "Linear: out_features")
        self.in_features, self.out_features = in_features, out_features
        shape = (out_features, in_features)
        self.add_parameter("weight", to_device(he_uniform(shape, stream(0, "Linear", *shape))))
        if bias:
            self.add_parameter("bias", to_device(zeros((out_features,))))

    def _output_shape(self, shape: tuple) -> Shape:
        if len(shape) != 2 or shape[1] != self.in_features:
            raise self._shape_error(f"(N, {self.in_features})", shape)
        return (self.out_features,)

    def multiply_adds(self, input_shape: Shape) -> int:
        return self.in_features * self.out_features

    def forward(self, x: Array, train: bool = False) -> Array:
        self._cache = None
        self._output_shape(self._check(x))
        x = self._enter(x)  # (in, N)
        y = self._array("y", (self.out_features, x.shape[1]), x.dtype)
        linear_forward(x, self.parameter("weight", x.dtype), self.parameter("bias", x.dtype), y)
        if train:
            self._cache = (x,)
        return self._leave(y)

    def backward(self, dy: Array) -> Array | None:
        """With y = W x + b for every image (column): dW = dy x^T, db = sum of dy over the batch, dx = W^T dy."""
        (x,) = self._kept()
        dy = self._enter_gradient(dy, (self.out_features, x.shape[1]), x.dtype)
        if self.trainable:
            linear_backward_weight(x, dy, self._gradient("weight", x.dtype))
            if "bias" in self.params:
                bias_gradient(dy, self._gradient("bias", x.dtype))
        if not self.needs_dx:
            return None
        dx = self._array("dx", x.shape, x.dtype)
        linear_backward_input(dy, self.parameter("weight", x.dtype), dx)
        return self._leave(dx)

    def __repr__(self) -> str:
        return f"Linear({self.in_features} -> {self.out_features}{'' if 'bias' in self.params else ', no bias'})"


class Flatten(Layer):
    """(N, C, H, W) to (N, C*H*W), channels first as PyTorch orders them. Batch-last memory needs no copy for it."""

    formula = "y[(c·H + i)·W + j] = x[c, i, j]"

    def _output_shape(self, shape: tuple) -> Shape:
        if len(shape) < 2:
            raise self._shape_error("(N, ...)", shape)
        return (math.prod(shape[1:]),)

    def forward(self, x: Array, train: bool = False) -> Array:
        self._cache = None
        self._output_shape(self._check(x))
        x = self._enter(x)  # (C, H, W, N)
        if train:
            self._cache = x.shape, x.dtype
        return self._leave(x.reshape(-1, x.shape[-1]))  # (C*H*W, N)

    def backward(self, dy: Array) -> Array | None:
        shape, dtype = self._kept()
        dy = self._enter_gradient(dy, (math.prod(shape[:-1]), shape[-1]), dtype)
        return self._leave(dy.reshape(shape)) if self.needs_dx else None  # (C*H*W, N) -> (C, H, W, N)

    def __repr__(self) -> str:
        return "Flatten()"
