"""AlexNet, the network of Krizhevsky, Sutskever and Hinton 2012 (section 3.5 and figure 2), and its variations.

CaffeNet is alexnet(order="caffenet"); torchvision's network, which has other sizes, is a function of its own.
"""

import itertools
import math
from numbers import Integral, Real
from typing import Any

from tinynet.initializers import initialize
from tinynet.layers import Conv2d, Dropout, Flatten, Layer, Linear, LocalResponseNorm, MaxPool2d, ReLU
from tinynet.layers.layer import whole
from tinynet.network import Sequential

BIASED = ("conv2", "conv4", "conv5", "fc6", "fc7")  # section 5: "and the fully-connected hidden layers"
CAFFES = dict.fromkeys(("conv1", "conv2", "conv3", "conv4", "conv5", "fc8"), 0.01) | {"fc6": 0.005, "fc7": 0.005}
PROGRAMS = dict.fromkeys(("conv1", "conv2", "fc6", "fc7", "fc8"), 0.01)
PROGRAMS |= dict.fromkeys(("conv3", "conv4", "conv5"), 0.03)
INITIALIZATIONS: dict[str, dict[str, Any]] = {  # what initialize takes
    "paper": {"std": 0.01, "biases": dict.fromkeys(BIASED, 1.0)},
    "program": {"std": PROGRAMS, "biases": dict.fromkeys(BIASED, 1.0)},
    "caffe": {"std": CAFFES, "biases": dict.fromkeys(BIASED, 0.1)},
    "he": {},
    "he-conv1": {"std": {"conv1": 0.01}, "method": "he"},
}


def alexnet(
    num_classes: int = 1000,
    groups: int = 2,
    width: float = 1.0,
    input_size: int = 227,
    order: str = "paper",
    initialization: str = "paper",
    dropout: float = 0.5,
    lrn: bool = True,
    seed: int = 0,
    in_channels: int = 3,
    kernels: float = 1.0,
) -> Sequential:
    """The paper's network for images (N, in_channels, input_size, input_size); logits (N, num_classes), float32.

    groups: 2 for the paper's two towers, which meet at conv3 and the fully connected layers only; LRN stays inside a
    tower, as on the two devices. 1 connects everything. width multiplies the number of kernels and hidden neurons;
    kernels those of conv1 to conv4 alone: 0.5 with groups=1 is the net on one device of section 3.2 and its footnote.
    order: "paper" normalises, then pools; "caffenet" pools, then normalises. lrn=False leaves the normalisation out.
    dropout: p in fc6 and fc7. seed: of the weights and of dropout's masks. ValueError or TypeError where a size does
    not fit.

    initialization: "paper" is N(0, 0.01), with biases of 1 in conv2, conv4, conv5, fc6 and fc7 (section 5), made for
    ImageNet: narrow nets and small data sets may never leave their first plateau. "program" is that of the authors'
    program, with N(0, 0.03) in conv3 to conv5: on ten classes it learns at a rate of 0.002. "caffe" is bvlc_alexnet's,
    biases of 0.1 and N(0, 0.005) in fc6 and fc7, which leaves it after some hundred steps. "he" is He's normal
    distribution with biases of 0, for pixels of unit variance: it learns at once, but its conv1 starts with noise of
    0.074, under which the kernels of the paper's figure 3 stay hidden. "he-conv1" is He's with the paper's N(0, 0.01)
    in conv1: it learns as fast, and the kernels are seen to form.
    """
    sizes = {"num_classes": num_classes, "groups": groups, "input_size": input_size, "in_channels": in_channels}
    _check_settings("alexnet", width, seed, **sizes)
    _check_factor("alexnet", "kernels", kernels)
    if order not in ("paper", "caffenet"):
        raise ValueError(f"alexnet: order must be 'paper' or 'caffenet', got {order!r}")
    if not isinstance(initialization, str) or initialization not in INITIALIZATIONS:
        raise ValueError(f"alexnet: initialization must be one of {', '.join(INITIALIZATIONS)}, got {initialization!r}")

    def wide(channels: int, factor: float = 1.0) -> int:
        """`channels` times the width, as a multiple of the groups."""
        return groups * max(1, round(channels * width * factor / groups))

    first, second, third, fourth = (wide(channels, kernels) for channels in (96, 256, 384, 384))

    def pool_and_norm(number: int) -> list[tuple[str, Layer]]:
        pool = (f"pool{number}", MaxPool2d(3, stride=2))
        norm = (f"lrn{number}", LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=2.0, groups=groups))
        return ([norm, pool] if order == "paper" else [pool, norm]) if lrn else [pool]

    features = Sequential(                                                              # at width 1 and 227 x 227:
        [
            ("conv1", Conv2d(in_channels, first, 11, stride=4)),                        #  96 x 55 x 55
            ("relu1", ReLU(inplace=True)),
            *pool_and_norm(1),                                                          #  96 x 27 x 27
            ("conv2", Conv2d(first, second, 5, padding=2, groups=groups)),              # 256 x 27 x 27
            ("relu2", ReLU(inplace=True)),
            *pool_and_norm(2),                                                          # 256 x 13 x 13
            ("conv3", Conv2d(second, third, 3, padding=1)),                             # 384 x 13 x 13
            ("relu3", ReLU(inplace=True)),
            ("conv4", Conv2d(third, fourth, 3, padding=1, groups=groups)),              # 384 x 13 x 13
            ("relu4", ReLU(inplace=True)),
            ("conv5", Conv2d(fourth, wide(256), 3, padding=1, groups=groups)),          # 256 x 13 x 13
            ("relu5", ReLU(inplace=True)),
            ("pool5", MaxPool2d(3, stride=2)),                                          # 256 x 6 x 6
            ("flatten", Flatten()),                                                     # 9216
        ]
    )  # fmt: skip
    flat = _outputs(features, in_channels, input_size)
    classifier = [
        ("fc6", Linear(flat, wide(4096))),
        ("relu6", ReLU(inplace=True)),
        ("dropout6", Dropout(dropout)),
        ("fc7", Linear(wide(4096), wide(4096))),
        ("relu7", ReLU(inplace=True)),
        ("dropout7", Dropout(dropout)),
        ("fc8", Linear(wide(4096), num_classes)),
    ]
    net = Sequential([*features.layers.items(), *classifier])
    initialize(net, seed, **INITIALIZATIONS[initialization])
    for layer in net:
        if isinstance(layer, Dropout):
            layer.seed = seed
    return net


