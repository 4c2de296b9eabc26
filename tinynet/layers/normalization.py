"""LocalResponseNorm, the paper's normalisation and its variants. Its arithmetic is operations/normalization.py."""

from tinynet.backend import Array
from tinynet.layers.layer import Layer, Shape, whole
from tinynet.operations.normalization import lrn_backward, lrn_forward
from tinynet.operations.window import Window


class LocalResponseNorm(Layer):
    """y_i = x_i / (k + alpha * sum over j of x_j^2)^beta, Krizhevsky et al. 2012, section 3.3; shape unchanged.

    j runs over `size` neighbouring channels of the same pixel, from i - size // 2 to i + (size - 1) // 2, cut off at
    the first and the last channel. groups: the channels are cut into as many blocks and windows end at their edges, as
    on the paper's devices, which each normalise their own half. within_channel: j runs over a size x size square of the
    same channel instead, zeros outside. average: alpha is divided by the number of values in a full window (size, or
    size^2 within a channel), as PyTorch, Caffe and the 2012 program do; the paper's formula is the plain sum.
    """

    formula = "y[c] = x[c] / (k + α · Σ x[d]²)^β  over the size's channels d around c, or pixels around its own"

    def __init__(
        self,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 2.0,
        groups: int = 1,
        average: bool = False,
        within_channel: bool = False,
    ):
        super().__init__()
        whole(size, "LocalResponseNorm: size")
        whole(groups, "LocalResponseNorm: groups")
        if not (alpha >= 0 and k > 0):
            raise ValueError(f"LocalResponseNorm: expected alpha >= 0 and k > 0, got alpha={alpha}, k={k}")
        self.size, self.alpha, self.beta, self.k = size, float(alpha), float(beta), float(k)
        self.groups, self.average, self.within_channel = groups, average, within_channel

    @property
    def _factor(self) -> float:
        """What multiplies the plain sum."""
        values = self.size**2 if self.within_channel else self.size
        return self.alpha / values if self.average else self.alpha

    def _output_shape(self, shape: tuple) -> Shape:
        if len(shape) != 4:
            raise self._shape_error("(N, C, H, W)", shape)
        if shape[1] % self.groups:
            raise ValueError(f"{self.name}: {self.groups} groups must divide the channels, got {shape[1]} channels")
        return tuple(shape[1:])

    def windows(self, input_shape: Shape) -> tuple[Window, Window] | None:
        if not self.within_channel:
            return None
        before, after = self.size // 2, (self.size - 1) // 2
        rows, columns = (Window(size, self.size, 1, before, after) for size in input_shape[1:])
        return rows, columns

    def forward(self, x: Array, train: bool = False) -> Array:
        self._cache = None
        self._output_shape(self._check(x))
        x = self._enter(x)  # (C, H, W, N)
        y = self._array("y", x.shape, x.dtype)
        lrn_forward(x, self.size, self._factor, self.beta, self.k, self.groups, self.within_channel, y)
        if train:
            self._cache = (x,)
        return self._leave(y)

    def backward(self, dy: Array) -> Array | None:
        """dx_j = dy_j / s_j^beta - 2 alpha beta x_j * sum of dy_i y_i / s_i over the windows that hold j, with
        s = k + alpha * sum x^2; the derivation stands at operations.normalization.lrn_backward."""
        (x,) = self._kept()
        dy = self._enter_gradient(dy, x.shape, x.dtype)
        if not self.needs_dx:
            return None
        dx = self._array("dx", x.shape, x.dtype)
        lrn_backward(x, dy, self.size, self._factor, self.beta, self.k, self.groups, self.within_channel, dx)
        return self._leave(dx)

    def __repr__(self) -> str:
        options = [f"alpha {self.alpha:g}", f"beta {self.beta:g}", f"k {self.k:g}"]
        options += [f"{self.groups} groups"] if self.groups > 1 else []
        options += ["average"] if self.average else []
        options += ["within channel"] if self.within_channel else []
        return f"LocalResponseNorm({self.size}, {', '.join(options)})"
