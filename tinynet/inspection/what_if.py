"""What a network would make of an image if a part of it were missing: a kernel, a tower, what towers tell each other.

The network is one on one device, and stays as it is; its towers are the blocks that `partition` makes of it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from tinynet.backend import Array, xp
from tinynet.execution import Memory
from tinynet.layers.layer import Layer, Shape
from tinynet.network import Sequential, known, leaves
from tinynet.parallel import partition
from tinynet.parallel.exchange import AllGather, AllReduce, ExchangeLayer
from tinynet.threads import single_threaded_blas

MOST_TOWERS = 4  # more groups than that are a layer's own business, as those of depthwise convolutions


@dataclass(frozen=True)
class Place:
    """A layer's place in towers. split: each tower has an equal block of its outputs. gathered, summed: bytes of
    float32 that come to each tower from the others, per image, before the layer, so that it sees all channels, or after
    it, to be added up. parameters: each tower's.
    """

    split: bool
    gathered: int
    summed: int
    parameters: tuple[int, ...]


def places(net: Sequential, input_shape: Shape, devices: int = 2) -> dict[str, Place]:
    """The place of each layer, by its full name, if `devices` shared the network. ValueError where they cannot."""
    layers = leaves(net)
    if devices == 1:
        return {layer.name: Place(False, 0, 0, (_count(layer),)) for layer in layers}
    towers = partition(net, devices).towers
    shape, received = tuple(input_shape), {}
    shapes = {}
    for layer in towers[0]:
        shape = layer.output_shape(shape)
        if isinstance(layer, ExchangeLayer):
            received[layer.needed_by, type(layer)] = layer.received_bytes(shape)
        else:
            shapes[layer.name] = shape
    counts = [{layer.name: _count(layer) for layer in tower} for tower in towers]
    found, shape = {}, tuple(input_shape)
    for layer in layers:
        shape, name = layer.output_shape(shape), layer.name
        gathered, summed = (received.get((name, kind), 0) for kind in (AllGather, AllReduce))
        found[name] = Place(shapes[name] != shape, gathered, summed, tuple(count[name] for count in counts))
    return found


def _count(layer: Layer) -> int:
    return sum(parameter.size for parameter in layer.params.values())


@dataclass(frozen=True)
class Switches:
    """What is switched off. channels: by layers' full names, those (or of a vector, the units) whose outputs are zero.
    towers: by number, in which all outputs are. exchanges: names of layers that see nothing of the other towers.
    """

    channels: Mapping[str, Collection[int]] = field(default_factory=dict)
    towers: Collection[int] = ()
    exchanges: Collection[str] = ()


class WhatIf:
    """A network whose parts can be switched off from one image to the next. It works for one thread at a time."""

    def __init__(self, net: Sequential, input_shape: Shape, devices: int = 1):
        self.places, self.devices = places(net, input_shape, devices), devices
        self._layers, self._memories = leaves(net), (Memory(), Memory())
        shape, self.shapes = tuple(input_shape), {}
        for layer in self._layers:
            shape = self.shapes[layer.name] = layer.output_shape(shape)

    def check(self, switches: Switches) -> None:
        """KeyError or ValueError for what is not there to be switched off."""
        for name, channels in switches.channels.items():
            count = self.shapes[known(name, self.shapes)][0]
            if wrong := [one for one in channels if not 0 <= one < count]:
                raise ValueError(f"{name}: expected channels from 0 to {count - 1}, got {wrong[0]}")
        if wrong := [tower for tower in switches.towers if not 0 <= tower < self.devices]:
            raise ValueError(f"tower {wrong[0]}: expected one of {self.devices}")
        for name in switches.exchanges:
            if not self.places[known(name, self.places)].gathered:
                raise ValueError(f"{name}: the towers exchange nothing before it")

    @single_threaded_blas
    def forward(
        self, x: Array, switches: Switches = Switches(), seen: Callable[[str, Array], object] = lambda name, y: None
    ) -> Array:
        """The output for x (N, C, H, W) without what is switched off, valid until the next call.

        seen: told each layer's name and its output, which the next layer may write to. What it raises ends the pass.
        """
        self.check(switches)
        y = xp.array(x, order="K")  # a copy, which layers may write to
        for layer in self._layers:
            place = self.places[layer.name]
            y = self._alone(layer, y) if layer.name in switches.exchanges else layer.infer(y, self._memories)
            if place.split:
                for tower in switches.towers:
                    y[:, self._block(y, tower)] = 0
            for channel in switches.channels.get(layer.name, ()):
                y[:, channel] = 0
            seen(layer.name, y)
        return y

    def _block(self, y: Array, tower: int) -> slice:
        size = y.shape[1] // self.devices
        return slice(tower * size, (tower + 1) * size)

    def _alone(self, layer: Layer, x: Array) -> Array:
        """A layer whose towers' blocks each see their own tower's channels, and zeros in place of the others'."""
        x, blocks = xp.array(x, order="K"), []  # a copy: outputs may be written where x lies
        for tower in range(self.devices):
            own = xp.zeros_like(x)
            own[:, self._block(x, tower)] = x[:, self._block(x, tower)]
            y = layer.infer(own, self._memories)
            blocks.append(xp.array(y[:, self._block(y, tower)]))
        return xp.concatenate(blocks, axis=1)


def towers_of(net: Sequential) -> int:
    """How many towers a network was made for: the groups of its layers, where all that have some agree; else 1."""
    counts = {getattr(layer, "groups", 1) for layer in leaves(net)} - {1}
    return counts.pop() if len(counts) == 1 and max(counts) <= MOST_TOWERS else 1
