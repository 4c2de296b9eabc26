"""How long each layer of a network takes, and the whole: Caffe's `time`. benchmarks/ measures it beside others."""

import importlib
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinynet.backend import finish, to_device
from tinynet.layers.layer import Layer, Shape
from tinynet.losses import SoftmaxCrossEntropy
from tinynet.network import Sequential, leaves
from tinynet.optimizers import SGD
from tinynet.random import stream

Clock = Callable[[], float]  # seconds


@dataclass(frozen=True)
class LayerTime:
    """Of one layer, the medians in seconds."""

    name: str
    layer: str
    forward: float
    backward: float


def random_batch(net: Layer, shape: Shape, batch_size: int):
    """Images (N, C, H, W) of random numbers, batch-last, on the device; and labels."""
    drawn = stream(0, "timing").standard_normal((*shape, batch_size), np.float32)
    classes = net.output_shape(shape)[0]
    return to_device(drawn).transpose(len(shape), *range(len(shape))), np.arange(batch_size) % classes


def layer_times(
    net: Sequential, shape: Shape, batch_size: int = 128, steps: int = 5, clock: Clock = time.perf_counter
) -> list[LayerTime]:
    """Each layer's forward and backward in training, the medians of some steps after one that takes the memory."""
    x, labels = random_batch(net, shape, batch_size)
    layers, loss = leaves(net), SoftmaxCrossEntropy()
    forward: dict[str, list[float]] = {layer.name: [] for layer in layers}
    backward: dict[str, list[float]] = {layer.name: [] for layer in layers}

    def timed(call: Callable, times: list[float], *arguments):
        before = clock()
        result = call(*arguments)
        finish()
        times.append(clock() - before)
        return result

    for _ in range(steps + 1):
        y = x.copy(order="K")  # which a layer in place may write to
        for layer in layers:
            y = timed(layer.forward, forward[layer.name], y, True)
        loss.forward(y, labels)
        dy = loss.backward()
        for layer in reversed(layers):
            dy = timed(layer.backward, backward[layer.name], dy)

    def median(times: list[float]) -> float:
        return statistics.median(times[1:])

    return [LayerTime(one.name, repr(one), median(forward[one.name]), median(backward[one.name])) for one in layers]


def whole_times(
    net: Layer, shape: Shape, batch_size: int = 128, steps: int = 5, clock: Clock = time.perf_counter
) -> tuple[float, float]:
    """Seconds of a training step, update included, and of the answer to a batch: the medians."""
    x, labels = random_batch(net, shape, batch_size)
    loss, optimizer = SoftmaxCrossEntropy(), SGD(net, 0.0)

    def train() -> None:
        loss.forward(net.forward(x, train=True), labels)
        net.backward(loss.backward())
        optimizer.step()

    def measured(call: Callable[[], object]) -> float:
        times = []
        for _ in range(steps + 1):
            before = clock()
            call()
            finish()
            times.append(clock() - before)
        return statistics.median(times[1:])

    return measured(train), measured(lambda: net.forward(x))


def peak_bytes() -> int | None:
    """The most memory that this process has held so far; None where the system does not say, as Windows."""
    try:
        resource = importlib.import_module("resource")
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
