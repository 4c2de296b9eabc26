"""AlexNet: the sizes of the paper's table to the last digit, its variations, its start, and its gradient as a whole."""

import numpy as np
import pytest
from inputs import assert_close, normal
from models.checks import check_gradients, check_hes_start, check_seed, sizes

from tinynet.backend import to_device, to_host
from tinynet.layers import Conv2d, Linear
from tinynet.losses import SoftmaxCrossEntropy
from tinynet.models import alexnet, alexnet_torchvision
from tinynet.optimizers import SGD

# Krizhevsky et al. 2012, section 3.5 and figure 2: output, weights and biases, multiply-adds per image
PAPER = {
    "conv1": ((96, 55, 55), 34_944, 105_415_200),
    "pool1": ((96, 27, 27), 0, 0),
    "conv2": ((256, 27, 27), 307_456, 223_948_800),
    "pool2": ((256, 13, 13), 0, 0),
    "conv3": ((384, 13, 13), 885_120, 149_520_384),
    "conv4": ((384, 13, 13), 663_936, 112_140_288),
    "conv5": ((256, 13, 13), 442_624, 74_760_192),
    "pool5": ((256, 6, 6), 0, 0),
    "flatten": ((9216,), 0, 0),
    "fc6": ((4096,), 37_752_832, 37_748_736),
    "fc7": ((4096,), 16_781_312, 16_777_216),
    "fc8": ((1000,), 4_097_000, 4_096_000),
}


def small(**options):
    """A few kernels per layer, on the smallest input that has a pixel left after pool5."""
    return alexnet(**{"num_classes": 5, "width": 0.05, "input_size": 67, "initialization": "he", **options})


def test_the_papers_sizes():
    net = alexnet()
    summary = net.summary((3, 227, 227))
    assert summary.parameters == 60_965_224
    assert summary.multiply_adds == 724_406_816
    rows = sizes(net, (3, 227, 227))
    for name, expected in PAPER.items():
        assert rows[name] == expected, name
    assert sum(parameters for _, parameters, _ in PAPER.values()) == summary.parameters, "and none elsewhere"
    assert "60,965,224" in str(summary)
    assert "724,406,816" in str(summary)


def test_the_order_of_layers():
    first = ["conv1", "relu1", "lrn1", "pool1", "conv2", "relu2", "lrn2", "pool2"]
    rest = ["conv3", "relu3", "conv4", "relu4", "conv5", "relu5", "pool5", "flatten"]
    rest += ["fc6", "relu6", "dropout6", "fc7", "relu7", "dropout7", "fc8"]
    assert list(small().layers) == first + rest
    swapped = ["conv1", "relu1", "pool1", "lrn1", "conv2", "relu2", "pool2", "lrn2"]
    assert list(small(order="caffenet").layers) == swapped + rest
    assert list(small(lrn=False).layers) == [name for name in first if "lrn" not in name] + rest


def test_groups():
    paper, whole = small(width=0.25), small(width=0.25, groups=1)
    for name, groups in {"conv1": 1, "conv2": 2, "conv3": 1, "conv4": 2, "conv5": 2, "lrn1": 2, "lrn2": 2}.items():
        assert paper[name].groups == groups, name
        assert whole[name].groups == 1, name
        if name in ("conv2", "conv4", "conv5"):
            assert whole[name].params["weight"].size == 2 * paper[name].params["weight"].size


def test_lrn_and_pooling_are_the_papers():
    net = small()
    for name in ("lrn1", "lrn2"):
        layer = net[name]
        assert (layer.size, layer.alpha, layer.beta, layer.k) == (5, 1e-4, 0.75, 2.0)
        assert not layer.average
        assert not layer.within_channel
    for name in ("pool1", "pool2", "pool5"):
        assert (net[name].kernel_size, net[name].stride) == ((3, 3), (2, 2))
    assert net["dropout6"].p == net["dropout7"].p == 0.5


def test_the_papers_start():
    """Section 5: N(0, 0.01), biases of 1 in conv2, conv4, conv5 and the hidden fully connected layers."""
    net = alexnet(width=0.25, num_classes=50, input_size=99, initialization="paper")
    for name, layer in net.layers.items():
        if isinstance(layer, Conv2d | Linear):
            weight, bias = (to_host(layer.params[key]) for key in ("weight", "bias"))
            assert weight.std() == pytest.approx(0.01, rel=0.05), name
            assert abs(weight.mean()) < 5 * 0.01 / weight.size**0.5, name
            assert (bias == (1 if name in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0)).all(), name


