"""ONNX in: a chain of operators becomes a Sequential with its weights, that trains on like any other.

Sources: the operators' definitions in the ONNX standard, opsets 3 to 28.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinynet.backend import to_device, to_host
from tinynet.errors import CheckpointError
from tinynet.files import brief_text, shown
from tinynet.interchange.onnx_graph import Graph, Node, read_graph
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
from tinynet.layers.layer import Layer, Shape
from tinynet.network import Sequential
from tinynet.operations.window import same_padding

OPSETS = range(3, 29)
WORD = re.compile(r"(?!node_)[A-Za-z][A-Za-z_][A-Za-z0-9_]{0,60}")  # for a layer; not what exporters make up, n12


def read_onnx(path: str | Path) -> Sequential:
    """The network in an ONNX file, with its weights as float32.

    Layers have the names of their nodes, where these are words, else "conv1", "relu1" and so on. CheckpointError that
    names the node for what is not a chain, an operator, an attribute or an opset that is not there; ImportError
    without the package onnx.
    """
    return network_of(read_graph(path), shown(path))


def network_of(graph: Graph, source: str) -> Sequential:
    """The network of a graph; source: what errors call it."""
    building = _Building(graph.input_shape)
    nodes = graph.nodes
    try:
        while nodes:
            nodes = nodes[_add(building, nodes) :]
        if not building.layers:
            raise CheckpointError("has no layer")
        return Sequential(building.layers)
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from error


@dataclass
class _Building:
    """What has been read so far. shape: of an image's output there, (C, H, W) or (features,); None where unknown."""

    shape: Shape | None
    layers: list[tuple[str, Layer]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    bare: Linear | None = None  # of a MatMul, whose bias may follow

    def add(self, node: Node, kind: str, layer: Layer) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        taken = {name for name, _ in self.layers}
        name = node.name if WORD.fullmatch(node.name) else f"{kind}{self.counts[kind]}"
        while name in taken:
            name += "_"
        layer.name = name
        self.layers.append((name, layer))
        self.bare = None
        if self.shape is not None:
            try:
                self.shape = layer.output_shape(self.shape)
            except ValueError as error:
                raise node.refuse(shown(error)) from error

    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)


def _add(building: _Building, nodes: Sequence[Node]) -> int:
    """Adds what the first of the nodes stand for; how many they are."""
    node = nodes[0]
    if node.opset not in OPSETS:
        raise node.refuse(f"of opset {node.opset}, expected {OPSETS.start} to {OPSETS.stop - 1}")
    if _is_grouped_lrn(nodes):
        target = node.constants[1]
        assert target is not None
        _lrn(building, nodes[1], per_group=int(target[1]), back=nodes[2])
        return 3
    reader = READERS.get(node.operator)
    if reader is None:
        raise node.refuse(f"tinynet has no such operator; it has {', '.join(sorted(READERS))}")
    try:
        reader(building, node)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise node.refuse(f"cannot be read: {shown(str(error)[:200])}") from error
    return 1


# ---- windows ----


def _windows(node: Node, kernel: Sequence[int], size: Shape | None) -> dict:
    """kernel_size, stride and padding of a convolution or a pool."""
    attributes = node.attributes
    kernel = [int(one) for one in kernel]
    if len(kernel) != 2:
        raise node.refuse(f"windows of {len(kernel)} axes, expected 2")
    stride = [int(one) for one in attributes.get("strides", [1, 1])]
    pads = [int(one) for one in attributes.get("pads", [0, 0, 0, 0])]
    if set(attributes.get("dilations", [1])) != {1}:
        raise node.refuse("windows with holes (dilations), which tinynet has not")
    automatic = attributes.get("auto_pad", b"NOTSET")
    if automatic in (b"SAME_UPPER", b"SAME_LOWER"):
        if size is None:
            raise node.refuse(f"auto_pad {automatic.decode()} with an input of unknown size")
        sides = [same_padding(*axis) for axis in zip(size[1:], kernel, stride, strict=True)]
        sides = sides if automatic == b"SAME_UPPER" else [side[::-1] for side in sides]
    elif automatic in (b"NOTSET", b"VALID"):
        sides = list(zip(pads[:2], pads[2:], strict=True)) if automatic == b"NOTSET" else [(0, 0), (0, 0)]
    else:
        raise node.refuse(f"auto_pad is {brief_text(automatic)}")
    if min(*stride, *kernel) < 1 or min(map(min, sides)) < 0 or max(*stride, *kernel, *map(max, sides)) > 1 << 16:
        raise node.refuse(f"a kernel of {kernel}, a stride of {stride} and padding of {sides}")
    padding: Any = tuple(before for before, _ in sides) if all(one == other for one, other in sides) else tuple(sides)
    padding = padding[0] if padding[0] == padding[1] and isinstance(padding[0], int) else padding
    return {"kernel_size": tuple(kernel), "stride": tuple(stride), "padding": padding}


