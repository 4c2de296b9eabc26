"""Caffe out: a network as a .caffemodel, which holds its layers and their weights.

Caffe rounds the sizes of pools up, always, and normalises over all channels: what it computes otherwise is refused.
"""

from collections.abc import Callable
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np

from tinynet.backend import to_host
from tinynet.errors import CheckpointError
from tinynet.files import shown, written_whole
from tinynet.interchange.caffe_schema import messages
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


def write_caffe(net: Sequential, path: str | Path, input_shape: Shape) -> None:
    """Writes the network and its weights for images of `input_shape` (C, H, W), blue first where there are three
    colours. CheckpointError that names a layer which Caffe has not; ValueError where the shape does not fit;
    ImportError without the package protobuf.
    """
    message = messages()["NetParameter"](name="tinynet", input=["data"], input_dim=[1, *input_shape])
    current, shape, colours = "data", tuple(input_shape), len(input_shape) == 3 and input_shape[0] == 3
    for layer in leaves(net):
        made = message.layer.add(name=layer.name.replace(".", "_"), bottom=[current])
        made.type = _fill(layer, made, shape)
        made.top.append(current if isinstance(layer, ReLU | Dropout) else made.name)  # in place, as Caffe's examples
        for key in ("weight", "bias"):
            if key in layer.params:
                array = to_host(layer.params[key]).astype(np.float32)
                if colours and isinstance(layer, Conv2d) and key == "weight":
                    array, colours = array[:, ::-1], False
                blob = made.blobs.add(data=array.ravel())
                blob.shape.dim.extend(array.shape)
        current, shape = made.top[0], layer.output_shape(shape)
    try:
        with written_whole(Path(path)) as partial:
            partial.write_bytes(message.SerializeToString())
    except OSError as error:
        raise CheckpointError(f"{shown(path)}: cannot be written ({shown(error)})") from error


@singledispatch
def _fill(layer: Layer, made: Any, shape: Shape) -> str:
    """Fills Caffe's parameters of a layer for an input of `shape`; the name of its type."""
    raise CheckpointError(f"{layer.name}: {layer!r}: Caffe has no such layer")


@_fill.register
def _(layer: Conv2d, made: Any, shape: Shape) -> str:
    given, sides = made.convolution_param, layer._sides(*shape[1:])
    if any(before != after for before, after in sides):
        raise CheckpointError(f"{layer.name}: Caffe pads both sides alike, and not {layer.padding}")
    given.num_output, given.group, given.bias_term = layer.out_channels, layer.groups, "bias" in layer.params
    given.kernel_h, given.kernel_w = layer.kernel_size
    given.stride_h, given.stride_w = layer.stride
    given.pad_h, given.pad_w = (before for before, _ in sides)
    return "Convolution"


@_fill.register
def _(layer: Linear, made: Any, shape: Shape) -> str:
    made.inner_product_param.num_output = layer.out_features
    made.inner_product_param.bias_term = "bias" in layer.params
    return "InnerProduct"


def _pool(layer: MaxPool2d | AvgPool2d, made: Any, shape: Shape) -> str:
    sides = layer._sides()
    even = all(before == after for before, after in sides)
    padding = sides[0][0], sides[1][0]
    up = type(layer)(layer.kernel_size, layer.stride, padding, ceil_mode=True) if even else None
    if up is None or up.output_shape(shape) != layer.output_shape(shape):
        raise CheckpointError(f"{layer.name}: Caffe rounds the size of pools up, and pads both sides alike")
    if isinstance(layer, AvgPool2d) and not layer.count_include_pad and any(padding):
        raise CheckpointError(f"{layer.name}: Caffe's means count the padding")
    given = made.pooling_param
    given.pool = int(isinstance(layer, AvgPool2d))
    given.kernel_h, given.kernel_w = layer.kernel_size
    given.stride_h, given.stride_w = layer.stride
    given.pad_h, given.pad_w = padding
    return "Pooling"


_fill.register(MaxPool2d, _pool)
_fill.register(AvgPool2d, _pool)


@_fill.register
def _(layer: LocalResponseNorm, made: Any, shape: Shape) -> str:
    if layer.groups != 1:
        raise CheckpointError(f"{layer.name}: Caffe normalises over all channels, and not over {layer.groups} groups")
    if layer.size % 2 == 0:
        raise CheckpointError(f"{layer.name}: Caffe's windows have an odd size, and not {layer.size}")
    values = layer.size**2 if layer.within_channel else layer.size
    given = made.lrn_param
    given.local_size, given.beta, given.k = layer.size, layer.beta, layer.k
    given.alpha = layer.alpha if layer.average else layer.alpha * values
    given.norm_region = int(layer.within_channel)
    return "LRN"


@_fill.register
def _(layer: Dropout, made: Any, shape: Shape) -> str:
    if layer.scale == "test":
        raise CheckpointError(f"{layer.name}: Caffe's dropout scales in training, and not at test")
    made.dropout_param.dropout_ratio = layer.p
    return "Dropout"


def _plain(kind: str) -> Callable[[Layer, Any, Shape], str]:
    return lambda layer, made, shape: kind


for _kind, _name in ((Flatten, "Flatten"), (ReLU, "ReLU"), (Sigmoid, "Sigmoid"), (Softmax, "Softmax"), (Tanh, "TanH")):
    _fill.register(_kind, _plain(_name))
