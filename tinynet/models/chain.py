"""Any chain of tinynet's layers, described by a list that JSON can hold: what networks read from other files are."""

from collections.abc import Mapping, Sequence
from typing import Any

from tinynet.initializers import initialize
from tinynet.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from tinynet.layers.layer import Layer
from tinynet.network import Sequential, leaves

MOST = 10_000  # layers
KINDS: dict[type[Layer], tuple[str, ...]] = {  # a layer's class and its arguments, which are its attributes
    Conv2d: ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups", "bias"),
    Linear: ("in_features", "out_features", "bias"),
    MaxPool2d: ("kernel_size", "stride", "padding", "ceil_mode"),
    AvgPool2d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    LocalResponseNorm: ("size", "alpha", "beta", "k", "groups", "average", "within_channel"),
    Dropout: ("p", "scale"),
    ReLU: ("inplace",),
    Flatten: (),
    Sigmoid: (),
    Softmax: (),
    Tanh: (),
}
NAMED = {kind.__name__: kind for kind in KINDS}


def describe(net: Sequential) -> list[list]:
    """The layers of a network, those of inner ones too, as `chain` takes them. ValueError for layers of one's own."""
    described = []
    for layer in leaves(net):
        if type(layer) not in KINDS:
            raise ValueError(f"{layer.name}: {type(layer).__name__} is no layer of tinynet's own")
        values = {name: getattr(layer, name) for name in KINDS[type(layer)] if name != "bias"}
        if "bias" in KINDS[type(layer)]:
            values["bias"] = "bias" in layer.params
        described.append([layer.name.replace(".", "_"), type(layer).__name__, values])
    return described


def chain(layers: Sequence[Sequence] = (), num_classes: int | None = None, seed: int = 0) -> Sequential:
    """The network of these layers, each [name, class, {argument: value}], such as ["conv1", "Conv2d", {"in_channels":
    3, "out_channels": 96, "kernel_size": 11}].

    num_classes: outputs of the last layer with weights, in place of its own. seed: of the weights, which are drawn by
    He's rule. ValueError or TypeError for what is no layer.
    """
    if not 0 < len(layers) <= MOST:
        raise ValueError(f"chain: expected 1 to {MOST:,} layers, [name, class, arguments] each, got {len(layers):,}")
    pairs = [_layer(entry) for entry in layers]
    if num_classes is not None:
        place = max((at for at, (_, layer) in enumerate(pairs) if layer.params), default=None)
        if place is None:
            raise ValueError("chain: num_classes, and no layer has weights")
        name, kind, values = layers[place]
        outputs = "out_features" if kind == "Linear" else "out_channels"
        pairs[place] = _layer([name, kind, {**values, outputs: num_classes}])
    net = Sequential(pairs)
    initialize(net, seed)
    return net


def _layer(entry: Any) -> tuple[str, Layer]:
    if not (isinstance(entry, list | tuple) and len(entry) == 3 and isinstance(entry[2], Mapping)):
        raise ValueError("chain: expected [name, class, {argument: value}] for each layer")
    name, kind, values = entry
    if not isinstance(kind, str) or kind not in NAMED:
        raise ValueError(f"chain: {str(name)[:50]}: no class {str(kind)[:50]!r}: expected one of {', '.join(NAMED)}")
    unknown = values.keys() - KINDS[NAMED[kind]]
    if unknown:
        raise ValueError(f"chain: {str(name)[:50]}: {kind} has no argument {', '.join(map(str, unknown))[:100]}")
    layer: Any = NAMED[kind]
    return name, layer(**values)
