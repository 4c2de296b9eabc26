"""What the rest of the program knows of a data set: two splits of images and the classes they share.

Where the images lie is known to stores/; stores/layouts.py finds the right one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tinynet.data.file_kinds import LATER_SUFFIXES
from tinynet.data.names import encoded, shortened
from tinynet.errors import DataError
from tinynet.files import shown

if TYPE_CHECKING:
    from tinynet.data.statistics import Statistics

ProgressCallback = Callable[[int, int], None]  # progress(done, total)


class Split(Protocol):
    """What the loader needs to know of a set of images.

    load: (size, size, channels). A split of other images than uint8 of 3 channels says so by `dtype` and `channels`;
    one whose images cannot be had in every size, by the `size` that they have; one that knows how large they are before
    they are cut, by `shorter_side(index)`.
    """

    classes: tuple[str, ...]
    labels: np.ndarray  # (images,) int64

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def load(self, index: int, size: int) -> np.ndarray: ...


def channels_of(split: Split) -> int:
    """How many channels its images have: 3 unless it says so."""
    return getattr(split, "channels", 3)


def dtype_of(split: Split) -> np.dtype:
    """The type of its pixels, uint8 unless it says so."""
    return np.dtype(getattr(split, "dtype", np.uint8))


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
    def channels(self) -> int:
        """Of its images: 3 for colours, 1 for gray."""
        return channels_of(self.train)

    @property
    def label_entropy(self) -> float:
        """Of the training images' labels, in nats: the mean loss of a net that knows no more than each class's share,
        ln(classes) where all have the same.
        """
        counts = np.bincount(self.train.labels)
        shares = counts[counts > 0] / counts.sum()
        return float(-(shares * np.log(shares)).sum())

    @property
    def chance_error(self) -> float:
        """The validation error, in percent, of a net that always names the class with most validation images."""
        return 100 * (1 - np.bincount(self.val.labels).max() / len(self.val))

    @property
    def place(self) -> str:
        """Where it lies on disk, without links; empty for arrays, which lie nowhere."""
        return str(self.root.resolve())

    @cached_property
    def fingerprint(self) -> str:  # computed once: it looks at every name
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


def unseen_notes(where: object, train: Split, val: Split, error: type[Exception] = DataError) -> tuple[str, ...]:
    """Notes on classes that have no validation image; `error` for those that have no training image, since no network
    can learn them.
    """
    if unlearnt := _unseen(where, "training", train):
        raise error(unlearnt)
    note = _unseen(where, "validation", val)
    return (note,) if note else ()


def _unseen(where: object, kind: str, split: Split) -> str:
    """A sentence on classes without an image in the split, fit for a terminal; empty where there are none."""
    absent = np.flatnonzero(np.bincount(split.labels, minlength=len(split.classes)) == 0).tolist()
    names = shortened([split.classes[label] for label in absent])
    count = f"{len(absent)} of {len(split.classes)}"
    return shown(f"{where}: {count} classes have no {kind} image: {names}") if absent else ""
