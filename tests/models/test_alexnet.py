"""AlexNet: the sizes of the paper's table to the last digit, its variations, its start, and its gradient as a whole."""

import numpy as np
import pytest
from inputs import assert_close, normal

from tinynet.backend import to_device, to_host
from tinynet.gradient_check import check_network
from tinynet.layers import Conv2d, Linear, LocalResponseNorm
from tinynet.losses import SoftmaxCrossEntropy
from tinynet.models import alexnet
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
    summary = alexnet().summary((3, 227, 227))
    assert summary.parameters == 60_965_224
    assert summary.multiply_adds == 724_406_816
    rows = {row.name: (row.output_shape, row.parameters, row.multiply_adds) for row in summary.rows}
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


def test_hes_start():
    """He et al. 2015, section 2.2: a standard deviation of sqrt(2 / fan-in), biases of 0."""
    net = alexnet(width=0.25, num_classes=50, input_size=99, initialization="he")
    for name, layer in net.layers.items():
        if isinstance(layer, Conv2d | Linear):
            weight = to_host(layer.params["weight"])
            assert weight.std() == pytest.approx((2 / weight[0].size) ** 0.5, rel=0.05), name
            assert not to_host(layer.params["bias"]).any(), name


def test_the_seed_names_the_start_and_the_masks():
    first, again, other = small(seed=1), small(seed=1), small(seed=2)
    for name, parameter in first.params.items():
        assert (parameter == again.params[name]).all(), name
        if name.endswith("weight"):
            assert (parameter != other.params[name]).any(), name
    assert first["dropout6"].seed == first["dropout7"].seed == 1
    weights = [to_host(first.params[name]).ravel()[:50] for name in ("conv4.weight", "conv5.weight", "fc6.weight")]
    scaled = [weight / weight.std() for weight in weights]
    assert not np.allclose(scaled[0], scaled[1])
    assert not np.allclose(scaled[1], scaled[2])


@pytest.mark.parametrize("size", [67, 99, 224, 227])
def test_input_sizes(size):
    net = small(input_size=size)
    x = to_device(normal(1, 2, 3, size, size).astype("float32"))
    assert net.forward(x).shape == (2, 5)


def test_what_does_not_fit_is_refused():
    for options, message in [
        ({"input_size": 60}, "pool5"),
        ({"input_size": 8}, "conv1"),
        ({"order": "vgg"}, "order must be 'paper' or 'caffenet', got 'vgg'"),
        ({"initialization": "zeros"}, "initialization must be 'paper' or 'he', got 'zeros'"),
        ({"width": 0}, "width > 0"),
        ({"groups": 0}, "groups >= 1"),
        ({"num_classes": 0}, "num_classes >= 1"),
        ({"dropout": 1.0}, "p < 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            small(**options)


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


# ---- the gradient of the whole network, through its loss, dropout on ----


def check(net, samples: int | None = None) -> None:
    """With a normalisation strong enough to be seen, and biases that keep the small network's units alive."""
    for layer in net:
        if isinstance(layer, LocalResponseNorm):
            layer.alpha = 0.5
    for name, parameter in net.params.items():
        if name.endswith("bias"):
            parameter[...] = 0.1
    x, labels = normal(1, 2, 3, 67, 67), np.array([1, 3])
    assert check_network(net, x, labels, samples=samples) < 1e-6
    net.astype("float64")
    net.set_step(0)
    loss = SoftmaxCrossEntropy()
    loss.forward(net.forward(to_device(x), train=True), labels)
    net.backward(loss.backward())
    for name, gradient in net.grads.items():
        assert abs(to_host(gradient)).max() > 1e-4, f"{name}: too small a gradient for the check to see"


def test_gradient_of_every_parameter():
    check(small(width=0.012))


@pytest.mark.parametrize("options", [{"groups": 1}, {"order": "caffenet"}, {"lrn": False}])
def test_gradient_of_variations(options):
    check(small(**options), samples=8)
