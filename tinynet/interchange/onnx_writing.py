"""ONNX out: any network whose layers ONNX has, for onnxruntime and others.

Where ONNX has no such thing, it is said with what it has, and onnx_reading.py knows it again: normalisation in blocks
of channels is Reshape, LRN, Reshape; dropout that scales at test is a product with one number.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np

from tinynet.backend import to_host
from tinynet.errors import CheckpointError
from tinynet.files import shown, written_whole
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
from tinynet.network import Sequential, leaves

OPSET, IR = 17, 8


def write_onnx(
    net: Sequential, path: str | Path, input_shape: Shape, classes: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Writes the network, for images of `input_shape` (C, H, W) and any number of them, and checks the file's form.

    classes: names, which become metadata, as `metadata` does. CheckpointError that names a layer which ONNX has not
    (normalisation within a channel, layers of one's own), or for a file that cannot be written; ValueError where the
    shape does not fit; ImportError without the package onnx.
    """
    try:
        import onnx
        from onnx import TensorProto, helper
    except ImportError as error:
        raise ImportError(f"ONNX files need a package: pip install 'tinynet[onnx]' ({error})") from error
    graph = _Graph()
    shape = tuple(input_shape)
    for layer in leaves(net):
        _write(layer, graph, shape)
        shape = layer.output_shape(shape)

    def value(name: str, shape: Shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])

    made = helper.make_graph(
        graph.nodes, "tinynet", [value("input", input_shape)], [value(graph.last, shape)], graph.constants
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(made, opset_imports=[opset], ir_version=IR, producer_name="tinynet")
    told = dict(metadata or {}) | ({"classes": json.dumps(list(classes))} if classes is not None else {})
    helper.set_model_props(model, told)
    onnx.checker.check_model(model)
    try:
        with written_whole(Path(path)) as partial:
            partial.write_bytes(model.SerializeToString())
    except OSError as error:
        raise CheckpointError(f"{shown(path)}: cannot be written ({shown(error)})") from error


class _Graph:
    """Nodes so far, and the name of the value that the last one gives."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.last = "input"

    def add(self, operator: str, name: str, constants: Sequence[tuple[str, np.ndarray]] = (), **attributes) -> None:
        """A node of this name, whose output has its name too; constants: further inputs, by a key."""
        from onnx import helper, numpy_helper

        inputs = [self.last]
        for key, array in constants:
            inputs.append(f"{name}.{key}")
            self.constants.append(numpy_helper.from_array(np.array(array, order="C"), inputs[-1]))
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        self.last = name


@singledispatch
def _write(layer: Layer, graph: _Graph, shape: Shape) -> None:
    """Adds the node of a layer, for an input of `shape`."""
    raise CheckpointError(f"{layer.name}: {layer!r}: ONNX has no such layer")


def _parameters(layer: Layer) -> Iterator[tuple[str, np.ndarray]]:
    for key in ("weight", "bias"):
        if key in layer.params:
            yield key, to_host(layer.params[key]).astype(np.float32)


@_write.register
def _(layer: Conv2d, graph: _Graph, shape: Shape) -> None:
    (top, bottom), (left, right) = layer._sides(*shape[1:])
    graph.add(
        "Conv", layer.name, list(_parameters(layer)), kernel_shape=layer.kernel_size, strides=layer.stride,
        pads=[top, left, bottom, right], group=layer.groups,
    )  # fmt: skip


@_write.register
def _(layer: Linear, graph: _Graph, shape: Shape) -> None:
    graph.add("Gemm", layer.name, list(_parameters(layer)), transB=1)


def _windows(layer: MaxPool2d | AvgPool2d, shape: Shape) -> tuple[dict, bool]:
    """The attributes of a pool, and whether a window overhangs: with ceil_mode that is padding on one side, since
    runtimes do not agree about ceil_mode.
    """
    windows = layer._windows(("N", *shape))
    ends = [(w.output - 1) * w.stride + w.kernel - w.size - w.before for w in windows]
    after = [max(w.after, end) for w, end in zip(windows, ends, strict=True)]
    pads = [*(w.before for w in windows), *after]
    overhangs = any(end > w.after for w, end in zip(windows, ends, strict=True))
    return {"kernel_shape": layer.kernel_size, "strides": layer.stride, "pads": pads}, overhangs


@_write.register
def _(layer: MaxPool2d, graph: _Graph, shape: Shape) -> None:
    graph.add("MaxPool", layer.name, **_windows(layer, shape)[0])


@_write.register
def _(layer: AvgPool2d, graph: _Graph, shape: Shape) -> None:
    attributes, overhangs = _windows(layer, shape)
    include = layer.count_include_pad
    if overhangs and include:  # what overhangs does not count, and the padding does
        if any(w.before or w.after for w in layer._windows(("N", *shape))):
            raise CheckpointError(f"{layer.name}: ONNX cannot count padding and leave out what overhangs (ceil_mode)")
        include = False
    graph.add("AveragePool", layer.name, **attributes, count_include_pad=int(include))


@_write.register
def _(layer: LocalResponseNorm, graph: _Graph, shape: Shape) -> None:
    if layer.within_channel:
        raise CheckpointError(f"{layer.name}: ONNX normalises over channels only, and not within a channel")
    if layer.size % 2 == 0:
        raise CheckpointError(f"{layer.name}: windows of {layer.size} channels lie otherwise in ONNX, odd sizes do not")
    alpha = layer.alpha if layer.average else layer.alpha * layer.size
    settings: dict[str, Any] = {"size": layer.size, "alpha": alpha, "beta": layer.beta, "bias": layer.k}
    if layer.groups == 1:
        graph.add("LRN", layer.name, **settings)
        return
    channels, *_ = shape
    for name, blocks in ((f"{layer.name}_blocks", channels // layer.groups), (layer.name, channels)):
        if name == layer.name:
            graph.add("LRN", f"{layer.name}_in_blocks", **settings)
        graph.add("Reshape", name, [("shape", np.array([-1, blocks, 0, 0], np.int64))])  # 0: as it is


@_write.register
def _(layer: Dropout, graph: _Graph, shape: Shape) -> None:
    if layer.scale == "train":
        graph.add("Dropout", layer.name, [("ratio", np.array(layer.p, np.float32))])
    else:
        graph.add("Mul", layer.name, [("kept", np.array(1 - layer.p, np.float32))])


@_write.register
def _(layer: Flatten, graph: _Graph, shape: Shape) -> None:
    graph.add("Flatten", layer.name, axis=1)


@_write.register
def _(layer: Softmax, graph: _Graph, shape: Shape) -> None:
    graph.add("Softmax", layer.name, axis=1)


def _plain(operator: str) -> Callable[[Layer, _Graph, Shape], None]:
    return lambda layer, graph, shape: graph.add(operator, layer.name)


for _layer, _operator in ((ReLU, "Relu"), (Tanh, "Tanh"), (Sigmoid, "Sigmoid")):
    _write.register(_layer, _plain(_operator))
