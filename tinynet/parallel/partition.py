"""The partition of a network: which part of each layer a device holds, and where the devices must talk.

An activation is either split, each device holding one block of its channels or neurons, or whole, each device holding
all of it. Every layer says which of the two it takes and gives; the crossings follow.
"""

import copy
from functools import singledispatch

import numpy as np

from tinynet.backend import to_device, to_host
from tinynet.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from tinynet.network import Sequential
from tinynet.parallel.communicator import Communicator, ThreadCommunicator
from tinynet.parallel.devices import Devices
from tinynet.parallel.exchange import AllGather, AllReduce, GatherImages, TakeBlock
from tinynet.parallel.ledger import Ledger
from tinynet.parallel.towers import Towers
from tinynet.threads import Turn

MOST = 256  # devices, each with a thread of its own


def partition(net: Sequential, devices: int = 2) -> Towers:
    """The same network on several devices, each with its part of every layer (Krizhevsky et al. 2012, section 3.2).

    Outputs and gradients are those of `net`, whose weights are copied; `net` itself stays as it is. Grouped
    convolutions and grouped LRN whose groups the devices divide stay inside a device, as do activations, pooling and
    dropout; a layer that needs all channels gets an AllGather before it; the last linear layer is split by its input
    columns, with an AllReduce after it. A layer of one's own says with `Layer.split_as` how it is split. ValueError
    names a layer that cannot be split.
    """
    if not isinstance(net, Sequential):
        raise TypeError(f"partition: expected a Sequential, got {type(net).__name__}")
    if not isinstance(devices, int) or isinstance(devices, bool):
        raise TypeError(f"partition: expected a whole number of devices, got {devices!r}")
    if not 1 <= devices <= MOST:
        raise ValueError(f"partition: expected 1 to {MOST} devices, got {devices}")
    team, ledger = Devices(devices), Ledger(devices)
    axes: dict[str, int | None] = {}
    outputs: dict[str, tuple[str, bool]] = {}
    towers = team.run(lambda rank: tower_of(net, ThreadCommunicator(rank, ledger, team.meeting), axes, outputs))
    return Towers(towers, axes, outputs, ledger, team)


def tower_of(
    net: Sequential, communicator: Communicator, axes: dict, outputs: dict, whole_images: str = ""
) -> Sequential:
    """One device's part of `net`. `axes` receives the axis along which each parameter is cut (None: device 0 has it),
    `outputs` for each layer of `net` which one of the tower gives its output, and whether that is a part of it.

    whole_images: the layer before which devices stop to have images of their own, and the whole layers for them.
    """
    layers = list(_flat(net))
    shared = [layer.name for _, layer in layers].index(whole_images) if whole_images else 0
    last = max((index for index, (_, layer) in enumerate(layers) if layer.params), default=-1)
    tower: list[tuple[str, Layer]] = []
    split = False  # the input is whole: every device gets the images
    for index, (name, layer) in enumerate(layers):
        if index < shared:
            tower.append((name, _copy(layer)))
            continue
        if index == shared and whole_images:
            tower.append((f"gather_images_{name}", GatherImages(communicator, layer.name)))
        kind = "columns" if index == last and isinstance(layer, Linear) else _kind(layer, communicator.size)
        if split and kind in ("rows", "whole"):
            tower.append((f"gather_{name}", AllGather(communicator, layer.name, replicated=index > last)))
        if not split and kind in ("groups", "columns"):
            tower.append((f"take_{name}", TakeBlock(communicator, layer.name)))
        part = _fresh(layer)
        if kind in ("rows", "groups", "columns"):
            _cut_parameters(layer, part, kind, communicator, axes)
        elif isinstance(part, Dropout) and split:
            part.part = (communicator.rank, communicator.size)
        elif isinstance(part, LocalResponseNorm) and split and kind == "any":
            part.groups = part.groups // communicator.size if not part.within_channel else 1
        tower.append((name, part))
        if kind == "columns":
            tower.append((f"reduce_{name}", AllReduce(communicator, layer.name)))
        split = split if kind == "any" else kind in ("rows", "groups")
        for place in _ends(net, layer):
            outputs[place] = tower[-1][0], split
    if split:
        tower.append(("gather_output", AllGather(communicator, "output", replicated=True)))
    program = Sequential(tower, needs_dx=net.needs_dx)
    for name, layer in layers:  # errors, files and dropout's masks know a layer by its full name in `net`
        program[name].rename(layer.name)
    return program


def _flat(net: Sequential):
    """(name, layer) of every layer in order, the layers of inner networks among them."""
    for name, layer in net.layers.items():
        if isinstance(layer, Sequential):
            yield from ((f"{name}_{inner}", deep) for inner, deep in _flat(layer))
        else:
            yield name, layer


