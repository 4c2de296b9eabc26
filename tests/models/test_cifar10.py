"""cuda-convnet's CIFAR-10 nets: sizes to the last digit, start, what training multiplies, and the whole gradient."""

import numpy as np
import pytest
from inputs import normal
from models.checks import check_deviations, check_gradients, check_seed, check_two_devices, sizes

from tinynet.backend import to_device, to_host
from tinynet.initializers import initialize
from tinynet.layers import AvgPool2d, Conv2d, MaxPool2d, Tanh
from tinynet.losses import SoftmaxCrossEntropy
from tinynet.models import build, cifar10_full, cifar10_quick
from tinynet.models.cifar10 import DECAY_MULTIPLIERS, LR_MULTIPLIERS
from tinynet.network import Sequential
from tinynet.optimizers import SGD

# Caffe, examples/cifar10: output, weights and biases, multiply-adds per image
QUICK = {
    "conv1": ((32, 32, 32), 2_432, 2_457_600),
    "pool1": ((32, 16, 16), 0, 0),
    "relu1": ((32, 16, 16), 0, 0),
    "conv2": ((32, 16, 16), 25_632, 6_553_600),
    "relu2": ((32, 16, 16), 0, 0),
    "pool2": ((32, 8, 8), 0, 0),
    "conv3": ((64, 8, 8), 51_264, 3_276_800),
    "relu3": ((64, 8, 8), 0, 0),
    "pool3": ((64, 4, 4), 0, 0),
    "flatten": ((1024,), 0, 0),
    "fc4": ((64,), 65_600, 65_536),
    "fc5": ((10,), 650, 640),
}
FULL = {
    "conv1": ((32, 32, 32), 2_432, 2_457_600),
    "pool1": ((32, 16, 16), 0, 0),
    "relu1": ((32, 16, 16), 0, 0),
    "lrn1": ((32, 16, 16), 0, 0),
    "conv2": ((32, 16, 16), 25_632, 6_553_600),
    "relu2": ((32, 16, 16), 0, 0),
    "pool2": ((32, 8, 8), 0, 0),
    "lrn2": ((32, 8, 8), 0, 0),
    "conv3": ((64, 8, 8), 51_264, 3_276_800),
    "relu3": ((64, 8, 8), 0, 0),
    "pool3": ((64, 4, 4), 0, 0),
    "flatten": ((1024,), 0, 0),
    "fc4": ((10,), 10_250, 10_240),
}
MODELS = {"cifar10_quick": (QUICK, 145_578), "cifar10_full": (FULL, 89_578)}
EACH = pytest.mark.parametrize("name", MODELS)


def seen(name: str, **options) -> Sequential:
    """The network with He's start: with its own, of 0.0001, nothing of the image can be seen in the logits."""
    net = build(name, **{"num_classes": 5, **options})
    initialize(net)
    return net


@EACH
def test_the_published_sizes(name):
    table, parameters = MODELS[name]
    net = build(name)
    assert sizes(net, (3, 32, 32)) == table
    assert list(net.layers) == list(table)
    assert net.summary((3, 32, 32)).parameters == parameters


@EACH
def test_layers(name):
    net = build(name)
    for layer in net:
        if isinstance(layer, Conv2d):
            assert (layer.kernel_size, layer.stride, layer.padding, layer.groups) == ((5, 5), (1, 1), 2, 1)
    for place, kind in {"pool1": MaxPool2d, "pool2": AvgPool2d, "pool3": AvgPool2d}.items():
        assert type(net[place]) is kind, place
        assert (net[place].kernel_size, net[place].stride, net[place].ceil_mode) == ((3, 3), (2, 2), True), place
    for place in ("lrn1", "lrn2") if name == "cifar10_full" else ():
        norm = net[place]
        assert (norm.size, norm.alpha, norm.beta, norm.k, norm.groups) == (3, 5e-5, 0.75, 1.0, 1)
        assert norm.within_channel and norm.average


