"""Caffe in: the networks in .caffemodel files, of AlexNet, CaffeNet, VGG and other chains; and Caffe's mean images.

Caffe's images have blue first: the first convolution is turned round, so that it takes red first as all networks here.
Its LRN is over all channels on one device, and divides alpha by the window's size.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from tinynet.backend import to_device, to_host
from tinynet.errors import CheckpointError
from tinynet.files import brief_text, check_regular, shown
from tinynet.interchange.caffe_schema import V1_TYPES, messages
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
from tinynet.network import Sequential

MOST_BYTES = 1 << 31
PASSED_OVER = {"Data", "ImageData", "Input", "DummyData", "HDF5Data", "MemoryData", "Accuracy", "Split", "Silence"}
LOSSES = {"SoftmaxWithLoss", "SoftmaxLoss"}
SIDES = (227, 224, 28, 32, 256)  # of inputs that a file does not tell, the usual ones


def read_caffe(path: str | Path) -> Sequential:
    """The network in a .caffemodel, with its weights and without its loss. CheckpointError that names the layer for
    what is not a chain, or a layer that is not there; ImportError without the package protobuf.
    """
    return read_caffe_net(path)[0]


def read_caffe_net(path: str | Path) -> tuple[Sequential, tuple[int, int, int] | None]:
    """The network, and the shape of its images where the file tells it or a usual size fits."""
    path = Path(path)
    net = _parsed(path, "NetParameter")
    try:
        layers = [_Layer(one.type, one) for one in net.layer]
        layers += [_Layer(V1_TYPES.get(one.type, f"number {one.type}"), one) for one in net.layers]
        built = _build(layers)
    except (CheckpointError, ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{shown(path)}: {shown(str(error)[:300])}") from error
    return built, _shape(built, net, layers)


def read_mean(path: str | Path) -> np.ndarray:
    """A mean image, (C, H, W) float32 with red first, from Caffe's .binaryproto or an array's .npy, both blue first."""
    path = Path(path)
    try:
        if str(path).lower().endswith(".npy"):
            check_regular(path)
            mean = np.load(path, mmap_mode="r", allow_pickle=False)  # which takes no more than the file has
        else:
            mean = _array(_parsed(path, "BlobProto"), str(path))
    except CheckpointError:
        raise
    except Exception as error:  # NumPy's reader meets broken heads with many kinds of exception
        raise CheckpointError(f"{shown(path)}: not a readable mean image ({shown(error)})") from error
    mean = mean[0] if mean.ndim == 4 and len(mean) == 1 else mean
    if mean.ndim != 3 or mean.shape[0] not in (1, 3) or mean.dtype.kind != "f" or not np.isfinite(mean).all():
        found = f"{mean.dtype} {mean.shape}"
        raise CheckpointError(f"{shown(path)}: {found}: expected a mean image (channels, height, width)")
    return np.ascontiguousarray(mean[::-1], np.float32)


def _parsed(path: Path, message: str) -> Any:
    kind = messages()[message]
    from google.protobuf.message import DecodeError

    try:
        check_regular(path)
        if path.stat().st_size > MOST_BYTES:
            raise CheckpointError(f"{shown(path)}: larger than a file of protobuf can be")
        return kind.FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise CheckpointError(f"{shown(path)}: not a readable file of Caffe's ({shown(error)})") from error


class _Layer:
    """One of Caffe's, of either form."""

    def __init__(self, kind: str, message: Any):
        self.kind, self.message, self.name = kind, message, message.name

    def refuse(self, reason: str) -> CheckpointError:
        return CheckpointError(f"{brief_text(self.kind)} {brief_text(self.name)}: {reason}")

    def blobs(self, count: int) -> list[np.ndarray]:
        """The first `count` of its arrays; CheckpointError where there are fewer, or values that are not finite."""
        if len(self.message.blobs) < count:
            raise self.refuse(f"has {len(self.message.blobs)} arrays of weights, expected {count}")
        found = [_array(blob, f"{self.kind} {self.name}") for blob in self.message.blobs[:count]]
        if not all(np.isfinite(array).all() for array in found):
            raise self.refuse("its weights are not finite")
        return found


