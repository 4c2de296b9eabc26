"""Random networks of all layers that files have, for what is written and read again."""

import numpy as np

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
    initializers,
)
from tinynet.backend import to_device, to_host


def random_chain(seed: int) -> tuple[Sequential, tuple[int, int, int]]:
    """A network of random layers, with weights and biases that show, and the shape of its input."""
    generator = np.random.default_rng(seed)

    def one_of(*choices):
        return choices[generator.integers(len(choices))]

    shape = (int(one_of(1, 3, 4)), int(generator.integers(9, 20)), int(generator.integers(9, 20)))
    layers, current = [], shape
    for number in range(1, int(generator.integers(2, 7))):
        channels, smaller = current[0], min(current[1:])
        kernel, stride = int(generator.integers(1, 4)), int(generator.integers(1, 3))
        groups = 2 if channels % 2 == 0 and one_of(True, False) else 1
        padding = one_of(0, 1, (1, 0), ((0, 1), (1, 0)), "same") if kernel > 1 else 0
        sides = padding if padding != "same" else 1  # of a pool
        kind = one_of("conv", "max", "average", "norm", "activation", "dropout")
        if kind == "conv":
            layer = Conv2d(channels, 4, kernel, stride, padding, groups, bias=one_of(True, False))
        elif kind == "max":
            layer = MaxPool2d(kernel, stride, sides, ceil_mode=one_of(True, False))
        elif kind == "average":
            include = one_of(True, False)
            layer = AvgPool2d(kernel, stride, sides, count_include_pad=include, ceil_mode=not include or sides == 0)
        elif kind == "norm":
            k, average = one_of(1.0, 2.0), one_of(True, False)
            layer = LocalResponseNorm(one_of(1, 3, 5), 0.3, 0.75, k, groups, average=average)
        elif kind == "activation":
            layer = one_of(ReLU(), Tanh(), Sigmoid(), ReLU(inplace=True))
        else:
            layer = Dropout(0.3, scale=one_of("train", "test"))
        if smaller < 4 and isinstance(layer, Conv2d | MaxPool2d | AvgPool2d):
            continue
        layers.append((f"layer{number}", layer))
        current = layer.output_shape(current)
    layers += [("flatten", Flatten()), ("fc1", Linear(int(np.prod(current)), 6, bias=one_of(True, False)))]
    layers += [("tanh1", Tanh())] * one_of(0, 1) + [("fc2", Linear(6, 3))] + [("softmax", Softmax())] * one_of(0, 1)
    net = Sequential(layers)
    initializers.initialize(net, seed)
    for _, layer, key in net.parameters():
        if key == "bias":
            layer.params[key] = to_device(generator.standard_normal(layer.params[key].shape).astype(np.float32))
    return net, shape


def forward(net: Sequential, x: np.ndarray) -> np.ndarray:
    return to_host(net.forward(to_device(x))).copy()
