"""Networks from any file that tinynet reads, with what it takes to ask them about pictures; and into any it writes.

A run says how its pictures are cut and scaled; other files do not, and that is asked for once, as a named way of
preprocessing.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinynet.backend import to_device, to_host
from tinynet.data import Statistics
from tinynet.errors import CheckpointError, did_you_mean
from tinynet.files import brief_text, is_number, shown
from tinynet.interchange.caffe import read_caffe_net, read_mean
from tinynet.interchange.caffe_writing import write_caffe
from tinynet.interchange.onnx_graph import read_graph
from tinynet.interchange.onnx_reading import network_of
from tinynet.interchange.onnx_writing import write_onnx
from tinynet.interchange.torchvision import read_torchvision, write_torchvision
from tinynet.layers import Conv2d, Softmax
from tinynet.models.building import Model
from tinynet.models.chain import describe
from tinynet.network import Sequential, leaves
from tinynet.training.trained import Trained, load_trained, write_trained
from tinynet.weights import whole_parameters


@dataclass(frozen=True)
class Preprocessing:
    """How pictures are cut and scaled: resize to a square, mean colour and scale of each channel, R, G and B from 0 to
    255; bgr: the network wants blue first.
    """

    resize: int
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    bgr: bool = False


PREPROCESSING = {
    "imagenet-torchvision": Preprocessing(
        256, (123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375)
    ),
    "imagenet-caffe": Preprocessing(256, (122.67892, 116.66877, 104.00699), (1.0, 1.0, 1.0), bgr=True),
}  # fmt: skip
SUFFIXES = (".onnx", ".pth", ".pt", ".safetensors", ".caffemodel")


def is_foreign(path: str | Path) -> bool:
    """Whether a path names a network's file of somebody else's, and not a run, a checkpoint or its weights."""
    name = str(path).lower()
    if not name.endswith(SUFFIXES) or os.path.isdir(path):
        return False
    return not name.endswith(".safetensors") or not os.path.exists(Path(path).with_name("statistics.safetensors"))


@dataclass(frozen=True)
class Read:
    """A network as a file has it. shape: of its images (C, H, W), where that is known; metadata: further texts.
    red_first: it takes red first, whatever its preprocessing says.
    """

    net: Sequential
    shape: tuple[int, ...] | None
    metadata: dict[str, str]
    red_first: bool = False


def read_network(path: str | Path) -> Read:
    """The network in somebody else's file, see `is_foreign`. CheckpointError for what cannot be read."""
    if str(path).lower().endswith(".onnx"):
        graph = read_graph(path)
        return Read(network_of(graph, shown(path)), graph.input_shape, graph.metadata)
    if str(path).lower().endswith(".caffemodel"):
        net, shape = read_caffe_net(path)
        return Read(net, shape, {}, red_first=True)
    net = read_torchvision(path)
    first = next(iter(net))
    return Read(net, (first.in_channels, 224, 224) if isinstance(first, Conv2d) else None, {})


def load_network(
    path: str | Path, report: Callable[[str], None] = print, model: Model | None = None,
    preprocessing: str | None = None, classes: str | Path | None = None, mean: str | Path | None = None,
) -> Trained:  # fmt: skip
    """The network at `path`: a run, a checkpoint or weights as `load_trained` takes them, or an ONNX file, a
    .caffemodel, or torchvision's weights as .safetensors or .pth.

    preprocessing: one of PREPROCESSING, for files that do not say it. classes: a text file, a name a line; else what
    the file says, else numbers. mean: Caffe's mean image, in place of the mean colour. report, model: see load_trained.
    A Softmax at the end is left out: probabilities are made of what is before it. CheckpointError for what cannot be
    read, ValueError for what is missing or contradicts.
    """
    if not is_foreign(path):
        if preprocessing or classes or mean:
            option = "--preprocessing" if preprocessing else "--classes" if classes else "--mean"
            raise ValueError(f"{option}: {shown(path)} says that itself")
        return load_trained(path, report=report, model=model)
    path, read = Path(path), read_network(path)
    metadata, side = read.metadata, read.shape[1] if read.shape and len(read.shape) == 3 else None
    net = _without_softmax(read.net)
    first = next((layer for layer in leaves(net) if layer.params), None)
    if not isinstance(first, Conv2d) or first.in_channels not in (1, 3):
        raise CheckpointError(f"{shown(path)}: its first layer with weights is no convolution of 1 or 3 channels")
    way = _way(path, metadata, preprocessing, first.in_channels)
    if way.bgr and not read.red_first:
        _exchange_red_and_blue(first)
    crop = side or way.resize
    if crop > way.resize:
        way = replace(way, resize=round(crop * way.resize / 224))
    outputs = _outputs(net, (first.in_channels, crop, crop), path)
    labels = _classes(path, metadata, classes, outputs, "classes")
    names = labels if classes else _classes(path, metadata, None, outputs, "names") if "names" in metadata else labels
    none = Statistics.none(first.in_channels, way.resize)
    if mean is None:
        colour = np.array(way.mean, np.float32)[:, None, None]
        image = np.ascontiguousarray(np.broadcast_to(colour, none.mean_image.shape))
    else:
        image = read_mean(mean)
        if image.shape != none.mean_image.shape:
            raise ValueError(f"--mean {shown(mean)}: has the shape {image.shape}, expected {none.mean_image.shape}")
    statistics = replace(none, mean_image=image)
    settings = {
        "model": "chain", "network": {"layers": json.loads(json.dumps(describe(net)))}, "resize": way.resize,
        "crop": crop, "scale": list(way.scale), "classes": labels, "names": names,
    }  # fmt: skip
    return Trained(net, statistics, settings, path)