def _array(blob: Any, what: str) -> np.ndarray:
    values = np.array(blob.data if len(blob.data) else blob.double_data, np.float32)
    old = blob.HasField("num") or blob.HasField("channels") or blob.HasField("height") or blob.HasField("width")
    shape = (blob.num, blob.channels, blob.height, blob.width) if old else tuple(blob.shape.dim)
    if any(size < 0 for size in shape) or math.prod(shape) != values.size:
        held = f"{values.size:,} values, and the shape {brief_text(shape)}"
        raise CheckpointError(f"{brief_text(what)}: has {held}")
    return values.reshape(shape)


def _build(layers: list[_Layer]) -> Sequential:
    """The chain, as tops name it: a layer in place has its bottom for its top."""
    found: list[tuple[str, Layer]] = []
    current: str | None = None
    for layer in layers:
        if layer.kind in PASSED_OVER or not layer.message.bottom:
            continue
        if layer.kind in LOSSES:
            continue
        bottoms, tops = layer.message.bottom, layer.message.top
        if len(bottoms) != 1 or len(tops) != 1 or not _follows(bottoms[0], current):
            taken = brief_text(", ".join(bottoms))
            raise layer.refuse(f"takes {taken} behind {brief_text(current)}, so this is no chain")
        current = tops[0]
        reader = READERS.get(layer.kind)
        if reader is None:
            raise layer.refuse(f"tinynet has no such layer; it has {', '.join(sorted(READERS))}")
        ours = reader(layer)
        if isinstance(ours, Linear) and not any(isinstance(one, Linear | Flatten) for _, one in found):
            found.append(("flatten", Flatten()))  # which Caffe's inner products do themselves
        found.append((_name(layer.name, found), ours))
    if not found:
        raise CheckpointError("has no layer with weights")
    first = next((layer for _, layer in found if isinstance(layer, Conv2d)), None)
    if first is not None and first.in_channels == 3:
        first.params["weight"] = to_device(np.ascontiguousarray(to_host(first.params["weight"])[:, ::-1]))
    return Sequential(found)


def _follows(bottom: str, current: str | None) -> bool:
    """Whether a layer takes what the last one gave, perhaps by a Split of Caffe's own: fc8_fc8_0_split_1 is fc8."""
    return current is None or bottom == current or (bottom.startswith(f"{current}_") and "_split_" in bottom)


def _name(name: str, found: list[tuple[str, Layer]]) -> str:
    """A name for a layer: Caffe's own without dots, and each once."""
    name = name.replace(".", "_") or "layer"
    while name in {taken for taken, _ in found}:
        name += "_"
    return name


def _shape(net: Sequential, message: Any, layers: list[_Layer]) -> tuple[int, int, int] | None:
    """(C, H, W): told by the file, or the first of the usual sizes that fits."""
    first = next((layer for layer in net if isinstance(layer, Conv2d)), None)
    channels = first.in_channels if first else 3
    told = [int(one.message.transform_param.crop_size) for one in layers if one.message.HasField("transform_param")]
    sides = [*(int(side) for side in message.input_dim[2:3]), *told, *SIDES]
    for side in sides:
        try:
            net.output_shape((channels, side, side))
        except ValueError:
            continue
        return channels, side, side
    return None


# ---- layers ----


def _sizes(layer: _Layer, given: Any, name: str, short: str, otherwise: int | None) -> tuple[int, int]:
    """(vertical, horizontal) of a size that may be one number, several, or one for each direction."""
    if given.HasField(f"{short}_h") or given.HasField(f"{short}_w"):
        return int(getattr(given, f"{short}_h")), int(getattr(given, f"{short}_w"))
    value = getattr(given, name)  # a number in poolings, several in convolutions
    values = list(value) if not isinstance(value, int) else [value] * given.HasField(name)
    values = values or ([otherwise] if otherwise is not None else [])
    if len(values) not in (1, 2) or max(values) > 1 << 16:
        raise layer.refuse(f"{name} is {brief_text(values)}")
    return int(values[0]), int(values[-1])


