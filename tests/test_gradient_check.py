"""The checker checked: it accepts the layers as they are, and rejects every one of them once it is broken."""

import re

import numpy as np
import pytest
from inputs import batch_last, normal, signed
from mutants import MUTANTS, SOUND, changing_dx, changing_gradient

from tinynet.backend import to_device, to_host, xp
from tinynet.gradient_check import GradientCheckError, check_layer, check_network
from tinynet.layers import Conv2d, Dropout, Flatten, Linear, ReLU, Tanh
from tinynet.losses import SoftmaxCrossEntropy
from tinynet.network import Sequential


@pytest.mark.parametrize("order", [to_device, batch_last], ids=["C order", "batch-last"])
@pytest.mark.parametrize("sound", SOUND)
def test_sound_layers_pass(sound, order):
    layer_class, arguments, x = SOUND[sound]
    assert 0 <= check_layer(layer_class(**arguments), order(x)) <= 1e-6


@pytest.mark.parametrize(("sound", "break_it"), MUTANTS)
def test_broken_layers_are_rejected(sound, break_it):
    layer_class, arguments, x = SOUND[sound]
    with pytest.raises(GradientCheckError):
        check_layer(break_it(layer_class)(**arguments), to_device(x))


NUMBERS = "(?!.*(accumulated|float32|shape|without_dx))"  # a loss sees the numbers of one backward pass only
IN_A_NETWORK = [m for m in MUTANTS if m.values[0] in ("conv", "linear", "lrn") and re.match(NUMBERS, m.id)]


@pytest.mark.parametrize(("sound", "break_it"), IN_A_NETWORK)
def test_broken_layers_are_rejected_inside_a_network(sound, break_it):
    layer_class, arguments, x = SOUND[sound]
    layer = break_it(layer_class)(**arguments)
    (features,) = Flatten().output_shape(layer.output_shape(x.shape[1:]))
    net = Sequential([("broken", layer), ("flatten", Flatten()), ("fc", Linear(features, 3))], needs_dx=True)
    with pytest.raises(GradientCheckError, match=r"the gradient of (x|broken\.)"):
        check_network(net, to_device(x), np.arange(len(x)) % 3)


# ---- the loss ----


class WithoutTheBatch(SoftmaxCrossEntropy):
    """Forgets 1 / N."""

    def backward(self):
        return super().backward() * self._kept[0].shape[1]


class WithoutTheLabel(SoftmaxCrossEntropy):
    """Forgets to subtract the label's one."""

    def backward(self):
        return xp.maximum(super().backward(), 0)


def small_net() -> Sequential:
    layers = [("fc1", Linear(4, 5)), ("tanh1", Tanh()), ("dropout1", Dropout(0.5)), ("fc2", Linear(5, 3))]
    return Sequential(layers)


@pytest.mark.parametrize("samples", [None, 2])
@pytest.mark.parametrize("loss", [WithoutTheBatch, WithoutTheLabel])
def test_broken_losses_are_rejected(loss, samples):
    x, labels = to_device(normal(1, 3, 4)), np.array([0, 2, 1])
    check_network(small_net(), x, labels, samples=samples)
    check_network(small_net(), x, labels, loss=SoftmaxCrossEntropy(), samples=samples)
    with pytest.raises(GradientCheckError):
        check_network(small_net(), x, labels, loss=loss(), samples=samples)


# ---- dtypes, and which layer of a net it is ----


class Doubling(ReLU):
    """Wrong in one place: a constant of float64 makes float64 of everything."""

    def __init__(self, place: str):
        super().__init__()
        self.place = place

    def forward(self, x, train=False):
        y = super().forward(x, train)
        return y * xp.ones(1) if self.place == ("output" if train else "output at test") else y

    def backward(self, dy):
        dx = super().backward(dy)
        return dx * xp.ones(1) if self.place == "gradient of x" else dx


class Widening(Linear):
    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["weight"] = self.grads["weight"].astype("float64")
        return dx


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        (Doubling("output"), "output"),
        (Doubling("output at test"), "output"),
        (Doubling("gradient of x"), "gradient of x"),
        (Widening(5, 5), "gradient of middle.weight"),
    ],
)
def test_a_wrong_dtype_is_found_and_its_layer_named(layer, what):
    net = Sequential([("fc1", Linear(4, 5)), ("middle", layer), ("fc2", Linear(5, 3))])
    with pytest.raises(GradientCheckError, match=f"^middle: the {what} of a float32 computation is float64"):
        check_network(net, to_device(signed(1, 3, 4)), np.array([0, 2, 1]))
    with pytest.raises(GradientCheckError, match=f"^middle: the {what} of a float32 computation is float64"):
        check_layer(layer, to_device(signed(1, 3, 5)))


class Writing(ReLU):
    def forward(self, x, train=False):
        y = xp.array(super().forward(x, train))
        x[:] = 0
        return y


