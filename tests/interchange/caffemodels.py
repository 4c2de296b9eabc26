"""Files as Caffe writes them, made of tinynet's networks with the protobuf package, in both of Caffe's forms."""

from pathlib import Path

import numpy as np

from tinynet import AvgPool2d, Conv2d, Dropout, Flatten, Linear, LocalResponseNorm, MaxPool2d, ReLU, Sequential, Tanh
from tinynet.backend import to_host
from tinynet.interchange.caffe_schema import V1_TYPES, messages
from tinynet.network import leaves

KINDS = {
    Conv2d: "Convolution", Linear: "InnerProduct", MaxPool2d: "Pooling", AvgPool2d: "Pooling", ReLU: "ReLU",
    Tanh: "TanH", LocalResponseNorm: "LRN", Dropout: "Dropout", Flatten: "Flatten",
}  # fmt: skip


def message_of(net: Sequential, old: bool, crop: int | None = None):
    """NetParameter, with a data layer in front, and accuracy and loss behind a Split, as training leaves them."""
    message = messages()["NetParameter"](name="net")
    layers = message.layers if old else message.layer

    def add(kind: str, name: str, bottom: list[str], top: list[str]):
        number = {value: key for key, value in V1_TYPES.items()}.get(kind)
        return layers.add(name=name, type=number if old else kind, bottom=bottom, top=top)

    data, current = add("Data", "data", [], ["data", "label"]), "data"
    if crop:
        data.transform_param.crop_size = crop
    first = True
    for layer in leaves(net):
        place = isinstance(layer, ReLU | Dropout)  # in place
        top = current if place else layer.name
        made = add(KINDS[type(layer)], layer.name, [current], [top])
        current = top
        if isinstance(layer, Conv2d):
            given = made.convolution_param
            given.num_output, given.group, given.bias_term = layer.out_channels, layer.groups, "bias" in layer.params
            given.kernel_h, given.kernel_w = layer.kernel_size
            given.stride.append(layer.stride[0])
            given.pad.append(layer.padding)
        elif isinstance(layer, Linear):
            made.inner_product_param.num_output = layer.out_features
            made.inner_product_param.bias_term = "bias" in layer.params
        elif isinstance(layer, MaxPool2d | AvgPool2d):
            made.pooling_param.pool = int(isinstance(layer, AvgPool2d))
            made.pooling_param.kernel_size, made.pooling_param.stride = layer.kernel_size[0], layer.stride[0]
            made.pooling_param.pad = layer.padding
        elif isinstance(layer, LocalResponseNorm):
            given = made.lrn_param
            given.local_size, given.alpha, given.beta, given.k = layer.size, layer.alpha, layer.beta, layer.k
            given.norm_region = int(layer.within_channel)
        elif isinstance(layer, Dropout):
            made.dropout_param.dropout_ratio = layer.p
        for key in ("weight", "bias"):
            if key in layer.params:
                array = to_host(layer.params[key]).astype(np.float32)
                if first and key == "weight" and array.shape[1] == 3:
                    array = array[:, ::-1]  # blue first
                blob = made.blobs.add(data=array.ravel().tolist())
                if old:
                    blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - array.ndim) + array.shape
                else:
                    blob.shape.dim.extend(array.shape)
        first = first and not layer.params
    add("Split", "split", [current], [f"{current}_split_0", f"{current}_split_1"])
    add("Accuracy", "accuracy", [f"{current}_split_0", "label"], ["accuracy"])
    add("SoftmaxWithLoss", "loss", [f"{current}_split_1", "label"], ["loss"])
    return message


def write(path: Path, net: Sequential, old: bool = False, crop: int | None = None) -> Path:
    path.write_bytes(message_of(net, old, crop).SerializeToString())
    return path
