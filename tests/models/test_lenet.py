"""LeNet-5 and Caffe's LeNet: sizes to the last digit, choices, the gradient as a whole, and that they learn."""

import numpy as np
import pytest
from inputs import normal
from models.checks import check_gradients, check_hes_start, check_seed, check_two_devices, sizes

from tinynet.backend import to_device, to_host
from tinynet.layers import AvgPool2d, MaxPool2d, ReLU, Tanh
from tinynet.losses import SoftmaxCrossEntropy
from tinynet.models import lenet
from tinynet.optimizers import SGD

# LeCun et al. 1998, section II.B, but every map connected in conv2: output, weights and biases, multiply-adds per image
PAPER = {
    "conv1": ((6, 28, 28), 156, 117_600),
    "tanh1": ((6, 28, 28), 0, 0),
    "pool1": ((6, 14, 14), 0, 0),
    "conv2": ((16, 10, 10), 2_416, 240_000),
    "tanh2": ((16, 10, 10), 0, 0),
    "pool2": ((16, 5, 5), 0, 0),
    "flatten": ((400,), 0, 0),
    "fc3": ((120,), 48_120, 48_000),
    "tanh3": ((120,), 0, 0),
    "fc4": ((84,), 10_164, 10_080),
    "tanh4": ((84,), 0, 0),
    "fc5": ((10,), 850, 840),
}
# Caffe, examples/mnist/lenet_train_test.prototxt; its ip1 and ip2 are fc3 and fc4
CAFFE = {
    "conv1": ((20, 24, 24), 520, 288_000),
    "pool1": ((20, 12, 12), 0, 0),
    "conv2": ((50, 8, 8), 25_050, 1_600_000),
    "pool2": ((50, 4, 4), 0, 0),
    "flatten": ((800,), 0, 0),
    "fc3": ((500,), 400_500, 400_000),
    "relu3": ((500,), 0, 0),
    "fc4": ((10,), 5_010, 5_000),
}
VARIATIONS = [(activation, pooling) for activation in ("tanh", "relu") for pooling in ("average", "max")]


def test_the_papers_sizes():
    net = lenet()
    assert sizes(net, (1, 28, 28)) == PAPER
    assert list(net.layers) == list(PAPER)
    assert net.summary((1, 28, 28)).parameters == 61_706
    assert net.summary((1, 28, 28)).multiply_adds == 416_520


@pytest.mark.parametrize(("activation", "pooling"), VARIATIONS)
def test_variations(activation, pooling):
    net = lenet(activation=activation, pooling=pooling)
    assert list(net.layers) == [name.replace("tanh", activation) for name in PAPER]
    for number in range(1, 5):
        assert isinstance(net[f"{activation}{number}"], {"tanh": Tanh, "relu": ReLU}[activation])
    for name in ("pool1", "pool2"):
        assert isinstance(net[name], {"average": AvgPool2d, "max": MaxPool2d}[pooling])
        assert (net[name].kernel_size, net[name].stride) == ((2, 2), (2, 2))


@pytest.mark.parametrize(("channels", "size"), [(1, 12), (3, 32), (2, 29)])
def test_input_sizes(channels, size):
    net = lenet(num_classes=7, in_channels=channels, input_size=size)
    x = to_device(normal(1, 3, channels, size, size).astype("float32"))
    assert net.forward(x).shape == (3, 7)


def test_the_start():
    check_hes_start(lenet())
    check_seed(lenet)


def test_what_does_not_fit_is_refused():
    for options, message in [
        ({"activation": "sigmoid"}, "activation must be 'tanh' or 'relu', got 'sigmoid'"),
        ({"pooling": "sum"}, "pooling must be 'average' or 'max', got 'sum'"),
        ({"input_size": 9}, "conv2"),
        ({"input_size": 11}, "pool2"),
        ({"num_classes": 0}, "num_classes >= 1"),
        ({"in_channels": 0}, "in_channels >= 1"),
        ({"variant": "1989"}, "lenet: variant must be '1998' or 'caffe', got '1989'"),
        ({"variant": "caffe", "num_classes": 0}, "num_classes >= 1"),
        ({"variant": "caffe", "input_size": 4}, "conv1"),
        ({"variant": "caffe", "input_size": 8}, "conv2"),
    ]:
        with pytest.raises(ValueError, match=message):
            lenet(**options)


