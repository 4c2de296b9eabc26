"""Layers as they are, and broken ones: each has one mistake that was made in public code, or could be.

The gradient checker has to accept the first and to reject every one of the others.
"""

import numpy as np
import pytest
from inputs import signed, spread

from tinynet.backend import to_device, to_host, xp
from tinynet.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)

LRN = {"alpha": 0.5, "k": 1.0}
SOUND = {  # a layer's class, its arguments, and an input
    "conv": (Conv2d, {"in_channels": 2, "out_channels": 3, "kernel_size": 3, "padding": 1}, signed(1, 2, 2, 4, 5)),
    "conv, groups": (
        Conv2d, {"in_channels": 4, "out_channels": 4, "kernel_size": 2, "groups": 2}, signed(1, 2, 4, 3, 4),
    ),
    "linear": (Linear, {"in_features": 4, "out_features": 4}, signed(1, 3, 4)),
    "relu": (ReLU, {}, signed(1, 3, 4)),
    "tanh": (Tanh, {}, signed(1, 3, 4)),
    "sigmoid": (Sigmoid, {}, signed(1, 3, 4)),
    "softmax": (Softmax, {}, signed(1, 3, 4)),
    "lrn": (LocalResponseNorm, {"size": 3, **LRN}, 2 * signed(1, 2, 5, 2, 2)),
    "lrn, even": (LocalResponseNorm, {"size": 4, **LRN}, 2 * signed(1, 2, 6, 2, 2)),
    "lrn, groups": (LocalResponseNorm, {"size": 3, "groups": 2, **LRN}, 2 * signed(1, 2, 6, 2, 2)),
    "lrn, average": (LocalResponseNorm, {"size": 3, "average": True, **LRN}, 2 * signed(1, 2, 5, 2, 2)),
    "max-pool": (MaxPool2d, {"kernel_size": 3, "stride": 2}, spread(1, 2, 2, 5, 7)),
    "avg-pool": (AvgPool2d, {"kernel_size": 3, "stride": 2, "padding": 1}, signed(1, 2, 2, 5, 4)),
    "dropout": (Dropout, {"p": 0.4}, signed(1, 3, 8)),
    "flatten": (Flatten, {}, signed(1, 2, 3, 2, 2)),
}  # fmt: skip


# ---- how to break a layer ----

MUTANTS = []


def mutant(sound: str):
    """Registers a function that turns a class into one with a mistake, to be tried on a sound layer of SOUND."""

    def register(break_it):
        MUTANTS.append(pytest.param(sound, break_it, id=break_it.__name__))
        return break_it

    return register


def changing_dx(base, change):
    """`base`, with `change(layer, dx, dy)` for its dx."""

    class Broken(base):
        def backward(self, dy):
            given = xp.array(dy)
            return change(self, super().backward(dy), given)

    return Broken


def changing_gradient(base, key, change):
    """`base`, with `change(gradient)` assigned to a parameter's gradient."""

    class Broken(base):
        def backward(self, dy):
            dx = super().backward(dy)
            self.grads[key] = change(self.grads[key])
            return dx

    return Broken


def changing_for_backward(base, **settings):
    """`base`, whose settings are others while forward keeps what backward needs, as far as backward looks at them."""

    class Broken(base):
        def backward(self, dy):
            own = {name: getattr(self, name) for name in settings}
            try:
                for name, value in settings.items():
                    setattr(self, name, value)
                return super().backward(dy)
            finally:
                for name, value in own.items():
                    setattr(self, name, value)

    return Broken


# ---- broken layers ----


@mutant("conv")
def conv_dx_one_pixel_aside(base):
    return changing_dx(base, lambda layer, dx, dy: xp.roll(dx, 1, axis=3))


@mutant("conv")
def conv_backward_pads_one_end_by_two(base):
    class Broken(base):
        def backward(self, dy):
            x, _, shape = self._cache
            own, self.padding = self.padding, ((0, 2), (1, 1))
            self._cache = x, self._geometry((x.shape[3], *x.shape[:3])), shape
            self.padding = own
            return super().backward(dy)

    return Broken


@mutant("conv")
def conv_weight_gradient_of_a_mirrored_kernel(base):
    return changing_gradient(base, "weight", lambda gradient: gradient[:, :, ::-1, ::-1].copy())


@mutant("conv")
def conv_without_bias_gradient(base):
    return changing_gradient(base, "bias", lambda gradient: xp.zeros_like(gradient))


@mutant("conv")
def conv_bias_gradient_averaged_over_the_batch(base):
    return changing_gradient(base, "bias", lambda gradient: gradient / 2)


@mutant("conv, groups")
def conv_weight_gradient_with_groups_exchanged(base):
    return changing_gradient(base, "weight", lambda gradient: xp.roll(gradient, 2, axis=0))


@mutant("linear")
def linear_weight_gradient_transposed(base):
    return changing_gradient(base, "weight", lambda gradient: gradient.T.copy())


@mutant("linear")
def linear_dx_through_the_transposed_weight(base):
    return changing_dx(base, lambda layer, dx, dy: dy @ layer.params["weight"].T)


@mutant("linear")
def linear_gradients_accumulated(base):
    class Broken(base):
        total = 0

        def backward(self, dy):
            dx = super().backward(dy)
            self.total = self.grads["weight"] = self.total + self.grads["weight"]
            return dx

    return Broken


