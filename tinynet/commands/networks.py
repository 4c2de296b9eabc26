"""What several commands have in common: the networks that they are given, and the pictures."""

import argparse
import inspect
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet.files import shown

if TYPE_CHECKING:
    from tinynet.inspection.answers import Answer
    from tinynet.network import Sequential
    from tinynet.training import Trained


def add_run(parser: argparse.ArgumentParser) -> None:
    """RUN, --best and --model."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, its weights or one of its checkpoints, or an "
        "ONNX file, a .caffemodel, or torchvision's weights (.safetensors, .pth)")  # fmt: skip
    add_preprocessing(parser)
    parser.add_argument("--best", action="store_true", help="of a run's folder, the checkpoint of the lowest "
        "validation error (default: the final weights)")  # fmt: skip
    parser.add_argument("--model", metavar="MODULE:FUNCTION", help="builds the network, where it is one of your own")


def add_preprocessing(parser: argparse.ArgumentParser) -> None:
    """What somebody else's file does not say: --preprocessing and --classes."""
    ways = "imagenet-torchvision or imagenet-caffe"
    parser.add_argument("--preprocessing", metavar="NAME", help=f"of a file from elsewhere: {ways}")
    parser.add_argument("--classes", metavar="FILE", help="of a file from elsewhere: the classes' names, one a line")
    parser.add_argument("--mean", metavar="FILE", help="Caffe's mean image, .binaryproto or .npy")


def add_scales(parser: argparse.ArgumentParser) -> None:
    """--scales, of dense views."""
    what = "with dense views: sizes of the shorter side, such as 256,384 (default: the training's)"
    parser.add_argument("--scales", metavar="SIZES", help=what)


def scales(args: argparse.Namespace, views: Sequence[str]) -> list[int]:
    """The sizes that --scales names; ValueError for what are none, or without dense views."""
    if args.scales is None:
        return []
    words = args.scales.split(",")
    if not all(word.isascii() and word.isdigit() and 0 < int(word) <= 10_000 for word in words):
        raise ValueError(f"--scales {shown(args.scales)}: expected sizes in pixels, such as 256,384")
    if "dense" not in views:
        raise ValueError(f"--scales {args.scales}: is for --views dense")
    return [int(word) for word in words]


