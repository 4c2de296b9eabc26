"""How the weights of a network start: named streams, a standard deviation for all or for each, He's and Xavier's."""

import math

import numpy as np
import pytest

from tinynet import Conv2d, Flatten, Linear, ReLU, Sequential
from tinynet.backend import to_host
from tinynet.initializers import blank, he_normal, initialize, normal, xavier_uniform
from tinynet.random import stream

FAN_IN = {"conv1": 4 * 5 * 5, "conv2": 30 // 3 * 3 * 5, "fc3": 120}


def make_net() -> Sequential:
    layers = [
        ("conv1", Conv2d(4, 30, 5)),
        ("relu1", ReLU()),
        ("conv2", Conv2d(30, 60, (3, 5), groups=3)),
        ("flatten", Flatten()),
        ("fc3", Linear(120, 50)),
    ]
    return Sequential(layers)


def weights(net: Sequential) -> dict[str, np.ndarray]:
    return {layer.name: to_host(layer.params["weight"]).copy() for layer in net if layer.params}


@pytest.mark.parametrize(
    ("options", "draw"),
    [
        ({}, he_normal),
        ({"method": "he"}, he_normal),
        ({"std": 0.01}, lambda shape, generator: normal(shape, generator, 0.01)),
        ({"method": "xavier"}, xavier_uniform),
    ],
)
def test_every_weight_has_a_stream_of_its_own(options, draw):
    net = make_net()
    initialize(net, 5, **options)
    for name, weight in weights(net).items():
        expected = draw(weight.shape, stream(5, "initialize", f"{name}.weight"))
        assert weight.tobytes() == expected.tobytes(), name


def test_a_standard_deviation_for_each_layer():
    std = {"conv1": 0.0001, "conv2": 0.01, "fc3": 0.5}
    net, same = make_net(), make_net()
    initialize(net, 5, std=std)
    for name, weight in weights(net).items():
        assert weight.std() == pytest.approx(std[name], rel=4 / weight.size**0.5), name
        assert abs(weight.mean()) < 5 * std[name] / weight.size**0.5, name
    initialize(same, 5, std=0.01)
    assert weights(same)["conv2"].tobytes() == weights(net)["conv2"].tobytes(), "the same draws as with one for all"


@pytest.mark.parametrize("method", ["he", "xavier"])
def test_a_standard_deviation_for_some_layers_and_a_method_for_the_rest(method):
    net, by_method, by_std = make_net(), make_net(), make_net()
    initialize(net, 5, std={"conv2": 0.01}, method=method)
    initialize(by_method, 5, method=method)
    initialize(by_std, 5, std=0.01)
    for name, weight in weights(net).items():
        expected = weights(by_std if name == "conv2" else by_method)[name]
        assert weight.tobytes() == expected.tobytes(), name


def test_a_standard_deviation_of_nothing_is_zeros():
    net = make_net()
    initialize(net, std={"conv1": 0, "conv2": 0, "fc3": 1})
    assert [bool(weight.any()) for weight in weights(net).values()] == [False, False, True]


def test_layers_inside_a_layer_are_named_in_full():
    net = Sequential([("features", Sequential([("conv1", Conv2d(3, 40, 5))])), ("flatten", Flatten())])
    initialize(net, std={"features.conv1": 0.25})
    assert to_host(net["features"]["conv1"].params["weight"]).std() == pytest.approx(0.25, rel=0.1)


def test_xaviers_bounds():
    """Uniform within sqrt(3 / fan-in), where fan-in counts what one output sees: a group's channels."""
    net = make_net()
    initialize(net, 1, method="xavier")
    for name, weight in weights(net).items():
        bound = math.sqrt(3 / FAN_IN[name])
        assert 0.99 * bound < weight.max() <= bound * (1 + 1e-6), name
        assert -bound * (1 + 1e-6) <= weight.min() < -0.99 * bound, name
        assert weight.std() == pytest.approx(FAN_IN[name] ** -0.5, rel=4 / weight.size**0.5), name
        quarters, _ = np.histogram(weight, 4, (-bound, bound))
        assert quarters / weight.size == pytest.approx(np.full(4, 0.25), abs=0.03), name


def test_biases_start_at_0_but_for_those_that_are_named():
    net = make_net()
    for options in ({}, {"std": 0.01}, {"std": {"conv1": 1, "conv2": 1, "fc3": 1}}, {"method": "xavier"}):
        for layer in net:
            if layer.params:
                layer.params["bias"][...] = 7
        initialize(net, biases={"conv2": 1, "fc3": 0.5}, **options)
        assert [float(net[name].params["bias"].max()) for name in FAN_IN] == [0, 1, 0.5]
        assert [float(net[name].params["bias"].min()) for name in FAN_IN] == [0, 1, 0.5]


@pytest.mark.parametrize("options", [{"std": 0.01}, {"method": "xavier"}, {"std": dict.fromkeys(FAN_IN, 0.1)}])
def test_the_dtype_of_a_network_stays(options):
    net, single = make_net().astype("float64"), make_net()
    for each in (net, single):
        initialize(each, **options)
    for name, weight in weights(net).items():
        assert weight.dtype == "float64" and np.array_equal(weight, weights(single)[name])


def test_within_blank_nothing_is_drawn():
    with blank(20_000):
        net = make_net()
        initialize(net, std={"conv1": 1, "conv2": 1, "fc3": 1}, biases={"conv1": 1})
        initialize(net, method="xavier")
    assert not any(to_host(parameter).any() for parameter in net.params.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"std": {"conv1": 1, "fc3": 1}}, "expected a std for each of conv1, conv2, fc3; conv2 missing$"),
        ({"std": {"conv1": 1, "conv2": 1, "fc3": 1, "relu1": 1}}, "of conv1, conv2, fc3; relu1 unknown$"),
        ({"std": {"conv1": 1, "fc2": 1, 3: 1}}, "conv2, fc3 missing and fc2, 3 unknown$"),
        ({"std": {"conv1": 1, "conv2": -1, "fc3": 1}}, "expected a std of 0 or more, got -1 for conv2"),
        ({"std": {"conv1": float("nan"), "conv2": 1, "fc3": 1}}, "expected a std of 0 or more, got nan for conv1"),
        ({"std": -0.01}, "expected a std of 0 or more, got -0.01 for conv1"),
        ({"std": 0.1, "method": "xavier"}, "expected a std or a method, got std=0.1 and method='xavier'"),
        ({"std": {"conv3": 0.1}, "method": "he"}, "conv3 unknown$"),
        ({"biases": {"conv2": 1, "relu1": 1}}, "no layer with a bias is called relu1$"),
        ({"method": "lecun"}, "method must be 'he' or 'xavier', got 'lecun'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_changes(options, message):
    net = make_net()
    before = weights(net)
    with pytest.raises(ValueError, match=f"initialize: .*{message}"):
        initialize(net, **options)
    assert all(np.array_equal(weight, before[name]) for name, weight in weights(net).items())