def alexnet_torchvision(
    num_classes: int = 1000,
    width: float = 1.0,
    input_size: int = 224,
    dropout: float = 0.5,
    seed: int = 0,
    in_channels: int = 3,
) -> Sequential:
    """The AlexNet of torchvision for images (N, in_channels, input_size, input_size); logits (N, num_classes), float32.

    One tower without normalisation, after Krizhevsky 2014 ("One weird trick for parallelizing convolutional neural
    networks", where conv4 has 384 kernels). torchvision's average pooling to 6 x 6 before fc6 changes nothing at 224
    pixels and is left out: with other sizes it is fc6 that changes. width multiplies the number of kernels and hidden
    neurons. dropout: p, on the outputs of pool5 and fc6. seed: of the weights, which start with He's normal
    distribution and biases of 0, and of dropout's masks. ValueError or TypeError where a size does not fit.
    """
    sizes = {"num_classes": num_classes, "input_size": input_size, "in_channels": in_channels}
    _check_settings("alexnet_torchvision", width, seed, **sizes)

    def wide(channels: int) -> int:
        return max(1, round(channels * width))

    features = Sequential(                                                              # at width 1 and 224 x 224:
        [
            ("conv1", Conv2d(in_channels, wide(64), 11, stride=4, padding=2)),          #  64 x 55 x 55
            ("relu1", ReLU(inplace=True)),
            ("pool1", MaxPool2d(3, stride=2)),                                          #  64 x 27 x 27
            ("conv2", Conv2d(wide(64), wide(192), 5, padding=2)),                       # 192 x 27 x 27
            ("relu2", ReLU(inplace=True)),
            ("pool2", MaxPool2d(3, stride=2)),                                          # 192 x 13 x 13
            ("conv3", Conv2d(wide(192), wide(384), 3, padding=1)),                      # 384 x 13 x 13
            ("relu3", ReLU(inplace=True)),
            ("conv4", Conv2d(wide(384), wide(256), 3, padding=1)),                      # 256 x 13 x 13
            ("relu4", ReLU(inplace=True)),
            ("conv5", Conv2d(wide(256), wide(256), 3, padding=1)),                      # 256 x 13 x 13
            ("relu5", ReLU(inplace=True)),
            ("pool5", MaxPool2d(3, stride=2)),                                          # 256 x 6 x 6
            ("flatten", Flatten()),                                                     # 9216
        ]
    )  # fmt: skip
    flat = _outputs(features, in_channels, input_size)
    classifier = [
        ("dropout5", Dropout(dropout)),
        ("fc6", Linear(flat, wide(4096))),
        ("relu6", ReLU(inplace=True)),
        ("dropout6", Dropout(dropout)),
        ("fc7", Linear(wide(4096), wide(4096))),
        ("relu7", ReLU(inplace=True)),
        ("fc8", Linear(wide(4096), num_classes)),
    ]
    net = Sequential([*features.layers.items(), *classifier])
    initialize(net, seed)
    for layer in net:
        if isinstance(layer, Dropout):
            layer.seed = seed
    return net


def _outputs(features: Sequential, in_channels: int, input_size: int) -> int:
    """How many numbers the features of an image are; ValueError, with the smallest that works, for too small a size."""
    try:
        (outputs,) = features.output_shape((in_channels, input_size, input_size))
        return outputs
    except ValueError as error:
        fits = next(size for size in itertools.count(input_size + 1) if _fits(features, in_channels, size))
        raise ValueError(f"{error}: expected an input_size (crop) of {fits} or more") from error


def _fits(features: Sequential, in_channels: int, input_size: int) -> bool:
    try:
        return bool(features.output_shape((in_channels, input_size, input_size)))
    except ValueError:
        return False


def _check_settings(model: str, width: float, seed: int, **sizes: int) -> None:
    """Settings may come from a file, and be anything."""
    for name, size in sizes.items():
        whole(size, f"{model}: {name}")
    _check_factor(model, "width", width)
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"{model}: expected a whole number as seed, got {seed!r}")


def _check_factor(model: str, name: str, factor: float) -> None:
    if isinstance(factor, bool) or not isinstance(factor, Real):
        raise TypeError(f"{model}: expected a number as {name}, got {factor!r}")
    if not 0 < factor < math.inf:
        raise ValueError(f"{model}: expected {name} > 0, got {factor}")
