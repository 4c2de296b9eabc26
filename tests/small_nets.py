"""Two small networks, on one device and on two, and what tests ask of them."""

import numpy as np
import threadpoolctl

from tinynet import Conv2d, Flatten, Linear, ReLU, Sequential, SoftmaxCrossEntropy, parallel
from tinynet.backend import to_device, to_host

X = np.random.default_rng(0).standard_normal((3, 4, 6, 5)).astype("float32")
LABELS = np.array([0, 2, 1])


def make_net() -> Sequential:
    layers = [
        ("conv1", Conv2d(4, 6, 3, groups=2)),
        ("relu1", ReLU(inplace=True)),
        ("flatten", Flatten()),
        ("fc2", Linear(72, 8)),
        ("fc3", Linear(8, 3)),
    ]
    return Sequential(layers)


NETS = {"one device": make_net, "two devices": lambda: parallel.partition(make_net(), 2)}


def answer(net) -> np.ndarray:
    return to_host(net.forward(to_device(X))).copy()


def gradients(net) -> dict[str, bytes]:
    loss = SoftmaxCrossEntropy()
    loss.forward(net.forward(to_device(X), train=True), LABELS)
    net.backward(loss.backward())
    return {name: to_host(gradient).tobytes() for name, gradient in net.grads.items()}


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