@pytest.mark.parametrize(("activation", "pooling"), VARIATIONS)
def test_gradient(activation, pooling):
    net = lenet(num_classes=5, in_channels=2, input_size=14, activation=activation, pooling=pooling)
    check_gradients(net, (2, 14, 14), samples=20)


@pytest.mark.parametrize("options", [{"activation": "relu"}, {"pooling": "max"}, {"activation": "?", "pooling": "?"}])
def test_choices_of_1998_are_refused_with_caffes(options):
    with pytest.raises(ValueError, match="lenet: activation and pooling are choices of variant '1998' and cannot be"):
        lenet(variant="caffe", **options)


def test_caffes_sizes():
    net = lenet(variant="caffe")
    assert sizes(net, (1, 28, 28)) == CAFFE
    assert list(net.layers) == list(CAFFE)
    assert net.summary((1, 28, 28)).parameters == 431_080


def test_caffes_layers():
    net = lenet(num_classes=7, in_channels=3, input_size=33, variant="caffe")
    for name in ("pool1", "pool2"):
        assert isinstance(net[name], MaxPool2d)
        assert (net[name].kernel_size, net[name].stride) == ((2, 2), (2, 2))
    assert net["pool1"].output_shape((20, 29, 29)) == (20, 15, 15), "Caffe rounds up"
    assert net.forward(to_device(normal(1, 3, 3, 33, 33).astype("float32"))).shape == (3, 7)


def test_caffes_start():
    """Caffe's filler "xavier": uniform within sqrt(3 / fan-in); biases of 0."""
    net = lenet(variant="caffe")
    for name, fan_in in {"conv1": 25, "conv2": 500, "fc3": 800, "fc4": 500}.items():
        weight, bias = (to_host(net[name].params[key]) for key in ("weight", "bias"))
        bound = (3 / fan_in) ** 0.5
        assert 0.98 * bound < abs(weight).max() <= bound * (1 + 1e-6), name
        assert weight.std() == pytest.approx(fan_in**-0.5, rel=4 / weight.size**0.5), name
        assert abs(weight.mean()) < 5 * (fan_in * weight.size) ** -0.5, name
        assert not bias.any(), name
    check_seed(lambda seed: lenet(variant="caffe", seed=seed))


def test_gradient_of_caffes():
    check_gradients(lenet(num_classes=5, in_channels=2, input_size=13, variant="caffe"), (2, 13, 13), samples=20)


@pytest.mark.parametrize("variant", ["1998", "caffe"])
def test_two_devices(variant):
    check_two_devices(lenet(variant=variant), (1, 28, 28))


def strokes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Twenty images of four classes: a stroke of 16 pixels, upright, level or along a diagonal, anywhere in noise."""
    generator = np.random.default_rng(seed)
    labels = np.arange(20) % 4
    images = 0.1 * generator.standard_normal((20, 1, 28, 28), np.float32)
    along = np.arange(16)
    for image, label in zip(images[:, 0], labels, strict=True):
        top, left = generator.integers(0, 13, 2)
        rows = top + (0 * along if label == 1 else along)
        columns = left + {0: 0 * along, 1: along, 2: along, 3: along[::-1]}[int(label)]
        image[rows, columns] += 1
    return images, labels


CHOICES = [{"activation": activation, "pooling": pooling} for activation, pooling in VARIATIONS]


@pytest.mark.parametrize("options", [*CHOICES, {"variant": "caffe"}])
def test_it_learns(options):
    """By heart what it is shown."""
    images, labels = strokes(1)
    net, loss = lenet(num_classes=4, **options), SoftmaxCrossEntropy()
    optimizer = SGD(net, lr=0.02)
    x = to_device(images)
    first = loss.forward(net.forward(x), labels)
    for _ in range(40):
        loss.forward(net.forward(x, train=True), labels)
        net.backward(loss.backward())
        optimizer.step()
    logits = net.forward(x)
    last = loss.forward(logits, labels)
    assert (to_host(logits).argmax(axis=1) == labels).all()
    assert last < 0.02 * first
