"""The layers at which devices talk: AllGather, AllReduce, GatherImages, and TakeBlock, which needs no talk.

In batch-last memory a device's channels or neurons are one contiguous block.
"""

import itertools
import math
from collections.abc import Sequence

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


class GatherImages(ExchangeLayer):
    """Every device gets the images of all: (n, ...) to (N, ...), n of them its own.

    Below it each device has computed its own images with the same parameters, above it each computes a part of every
    layer on all images: scheme (a) of Krizhevsky 2014 (arXiv:1404.5997, section 4). Each device finds what its part
    contributes to the gradient of the whole; backward sums that up and hands each device its own images' block.

    Devices with fewer images than others send blocks as large as the largest. Where one has none, it computes one that
    is not of the batch, which is left out here (see `take_part`).
    """

    def __init__(self, communicator: Communicator, needed_by: str):
        super().__init__(communicator, needed_by)
        self._counts: Sequence[int] | None = None

    def take_part(self, part: tuple[int, Sequence[int]] | None, views: int = 1) -> None:
        self._counts = None if part is None else [views * count for count in part[1]]

    def received_bytes(self, output_shape: Shape) -> int:
        return 4 * math.prod(output_shape) * (self.communicator.size - 1) // self.communicator.size

    def _images(self, own: int) -> tuple[list[slice], int, int]:
        """Whose images are where in the batch, how many that are, and of how many the largest block is."""
        counts = [own] * self.communicator.size if self._counts is None else self._counts
        if counts[self.communicator.rank] not in (own, 0):
            expected = f"expected {counts[self.communicator.rank]} images, as take_part said"
            raise ValueError(f"{self.name}: {expected}, got {own}")
        ends = list(itertools.accumulate(counts))
        return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)], ends[-1], max(counts)

    def forward(self, x: Array, train: bool = False) -> Array:
        self._cache = None
        x = self._enter(x)  # (..., n)
        places, total, most = self._images(x.shape[-1])
        own, devices = x, self.communicator.size
        if most != x.shape[-1]:
            own = self._array("own", (*x.shape[:-1], most), x.dtype)
            count = min(most, x.shape[-1])
            own[..., :count], own[..., count:] = x[..., :count], 0
        blocks = self._array("blocks", (devices * x.shape[0], *x.shape[1:-1], most), x.dtype)
        self.communicator.all_gather(own, blocks, self.needed_by, "forward")
        y = self._array("y", (*x.shape[:-1], total), x.dtype)
        for place, block in zip(places, blocks.reshape(devices, *own.shape), strict=True):
            y[..., place] = block[..., : place.stop - place.start]
        if train:
            self._cache = x.shape, y.shape, places, most, x.dtype
        return self._leave(y)

    def backward(self, dy: Array) -> Array | None:
        shape, whole, places, most, dtype = self._kept()
        dy = self._enter_gradient(dy, whole, dtype)
        if not self.needs_dx:
            return None
        blocks = self._array("blocks", (self.communicator.size, *shape[:-1], most), dtype)
        for place, block in zip(places, blocks, strict=True):
            count = place.stop - place.start
            block[..., :count], block[..., count:] = dy[..., place], 0
        own = self._array("own", (*shape[:-1], most), dtype)
        flat = blocks.reshape(-1, *shape[1:-1], most)
        self.communicator.reduce_scatter(flat, own, self.needed_by, "backward")
        if most == shape[-1]:
            return self._leave(own)
        dx = self._array("dx", shape, dtype)
        count = places[self.communicator.rank].stop - places[self.communicator.rank].start
        dx[..., :count], dx[..., count:] = own[..., :count], 0
        return self._leave(dx)


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