def test_what_the_paper_varies():
    """ReLU or tanh (section 3.1), LRN (3.3), windows that overlap or not (3.4): all else stays, the start, too."""
    full = cifar10_full()
    tanh, plain, apart = cifar10_full(activation="tanh"), cifar10_full(lrn=False), cifar10_full(pool=2)
    assert list(tanh.layers) == [name.replace("relu", "tanh") for name in full.layers]
    assert all(type(tanh[f"tanh{number}"]) is Tanh for number in (1, 2, 3))
    assert list(plain.layers) == [name for name in full.layers if not name.startswith("lrn")]
    assert [apart[f"pool{number}"].kernel_size for number in (1, 2, 3)] == [(2, 2)] * 3
    assert sizes(apart, (3, 32, 32)) == FULL
    for net in (tanh, plain, apart):
        assert {name: to_host(value).tobytes() for name, value in net.params.items()} == {
            name: to_host(value).tobytes() for name, value in full.params.items()
        }
    for options, error, message in (
        ({"activation": "gelu"}, ValueError, "activation must be 'relu' or 'tanh', got 'gelu'"),
        ({"pool": 0}, ValueError, "cifar10_full: pool: expected 1 or more, got 0"),
        ({"pool": 2.5}, TypeError, "cifar10_full: pool"),
    ):
        with pytest.raises(error, match=message):
            cifar10_full(**options)


def test_the_start():
    check_deviations(cifar10_quick(), {"conv1": 0.0001, "conv2": 0.01, "conv3": 0.01, "fc4": 0.1, "fc5": 0.1})
    check_deviations(cifar10_full(), {"conv1": 0.0001, "conv2": 0.01, "conv3": 0.01, "fc4": 0.01})
    check_seed(cifar10_quick)
    check_seed(cifar10_full)


@EACH
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 33)])
def test_input_sizes(name, channels, size):
    x = to_device(normal(1, 3, channels, size, size).astype("float32"))
    assert build(name, num_classes=7, in_channels=channels, input_size=size).forward(x).shape == (3, 7)


@EACH
def test_what_training_multiplies(name):
    """A step in which every gradient is 0 shows the decay, one without decay the rate."""
    twice = {"conv1.bias", "conv2.bias", "fc4.bias", "fc5.bias"}
    twice |= {"conv3.bias"} if name == "cifar10_quick" else set()
    decays = {"fc4.weight": 250.0, "fc4.bias": 0.0} if name == "cifar10_full" else {}
    for weight_decay, gradient in ((0.004, 0.0), (0.0, 1.0)):
        net = build(name).astype("float64")
        for _, layer, key in net.parameters():
            layer.params[key][...], layer.grads[key] = 1.0, layer.params[key] * 0 + gradient
        SGD(net, 0.001, 0.9, weight_decay, LR_MULTIPLIERS[name], DECAY_MULTIPLIERS[name]).step()
        for full_name, parameter in net.params.items():
            change = gradient + weight_decay * decays.get(full_name, 1.0)
            expected = 1 - 0.001 * (2 if full_name in twice else 1) * change
            assert to_host(parameter) == pytest.approx(expected, abs=1e-15), full_name


@EACH
def test_what_does_not_fit_is_refused(name):
    for options, message in [
        ({"num_classes": 0}, f"{name}: num_classes: expected 1 or more, got 0"),
        ({"in_channels": 0}, f"{name}: in_channels: expected 1 or more, got 0"),
        ({"input_size": -32}, f"{name}: input_size: expected 1 or more, got -32"),
        ({"input_size": 7}, "pool3"),
    ]:
        with pytest.raises(ValueError, match=message):
            build(name, **options)
    with pytest.raises(TypeError, match=f"{name}: in_channels: expected a whole number, got '3'"):
        build(name, in_channels="3")


@EACH
def test_gradient(name):
    check_gradients(seen(name, in_channels=2, input_size=11), (2, 11, 11), samples=12)


@EACH
def test_two_devices(name):
    check_two_devices(seen(name, input_size=12), (3, 12, 12))


@EACH
def test_it_learns(name):
    """By heart, from its own start, eight images that differ in their mean, of pixels less their mean image."""
    images, labels = 20 * normal(1, 8, 3, 32, 32).astype("float32"), np.arange(8) % 2
    images += np.where(labels, 40, -40).astype("float32")[:, None, None, None]
    net, loss = build(name, num_classes=2), SoftmaxCrossEntropy()
    optimizer = SGD(net, 0.001, 0.9, 0.004, LR_MULTIPLIERS[name], DECAY_MULTIPLIERS[name])
    first = loss.forward(net.forward(to_device(images)), labels)
    for _ in range(150):
        loss.forward(net.forward(to_device(images), train=True), labels)
        net.backward(loss.backward())
        optimizer.step()
    assert loss.forward(net.forward(to_device(images)), labels) < 0.5 * first