def test_caffes_start():
    """bvlc_alexnet: biases of 0.1 in place of 1, and N(0, 0.005) in fc6 and fc7."""
    net = alexnet(width=0.25, num_classes=50, input_size=99, initialization="caffe")
    for name, layer in net.layers.items():
        if isinstance(layer, Conv2d | Linear):
            weight, bias = (to_host(layer.params[key]) for key in ("weight", "bias"))
            assert weight.std() == pytest.approx(0.005 if name in ("fc6", "fc7") else 0.01, rel=0.05), name
            assert (bias == np.float32(0.1 if name in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0)).all(), name


def test_the_programs_start():
    """N(0, 0.03) in conv3, conv4 and conv5, and all else as in the paper, to the last bit."""
    paper, program = (alexnet(width=0.25, num_classes=50, initialization=name) for name in ("paper", "program"))
    for name, value in program.params.items():
        factor = 3 if name in ("conv3.weight", "conv4.weight", "conv5.weight") else 1
        assert to_host(value) == pytest.approx(factor * to_host(paper.params[name]), rel=1e-6), name


def test_hes_start():
    check_hes_start(alexnet(width=0.25, num_classes=50, input_size=99, initialization="he"))


def test_hes_start_with_the_papers_conv1():
    starts = {name: alexnet(width=0.25, num_classes=50, input_size=99, initialization=name)
              for name in ("paper", "he", "he-conv1")}  # fmt: skip
    for name, parameter in starts["he-conv1"].params.items():
        same_as = "paper" if name == "conv1.weight" else "he"
        assert to_host(parameter).tobytes() == to_host(starts[same_as].params[name]).tobytes(), name


def test_the_seed_names_the_start_and_the_masks():
    check_seed(small)


@pytest.mark.parametrize("size", [67, 99, 224, 227])
def test_input_sizes(size):
    net = small(input_size=size)
    x = to_device(normal(1, 2, 3, size, size).astype("float32"))
    assert net.forward(x).shape == (2, 5)


def test_the_net_on_one_device():
    """Section 3.2's footnote: half of the kernels, but as many in the last convolution and the neurons after it."""
    net = alexnet(groups=1, kernels=0.5)
    shapes = {name: layer.params["weight"].shape for name, layer in net.layers.items() if layer.params}
    assert shapes == {
        "conv1": (48, 3, 11, 11),
        "conv2": (128, 48, 5, 5),
        "conv3": (192, 128, 3, 3),
        "conv4": (192, 192, 3, 3),
        "conv5": (256, 192, 3, 3),
        "fc6": (4096, 9216),
        "fc7": (4096, 4096),
        "fc8": (1000, 4096),
    }
    small = alexnet(width=0.25, groups=2, kernels=0.5, input_size=67)
    assert [small[f"conv{number}"].out_channels for number in range(1, 6)] == [12, 32, 48, 48, 64]


def test_what_does_not_fit_is_refused():
    for options, message in [
        ({"input_size": 60}, "pool5"),
        ({"input_size": 8}, "conv1"),
        ({"order": "vgg"}, "order must be 'paper' or 'caffenet', got 'vgg'"),
        ({"initialization": "zeros"}, "initialization must be one of paper, program, caffe, he, he-conv1, got 'zeros'"),
        ({"width": 0}, "width > 0"),
        ({"kernels": 0}, "alexnet: expected kernels > 0, got 0"),
        ({"groups": 0}, "groups: expected 1 or more"),
        ({"num_classes": 0}, "num_classes: expected 1 or more"),
        ({"dropout": 1.0}, "p < 1"),
        ({"width": float("nan")}, "width > 0"),
        ({"width": float("inf")}, "width > 0"),
        ({"in_channels": 0}, "alexnet: in_channels: expected 1 or more, got 0"),
        ({"in_channels": 1, "input_size": 60}, r"pool5.*expected an input_size \(crop\) of 67 or more"),
    ]:
        with pytest.raises(ValueError, match=message):
            small(**options)
    for options, message in [
        ({"width": "1"}, "expected a number as width, got '1'"),
        ({"width": True}, "expected a number as width, got True"),
        ({"num_classes": [3]}, "num_classes: expected a whole number"),
        ({"input_size": 67.0}, "input_size: expected a whole number"),
        ({"groups": True}, "groups: expected a whole number"),
        ({"seed": None}, "expected a whole number as seed, got None"),
        ({"in_channels": 1.0}, "alexnet: in_channels: expected a whole number, got 1.0"),
    ]:
        with pytest.raises(TypeError, match=message):
            small(**options)


@pytest.mark.parametrize("channels", [1, 4])
def test_channels(channels):
    """Of the image: conv1's kernels follow, and no other layer."""
    for make_net in (small, small_torchvision):
        net, usual = make_net(in_channels=channels), make_net()
        assert net["conv1"].params["weight"].shape[1] == channels
        assert net.forward(to_device(normal(1, 2, channels, 67, 67).astype("float32"))).shape == (2, 5)
        for name, parameter in net.params.items():
            assert (parameter.shape == usual.params[name].shape) == (name != "conv1.weight"), name
            if name != "conv1.weight":
                assert (parameter == usual.params[name]).all(), name


