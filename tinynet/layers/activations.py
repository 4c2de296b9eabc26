"""ReLU, Tanh, Sigmoid and Softmax. Their arithmetic is operations/elementwise.py."""

from collections.abc import Callable

from tinynet.backend import Array
from tinynet.layers.layer import Layer, Shape
from tinynet.operations import elementwise


class _Activation(Layer):
    """A function without parameters. Its gradient is told from x, or from its output y where that loses nothing."""

    _function: Callable[..., None]  # operations: f(x, y)
    _gradient_of: Callable[..., None]  # f(x or y, dy, dx)
    _from_output = True

    def forward(self, x: Array, train: bool = False) -> Array:
        self._cache = None
        x = self._enter(x)
        y = self._array("y", x.shape, x.dtype)
        type(self)._function(x, y)
        if train:
            self._cache = (y if self._from_output else x,)
        return self._leave(y)

    def backward(self, dy: Array) -> Array | None:
        (kept,) = self._kept()
        dy = self._enter_gradient(dy, kept.shape, kept.dtype)
        if not self.needs_dx:
            return None
        dx = self._array("dx", kept.shape, kept.dtype)
        type(self)._gradient_of(kept, dy, dx)
        return self._leave(dx)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ReLU(_Activation):
    """y = max(x, 0), any shape (Krizhevsky et al. 2012, section 3.1). dx = dy where y > 0, else 0.

    inplace: the output takes the place of x and the input's gradient that of dy, which saves two arrays of x's size.
    In a net these are the net's own arrays: what the user gave is copied first. Called by itself, the layer overwrites
    a batch-last array, and any array of one image is one; an array in another memory order stays as it was. Not behind
    a layer of one's own that needs its output for its backward pass.
    """

    formula = "y = max(x, 0)"
    _function, _gradient_of = elementwise.relu_forward, elementwise.relu_backward

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Array, train: bool = False) -> Array:
        if not self.inplace:
            return super().forward(x, train)
        y = self._enter(x)
        elementwise.relu_forward(y, y)
        self._cache = (y,) if train else None
        return self._leave(y)

    def backward(self, dy: Array) -> Array | None:
        if not self.inplace:
            return super().backward(dy)
        (y,) = self._kept()
        dx = self._enter_gradient(dy, y.shape, y.dtype)
        elementwise.relu_backward(y, dx, dx)
        return self._leave(dx) if self.needs_dx else None

    def __repr__(self) -> str:
        return f"ReLU({'inplace' if self.inplace else ''})"


class Tanh(_Activation):
    """y = tanh(x), any shape. dx = dy / cosh(x)^2, which is dy * (1 - y^2) without the loss where y is rounded to 1."""

    formula = "y = tanh(x)"
    _from_output = False
    _function, _gradient_of = elementwise.tanh_forward, elementwise.tanh_backward


class Sigmoid(_Activation):
    """y = 1 / (1 + exp(-x)), any shape. dx = dy * y * (1 - y), without the loss where y is rounded to 1."""

    formula = "y = 1 / (1 + exp(−x))"
    _from_output = False
    _function, _gradient_of = elementwise.sigmoid_forward, elementwise.sigmoid_backward


class Softmax(_Activation):
    """y_i = exp(x_i) / sum over j of exp(x_j), along the classes or channels (axis 1); shape unchanged.

    dx_i = y_i * (dy_i - sum over j of dy_j y_j). To train a classifier use SoftmaxCrossEntropy on the logits instead.
    """

    formula = "y[k] = exp(x[k]) / Σ exp(x[i])  over i"
    _function, _gradient_of = elementwise.softmax_forward, elementwise.softmax_backward

    def _output_shape(self, shape: tuple) -> Shape:
        if len(shape) < 2:
            raise self._shape_error("(N, classes, ...)", shape)
        return tuple(shape[1:])

    def forward(self, x: Array, train: bool = False) -> Array:
        self._output_shape(self._check(x))
        return super().forward(x, train)