# ---- operators ----


def _conv(building: _Building, node: Node) -> None:
    node.only(kernel_shape=..., strides=..., pads=..., auto_pad=..., dilations=..., group=...)
    weight = node.weights(1, 4)
    if list(node.attributes.get("kernel_shape", weight.shape[2:])) != list(weight.shape[2:]):
        raise node.refuse(f"kernel_shape {node.attributes['kernel_shape']}, and weights {weight.shape}")
    groups, bias = int(node.attributes.get("group", 1)), node.constants.get(2) is not None
    if groups < 1:
        raise node.refuse(f"group is {groups}")
    options = _windows(node, weight.shape[2:], building.shape)
    layer = Conv2d(weight.shape[1] * groups, weight.shape[0], **options, groups=groups, bias=bias)
    _set(node, layer, weight, node.weights(2, 1) if bias else None)
    building.add(node, "conv", layer)


def _set(node: Node, layer: Layer, weight: np.ndarray, bias: np.ndarray | None) -> None:
    for key, array in (("weight", weight), ("bias", bias)):
        if array is not None:
            if array.shape != layer.params[key].shape:
                raise node.refuse(f"a {key} of {array.shape}, expected {layer.params[key].shape}")
            layer.params[key] = to_device(np.array(array, np.float32, order="C"))


def _pool(building: _Building, node: Node) -> None:
    names = {"kernel_shape": ..., "strides": ..., "pads": ..., "auto_pad": ..., "dilations": ..., "ceil_mode": ...}
    if node.operator == "MaxPool":
        node.only(**names, storage_order=...)
    else:
        node.only(**names, count_include_pad=...)
    options = _windows(node, node.attributes["kernel_shape"], building.shape)
    options["ceil_mode"] = bool(node.attributes.get("ceil_mode", 0))
    if node.operator == "MaxPool":
        building.add(node, "pool", MaxPool2d(**options))
    else:
        include = bool(node.attributes.get("count_include_pad", 0))
        building.add(node, "pool", AvgPool2d(**options, count_include_pad=include))


def _global_pool(building: _Building, node: Node) -> None:
    node.only()
    if building.shape is None or len(building.shape) != 3:
        raise node.refuse("of an input of unknown size")
    building.add(node, "pool", AvgPool2d(building.shape[1:]))


def _lrn(building: _Building, node: Node, per_group: int | None = None, back: Node | None = None) -> None:
    node.only(size=..., alpha=..., beta=..., bias=...)
    size, settings = int(node.attributes["size"]), node.attributes
    if size % 2 == 0:
        raise node.refuse(f"size {size} is even: ONNX's windows then lie otherwise than tinynet's")
    groups = 1
    if back is not None and per_group:
        target = back.constants[1]
        assert target is not None
        channels = int(target[1])
        if channels % per_group:
            raise node.refuse(f"{channels} channels in blocks of {per_group}")
        groups = channels // per_group
    options = {"alpha": settings.get("alpha", 1e-4), "beta": settings.get("beta", 0.75), "k": settings.get("bias", 1.0)}
    building.add(back or node, "lrn", LocalResponseNorm(size, **options, groups=groups, average=True))


def _is_grouped_lrn(nodes: Sequence[Node]) -> bool:
    """Whether they are Reshape, LRN and Reshape, by which write_onnx says that channels are normalised in blocks."""
    if [node.operator for node in nodes[:3]] != ["Reshape", "LRN", "Reshape"]:
        return False
    targets = [nodes[place].constants.get(1) for place in (0, 2)]
    return all(
        one is not None and one.shape == (4,) and one[0] == -1 and one[1] > 0 and not one[2:].any() for one in targets
    )


def _activation(kind: str, layer: Callable[[], Layer]) -> Callable[[_Building, Node], None]:
    def read(building: _Building, node: Node) -> None:
        node.only(consumed_inputs=...)
        building.add(node, kind, layer())

    return read


