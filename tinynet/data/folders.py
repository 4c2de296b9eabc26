"""Where images come from: a data set on disk in ImageNet's folder layout, train/<class>/*.jpg and
val/<class>/*.jpg.

A split is whatever has `classes`, `labels`, `len()`, `name(index)` and `load(index, size)`; other layouts
become further split classes behind `open_dataset`, the one door. What becomes of an image is in
preprocessing.py.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tinynet.data.errors import DataError
from tinynet.data.preprocessing import decode

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")
VALIDATION_NAMES = ("val", "valid", "validation")


class Split(Protocol):
    """What the loader needs to know of a set of images."""

    classes: tuple[str, ...]
    labels: np.ndarray  # (images,) int64

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def load(self, index: int, size: int) -> np.ndarray: ...


class FolderSplit:
    """The images of one folder with a folder per class.

    `classes` are the class folders sorted by name, and a label is a class's position there; given `classes`
    (those of the training set), every class folder must be among them. Hidden files and files that are no
    JPEG or PNG by name are ignored.
    """

    def __init__(self, folder: str | Path, classes: tuple[str, ...] | None = None):
        folder = Path(folder)
        found = [entry.name for entry in _entries(folder) if entry.is_dir()]
        if not found:
            raise DataError(f"{folder}: looked for a folder per class, found {_listing(folder)}")
        unknown = [] if classes is None else sorted(set(found) - set(classes))
        if unknown:
            raise DataError(
                f"{folder}: {len(unknown)} of {len(found)} classes are not among the {len(classes)} of the "
                f"training set: {_shortened(unknown)}"
            )
        self.classes = tuple(found) if classes is None else classes
        self.paths: list[str] = []
        labels, empty = [], []
        for name in found:
            images = [entry.path for entry in _entries(folder / name) if _is_image(entry)]
            if not images:
                empty.append(name)
            self.paths += images
            labels += [self.classes.index(name)] * len(images)
        if empty:
            raise DataError(
                f"{folder}: {len(empty)} of {len(found)} classes have no image "
                f"({', '.join(IMAGE_SUFFIXES)}): {_shortened(empty)}"
            )
        self.labels = np.array(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        """What to call the image in a message: its path."""
        return self.paths[index]

    def load(self, index: int, size: int) -> np.ndarray:
        """The image as uint8 (size, size, 3), decoded, in RGB, cut as in the paper; DataError names a file
        that cannot be read.
        """
        return decode(self.paths[index], size)


@dataclass(frozen=True)
class Dataset:
    """A training and a validation set with the same classes."""

    root: Path
    train: Split
    val: Split
    classes: tuple[str, ...]


def open_dataset(root: str | Path) -> Dataset:
    """Open the data set at `root`, whose folders are train and val (or valid, or validation).

    Raises DataError that says what was looked for and what was found.
    """
    root = Path(root)
    folders = [entry.name for entry in _entries(root) if entry.is_dir()]
    val = next((name for name in VALIDATION_NAMES if name in folders), None)
    if "train" not in folders or val is None:
        raise DataError(
            f"{root}: looked for the folders train and val (or valid, or validation), each with a folder of "
            f"images per class; found {_listing(root)}"
        )
    train = FolderSplit(root / "train")
    return Dataset(root, train, FolderSplit(root / val, train.classes), train.classes)


def _entries(folder: Path) -> list[os.DirEntry]:
    """What is in a folder, sorted by name, without hidden entries."""
    if not folder.exists():
        raise DataError(f"{folder}: looked for a folder, found nothing of that name")
    if not folder.is_dir():
        raise DataError(f"{folder}: looked for a folder, found a file")
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error}") from error
    return sorted(visible, key=lambda entry: entry.name)


def _is_image(entry: os.DirEntry) -> bool:
    return entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.is_file()


def _listing(folder: Path) -> str:
    names = [entry.name + "/" * entry.is_dir() for entry in _entries(folder)]
    return _shortened(names) if names else "an empty folder"


def _shortened(names: list[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