def _ends(net: Sequential, layer: Layer) -> list[str]:
    """The full names of what has this layer's output: itself, and the inner nets whose last layer it is."""
    names = [layer.name]
    while "." in names[-1]:
        outer = names[-1].rpartition(".")[0]
        inner: Layer = net
        for part in outer.removeprefix(f"{net.name}.").split("."):
            if not isinstance(inner, Sequential) or part not in inner.layers:
                return names
            inner = inner[part]
        if not isinstance(inner, Sequential) or list(inner)[-1].name != names[-1]:
            return names
        names.append(outer)
    return names


# ---- what a layer takes and gives: "any" (and gives the same), "whole" (and gives it whole), or, of layers with
# parameters, "rows" (takes the whole, gives its block), "groups" (takes its block, gives its block) ----


SPLIT_AS = {  # what Layer.split_as may be: the kind, and whether the layer has parameters
    "each": ("any", False),
    "whole": ("whole", False),
    "channels": ("groups", True),
    "outputs": ("rows", True),
}


def _kind(layer: Layer, devices: int) -> str:
    if layer.split_as is None:
        return _kind_of_class(layer, devices)
    if layer.split_as not in SPLIT_AS:
        raise ValueError(f"{layer.name}: expected split_as to be one of {', '.join(SPLIT_AS)}, got {layer.split_as!r}")
    kind, with_parameters = SPLIT_AS[layer.split_as]
    if with_parameters != bool(layer.params):
        which = "with" if with_parameters else "without"
        raise ValueError(f"{layer.name}: split_as {layer.split_as!r} is for a layer {which} parameters")
    return kind


@singledispatch
def _kind_of_class(layer: Layer, devices: int) -> str:
    raise ValueError(
        f"{layer.name}: partition does not know how to split a {type(layer).__name__}: give that class a split_as"
        f" ({', '.join(SPLIT_AS)})"
    )


for _local in (ReLU, Tanh, Sigmoid, MaxPool2d, AvgPool2d, Dropout, Flatten):
    _kind_of_class.register(_local, lambda layer, devices: "any")
_kind_of_class.register(Softmax, lambda layer, devices: "whole")


@_kind_of_class.register
def _(layer: LocalResponseNorm, devices: int) -> str:
    return "any" if layer.within_channel or layer.groups % devices == 0 else "whole"


@_kind_of_class.register
def _(layer: Linear, devices: int) -> str:
    return "rows"


@_kind_of_class.register
def _(layer: Conv2d, devices: int) -> str:
    if layer.groups == 1:
        return "rows"
    if layer.groups % devices:
        raise ValueError(f"{layer.name}: {layer.groups} groups cannot be shared out over {devices} devices")
    return "groups"


# ---- a device's part of a layer ----


def _fresh(layer: Layer) -> Layer:
    """The layer again, with arrays of its own."""
    part = copy.copy(layer)
    part.params, part.grads, part._shapes, part._turn = {}, {}, {}, Turn()
    return part


def _copy(layer: Layer) -> Layer:
    """The same with parameters of its own, on this device."""
    part = _fresh(layer)
    for key, parameter in layer.params.items():
        part.add_parameter(key, to_device(np.array(to_host(parameter), order="C")))
    return part


def _share(layer: Layer, what: str, total: int, devices: int) -> int:
    if total % devices:
        raise ValueError(f"{layer.name}: {total} {what} cannot be shared out over {devices} devices")
    return total // devices


def _cut_parameters(layer: Layer, part: Layer, kind: str, communicator: Communicator, axes: dict) -> None:
    """Gives `part` this device's block of the layer's parameters, and the sizes that go with it.

    By rows: a block of the outputs. By columns: a block of the inputs; the devices' outputs will be added up, so one of
    them holds the bias.
    """
    rank, size = communicator.rank, communicator.size
    if isinstance(part, Linear) and kind == "columns":
        part.in_features = _share(layer, "input features", part.in_features, size)
    elif isinstance(part, Linear):
        part.out_features = _share(layer, "output features", part.out_features, size)
    elif isinstance(part, Conv2d):
        part.out_channels = _share(layer, "output channels", part.out_channels, size)
        if kind == "groups":
            part.in_channels, part.groups = part.in_channels // size, part.groups // size
    for key, whole in layer.params.items():
        parameter = to_host(whole)
        axis = (1 if key == "weight" else None) if kind == "columns" else 0
        axes[f"{layer.name}.{key}"] = axis
        if axis is None and rank != 0:
            continue
        if axis is not None:
            count = _share(layer, f"rows of {key}", parameter.shape[axis], size)
            block = slice(rank * count, (rank + 1) * count)
            parameter = parameter[block] if axis == 0 else parameter[:, block]
        part.add_parameter(key, to_device(np.array(parameter, order="C")))  # a copy, on this device
