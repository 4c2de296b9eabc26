"""The layers at which towers talk: AllGather, AllReduce, and TakeBlock, which needs no talk.

In batch-last memory a device's channels or neurons are one contiguous block.
"""

import math

from tinynet.backend import Array
from tinynet.layers.layer import Layer, Shape
from tinynet.parallel.communicator import Communicator


class ExchangeLayer(Layer):
    """A layer of one tower that knows its device's communicator. needed_by: the layer that the ledger names."""

    def __init__(self, communicator: Communicator, needed_by: str):
        super().__init__()
        self.communicator, self.needed_by = communicator, needed_by

    def received_bytes(self, output_shape: Shape) -> int:
        """What a forward pass brings to each device from the others, in bytes of float32 per image."""
        return 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.communicator.size} devices)"


class AllGather(ExchangeLayer):
    """Every device gets all channels: (N, C / devices, ...) to (N, C, ...).

    Each device then computes its own part from the whole, so the gradient of the whole is the sum of what the devices
    send back, and this device needs its own block of that sum: backward is a reduce-scatter. With `replicated`, every
    device goes on to compute the same, and knows the whole gradient: it takes its block of that, and nothing crosses.
    """

    def __init__(self, communicator: Communicator, needed_by: str, replicated: bool = False):
        super().__init__(communicator, needed_by)
        self.replicated = replicated

    def _output_shape(self, shape: tuple) -> Shape:
        return (shape[1] * self.communicator.size, *shape[2:])

    def received_bytes(self, output_shape: Shape) -> int:
        return 4 * math.prod(output_shape) * (self.communicator.size - 1) // self.communicator.size

    def forward(self, x: Array, train: bool = False) -> Array:
        self._cache = None
        x = self._enter(x)  # (C / devices, ..., N)
        y = self._array("y", (x.shape[0] * self.communicator.size, *x.shape[1:]), x.dtype)
        self.communicator.all_gather(x, y, self.needed_by, "forward")
        if train:
            self._cache = x.shape, y.shape, x.dtype
        return self._leave(y)

    def backward(self, dy: Array) -> Array | None:
        shape, whole, dtype = self._kept()
        dy = self._enter_gradient(dy, whole, dtype)
        if not self.needs_dx:
            return None
        if self.replicated:
            return self._leave(dy[self.communicator.rank * shape[0] :][: shape[0]])
        dx = self._array("dx", shape, dtype)
        self.communicator.reduce_scatter(dy, dx, self.needed_by, "backward")
        return self._leave(dx)


class AllReduce(ExchangeLayer):
    """Every device gets the sum of all devices' x; shape unchanged.

    y = the sum of the x of all devices, so dx = dy on each of them, which every device knows already: nothing crosses.
    """

    def received_bytes(self, output_shape: Shape) -> int:
        return 4 * math.prod(output_shape) * (self.communicator.size - 1)

    def forward(self, x: Array, train: bool = False) -> Array:
        self._cache = None
        x = self._enter(x)
        y = self._array("y", x.shape, x.dtype)
        self.communicator.all_reduce(x, y, self.needed_by, "forward")
        if train:
            self._cache = y.shape, y.dtype
        return self._leave(y)

    def backward(self, dy: Array) -> Array | None:
        dx = self._enter_gradient(dy, *self._kept())
        return self._leave(dx) if self.needs_dx else None


class TakeBlock(ExchangeLayer):
    """This device's block of channels of what every device has: (N, C, ...) to (N, C / devices, ...)."""

    def _output_shape(self, shape: tuple) -> Shape:
        if shape[1] % self.communicator.size:
            raise ValueError(f"{self.name}: {self.communicator.size} devices must divide {shape[1]} channels")
        return (shape[1] // self.communicator.size, *shape[2:])

    def _block(self, channels: int) -> slice:
        count = channels // self.communicator.size
        return slice(self.communicator.rank * count, (self.communicator.rank + 1) * count)

    def forward(self, x: Array, train: bool = False) -> Array:
        self._cache = None
        self._output_shape(self._check(x))
        x = self._enter(x)  # (C, ..., N)
        if train:
            self._cache = x.shape, x.dtype
        return self._leave(x[self._block(x.shape[0])])

    def backward(self, dy: Array) -> Array | None:
        """Zero for the other devices' channels, whose gradients those devices have."""
        shape, dtype = self._kept()
        block = self._block(shape[0])
        dy = self._enter_gradient(dy, (block.stop - block.start, *shape[1:]), dtype)
        if not self.needs_dx:
            return None
        dx = self._array("dx", shape, dtype)
        dx[...] = 0
        dx[block] = dy
        return self._leave(dx)
