"""LeNet-5: its sizes to the last digit, its choices, its gradient as a whole, and that it learns."""

import numpy as np
import pytest
from inputs import normal
from models.checks import check_gradients, check_hes_start, check_seed, sizes

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
    ]:
        with pytest.raises(ValueError, match=message):
            lenet(**options)


@pytest.mark.parametrize(("activation", "pooling"), VARIATIONS)
def test_gradient(activation, pooling):
    net = lenet(num_classes=5, in_channels=2, input_size=14, activation=activation, pooling=pooling)
    check_gradients(net, (2, 14, 14), samples=20)


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


@pytest.mark.parametrize(("activation", "pooling"), VARIATIONS)
def test_it_learns(activation, pooling):
    """By heart what it is shown."""
    images, labels = strokes(1)
    net, loss = lenet(num_classes=4, activation=activation, pooling=pooling), SoftmaxCrossEntropy()
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