@mutant("linear")
def linear_bias_gradient_never_assigned(base):
    class Broken(base):
        def backward(self, dy):
            before = xp.array(self.grads["bias"])
            dx = super().backward(dy)
            self.grads["bias"] = before
            return dx

    return Broken


@mutant("linear")
def linear_gradient_of_the_wrong_shape(base):
    return changing_gradient(base, "bias", lambda gradient: gradient[:, None])


@mutant("linear")
def linear_gradient_in_float32(base):
    return changing_gradient(base, "weight", lambda gradient: gradient.astype("float32"))


@mutant("linear")
def linear_one_small_element_wrong_by_1e_5(base):
    def change(gradient):
        gradient = xp.array(gradient)
        place = np.unravel_index(int(abs(gradient).argmin()), gradient.shape)
        gradient[place] *= 1 + 1e-5
        return gradient

    return changing_gradient(base, "weight", change)


@mutant("linear")
def linear_without_dx(base):
    return changing_dx(base, lambda layer, dx, dy: None)


@mutant("relu")
def relu_passes_every_gradient(base):
    return changing_dx(base, lambda layer, dx, dy: dy)


@mutant("relu")
def relu_judges_the_sign_of_dy(base):
    return changing_dx(base, lambda layer, dx, dy: xp.maximum(dy, 0))


@mutant("tanh")
def tanh_writes_dx_into_dy(base):
    class Broken(base):
        def backward(self, dy):
            dy[...] = super().backward(dy)
            return dy

    return Broken


@mutant("tanh")
def tanh_writes_into_x(base):
    class Broken(base):
        def forward(self, x, train=False):
            x[...] = super().forward(x, train)
            return x

    return Broken


@mutant("tanh")
def tanh_in_float32(base):
    class Broken(base):
        def forward(self, x, train=False):
            return super().forward(x, train).astype("float32")

    return Broken


@mutant("tanh")
def tanh_forgets_its_slope(base):
    return changing_dx(base, lambda layer, dx, dy: dy)


@mutant("sigmoid")
def sigmoid_with_the_slope_of_tanh(base):
    return changing_dx(base, lambda layer, dx, dy: dy * (1 - Sigmoid().forward(layer._cache[0].T) ** 2))


@mutant("softmax")
def softmax_with_its_diagonal_only(base):
    return changing_dx(base, lambda layer, dx, dy: dy * layer._cache[0].T * (1 - layer._cache[0].T))


@mutant("lrn")
def lrn_without_the_cross_term(base):
    def own_channel_only(layer, dx, dy):
        x = layer._cache[0].transpose(3, 0, 1, 2)
        return dy * LocalResponseNorm(size=layer.size, **LRN).forward(x) / x  # dy / s^beta

    return changing_dx(base, own_channel_only)


@mutant("lrn")
def lrn_with_a_window_of_five_backwards(base):
    return changing_for_backward(base, size=5)


@mutant("lrn")
def lrn_with_half_of_the_cross_term(base):
    return changing_for_backward(base, alpha=LRN["alpha"] / 2)


@mutant("lrn, even")
def lrn_with_its_even_window_mirrored(base):
    def mirrored(layer, dx, dy):  # the right result for channels in reversed order, turned back
        twin = LocalResponseNorm(size=layer.size, **LRN)
        twin.forward(layer._cache[0].transpose(3, 0, 1, 2)[:, ::-1], train=True)
        return twin.backward(dy[:, ::-1])[:, ::-1]

    return changing_dx(base, mirrored)


@mutant("lrn, groups")
def lrn_across_the_edge_of_its_groups(base):
    return changing_for_backward(base, groups=1)


@mutant("lrn, average")
def lrn_sums_where_it_averaged(base):
    return changing_for_backward(base, average=False)


@mutant("max-pool")
def max_pool_one_pixel_aside(base):
    return changing_dx(base, lambda layer, dx, dy: xp.roll(dx, 1, axis=2))


@mutant("max-pool")
def max_pool_keeps_one_gradient_where_windows_overlap(base):
    def last_one_wins(layer, dx, dy):
        x = to_host(layer._cache[0].transpose(3, 0, 1, 2))
        dx, dy = np.zeros(x.shape), to_host(dy)
        for n, c, h, w in np.ndindex(dy.shape):
            window = x[n, c, 2 * h : 2 * h + 3, 2 * w : 2 * w + 3]
            i, j = np.unravel_index(window.argmax(), window.shape)
            dx[n, c, 2 * h + i, 2 * w + j] = dy[n, c, h, w]
        return to_device(dx)

    return changing_dx(base, last_one_wins)


@mutant("avg-pool")
def avg_pool_divides_by_another_count(base):
    return changing_for_backward(base, count_include_pad=False)


@mutant("dropout")
def dropout_gradient_not_scaled(base):
    return changing_dx(base, lambda layer, dx, dy: dx * (1 - layer.p))


@mutant("dropout")
def dropout_gradient_not_masked(base):
    return changing_dx(base, lambda layer, dx, dy: dy / (1 - layer.p))


@mutant("dropout")
def dropout_with_another_mask_every_time(base):
    class Broken(base):
        def set_step(self, step):
            pass

    return Broken


@mutant("flatten")
def flatten_in_another_order_backwards(base):
    return changing_dx(base, lambda layer, dx, dy: dx[:, ::-1])
