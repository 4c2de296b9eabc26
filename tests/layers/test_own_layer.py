"""A layer of one's own, as the README shows: it trains, is saved, is checked and lives on several devices."""

import numpy as np
import pytest
from inputs import assert_close, normal

from tinynet import SGD, Conv2d, Flatten, Linear, ReLU, Sequential, SoftmaxCrossEntropy, parallel
from tinynet.backend import to_device, to_host, xp
from tinynet.gradient_check import check_layer, check_network
from tinynet.layers import Layer
from tinynet.weights import load_weights, save_weights


class Scale(Layer):
    """y = weight * x, a factor for each channel."""

    split_as = "channels"

    def __init__(self, channels: int):
        super().__init__()
        self.add_parameter("weight", xp.linspace(1, 2, channels, dtype=xp.float32))

    def forward(self, x, train=False):
        self.x = x
        return x * self.parameter("weight", x.dtype)[:, None, None]

    def backward(self, dy):
        self.grads["weight"] = (dy * self.x).sum(axis=(0, 2, 3))
        return dy * self.parameter("weight", dy.dtype)[:, None, None]


class Square(Layer):
    split_as = "each"

    def forward(self, x, train=False):
        self.x = xp.array(x)
        return x * x

    def backward(self, dy):
        return 2 * dy * self.x


class Mean(Layer):
    """Subtracts each image's mean: it needs all channels."""

    split_as = "whole"

    def forward(self, x, train=False):
        return x - x.mean(axis=1, keepdims=True)

    def backward(self, dy):
        return dy - dy.mean(axis=1, keepdims=True)


class Dense(Layer):
    split_as = "outputs"

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.add_parameter("weight", to_device(normal(5, outputs, inputs).astype("float32") / 8))

    def _output_shape(self, shape):
        return (len(self.params["weight"]),)

    def forward(self, x, train=False):
        self.x = xp.array(x)
        return x @ self.parameter("weight", x.dtype).T

    def backward(self, dy):
        self.grads["weight"] = dy.T @ self.x
        return dy @ self.parameter("weight", dy.dtype)


def make_net() -> Sequential:
    layers = [
        ("conv1", Conv2d(2, 4, 3)),
        ("square1", Square()),
        ("scale1", Scale(4)),
        ("mean1", Mean()),
        ("conv2", Conv2d(4, 4, 2, groups=2)),
        ("scale2", Scale(4)),
        ("flatten", Flatten()),
        ("dense3", Dense(16, 6)),
        ("relu3", ReLU()),
        ("fc4", Linear(6, 3)),
    ]
    return Sequential(layers)


X, LABELS = normal(1, 5, 2, 5, 5), np.array([0, 2, 1, 1, 0])


def train(net, steps: int = 5) -> float:
    loss, optimizer = SoftmaxCrossEntropy(), SGD(net, lr=0.05)
    for _ in range(steps):
        value = loss.forward(net.forward(to_device(X.astype("float32")), train=True), LABELS)
        net.backward(loss.backward())
        optimizer.step()
    return value


def test_it_passes_the_check_alone_and_in_a_net():
    check_layer(Scale(3), to_device(normal(1, 2, 3, 4, 4)))
    check_network(make_net(), to_device(X), LABELS)


def test_it_trains_and_is_saved(tmp_path):
    net, other = make_net(), make_net()
    assert train(net) < train(make_net(), 1)
    assert not np.array_equal(to_host(net["scale1"].params["weight"]), to_host(other["scale1"].params["weight"]))
    save_weights(net, tmp_path / "net.safetensors")
    load_weights(other, tmp_path / "net.safetensors")
    assert np.array_equal(to_host(other["scale1"].params["weight"]), to_host(net["scale1"].params["weight"]))
    assert repr(net["scale1"]) == "Scale(weight (4,))"
    assert net.summary((2, 5, 5)).parameters == 4 * 18 + 4 + 4 + 4 * 8 + 4 + 4 + 16 * 6 + 6 * 3 + 3


def test_its_parameters_are_checked_like_any_others():
    layer = Scale(4)
    layer.params["weight"] = to_device(np.ones(1, "float32"))
    with pytest.raises(ValueError, match=r"Scale: expected weight \(4\), got \(1\)"):
        layer.forward(to_device(normal(1, 2, 4, 3, 3)))
    for key in ("a.b", "weight"):
        with pytest.raises(ValueError, match="expected a new key without dots"):
            layer.add_parameter(key, to_device(np.ones(4, "float32")))
    without = Linear(4, 2, bias=False)
    without.params["bias"] = to_device(np.ones(2, "float32"))
    with pytest.raises(ValueError, match="params has a bias, for which the layer was not made"):
        without.forward(to_device(normal(1, 2, 4)))


def test_gradients_in_another_memory_order_and_read_only_parameters_train():
    class Transposing(Dense):
        def backward(self, dy):
            self.grads["weight"] = (self.x.T @ dy).T
            return dy @ self.parameter("weight", dy.dtype)

    one, other = Dense(6, 5), Transposing(6, 5)
    x, dy = to_device(normal(1, 3, 6).astype("float32")), to_device(normal(2, 3, 5).astype("float32"))
    if hasattr(other.params["weight"].flags, "writeable"):
        other.params["weight"].flags.writeable = False
    for layer in (one, other):
        optimizer = SGD(layer, lr=0.1)
        layer.forward(x, train=True)
        layer.backward(dy)
        optimizer.step()
    assert_close(other.params["weight"], to_host(one.params["weight"]), relative=1e-6)


def test_it_lives_on_two_devices():
    one, two = make_net(), parallel.partition(make_net(), 2)
    assert train(one) == pytest.approx(train(two), rel=1e-5)
    whole = two.merge({name: to_host(value) for name, value in two.params.items()})
    for name, value in one.params.items():
        assert_close(whole[name], to_host(value), relative=1e-5)
    found, expected = two.activations(to_device(X)), one.activations(to_device(X))
    assert list(found) == list(expected)
    for name in expected:
        assert_close(found[name], expected[name], relative=1e-5, what=name)


@pytest.mark.parametrize(
    ("split_as", "layer", "message"),
    [
        (None, Square(), "own: partition does not know how to split a Square: give that class a split_as"),
        ("rows", Square(), "own: expected split_as to be one of each, whole, channels, outputs, got 'rows'"),
        ("each", Scale(4), "own: split_as 'each' is for a layer without parameters"),
        ("channels", Square(), "own: split_as 'channels' is for a layer with parameters"),
        ("channels", Scale(3), "own: 3 rows of weight cannot be shared out over 2 devices"),
    ],
)
def test_what_partition_says_of_one_that_it_cannot_split(split_as, layer, message):
    layer.split_as = split_as
    net = Sequential([("own", layer), ("flatten", Flatten()), ("fc", Linear(4, 2))])
    with pytest.raises(ValueError, match=message):
        parallel.partition(net, 2)


@pytest.mark.parametrize("value", [[1.0], np.ones(3, "int64"), np.ones(3, "float16"), None])
def test_a_parameter_is_an_array_of_floats(value):
    class Own(Layer):
        def __init__(self):
            super().__init__()
            self.add_parameter("weight", value)

    with pytest.raises(TypeError, match=r"Own: expected weight to be an array .* of float32 or float64, got"):
        Own()
