"""What the rest of the program knows of a data set: two splits of images and the classes they share.

Where the images lie is known to the stores (folders.py, archives.py, parquet.py); layouts.py finds the right one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tinynet.data.errors import DataError
from tinynet.data.file_kinds import LATER_SUFFIXES
from tinynet.data.names import encoded
from tinynet.data.preprocessing import decode_content

if TYPE_CHECKING:
    from tinynet.data.statistics import Statistics

ProgressCallback = Callable[[int, int], None]  # progress(done, total)


class Split(Protocol):
    """What the loader needs to know of a set of images."""

    classes: tuple[str, ...]
    labels: np.ndarray  # (images,) int64

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def load(self, index: int, size: int) -> np.ndarray: ...


@dataclass(frozen=True)
class Dataset:
    """A training and a validation set with the same classes.

    classes: what a label stands for, in the order of the labels (ImageNet's wnids, or folders' names). names: what
    reports call them, in the same order. statistics: of the whole training set, where they are known without measuring.
    notes: a sentence each for what a user should know of it, such as files that were left out, fit for a terminal.
    """

    root: Path
    train: Split
    val: Split
    classes: tuple[str, ...]
    names: tuple[str, ...]
    statistics: Statistics | None = None
    notes: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Tells whether two runs have the same images in the same order, by their labels and file names: not by where
        they lie, so that folders, archives and a prepared cache of the same images are the same.
        """
        digest = hashlib.sha256()
        for split in (self.train, self.val):
            digest.update(split.labels.astype("<i8").tobytes())
            for index in range(len(split)):
                file_name = split.name(index).rsplit("/", 1)[-1].rsplit(".", 1)[0]
                digest.update(encoded(file_name) + b"\n")
        return digest.hexdigest()

    def why_other(self) -> str:
        """What may have made these images others than those of a run or a cache from before; empty when nothing did."""
        splits = (self.train, self.val)
        later = sum(split.name(i).lower().endswith(LATER_SUFFIXES) for split in splits for i in range(len(split)))
        suffixes = " or ".join(LATER_SUFFIXES)
        return f" (among them {later} {suffixes}, which earlier versions left out)" if later else ""


class Store(Protocol):
    """Image files by position, in whatever they are kept. Any number of threads may read at once, and a store can be
    pickled: it holds no open file.
    """

    def name(self, position: int) -> str: ...

    def read(self, position: int) -> bytes: ...


class ImageSplit:
    """The images of a store with their labels.

    labels: one for each position of the store, a class's position in `classes`. file_names: of the same length; given,
    the images are sorted by label, then by file name, so that folders and archives of the same images make the same
    split; otherwise they are in the store's order. notes: what a user should know, a sentence each.
    """

    def __init__(
        self,
        store: Store,
        labels: np.ndarray,
        classes: tuple[str, ...],
        file_names: Iterable[str] | None = None,
        notes: Iterable[str] = (),
    ):
        labels = np.asarray(labels, np.int64)
        order = np.arange(len(labels))
        if file_names is not None:
            names = [encoded(name) for name in file_names]  # no array, as wide everywhere as one name of 4 kB
            order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
            order = order[np.argsort(labels[order], kind="stable")]
        self.classes, self.labels, self.store, self._positions = classes, labels[order], store, order
        self.notes = tuple(notes)

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """What to call the image in a message: its path, inside an archive too."""
        return self.store.name(int(self._positions[index]))

    def load(self, index: int, size: int) -> np.ndarray:
        """The image as uint8 (size, size, 3), decoded, in RGB, cut as in the paper; DataError names one that cannot
        be read.
        """
        try:
            content = self.store.read(int(self._positions[index]))
        except OSError as error:
            raise DataError(f"{self.name(index)}: cannot be read: {error}") from error
        return decode_content(content, size, self.name(index))
