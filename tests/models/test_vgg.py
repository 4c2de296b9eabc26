"""VGG: the sizes of the paper's table to the last digit for four depths, its layers, and its gradient as a whole."""

import numpy as np
import pytest
from inputs import normal
from models.checks import check_gradients, check_hes_start, check_seed, check_two_devices, sizes

from tinynet.backend import to_device, to_host
from tinynet.layers import Conv2d, Linear, MaxPool2d
from tinynet.models import vgg, vgg_cifar

# Simonyan and Zisserman 2014, table 1, configuration D: output, weights and biases, multiply-adds per image
PAPER_16 = {
    "conv1_1": ((64, 224, 224), 1_792, 86_704_128),
    "conv1_2": ((64, 224, 224), 36_928, 1_849_688_064),
    "pool1": ((64, 112, 112), 0, 0),
    "conv2_1": ((128, 112, 112), 73_856, 924_844_032),
    "conv2_2": ((128, 112, 112), 147_584, 1_849_688_064),
    "pool2": ((128, 56, 56), 0, 0),
    "conv3_1": ((256, 56, 56), 295_168, 924_844_032),
    "conv3_2": ((256, 56, 56), 590_080, 1_849_688_064),
    "conv3_3": ((256, 56, 56), 590_080, 1_849_688_064),
    "pool3": ((256, 28, 28), 0, 0),
    "conv4_1": ((512, 28, 28), 1_180_160, 924_844_032),
    "conv4_2": ((512, 28, 28), 2_359_808, 1_849_688_064),
    "conv4_3": ((512, 28, 28), 2_359_808, 1_849_688_064),
    "pool4": ((512, 14, 14), 0, 0),
    "conv5_1": ((512, 14, 14), 2_359_808, 462_422_016),
    "conv5_2": ((512, 14, 14), 2_359_808, 462_422_016),
    "conv5_3": ((512, 14, 14), 2_359_808, 462_422_016),
    "pool5": ((512, 7, 7), 0, 0),
    "flatten": ((25088,), 0, 0),
    "fc6": ((4096,), 102_764_544, 102_760_448),
    "fc7": ((4096,), 16_781_312, 16_777_216),
    "fc8": ((1000,), 4_097_000, 4_096_000),
}
PUBLISHED = {  # parameters, multiply-adds per image
    11: (132_863_336, 7_609_090_048),
    13: (133_047_848, 11_308_466_176),
    16: (138_357_544, 15_470_264_320),
    19: (143_667_240, 19_632_062_464),
}
CONVOLUTIONS = {11: "1 1 2 2 2", 13: "2 2 2 2 2", 16: "2 2 3 3 3", 19: "2 2 4 4 4"}  # in each stage


def small(depth: int = 11, **options):
    """A few kernels per layer, on the smallest input that has a pixel left after pool5."""
    return vgg(depth, **{"num_classes": 5, "width": 0.04, "input_size": 32, **options})


def test_the_papers_sizes():
    net = vgg()
    rows, summary = sizes(net, (3, 224, 224)), net.summary((3, 224, 224))
    for name, expected in PAPER_16.items():
        assert rows[name] == expected, name
    assert (summary.parameters, summary.multiply_adds) == PUBLISHED[16]


@pytest.mark.parametrize("depth", PUBLISHED)
def test_every_depths_sizes(depth):
    """Of the convolutions at full width on 32 x 32 pixels, a 49th of 224 x 224; fc6, fc7 and fc8 are as in 16."""
    rows = sizes(vgg(depth, num_classes=1, input_size=32), (3, 32, 32))
    convolutions = [row for name, row in rows.items() if name.startswith("conv")]
    connected = [PAPER_16[name] for name in ("fc6", "fc7", "fc8")]
    parameters = sum(row[1] for row in convolutions + connected)
    multiply_adds = 49 * sum(row[2] for row in convolutions) + sum(row[2] for row in connected)
    assert (parameters, multiply_adds) == PUBLISHED[depth]
    assert rows["pool5"][0] == (512, 1, 1)
    assert rows["fc6"][0] == rows["fc7"][0] == (4096,)


@pytest.mark.parametrize("depth", PUBLISHED)
def test_the_order_of_layers(depth):
    net, expected = small(depth), []
    for stage, convolutions in enumerate(map(int, CONVOLUTIONS[depth].split()), start=1):
        for number in range(1, convolutions + 1):
            expected += [f"conv{stage}_{number}", f"relu{stage}_{number}"]
        expected.append(f"pool{stage}")
    expected += ["flatten", "fc6", "relu6", "dropout6", "fc7", "relu7", "dropout7", "fc8"]
    assert list(net.layers) == expected
    assert sum(isinstance(layer, Conv2d | Linear) for layer in net) == depth
    for layer in net:
        if isinstance(layer, Conv2d):
            assert (layer.kernel_size, layer.stride, layer.padding, layer.groups) == ((3, 3), (1, 1), 1, 1)
        if isinstance(layer, MaxPool2d):
            assert (layer.kernel_size, layer.stride) == ((2, 2), (2, 2))


def test_the_start():
    check_hes_start(small(width=0.25, num_classes=50))
    check_seed(small)


@pytest.mark.parametrize("size", [32, 64, 75])
def test_input_sizes(size):
    x = to_device(normal(1, 2, 3, size, size).astype("float32"))
    assert small(input_size=size).forward(x).shape == (2, 5)


def test_a_deep_networks_signal_reaches_its_end():
    """What He's start is for: the size of the logits is that of the input, in place of nothing or infinity."""
    net = small(19, width=0.5, num_classes=100)
    logits = to_host(net.forward(to_device(normal(1, 4, 3, 32, 32).astype("float32"))))
    assert 0.2 < logits.std() < 5
    assert np.ptp(logits, axis=0).max() > 0.1, "and it tells images apart"


