"""A classifier as a network of convolutions alone, for images of any size."""

import copy

from tinynet.backend import to_device, to_host
from tinynet.layers import Conv2d, Flatten, Linear
from tinynet.layers.layer import Layer, Shape
from tinynet.network import Sequential, leaves


def convolutional(net: Sequential, input_shape: Shape) -> Sequential:
    """The same network with its linear layers as convolutions: (N, C, H, W) to a map of scores (N, classes, H', W').

    input_shape: (C, H, W) of the images that `net` was made for, on which the map has one place, with the net's own
    scores (Sermanet et al. 2013, OverFeat; Simonyan and Zisserman 2014, section 3.2). The first linear layer becomes a
    convolution with the size of the maps that it saw, and those after it are 1 x 1. On larger images the map has more
    places, at the product of the strides. Where layers pad, a place's scores are not those of the crop there: a crop
    sees zeros where the whole image has neighbours. Weights are copied, the layers without any are new. ValueError for
    a network whose linear layers do not follow a Flatten, or that has none.
    """
    layers: list[tuple[str, Layer]] = []
    shape, flat = tuple(input_shape), None  # flat: of the maps that were flattened
    seen = False
    for layer in leaves(net):
        name = layer.name.replace(".", "_")
        if isinstance(layer, Flatten) and not seen:
            flat = shape
        elif isinstance(layer, Linear):
            if flat is None:
                raise ValueError(f"{layer.name}: expected a Flatten before the first linear layer")
            channels, height, width = flat if not seen else (layer.in_features, 1, 1)
            layers.append((name, _as_convolution(layer, channels, (height, width))))
            seen = True
        else:
            layers.append((name, copy.deepcopy(layer)))
        shape = layer.output_shape(shape)
    if not seen:
        raise ValueError("convolutional: expected a network with linear layers")
    return Sequential(layers)


def _as_convolution(layer: Linear, channels: int, kernel: tuple[int, int]) -> Conv2d:
    made = Conv2d(channels, layer.out_features, kernel, bias="bias" in layer.params)
    weight = to_host(layer.params["weight"])  # (out, C*h*w), channels first
    made.params["weight"] = to_device(weight.reshape(len(weight), channels, *kernel).copy())
    if "bias" in layer.params:
        made.params["bias"] = layer.params["bias"].copy()
    return made