class Silent(ReLU):
    def backward(self, dy):
        super().backward(dy)


class Unassigned(Linear):
    def backward(self, dy):
        return dy @ self.parameter("weight", dy.dtype)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Writing(), "^middle: x was written to"),
        (Silent(), "^middle: needs_dx is True, but backward gave None"),
        (Unassigned(5, 5), r"the gradient of middle\.weight is nan: not assigned, or added to"),
    ],
)
def test_what_a_layer_does_not_keep_to_is_told_with_its_name(layer, message):
    net = Sequential([("fc1", Linear(4, 5)), ("middle", layer), ("fc2", Linear(5, 3))])
    with pytest.raises(GradientCheckError, match=message):
        check_network(net, to_device(signed(1, 3, 4)), np.array([0, 2, 1]))


def test_the_layer_whose_gradient_is_wrong_is_named():
    """The first parameter that is found wrong stands before it: fc1's gradient comes through tanh2."""
    net = Sequential([("fc1", Linear(4, 5)), ("tanh2", changing_dx(Tanh, lambda layer, dx, dy: dy)()), *pair()])
    message = r"fc1\.weight\[.*\. By itself fails tanh2: the gradient of x\["
    with pytest.raises(GradientCheckError, match=message) as error:
        check_network(net, to_device(normal(1, 3, 4)), np.array([0, 2, 1]))
    assert "fc1:" not in str(error.value) and "fc3:" not in str(error.value)
    with pytest.raises(GradientCheckError, match="By itself each layer passes"):
        check_network(Sequential(pair()), to_device(normal(1, 3, 5)), np.array([0, 2, 1]), loss=WithoutTheBatch())


def pair():
    return [("fc3", Linear(5, 4)), ("fc4", Linear(4, 3))]


# ---- what the checker says and leaves behind ----


def test_the_error_tells_the_place_and_both_numbers():
    def change(gradient):
        gradient = xp.array(gradient)
        gradient[1, 2] = 1000
        return gradient

    layer = changing_gradient(Linear, "weight", change)(4, 4)
    layer.rename("fc6")
    message = r"fc6.*fc6\.weight\[1, 2\] is 1000, .* give -?\d+\.\d+.*allowed 1e-06"
    with pytest.raises(GradientCheckError, match=message):
        check_layer(layer, to_device(normal(1, 3, 4)))


def test_a_kink_is_found():
    x = normal(1, 2, 3)
    x[1, 1] = 1e-7
    with pytest.raises(GradientCheckError, match=r"x\[1, 1\]"):
        check_layer(ReLU(), to_device(x))


def test_the_layer_is_put_back():
    net = small_net()
    x, labels = to_device(normal(1, 3, 4)), np.array([0, 2, 1])
    params, grads = dict(net.params), dict(net.grads)
    values = {name: to_host(parameter).copy() for name, parameter in params.items()}
    given = xp.array(x)
    check_network(net, x, labels)
    check_layer(net, x)
    with pytest.raises(GradientCheckError):
        check_network(net, x, labels, loss=WithoutTheBatch())
    assert (x == given).all()
    for name, parameter in params.items():
        assert net.params[name] is parameter
        assert net.grads[name] is grads[name]
        assert parameter.dtype == xp.float32
        assert (to_host(parameter) == values[name]).all()


def test_float32_layers_and_inputs_are_checked_in_float64():
    layer = Conv2d(2, 3, 3)
    assert check_layer(layer, to_device(normal(1, 2, 2, 4, 4).astype("float32"))) < 1e-6


def test_dy_and_tolerances_can_be_given():
    layer, x = Tanh(), to_device(normal(1, 2, 3))
    check_layer(layer, x, to_device(normal(2, 2, 3)))
    with pytest.raises(GradientCheckError, match="allowed 1e-15"):
        check_layer(layer, x, relative=1e-15, absolute=0)
    with pytest.raises(GradientCheckError):
        check_layer(layer, x, step=0.1)


def test_the_same_seed_gives_the_same_number():
    layer, x = Tanh(), to_device(normal(1, 2, 3))
    assert check_layer(layer, x) == check_layer(layer, x)
    assert check_layer(layer, x) != check_layer(layer, x, seed=1)


def test_samples_are_that_many_elements_of_each_array():
    """Two losses for each element, and one for the gradient."""

    class Counting(SoftmaxCrossEntropy):
        calls = 0

        def forward(self, logits, labels):
            self.calls += 1
            return super().forward(logits, labels)

    for samples, elements in ((None, 20 + 5 + 15 + 3), (4, 4 + 4 + 4 + 3)):
        loss = Counting()
        check_network(small_net(), to_device(normal(1, 3, 4)), np.array([0, 2, 1]), loss=loss, samples=samples)
        assert loss.calls == 1 + 2 * elements
