"""CIFAR-10 and CIFAR-100 in their binary version: records of a label, or two, and 32 x 32 pixels.

The format (www.cs.toronto.edu/~kriz/cifar.html): a byte for the label, in CIFAR-100 one for the group and one for the
class, then 1024 bytes of red, row by row, as many of green and of blue. The Python version is pickled, which can run
any code when it is read: it never is.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinynet.data.dataset import unseen_notes
from tinynet.data.names import shortened
from tinynet.data.reading import fill, open_file, read_text
from tinynet.data.stores.arrays import ArraySplit, MemoryDataset, numbered_classes
from tinynet.data.stores.folders import listing
from tinynet.errors import DataError
from tinynet.files import shown

SIDE, CHANNELS = 32, 3
MOST_BYTES = 1 << 30  # of a file; the largest of them has 154 million


@dataclass(frozen=True)
class Cifar:
    """One of the two: what its files are called, and what is in them."""

    title: str
    folder: str  # as the archive of the binary version has it
    train: tuple[str, ...]
    val: str
    names: str  # a class's name per line
    classes: int
    label_bytes: int  # before the pixels; the last is the class
    images: tuple[int, int]  # for training and for validation
    pickled: tuple[str, tuple[str, ...]]  # the Python version's folder, and files that tell it


CIFAR10 = Cifar(
    "CIFAR-10", "cifar-10-batches-bin", tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin",
    "batches.meta.txt", 10, 1, (50_000, 10_000), ("cifar-10-batches-py", ("data_batch_1",)),
)  # fmt: skip
CIFAR100 = Cifar(
    "CIFAR-100", "cifar-100-binary", ("train.bin",), "test.bin",
    "fine_label_names.txt", 100, 2, (50_000, 10_000), ("cifar-100-python", ("train", "test", "meta")),
)  # fmt: skip


def cifar_folder(root: Path, kind: Cifar) -> Path | None:
    """Where the files lie: in `root`, or in the archive's folder there; None: nowhere. DataError where there is the
    pickled version alone.
    """
    folders = (root, root / kind.folder)
    if found := next((folder for folder in folders if os.path.exists(folder / kind.train[0])), None):
        return found
    inside, files = kind.pickled
    for folder in (root, root / inside):
        if all(os.path.isfile(folder / name) for name in files):
            raise DataError(
                f"{folder}: {kind.title}'s Python version, whose pickled files are not read, since they can run any "
                f"code: expected the binary version, {kind.folder.replace('-batches-bin', '-binary')}.tar.gz from "
                f"https://www.cs.toronto.edu/~kriz/cifar.html"
            )
    return None


def cifar_dataset(folder: Path, kind: Cifar) -> MemoryDataset:
    """The data set of a folder with the .bin files, in memory: uint8 of three channels, 32 x 32. The classes are those
    that batches.meta.txt or fine_label_names.txt name, else numbers.

    DataError for files that are missing, of another length than whole records, or with other labels, and for a class
    without a training image; `notes` tell when there are fewer or more images than there were.
    """
    missing = [name for name in (*kind.train, kind.val) if not os.path.exists(folder / name)]
    if missing:
        raise DataError(f"{folder}: looked for {kind.title}'s {', '.join(missing)}, found {listing(folder)}")
    classes = _classes(folder / kind.names, kind)
    splits, notes = [], []
    for title, names in (("train", kind.train), ("test", (kind.val,))):
        records = _records([folder / name for name in names], kind)
        labels = records[:, kind.label_bytes - 1]
        pixels = records[:, kind.label_bytes :].reshape(-1, CHANNELS, SIDE, SIDE)  # a view
        splits.append(ArraySplit(pixels, labels, classes, "NCHW", str(folder / title)))
    train, val = splits
    if (len(train), len(val)) != kind.images:
        there = " and ".join(map(str, kind.images))
        found = f"{len(train)} training and {len(val)} validation images"
        notes.append(shown(f"{folder}: {found}, where {kind.title} has {there}"))
    notes += unseen_notes(folder, train, val)
    return MemoryDataset(folder, train, val, classes, classes, notes=tuple(notes))


def _records(paths: list[Path], kind: Cifar) -> np.ndarray:
    """All records of the files: uint8 (images, bytes of a record)."""
    length = kind.label_bytes + CHANNELS * SIDE * SIDE
    counts = [_count(path, length) for path in paths]
    records, first = np.empty((sum(counts), length), np.uint8), 0
    for path, count in zip(paths, counts, strict=True):
        part = records[first : first + count]
        try:
            with open_file(path) as file:
                done = fill(file, part.reshape(-1))
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        if done < part.size:
            raise DataError(f"{path}: expected {part.size} bytes, found {done}")
        wrong = np.flatnonzero(part[:, kind.label_bytes - 1] >= kind.classes)
        if len(wrong):
            raise DataError(
                f"{path}: expected labels from 0 to {kind.classes - 1}, found "
                f"{part[wrong[0], kind.label_bytes - 1]} in record {wrong[0]}"
            )
        first += count
    return records


def _count(path: Path, length: int) -> int:
    """How many records of this length a file has."""
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not size or size % length or size > MOST_BYTES:
        raise DataError(f"{path}: expected records of {length} bytes, {MOST_BYTES} bytes at most, found {size} bytes")
    return size // length


def _classes(path: Path, kind: Cifar) -> tuple[str, ...]:
    if not os.path.exists(path):
        return numbered_classes(kind.classes - 1)
    try:
        names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if len(names) != kind.classes or len(set(names)) != len(names):
        found = f"{len(names)}, {shortened(names, 4)}" if names else "none"
        raise DataError(f"{path}: expected {kind.classes} names of classes, a line for each, found {found}")
    return names
