"""Parts switched off, against networks whose weights for them are zero, and towers against those of `partition`."""

import numpy as np
import pytest
from inputs import assert_close, normal

from tinynet import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, Tanh, initializers, models, parallel
from tinynet.backend import to_device, to_host
from tinynet.inspection.saliency import input_gradient
from tinynet.inspection.what_if import Switches, WhatIf, places, towers_of

SHAPE, CROP = (3, 67, 67), 67


def make_net() -> Sequential:
    """A narrow AlexNet in two groups, whose biases are no zeros."""
    net = models.alexnet(num_classes=5, width=0.06, input_size=CROP, initialization="he")
    for number, (_, layer, key) in enumerate(net.parameters()):
        if key == "bias":
            layer.params[key] = to_device(0.1 * normal(number, *layer.params[key].shape).astype("float32"))
    return net


X = normal(1, 2, *SHAPE).astype("float32")


def with_weights(net: Sequential, change) -> np.ndarray:
    """The output for X of a net whose parameters, on the host, were given to change(name, array)."""
    for name, layer, key in net.parameters():
        array = np.array(to_host(layer.params[key]))
        change(name, array)
        layer.params[key] = to_device(array)
    return to_host(net.forward(to_device(X)))


def test_nothing_off_is_the_network():
    net = make_net()
    what_if = WhatIf(net, SHAPE, 2)
    for _ in range(2):
        np.testing.assert_array_equal(to_host(what_if.forward(to_device(X))), to_host(net.forward(to_device(X))))


@pytest.mark.parametrize("layer", ["conv1", "conv2", "conv4", "fc6", "fc8"])
def test_a_channel_off_is_a_kernel_of_zeros(layer):
    channels = [1, 3]

    def without(name: str, array: np.ndarray) -> None:
        if name.startswith(f"{layer}."):
            array[channels] = 0

    found = to_host(WhatIf(make_net(), SHAPE, 2).forward(to_device(X), Switches({layer: channels})))
    expected = with_weights(make_net(), without)
    assert_close(found, expected, 1e-6)
    assert abs(found - to_host(make_net().forward(to_device(X)))).max() > 1e-3


def test_a_channel_off_behind_a_layer_without_weights():
    net = make_net()
    found: dict[str, np.ndarray] = {}
    WhatIf(net, SHAPE, 2).forward(
        to_device(X), Switches({"pool1": [0]}), lambda name, y: found.setdefault(name, np.array(to_host(y)))
    )
    whole = net.activations(to_device(X))
    assert not found["pool1"][:, 0].any() and whole["pool1"][:, 0].any()
    np.testing.assert_array_equal(found["pool1"][:, 1:], whole["pool1"][:, 1:])
    assert (found["conv2"] != whole["conv2"]).any()


@pytest.mark.parametrize("tower", [0, 1])
def test_a_tower_off_is_one_of_zeros(tower):
    split = places(make_net(), SHAPE)

    def without(name: str, array: np.ndarray) -> None:
        if split[name.rpartition(".")[0]].split:
            half = len(array) // 2
            array[tower * half : (tower + 1) * half] = 0

    found = to_host(WhatIf(make_net(), SHAPE, 2).forward(to_device(X), Switches(towers=[tower])))
    assert_close(found, with_weights(make_net(), without), 1e-6)


@pytest.mark.parametrize("layer", ["conv3", "fc6", "fc7"])
@pytest.mark.parametrize("used", [False, True])
def test_no_exchange_is_one_of_zeros_between_the_towers(layer, used):
    """Used: its layers have trained, and lie in memory of their own."""

    def without(name: str, array: np.ndarray) -> None:
        if name == f"{layer}.weight":
            rows, columns = array.shape[0] // 2, array.shape[1] // 2
            array[:rows, columns:] = array[rows:, :columns] = 0

    net = make_net()
    if used:
        input_gradient(net, to_device(X[:1]), 0)
    found = to_host(WhatIf(net, SHAPE, 2).forward(to_device(X), Switches(exchanges=[layer])))
    assert_close(found, with_weights(make_net(), without), 1e-5)
    assert abs(found - to_host(make_net().forward(to_device(X)))).max() > 1e-3