def _without_softmax(net: Sequential) -> Sequential:
    names = list(net.layers)
    return net[: names[-2]] if len(names) > 1 and isinstance(net[names[-1]], Softmax) else net


def _exchange_red_and_blue(layer: Conv2d) -> None:
    """Makes a network that wants blue first take red first."""
    weight = to_host(layer.params["weight"])
    layer.params["weight"] = to_device(np.ascontiguousarray(weight[:, ::-1]))


def _outputs(net: Sequential, shape: tuple[int, ...], path: Path) -> int:
    try:
        outputs = net.output_shape(shape)
    except ValueError as error:
        raise CheckpointError(f"{shown(path)}: does not take images of {shape}: {shown(error)}") from error
    if len(outputs) != 1:
        raise CheckpointError(f"{shown(path)}: gives {outputs} for each image, expected a number for each class")
    return outputs[0]


def _way(path: Path, metadata: dict[str, str], name: str | None, channels: int) -> Preprocessing:
    """What was asked for, else what the file says; ValueError where neither does."""
    if name is not None:
        if name not in PREPROCESSING:
            choices = ", ".join(PREPROCESSING)
            raise ValueError(f"--preprocessing {name}: expected {choices}{did_you_mean(name, PREPROCESSING)}")
        way = PREPROCESSING[name]
        if len(way.mean) != channels:
            raise ValueError(f"--preprocessing {name}: is for colours, and {shown(path)} takes {channels} channel")
        return way
    if "preprocessing" in metadata:
        try:
            said = json.loads(metadata["preprocessing"])
            way = Preprocessing(said["resize"], tuple(said["mean"]), tuple(said["scale"]))
            numbers = [*way.mean, *way.scale]
            sizes = type(way.resize) is int and 0 < way.resize < 1 << 14 and len(way.mean) == len(way.scale) == channels
            if sizes and all(map(is_number, numbers)) and min(way.scale) > 0:
                return way
        except (KeyError, TypeError, ValueError, RecursionError):
            pass
        told = brief_text(metadata["preprocessing"])
        raise CheckpointError(f"{shown(path)}: its preprocessing cannot be: {told}")
    lacks = "does not say how its pictures are cut and scaled"
    raise ValueError(f"{shown(path)}: {lacks}: say it with --preprocessing {' or '.join(PREPROCESSING)}")


def _classes(path: Path, metadata: dict[str, str], file: str | Path | None, count: int, key: str) -> list[str]:
    """From the user's file, else from what the network's says under this key, else numbers."""
    found: list[str] | None = None
    source = path if file is None else file
    if file is not None:
        try:
            found = [line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"--classes {shown(file)}: cannot be read ({shown(error)})") from error
    elif key in metadata:
        try:
            found = json.loads(metadata[key])
        except (ValueError, RecursionError):
            found = []
    if found is None:
        return [str(number) for number in range(count)]
    if not isinstance(found, list) or len(found) != count or not all(isinstance(one, str) for one in found):
        raise ValueError(f"{shown(source)}: expected the names of {count} classes")
    return found


# ---- into any of them ----


def write_network(trained: Trained, path: str | Path, kind: str) -> None:
    """Writes a network as `kind`: tinynet (a folder that every command takes as a run), onnx, torchvision or caffe."""
    settings, net = trained.settings, trained.net
    path = Path(path)
    if kind == "tinynet":
        path.mkdir(parents=True, exist_ok=True)
        write_trained(path, whole_parameters(net), trained.statistics, settings)
    elif kind == "torchvision":
        write_torchvision(net, path)
    elif kind == "caffe":
        write_caffe(net, path, (trained.channels, settings["crop"], settings["crop"]))
    else:
        shape = trained.channels, settings["crop"], settings["crop"]
        write_onnx(net, path, shape, settings["classes"], _said(trained))


def _said(trained: Trained) -> dict[str, str]:
    """What an ONNX file says of the preprocessing: with a mean colour in place of a mean image."""
    scale, mean = trained.settings["scale"], trained.statistics.mean_image.mean(axis=(1, 2)).tolist()
    scales: Sequence[float] = scale if isinstance(scale, list) else [scale] * trained.channels
    said = {"resize": trained.settings["resize"], "mean": mean, "scale": list(scales)}
    return {"preprocessing": json.dumps(said), "names": json.dumps(trained.settings["names"])}
