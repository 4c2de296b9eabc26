"""Images in folders, one per class, as ImageNet is mostly unpacked. Which folders: that is known to layouts.py."""

import os
from pathlib import Path

import numpy as np

from tinynet.data.errors import DataError
from tinynet.data.preprocessing import decode

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")


class FolderSplit:
    """The images of one folder with a folder per class.

    `classes` are the class folders sorted by name, and a label is a class's position there; given `classes`
    (those of the training set), every class folder must be among them. Hidden files and files that are no
    JPEG or PNG by name are ignored.
    """

    def __init__(self, folder: str | Path, classes: tuple[str, ...] | None = None):
        folder = Path(folder)
        found = [entry.name for entry in entries(folder) if entry.is_dir()]
        if not found:
            raise DataError(f"{folder}: looked for a folder per class, found {listing(folder)}")
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
            images = [entry.path for entry in entries(folder / name) if _is_image(entry)]
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


def entries(folder: Path) -> list[os.DirEntry]:
    """What is in a folder, sorted by name, without hidden entries."""
    if not folder.exists():
        raise DataError(f"{folder}: looked for a folder, found nothing of that name")
    if not folder.is_dir():
        raise DataError(f"{folder}: looked for a folder, found a file")
    try:
        with os.scandir(folder) as found:
            visible = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error}") from error
    return sorted(visible, key=lambda entry: entry.name)


def _is_image(entry: os.DirEntry) -> bool:
    return entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.is_file()


def listing(folder: Path) -> str:
    names = [entry.name + "/" * entry.is_dir() for entry in entries(folder)]
    return _shortened(names) if names else "an empty folder"


def _shortened(names: list[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