def _softmax(building: _Building, node: Node) -> None:
    node.only(axis=...)
    axis = int(node.attributes.get("axis", 1 if node.opset < 13 else -1))
    if axis != 1 and not (axis == -1 and building.rank() in (None, 1)):
        raise node.refuse(f"axis is {axis}, expected 1, over the classes")
    if building.rank() not in (None, 1):
        raise node.refuse("of feature maps, expected of a vector")
    building.add(node, "softmax", Softmax())


def _dropout(building: _Building, node: Node) -> None:
    node.only(ratio=..., is_test=..., seed=...)
    given = node.constants.get(1)
    ratio = float(node.attributes.get("ratio", 0.5) if given is None else np.ravel(given)[0])
    if not 0 <= ratio < 1:
        raise node.refuse(f"a ratio of {ratio}, expected 0 or more and less than 1")
    building.add(node, "dropout", Dropout(ratio))


def _scale(building: _Building, node: Node) -> None:
    """A product with one number below 1, by which write_onnx says that dropout scales at test."""
    factor = next((array for array in node.constants.values() if array is not None), None)
    if factor is None or factor.size != 1 or not 0 < float(factor.reshape(())) <= 1:
        raise node.refuse("expected a product with one number from 0 to 1, as dropout has it at test")
    building.add(node, "dropout", Dropout(1 - float(factor.reshape(())), scale="test"))


def _gemm(building: _Building, node: Node) -> None:
    node.only(alpha=..., beta=..., transA=0, transB=..., broadcast=...)
    weight = node.weights(1, 2)
    weight = weight if node.attributes.get("transB", 0) else weight.T  # (out, in)
    bias = node.constants.get(2)
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    row = None if bias is None else _row(node, 2, len(weight)) * np.float32(beta)
    building.add(node, "fc", _linear(node, weight * np.float32(alpha), row))


def _matmul(building: _Building, node: Node) -> None:
    node.only()
    layer = _linear(node, node.weights(1, 2).T, None)
    building.add(node, "fc", layer)
    building.bare = layer


def _linear(node: Node, weight: np.ndarray, bias: np.ndarray | None) -> Linear:
    layer = Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    _set(node, layer, weight, bias)
    return layer


def _row(node: Node, place: int, length: int) -> np.ndarray:
    """A bias, (length,): of that shape, or (1, length), or one number for all."""
    values = node.weights(place)
    if values.size not in (1, length) or any(size != 1 for size in values.shape[:-1]):
        raise node.refuse(f"a bias of {values.shape}, expected ({length},)")
    return np.broadcast_to(values.reshape(-1), (length,))


def _bias(building: _Building, node: Node) -> None:
    """Add, right behind a MatMul."""
    node.only(axis=..., broadcast=...)
    if building.bare is None:
        raise node.refuse("expected right behind a MatMul, as its bias")
    name, bare = building.layers[-1][0], building.bare
    place = 1 if 1 in node.constants else 0
    layer = _linear(node, to_host(bare.params["weight"]), _row(node, place, bare.out_features))
    layer.name = name
    building.layers[-1], building.bare = (name, layer), None


def _flatten(building: _Building, node: Node) -> None:
    node.only(axis=1)
    building.add(node, "flatten", Flatten())


def _reshape(building: _Building, node: Node) -> None:
    """To (N, features), as Flatten does; N may be the number that a file was exported with."""
    node.only(shape=..., allowzero=...)
    given = node.constants.get(1)
    target = [int(one) for one in np.ravel(node.attributes["shape"] if given is None else given)]
    features = None if building.shape is None else math.prod(building.shape)
    rest = len(target) == 2 and target[0] >= 0 and target[1] == -1
    known = len(target) == 2 and target[1] > 0
    if not rest and not (known and (target[1] == features or (features is None and target[0] in (-1, 0)))):
        raise node.refuse(f"to {brief_text(target)}, expected (batch, features) as Flatten makes them")
    building.add(node, "flatten", Flatten())


def _nothing(building: _Building, node: Node) -> None:
    """Identity."""


READERS: dict[str, Callable[[_Building, Node], None]] = {
    "Add": _bias,
    "AveragePool": _pool,
    "Conv": _conv,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool,
    "Identity": _nothing,
    "LRN": _lrn,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "Mul": _scale,
    "Relu": _activation("relu", ReLU),
    "Reshape": _reshape,
    "Sigmoid": _activation("sigmoid", Sigmoid),
    "Softmax": _softmax,
    "Tanh": _activation("tanh", Tanh),
}
