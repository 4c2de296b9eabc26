"""torchvision's AlexNet and VGG, in and out, under torchvision's names: "features.0.weight", "classifier.1.bias".

No PyTorch is needed. Files are safetensors, and, to be read, PyTorch's own .pth (pth.py).
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinynet import models
from tinynet.arrays import read_arrays, write_arrays
from tinynet.errors import CheckpointError
from tinynet.files import brief_text, shown
from tinynet.initializers import blank
from tinynet.interchange.pth import read_pth
from tinynet.layers import Conv2d, Linear
from tinynet.network import Sequential, leaves
from tinynet.weights import set_parameters, whole_parameters

NAME = re.compile(r"(features|classifier)\.(\d+)\.(weight|bias)")
SIZE = 224  # of the images that these networks were made for
# of each network the places of its layers in torchvision's `features` and `classifier`
PLACES = {
    "alexnet": ([0, 3, 6, 8, 10], [1, 4, 6]),
    "vgg11": ([0, 3, 6, 8, 11, 13, 16, 18], [0, 3, 6]),
    "vgg13": ([0, 2, 5, 7, 10, 12, 15, 17, 20, 22], [0, 3, 6]),
    "vgg16": ([0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28], [0, 3, 6]),
    "vgg19": ([0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34], [0, 3, 6]),
}


def read_torchvision(path: str | Path) -> Sequential:
    """The network in a file of torchvision's weights, .safetensors or .pth: alexnet, or vgg11 to vgg19 without batch
    normalisation. CheckpointError for any other.
    """
    arrays = read_arrays(path)[0] if str(path).lower().endswith(".safetensors") else read_pth(path)
    return network_of(arrays, shown(path))


def network_of(arrays: Mapping[str, np.ndarray], source: str) -> Sequential:
    """The network of these weights; source: what errors call them."""
    found = {name: NAME.fullmatch(name) for name in arrays}
    if unknown := [name for name, match in found.items() if match is None]:
        batch = any("running_mean" in name for name in arrays)
        reason = "has batch normalisation, which tinynet has not" if batch else "is not of torchvision's alexnet or vgg"
        raise CheckpointError(f"{source}: {reason}: {brief_text(', '.join(unknown[:3]))}")
    places = {part: sorted({int(match[2]) for match in found.values() if match and match[1] == part}) for part in
        ("features", "classifier")}  # fmt: skip
    name = next((name for name, (first, last) in PLACES.items() if [*places.values()] == [first, last]), None)
    if name is None:
        raise CheckpointError(f"{source}: its layers are not those of {', '.join(PLACES)} in torchvision")
    first, last = arrays["features.0.weight"], arrays.get(f"classifier.{places['classifier'][-1]}.weight")
    if first.ndim != 4 or last is None or last.ndim != 2:
        raise CheckpointError(f"{source}: its first or last layer is none of {name} in torchvision")
    options = {"num_classes": len(last), "in_channels": first.shape[1], "input_size": SIZE}
    if max(options.values()) > 1 << 20:
        raise CheckpointError(f"{source}: has {len(last):,} classes and images of {first.shape[1]:,} channels")
    net = _build(name, **options)
    own = _names(net, name)
    set_parameters(net, {own[theirs]: array for theirs, array in arrays.items()}, source)
    return net


def write_torchvision(net: Sequential, path: str | Path) -> None:
    """Writes the weights of `models.alexnet_torchvision` or `models.vgg`, of their full width and for images of 224
    pixels, as safetensors that torchvision's `load_state_dict` takes. CheckpointError for other networks.
    """
    weighted = [layer for layer in leaves(net) if isinstance(layer, Conv2d | Linear)]
    convolutions = sum(isinstance(layer, Conv2d) for layer in weighted)
    name = next((name for name, (first, _) in PLACES.items() if len(first) == convolutions), "")
    last = weighted[-1] if weighted else None
    if name and isinstance(last, Linear) and isinstance(weighted[0], Conv2d):
        options = {"num_classes": last.out_features, "in_channels": weighted[0].in_channels, "input_size": SIZE}
        if [repr(layer) for layer in leaves(_build(name, **options))] == [repr(layer) for layer in leaves(net)]:
            theirs = {ours: theirs for theirs, ours in _names(net, name).items()}
            write_arrays(path, {theirs[ours]: array for ours, array in whole_parameters(net).items()}, {"format": "pt"})
            return
    raise CheckpointError("torchvision has no such network: it has models.alexnet_torchvision and models.vgg, of full "
        "width and for images of 224 pixels")  # fmt: skip


def _build(name: str, **options: int) -> Sequential:
    """The network, whose weights are not drawn."""
    with blank(1 << 29):
        return models.alexnet_torchvision(**options) if name == "alexnet" else models.vgg(int(name[3:]), **options)


def _names(net: Sequential, name: str) -> dict[str, str]:
    """torchvision's names of the parameters to those of `net`, the two in their order."""
    features, classifier = PLACES[name]
    theirs = [f"features.{place}" for place in features] + [f"classifier.{place}" for place in classifier]
    ours = [layer.name for layer in leaves(net) if isinstance(layer, Conv2d | Linear)]
    pairs = list(zip(theirs, ours, strict=True))
    return {f"{their}.{key}": f"{our}.{key}" for their, our in pairs for key in ("weight", "bias")}
