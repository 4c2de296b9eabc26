"""What several commands have in common: the trained network that they are given, images, and files that they write."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet.files import shown

if TYPE_CHECKING:
    from tinynet.inspection.answers import Answer
    from tinynet.training import Trained


def add_run(parser: argparse.ArgumentParser) -> None:
    """RUN, --best and --model."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, or its weights or one of its checkpoints")
    parser.add_argument("--best", action="store_true", help="of a run's folder, the checkpoint of the lowest "
        "validation error (default: the final weights)")  # fmt: skip
    parser.add_argument("--model", metavar="MODULE:FUNCTION", help="builds the network, where it is one of your own")


def add_images(parser: argparse.ArgumentParser) -> None:
    """IMAGE... and --workers."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="files, folders with pictures in them or below, or "
        "- for names from standard input, one a line")  # fmt: skip
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="threads that decode images (default: 2)")


def load(args: argparse.Namespace, path: str | Path | None = None) -> "Trained":
    """The network of RUN, or of another path, as the options of `add_run` say. CheckpointError where there is none."""
    from tinynet.training import best_checkpoint, load_trained
    from tinynet.training.report import warn

    path = args.run_path if path is None else path
    return load_trained(best_checkpoint(path) if args.best else path, report=warn, model=args.model)


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