def _convolution(layer: _Layer) -> Layer:
    given = layer.message.convolution_param
    if set(given.dilation) - {1}:
        raise layer.refuse("windows with holes (dilation), which tinynet has not")
    bias, groups = given.bias_term or not given.HasField("bias_term"), given.group if given.HasField("group") else 1
    arrays = layer.blobs(1 + bias)
    weight = arrays[0]
    kernel = _sizes(layer, given, "kernel_size", "kernel", None)
    if weight.ndim != 4 or weight.shape[2:] != kernel or weight.size == 0 or groups < 1:
        raise layer.refuse(f"weights of {weight.shape}, and a kernel of {kernel}")
    sides, stride = _sizes(layer, given, "pad", "pad", 0), _sizes(layer, given, "stride", "stride", 1)
    padding = sides[0] if sides[0] == sides[1] else sides
    ours = Conv2d(weight.shape[1] * groups, weight.shape[0], kernel, stride, padding, groups, bias=bias)
    return _filled(layer, ours, weight, arrays[1].reshape(-1) if bias else None)


def _inner_product(layer: _Layer) -> Layer:
    given = layer.message.inner_product_param
    bias = given.bias_term or not given.HasField("bias_term")
    arrays = layer.blobs(1 + bias)
    weight = arrays[0].reshape(arrays[0].shape[-2:]) if arrays[0].ndim >= 2 and arrays[0].size else arrays[0]
    if weight.ndim != 2 or arrays[0].size != weight.size or weight.size == 0:
        raise layer.refuse(f"weights of {arrays[0].shape}, expected (outputs, inputs)")
    weight = weight.T if given.transpose else weight
    ours = Linear(weight.shape[1], weight.shape[0], bias=bias)
    return _filled(layer, ours, weight, arrays[1].reshape(-1) if bias else None)


def _filled(layer: _Layer, ours: Layer, weight: np.ndarray, bias: np.ndarray | None) -> Layer:
    for key, array in (("weight", weight), ("bias", bias)):
        if array is not None:
            if array.shape != ours.params[key].shape:
                raise layer.refuse(f"a {key} of {array.shape}, expected {ours.params[key].shape}")
            ours.params[key] = to_device(np.ascontiguousarray(array))
    return ours


def _pooling(layer: _Layer) -> Layer:
    given = layer.message.pooling_param
    if given.global_pooling or given.pool not in (0, 1):
        raise layer.refuse("pools over all of the image, or neither takes the maximum nor the mean")
    kernel = _sizes(layer, given, "kernel_size", "kernel", None)
    stride, padding = _sizes(layer, given, "stride", "stride", 1), _sizes(layer, given, "pad", "pad", 0)
    return (AvgPool2d if given.pool else MaxPool2d)(kernel, stride, padding, ceil_mode=True)


def _lrn(layer: _Layer) -> Layer:
    given = layer.message.lrn_param
    size = int(given.local_size) if given.HasField("local_size") else 5
    values: dict[str, Any] = {"alpha": 1.0, "beta": 0.75, "k": 1.0}
    values |= {name: float(getattr(given, name)) for name in values if given.HasField(name)}
    return LocalResponseNorm(size, **values, average=True, within_channel=given.norm_region == 1)


def _dropout(layer: _Layer) -> Layer:
    given = layer.message.dropout_param
    return Dropout(round(float(given.dropout_ratio), 6) if given.HasField("dropout_ratio") else 0.5)


READERS = {
    "Convolution": _convolution,
    "Dropout": _dropout,
    "Flatten": lambda layer: Flatten(),
    "InnerProduct": _inner_product,
    "LRN": _lrn,
    "Pooling": _pooling,
    "ReLU": lambda layer: ReLU(),
    "Sigmoid": lambda layer: Sigmoid(),
    "Softmax": lambda layer: Softmax(),
    "TanH": lambda layer: Tanh(),
}
