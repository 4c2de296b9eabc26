"""VGG, the networks of Simonyan and Zisserman 2014 (section 2.1 and table 1): the configurations A, B, D and E, and the
form in which they are trained on CIFAR-10.

C, whose third to fifth stages have 1 x 1 convolutions, and A-LRN, which adds a normalisation to A, are not here.
"""

import math
from collections.abc import Callable

from tinynet.initializers import initialize
from tinynet.layers import Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU
from tinynet.layers.layer import whole
from tinynet.network import Sequential

CHANNELS = (64, 128, 256, 512, 512)  # of the five stages, each of which ends in a max-pooling
CONVOLUTIONS = {  # table 1's columns: how many convolutions of 3 x 3 each stage has
    11: (1, 1, 2, 2, 2),  # A
    13: (2, 2, 2, 2, 2),  # B
    16: (2, 2, 3, 3, 3),  # D
    19: (2, 2, 4, 4, 4),  # E
}


def vgg(
    depth: int = 16,
    num_classes: int = 1000,
    input_size: int = 224,
    width: float = 1.0,
    dropout: float = 0.5,
    seed: int = 0,
    in_channels: int = 3,
) -> Sequential:
    """The paper's network of `depth` weight layers (11, 13, 16 or 19): logits (N, num_classes), float32, for images
    (N, in_channels, input_size, input_size) of 32 pixels or more.

    Layers are named as in the authors' release: conv1_1 to conv5_4, fc6, fc7, fc8. width multiplies the number of
    kernels and hidden neurons. dropout: p in fc6 and fc7. seed: of the weights and of dropout's masks. The weights
    start with He's normal distribution and biases of 0, where the paper starts the deeper networks with the weights of
    a trained A (section 3.1). ValueError where a size does not fit.
    """
    _check_settings("vgg", depth, width, num_classes, in_channels)
    wide = _times(width)
    features = _features(depth, in_channels, wide)
    (flat,) = features.output_shape((in_channels, input_size, input_size))  # 25088 at width 1 and 224 x 224
    classifier = [
        ("fc6", Linear(flat, wide(4096))),
        ("relu6", ReLU(inplace=True)),
        ("dropout6", Dropout(dropout)),
        ("fc7", Linear(wide(4096), wide(4096))),
        ("relu7", ReLU(inplace=True)),
        ("dropout7", Dropout(dropout)),
        ("fc8", Linear(wide(4096), num_classes)),
    ]
    return _started(Sequential([*features.layers.items(), *classifier]), seed)


def vgg_cifar(
    depth: int = 16,
    num_classes: int = 10,
    in_channels: int = 3,
    input_size: int = 32,
    width: float = 1.0,
    dropout: float = 0.5,
    seed: int = 0,
) -> Sequential:
    """VGG for small images (N, in_channels, input_size, input_size) of 32 pixels or more; logits (N, num_classes).

    The paper's convolutions, after which 32 x 32 pixels are 1 x 1, and one hidden layer of 512 in place of two of
    4,096: with depth 16, which counts the paper's layers, 13 convolutions and 14,982,474 parameters. This is the form
    of Zagoruyko 2015 ("92.45% on CIFAR-10 in Torch") and of Li et al. 2017 ("Pruning filters for efficient convnets"),
    here without batch normalisation. width multiplies the number of kernels and hidden neurons. dropout: p in fc6.
    seed: of the weights, which start with He's normal distribution and biases of 0, and of dropout's masks. ValueError
    where a size does not fit.
    """
    _check_settings("vgg_cifar", depth, width, num_classes, in_channels)
    wide = _times(width)
    features = _features(depth, in_channels, wide)
    (flat,) = features.output_shape((in_channels, input_size, input_size))  # 512 at width 1 and 32 x 32
    classifier = [
        ("fc6", Linear(flat, wide(512))),
        ("relu6", ReLU(inplace=True)),
        ("dropout6", Dropout(dropout)),
        ("fc7", Linear(wide(512), num_classes)),
    ]
    return _started(Sequential([*features.layers.items(), *classifier]), seed)


def _features(depth: int, in_channels: int, wide: Callable[[int], int]) -> Sequential:
    """The five stages, as a vector. At width 1 and 224 x 224: 64 x 112 x 112, 128 x 56 x 56, ..., 512 x 7 x 7."""
    layers: list[tuple[str, Layer]] = []
    inputs = in_channels
    for stage, (channels, convolutions) in enumerate(zip(CHANNELS, CONVOLUTIONS[depth], strict=True), start=1):
        for number in range(1, convolutions + 1):
            layers.append((f"conv{stage}_{number}", Conv2d(inputs, wide(channels), 3, padding=1)))
            layers.append((f"relu{stage}_{number}", ReLU(inplace=True)))
            inputs = wide(channels)
        layers.append((f"pool{stage}", MaxPool2d(2)))
    layers.append(("flatten", Flatten()))
    return Sequential(layers)


def _times(width: float) -> Callable[[int], int]:
    return lambda channels: max(1, round(channels * width))


def _started(net: Sequential, seed: int) -> Sequential:
    initialize(net, seed)
    for layer in net:
        if isinstance(layer, Dropout):
            layer.seed = seed
    return net


def _check_settings(model: str, depth: int, width: float, num_classes: int, in_channels: int) -> None:
    if depth not in CONVOLUTIONS:
        raise ValueError(f"{model}: depth must be 11, 13, 16 or 19, got {depth!r}")
    if not 0 < width < math.inf or num_classes < 1:
        raise ValueError(
            f"{model}: expected width > 0 and num_classes >= 1, got width={width}, num_classes={num_classes}"
        )
    whole(in_channels, f"{model}: in_channels")