def test_what_does_not_fit_is_refused():
    for options, message in [
        ({"depth": 12}, "depth must be 11, 13, 16 or 19, got 12"),
        ({"depth": "D"}, "depth must be 11, 13, 16 or 19, got 'D'"),
        ({"input_size": 31}, "pool5"),
        ({"width": 0}, "width > 0"),
        ({"num_classes": 0}, "num_classes >= 1"),
        ({"dropout": 1.0}, "p < 1"),
        ({"width": float("inf")}, "width > 0"),
        ({"in_channels": 0}, "vgg: in_channels: expected 1 or more, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            small(**options)
    with pytest.raises(TypeError, match="vgg: in_channels: expected a whole number, got '3'"):
        small(in_channels="3")


@pytest.mark.parametrize("channels", [1, 4])
def test_channels(channels):
    net = small(in_channels=channels)
    assert net["conv1_1"].params["weight"].shape == (3, channels, 3, 3)
    assert net.forward(to_device(normal(1, 2, channels, 32, 32).astype("float32"))).shape == (2, 5)
    for name, parameter in small(in_channels=3).params.items():
        assert name == "conv1_1.weight" or (parameter == net.params[name]).all(), name


@pytest.mark.parametrize("depth", PUBLISHED)
def test_gradient(depth):
    check_gradients(small(depth), (3, 32, 32), samples=6)


# ---- the form for CIFAR-10 ----

# of depth 16, 13 convolutions and 2 linear layers: output, weights and biases, multiply-adds per image
CIFAR = {
    "conv1_1": ((64, 32, 32), 1_792, 1_769_472),
    "conv1_2": ((64, 32, 32), 36_928, 37_748_736),
    "pool1": ((64, 16, 16), 0, 0),
    "conv2_1": ((128, 16, 16), 73_856, 18_874_368),
    "conv2_2": ((128, 16, 16), 147_584, 37_748_736),
    "pool2": ((128, 8, 8), 0, 0),
    "conv3_1": ((256, 8, 8), 295_168, 18_874_368),
    "conv3_2": ((256, 8, 8), 590_080, 37_748_736),
    "conv3_3": ((256, 8, 8), 590_080, 37_748_736),
    "pool3": ((256, 4, 4), 0, 0),
    "conv4_1": ((512, 4, 4), 1_180_160, 18_874_368),
    "conv4_2": ((512, 4, 4), 2_359_808, 37_748_736),
    "conv4_3": ((512, 4, 4), 2_359_808, 37_748_736),
    "pool4": ((512, 2, 2), 0, 0),
    "conv5_1": ((512, 2, 2), 2_359_808, 9_437_184),
    "conv5_2": ((512, 2, 2), 2_359_808, 9_437_184),
    "conv5_3": ((512, 2, 2), 2_359_808, 9_437_184),
    "pool5": ((512, 1, 1), 0, 0),
    "flatten": ((512,), 0, 0),
    "fc6": ((512,), 262_656, 262_144),
    "fc7": ((10,), 5_130, 5_120),
}


def small_cifar(depth: int = 11, **options):
    """A few kernels per layer."""
    return vgg_cifar(depth, **{"num_classes": 5, "width": 0.04, **options})


def test_cifars_sizes():
    net = vgg_cifar()
    rows, summary = sizes(net, (3, 32, 32)), net.summary((3, 32, 32))
    for name, expected in CIFAR.items():
        assert rows[name] == expected, name
    assert summary.parameters == sum(parameters for _, parameters, _ in CIFAR.values()) == 14_982_474
    assert sum(value.size for name, value in net.params.items() if name.endswith("weight")) == 14_977_728
    assert net["dropout6"].p == 0.5


@pytest.mark.parametrize("depth", PUBLISHED)
def test_cifars_layers(depth):
    """The paper's up to pool5, then one hidden layer."""
    papers, names = list(small(depth).layers), list(small_cifar(depth, dropout=0.25, seed=3).layers)
    assert names == [*papers[: papers.index("fc6")], "fc6", "relu6", "dropout6", "fc7"]
    dropout = small_cifar(depth, dropout=0.25, seed=3)["dropout6"]
    assert (dropout.p, dropout.seed) == (0.25, 3)


def test_cifars_start():
    check_hes_start(small_cifar(width=0.25, num_classes=50))
    check_seed(small_cifar)


@pytest.mark.parametrize(("channels", "size"), [(1, 32), (3, 75)])
def test_cifars_input_sizes(channels, size):
    x = to_device(normal(1, 2, channels, size, size).astype("float32"))
    assert small_cifar(in_channels=channels, input_size=size).forward(x).shape == (2, 5)


def test_what_does_not_fit_cifars_is_refused():
    for options, message in [
        ({"depth": 12}, "vgg_cifar: depth must be 11, 13, 16 or 19, got 12"),
        ({"input_size": 31}, "pool5"),
        ({"width": 0}, "vgg_cifar: expected width > 0"),
        ({"num_classes": 0}, "num_classes >= 1"),
        ({"in_channels": -1}, "vgg_cifar: in_channels: expected 1 or more, got -1"),
        ({"dropout": 1.0}, "p < 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            small_cifar(**options)


def test_gradient_of_cifars():
    check_gradients(small_cifar(16), (3, 32, 32), samples=6)


def test_cifars_on_two_devices():
    check_two_devices(small_cifar(width=1 / 16), (3, 32, 32))