def add_images(parser: argparse.ArgumentParser) -> None:
    """IMAGE... and --workers."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="files, folders with pictures in them or below, or "
        "- for names from standard input, one a line")  # fmt: skip
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="threads that decode images (default: 2)")


@dataclass(frozen=True)
class Subject:
    """A network to look at: a model, built, or a trained one. shape: of its input (C, H, W)."""

    net: "Sequential"
    shape: tuple[int, ...]
    model: str
    network: dict
    title: str


def add_subject(parser: argparse.ArgumentParser) -> None:
    """MODEL-or-RUN, and how a model is built."""
    add = parser.add_argument
    add("subject", metavar="MODEL-or-RUN", help="one of tinynet's models, such as alexnet, your own as "
        "module:function, or a run's folder")  # fmt: skip
    add("--set", nargs="+", default=[], metavar="NAME=VALUE", help="arguments of the model, such as width=0.5")
    add("--input", nargs=3, type=int, metavar=("C", "H", "W"), help="the input's shape, where the model does not tell")
    parser.add_argument("--model", metavar="MODULE:FUNCTION", help="builds a run's network that is one of your own")


def open_subject(args: argparse.Namespace, small: "Mapping[str, Mapping] | None" = None) -> Subject:
    """The network that MODEL-or-RUN names. small: by model's name, arguments that make it small, which count for less
    than those the user has set; weights are then those that it starts with. ValueError for what is neither.
    """
    from tinynet import models
    from tinynet.errors import did_you_mean
    from tinynet.interchange.foreign import is_foreign, read_network
    from tinynet.models.building import MODELS
    from tinynet.models.chain import describe
    from tinynet.training import load_trained
    from tinynet.training.report import warn

    given = arguments(args.set)
    if args.subject in MODELS or (":" in args.subject and not os.path.exists(args.subject)):
        name = args.subject
        network = {**(small or {}).get(name, {}), **given}
        return Subject(models.build(name, **network), _shape(args, name, network), name, network, name)
    if not os.path.exists(args.subject):
        hint = did_you_mean(args.subject, MODELS)
        expected = f"expected a model, {', '.join(MODELS)}, your own as module:function, or a run's folder"
        raise ValueError(f"{shown(args.subject)}: no model and no path: {expected}{hint}")
    if given and small is None:
        raise ValueError(f"--set {args.set[0]}: {shown(args.subject)} has its own arguments")
    if is_foreign(args.subject):
        read = read_network(args.subject)
        shape = tuple(args.input or read.shape or ()) or _unknown(args)
        return Subject(read.net, shape, "chain", {"layers": describe(read.net)}, args.subject)
    trained = load_trained(args.subject, report=warn, model=args.model)
    name, title = trained.settings["model"], shown(trained.path)
    if small is None:
        side = trained.settings["crop"]
        return Subject(trained.net, (trained.channels, side, side), name, trained.settings["network"], title)
    network = {**trained.settings["network"], **small.get(name, {}), **given}
    return Subject(models.build(args.model or name, **network), _shape(args, name, network), name, network, title)


def _unknown(args: argparse.Namespace) -> tuple[int, ...]:
    raise ValueError(f"{shown(args.subject)}: does not tell its input's shape: say it with --input C H W")


def arguments(words: Sequence[str]) -> dict:
    """What NAME=VALUE stands for: values are JSON, or texts. ValueError for other words."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name.isidentifier() and equals):
            raise ValueError(f"--set {shown(word)}: expected NAME=VALUE, such as width=0.5")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _shape(args: argparse.Namespace, model: str, network: dict) -> tuple[int, ...]:
    """(C, H, W) of a model's input: typed, else told by its arguments or their defaults."""
    from tinynet import models

    if args.input:
        return tuple(args.input)
    takes = inspect.signature(models.find(args.model or model)).parameters
    values = {name: network.get(name, one.default) for name, one in takes.items()}
    channels, side = values.get("in_channels"), values.get("input_size")
    if not (isinstance(channels, int) and isinstance(side, int)):
        raise ValueError(f"{model}: its arguments do not tell its input's shape: say it with --input C H W")
    return channels, side, side


def load(args: argparse.Namespace, path: str | Path | None = None) -> "Trained":
    """The network of RUN, or of another path, as the options of `add_run` say. CheckpointError where there is none."""
    return read(args, chosen(args, args.run_path if path is None else path))


def chosen(args: argparse.Namespace, path: str | Path) -> str | Path:
    """What is meant by the path of a run: with --best, its best checkpoint."""
    from tinynet.training import best_checkpoint

    return best_checkpoint(path) if args.best else path


def read(args: argparse.Namespace, path: str | Path) -> "Trained":
    """The network at this very path."""
    from tinynet.interchange.foreign import is_foreign, load_network
    from tinynet.training.report import warn

    if not is_foreign(path) and getattr(args, "others", None):  # the options are for one of the others
        return load_network(path, warn, args.model)
    return load_network(path, warn, args.model, args.preprocessing, args.classes, args.mean)


def listed(images: Sequence[str]) -> list[str]:
    """The paths that IMAGE... stands for. DataError for a folder without pictures, ValueError for none at all."""
    from tinynet.data.stores.files import image_paths

    names: list[str] = []
    for image in images:
        names += (line.rstrip("\n") for line in sys.stdin if line.strip()) if image == "-" else [image]
    paths = list(image_paths(names))
    if not paths:
        raise ValueError("no pictures: standard input has no names")
    return paths


class Problems:
    """The pictures that could not be read: each is named at once, and the exit code is 1 in the end."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, answer: "Answer") -> None:
        from tqdm import tqdm

        self.count += 1
        tqdm.write(f"error: {shown(answer.path)}: {shown(answer.problem)}", file=sys.stderr)

    def end(self) -> None:
        if self.count:
            sys.exit(1)


def watched(title: str, answers: "Iterable[Answer]", total: int, problems: Problems) -> "Iterator[Answer]":
    """The answers, with a bar on a terminal, and those without one counted among the problems."""
    from tqdm import tqdm

    for answer in tqdm(answers, title, total, leave=False, disable=None, unit=" pictures"):
        if answer.values is None:
            problems.add(answer)
        yield answer
