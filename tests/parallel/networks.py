"""Networks for the tests of several devices: every way in which layers take, give and exchange, in few numbers.

And what it takes to compare one on one device with the same on several: inputs, gradients and parameters as a whole.
"""

import numpy as np
from inputs import normal

from tinynet import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
    models,
)
from tinynet.backend import PerDevice, on_gpu, to_device, to_host

IMAGE = (4, 11, 9)


def small_alexnet(**options) -> Sequential:
    """Five logits for 67 x 67 pixels, with a normalisation strong enough to be seen and biases of their own."""
    options = {"num_classes": 5, "width": 0.05, "input_size": 67, "initialization": "he", **options}
    return varied(models.alexnet(**options))


def varied(net: Sequential) -> Sequential:
    """The net with biases that differ from neuron to neuron, so that a wrong block of them is seen, and strong LRN."""
    for index, (_, layer, key) in enumerate(net.parameters()):
        if key == "bias":
            values = 0.1 + 0.05 * normal(index, *layer.params[key].shape)
            layer.params[key][...] = to_device(values.astype("float32"))
    for layer in leaves(net):
        if isinstance(layer, LocalResponseNorm):
            layer.alpha = 0.5
    return net


def leaves(net: Sequential) -> list:
    """All layers, those of inner networks among them."""
    return [leaf for layer in net for leaf in (leaves(layer) if isinstance(layer, Sequential) else [layer])]


def _net(*layers) -> Sequential:
    return varied(Sequential([(f"{type(layer).__name__.lower()}{n}", layer) for n, layer in enumerate(layers)]))


def vgg_like() -> Sequential:
    """Everything connected to everything: a crossing before every convolution and linear layer."""
    return _net(
        Conv2d(4, 12, 3, padding=1), ReLU(inplace=True), Conv2d(12, 12, 3, padding=1), ReLU(), MaxPool2d(2),
        Conv2d(12, 24, 3, padding=1), ReLU(), Conv2d(24, 24, 3, padding=1, bias=False), ReLU(), MaxPool2d(2),
        Flatten(), Linear(24 * 2 * 2, 12), ReLU(), Dropout(0.5), Linear(12, 24), ReLU(), Dropout(0.3), Linear(24, 5),
    )  # fmt: skip


def take_block() -> Sequential:
    """Grouped convolutions that take their blocks of the image and of what a whole normalisation gives."""
    return _net(
        Conv2d(4, 8, 3, groups=4), ReLU(), LocalResponseNorm(3, groups=1),
        Conv2d(8, 8, 3, groups=4), ReLU(inplace=True), LocalResponseNorm(3, groups=4), MaxPool2d(2),
        Flatten(), Dropout(0.4, scale="test"), Linear(8 * 3 * 2, 3),
    )  # fmt: skip


def convolution_last() -> Sequential:
    return _net(Conv2d(4, 8, 3), Tanh(), Dropout(0.25), Conv2d(8, 4, 3, groups=4))


def convolution_and_softmax_last() -> Sequential:
    return _net(Conv2d(4, 8, 3), Tanh(), Conv2d(8, 4, 3), AvgPool2d(2), Softmax(), Dropout(0.2))


def softmax_last() -> Sequential:
    return _net(Conv2d(4, 8, 5), ReLU(), Flatten(), Linear(8 * 7 * 5, 12), Tanh(), Linear(12, 3), Softmax())


def softmax_inside() -> Sequential:
    """A layer without parameters that needs all channels: what follows computes on the whole, then splits again."""
    return _net(
        Conv2d(4, 8, 3), Softmax(), Tanh(), Dropout(0.2), Conv2d(8, 8, 3, groups=4), Sigmoid(), Softmax(),
        AvgPool2d(3, stride=2, padding=1), Conv2d(8, 8, 2), Softmax(), Flatten(), Linear(8 * 3 * 2, 4, bias=False),
    )  # fmt: skip


def smooth() -> Sequential:
    """No dropout, no kinks; normalised within channels, before the first parameters too."""
    return _net(
        LocalResponseNorm(3, within_channel=True), Conv2d(4, 8, 3, stride=2), Sigmoid(),
        LocalResponseNorm(3, within_channel=True), AvgPool2d(2), Conv2d(8, 8, 1, groups=4), Tanh(),
        Flatten(), Linear(32, 3),
    )  # fmt: skip


def nested() -> Sequential:
    """Networks in networks, with dropout in one of them."""
    inner = Sequential([("conv1", Conv2d(4, 8, 3)), ("act1", Tanh()), ("dropout1", Dropout(0.5))])
    features = Sequential([("block", inner), ("conv2", Conv2d(8, 8, 3, groups=4)), ("pool", MaxPool2d(3))])
    classifier = [("dropout", Dropout(0.3)), ("fc3", Linear(16, 8)), ("relu", ReLU()), ("fc4", Linear(8, 3))]
    return varied(Sequential([("features", features), ("flatten", Flatten()), ("classifier", Sequential(classifier))]))


def linear_only() -> Sequential:
    """A single layer, split by the columns that the devices take from the whole image."""
    return _net(Flatten(), Linear(4 * 11 * 9, 3))


def no_parameters() -> Sequential:
    return _net(Tanh(), LocalResponseNorm(3, groups=4), MaxPool2d(2))


SMALL_NETS = [
    vgg_like, take_block, convolution_last, convolution_and_softmax_last, softmax_last, softmax_inside, smooth, nested,
    linear_only, no_parameters,
]  # fmt: skip


# ---- one device beside several ----


def given(net, array: np.ndarray):
    """A host array as `net` takes it: on each of its devices."""
    if on_gpu and net.devices > 1:
        return PerDevice(net.on_devices(lambda device: to_device(array)))
    return to_device(array)


def whole_gradients(net) -> dict[str, np.ndarray]:
    """The gradients on the host, under the names of the network on one device."""
    return net.merge({name: to_host(layer.grads[key]).copy() for name, layer, key in net.parameters()})


def training_step(net, x: np.ndarray, target: np.ndarray, optimizer=None, step: int = 0) -> dict[str, np.ndarray]:
    """Forward, backward of the mean of (y - target)^2 / 2 and, with an optimizer, the update.

    Copies on the host: "output", the gradient of every parameter under its name, and "dx" where the net needs it.
    """
    net.set_step(step)
    output = to_host(net.forward(given(net, x), train=True)).copy()
    dx = net.backward(given(net, (output - target) / x.dtype.type(len(x))))
    found = {"output": output, **whole_gradients(net)}
    if dx is not None:
        found["dx"] = to_host(dx).copy()
    if optimizer is not None:
        optimizer.step()
    return found


def evaluated(net, x: np.ndarray) -> np.ndarray:
    """The output at test, on the host."""
    return to_host(net.forward(given(net, x))).copy()