def test_two_runs_agree_to_the_last_bit():
    def train() -> dict[str, np.ndarray]:
        net, loss = small(), SoftmaxCrossEntropy()
        optimizer = SGD(net, lr=0.01)
        for step in range(3):
            x = to_device(normal(step, 4, 3, 67, 67).astype("float32"))
            loss.forward(net.forward(x, train=True), np.array([0, 1, 2, 3]))
            net.backward(loss.backward())
            optimizer.step()
        return {name: to_host(parameter).copy() for name, parameter in net.params.items()}

    first, second = train(), train()
    for name in first:
        assert (first[name] == second[name]).all(), name


def test_dropout_is_on_in_training_only():
    net = small()
    x = to_device(normal(1, 2, 3, 67, 67).astype("float32"))
    net.set_step(0)
    first = to_host(net.forward(x, train=True)).copy()
    second = to_host(net.forward(x, train=True)).copy()
    assert abs(first - second).max() > 1e-3
    test = to_host(net.forward(x)).copy()
    assert_close(net.forward(x), test, relative=0)


# ---- the gradient of the whole network ----


def test_gradient_of_every_parameter():
    check_gradients(small(width=0.012), (3, 67, 67))


@pytest.mark.parametrize("options", [{"groups": 1}, {"order": "caffenet"}, {"lrn": False}])
def test_gradient_of_variations(options):
    check_gradients(small(**options), (3, 67, 67), samples=8)


# ---- torchvision's AlexNet ----

# its published total of parameters; output, weights and biases, multiply-adds per image
TORCHVISION = {
    "conv1": ((64, 55, 55), 23_296, 70_276_800),
    "pool1": ((64, 27, 27), 0, 0),
    "conv2": ((192, 27, 27), 307_392, 223_948_800),
    "pool2": ((192, 13, 13), 0, 0),
    "conv3": ((384, 13, 13), 663_936, 112_140_288),
    "conv4": ((256, 13, 13), 884_992, 149_520_384),
    "conv5": ((256, 13, 13), 590_080, 99_680_256),
    "pool5": ((256, 6, 6), 0, 0),
    "flatten": ((9216,), 0, 0),
    "fc6": ((4096,), 37_752_832, 37_748_736),
    "fc7": ((4096,), 16_781_312, 16_777_216),
    "fc8": ((1000,), 4_097_000, 4_096_000),
}


def small_torchvision(**options):
    """A few kernels per layer, on the smallest input that has a pixel left after pool5."""
    return alexnet_torchvision(**{"num_classes": 5, "width": 0.05, "input_size": 63, **options})


def test_torchvisions_sizes():
    net = alexnet_torchvision()
    summary = net.summary((3, 224, 224))
    assert summary.parameters == 61_100_840
    assert summary.multiply_adds == 714_188_480
    rows = sizes(net, (3, 224, 224))
    for name, expected in TORCHVISION.items():
        assert rows[name] == expected, name
    assert sum(parameters for _, parameters, _ in TORCHVISION.values()) == summary.parameters, "and none elsewhere"


def test_torchvisions_layers():
    net = small_torchvision(dropout=0.25, seed=3)
    assert list(net.layers) == [
        "conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "conv3", "relu3", "conv4", "relu4", "conv5", "relu5",
        "pool5", "flatten", "dropout5", "fc6", "relu6", "dropout6", "fc7", "relu7", "fc8",
    ]  # fmt: skip
    assert all(net[f"conv{number}"].groups == 1 for number in range(1, 6))
    for name in ("pool1", "pool2", "pool5"):
        assert (net[name].kernel_size, net[name].stride) == ((3, 3), (2, 2))
    for name in ("dropout5", "dropout6"):
        assert (net[name].p, net[name].seed) == (0.25, 3)


def test_torchvisions_start():
    check_hes_start(alexnet_torchvision(width=0.25, num_classes=50, input_size=99))
    check_seed(small_torchvision)


def test_what_does_not_fit_torchvisions_is_refused():
    for options, message in [
        ({"input_size": 62}, "pool5"),
        ({"input_size": 4}, "conv1"),
        ({"width": 0}, "alexnet_torchvision: expected width > 0"),
        ({"num_classes": 0}, "num_classes: expected 1 or more"),
        ({"in_channels": 0}, "alexnet_torchvision: in_channels: expected 1 or more, got 0"),
        ({"dropout": 1.0}, "p < 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            small_torchvision(**options)


def test_gradient_of_torchvisions():
    check_gradients(small_torchvision(), (3, 63, 63), samples=8)