def test_what_crosses_is_what_the_ledger_counts():
    net = make_net()
    towers = parallel.partition(net, 2)
    towers.forward(to_device(X[:1]))
    found = places(net, SHAPE, 2)
    crossings = [one for one in towers.ledger.crossings if one.operation != "broadcast"]  # of the input, on GPUs
    expected = {(one.layer, one.operation): one.received[0] for one in crossings}
    told = {(name, "all_gather"): place.gathered for name, place in found.items() if place.gathered}
    told |= {(name, "all_reduce"): place.summed for name, place in found.items() if place.summed}
    assert told == expected and {name for name, _ in told} == {"conv3", "fc6", "fc7", "fc8"}
    assert found["conv2"].split and not found["fc8"].split
    count = sum(sum(place.parameters) for place in found.values())
    assert count == net.summary(SHAPE).parameters


def test_one_tower_of_other_layers():
    net = Sequential(
        [
            ("conv1", Conv2d(1, 4, 3)),
            ("tanh1", Tanh()),
            ("body", Sequential([("pool", MaxPool2d(2)), ("flatten", Flatten()), ("fc2", Linear(16, 6))])),
            ("relu2", ReLU(inplace=True)),
            ("fc3", Linear(6, 3)),
        ]
    )
    initializers.initialize(net, 3)
    x = to_device(normal(4, 2, 1, 6, 6).astype("float32"))
    what_if = WhatIf(net, (1, 6, 6))
    assert towers_of(net) == 1 and not any(place.split or place.gathered for place in what_if.places.values())
    found = to_host(what_if.forward(x, Switches({"body.fc2": [5]})))
    y = np.array(net.activations(x, ["relu2"])["relu2"])
    y[:, 5] = 0
    assert_close(found, to_host(net["fc3"].forward(to_device(y))), 1e-6)


def test_what_is_not_there_cannot_be_off():
    what_if = WhatIf(make_net(), SHAPE, 2)
    for switches, error, told in (
        (Switches({"conv9": [0]}), KeyError, "no layer named 'conv9'"),
        (Switches({"conv1": [6]}), ValueError, "conv1: expected channels from 0 to 5, got 6"),
        (Switches(towers=[2]), ValueError, "tower 2: expected one of 2"),
        (Switches(exchanges=["conv2"]), ValueError, "conv2: the towers exchange nothing before it"),
        (Switches(exchanges=["convx"]), KeyError, "no layer named 'convx'"),
    ):
        with pytest.raises(error, match=told):
            what_if.forward(to_device(X), switches)


def test_a_pass_that_is_given_up_leaves_nothing_behind():
    net, x = make_net(), to_device(X)
    what_if, names = WhatIf(net, SHAPE, 2), []

    def seen(name: str, y) -> None:
        names.append(name)
        if name == "conv2":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        what_if.forward(x, seen=seen)
    assert names == ["conv1", "relu1", "lrn1", "pool1", "conv2"]
    np.testing.assert_array_equal(to_host(what_if.forward(x)), to_host(net.forward(x)))
    np.testing.assert_array_equal(to_host(x), X)  # the caller's stays as it was


@pytest.mark.parametrize(("groups", "towers"), [([1, 2, 2], 2), ([1, 1], 1), ([2, 4], 1), ([8], 1), ([4, 1], 4)])
def test_towers_are_groups_that_agree(groups, towers):
    net = Sequential([(f"conv{number}", Conv2d(8, 8, 1, groups=one)) for number, one in enumerate(groups)])
    assert towers_of(net) == towers
    WhatIf(net, (8, 3, 3), towers).forward(to_device(normal(1, 1, 8, 3, 3)))
