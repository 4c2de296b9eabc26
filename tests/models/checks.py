"""What the tests of every model share: its table of sizes, its start, and the gradient of the whole network."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from inputs import assert_close, normal
from parallel.networks import training_step

from tinynet.backend import to_device, to_host
from tinynet.gradient_check import check_network
from tinynet.layers import Dropout, LocalResponseNorm
from tinynet.losses import SoftmaxCrossEntropy
from tinynet.network import Sequential
from tinynet.optimizers import SGD
from tinynet.parallel import partition


def sizes(net: Sequential, image: tuple[int, int, int]) -> dict[str, tuple]:
    """Name -> (output shape, parameters, multiply-adds per image) of each layer."""
    return {row.name: (row.output_shape, row.parameters, row.multiply_adds) for row in net.summary(image).rows}


def check_hes_start(net: Sequential) -> None:
    """He et al. 2015, section 2.2: a standard deviation of sqrt(2 / fan-in), biases of 0."""
    for name, parameter in net.params.items():
        values = to_host(parameter)
        if name.endswith("weight"):
            deviation = (2 / values[0].size) ** 0.5
            assert values.std() == pytest.approx(deviation, rel=4 / values.size**0.5), name
            assert abs(values.mean()) < 5 * deviation / values.size**0.5, name
        else:
            assert not values.any(), name


def check_seed(make_net: Callable[..., Sequential]) -> None:
    """The seed names the weights, which differ from layer to layer, and dropout's masks."""
    first, again, other = make_net(seed=1), make_net(seed=1), make_net(seed=2)
    for name, parameter in first.params.items():
        assert (parameter == again.params[name]).all(), name
        if name.endswith("weight"):
            assert (parameter != other.params[name]).any(), name
    weights = [to_host(value).ravel()[:50] for name, value in first.params.items() if name.endswith("weight")]
    for one, next_one in pairwise(weights):
        size = min(len(one), len(next_one))
        assert not np.allclose(one[:size] / one[:size].std(), next_one[:size] / next_one[:size].std())
    assert all(layer.seed == 1 for layer in first if isinstance(layer, Dropout))


def check_deviations(net: Sequential, std: dict[str, float]) -> None:
    """A start from N(0, std^2), with a standard deviation for each layer, and biases of 0."""
    assert {name.rpartition(".")[0] for name in net.params} == std.keys()
    for name, deviation in std.items():
        weight, bias = (to_host(net.params[f"{name}.{key}"]) for key in ("weight", "bias"))
        assert weight.std() == pytest.approx(deviation, rel=4 / weight.size**0.5), name
        assert abs(weight.mean()) < 5 * deviation / weight.size**0.5, name
        assert not bias.any(), name


def check_two_devices(net: Sequential, image: tuple[int, int, int]) -> None:
    """Three steps on one device and on two, each with half of every layer: the same logits and gradients."""
    net.astype("float64")
    towers = partition(net, 2)
    optimizers = [SGD(each, lr=0.01) for each in (net, towers)]
    for step in range(3):
        x, target = normal(step, 4, *image), normal(step + 100, 4, *net.output_shape(image))
        expected = training_step(net, x, target, optimizers[0], step)
        found = training_step(towers, x, target, optimizers[1], step)
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            assert abs(values).max() > 1e-6, f"step {step}, {name}: nothing to compare"
            assert_close(found[name], values, 1e-12, f"step {step}, {name}")


def check_gradients(net: Sequential, image: tuple[int, int, int], samples: int | None = None) -> None:
    """The gradient of the network through its loss, dropout on, for two images and five classes.

    With a normalisation strong enough to be seen, and biases that keep a small network's units alive.
    """
    for layer in net:
        if isinstance(layer, LocalResponseNorm):
            layer.alpha = 0.5
    for name, parameter in net.params.items():
        if name.endswith("bias"):
            parameter[...] = 0.1
    x, labels = normal(1, 2, *image), np.array([1, 3])
    assert check_network(net, x, labels, samples=samples) < 1e-6
    net.astype("float64")
    net.set_step(0)
    loss = SoftmaxCrossEntropy()
    loss.forward(net.forward(to_device(x), train=True), labels)
    net.backward(loss.backward())
    for name, gradient in net.grads.items():
        assert abs(to_host(gradient)).max() > 1e-4, f"{name}: too small a gradient for the check to see"
