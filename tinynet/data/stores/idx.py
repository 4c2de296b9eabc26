"""MNIST's files and those of its kind (Fashion-MNIST, KMNIST): images and labels in the IDX format, gzipped or not.

The format (yann.lecun.com/exdb/mnist): two zeros, a byte for the type (8: bytes), one for the number of axes, the
length of each axis in four bytes, the highest first, and then the values.
"""

import gzip
import math
import os
import zlib
from collections.abc import Sequence
from io import BufferedIOBase, RawIOBase
from pathlib import Path

import numpy as np

from tinynet.data.dataset import unseen_notes
from tinynet.data.reading import fill, open_file
from tinynet.data.stores.arrays import ArraySplit, MemoryDataset, numbered_classes
from tinynet.data.stores.folders import listing
from tinynet.errors import DataError

PARTS = {"train": "train", "val": "t10k"}  # what the names of a split's files begin with
AXES = {"images": 3, "labels": 1}
INSIDE = (".", "raw", "MNIST/raw")  # the last two as torchvision leaves them
GZIP = b"\x1f\x8b"
MOST_BYTES = 1 << 33  # of an array: more is not read into memory
MOST_TIMES = 64  # a gzipped file, unpacked, is at most so many times its size; MNIST's images are 5 times
ROOM = 1 << 24  # or it has so many bytes: labels in order shrink to nothing


def idx_folder(root: Path) -> Path | None:
    """Where below `root` the training images lie; None: nowhere."""
    folders = (root / inside for inside in INSIDE)
    return next((folder for folder in folders if _file(folder, "train", "images", 3)), None)


def idx_dataset(folder: Path, classes: Sequence[str] | None = None) -> MemoryDataset:
    """The data set of a folder with the four files train-images-idx3-ubyte, train-labels-idx1-ubyte,
    t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, or with .idx3 and .idx1, or with .gz behind: in memory, uint8 of
    one channel.

    classes: what the labels stand for; None: "0", "1", ... up to the largest. DataError for files that are missing,
    cut short, longer than they say or not in the format, for labels that do not fit, and for a class without a training
    image.
    """
    paths = _files(folder)
    images = {split: read_idx(paths[split, "images"], 3) for split in PARTS}
    labels = {split: read_idx(paths[split, "labels"], 1) for split in PARTS}
    if images["train"].shape[1:] != images["val"].shape[1:]:
        sizes = [" x ".join(map(str, images[split].shape[1:])) for split in PARTS]
        raise DataError(f"{paths['val', 'images']}: expected images of {sizes[0]} as for training, found {sizes[1]}")
    if classes is None:
        classes = numbered_classes(*(int(labels[split].max()) for split in PARTS))
    splits = {}
    for split in PARTS:
        path = paths[split, "labels"]
        if len(labels[split]) != len(images[split]):
            raise DataError(f"{path}: expected {len(images[split])} labels, one per image, found {len(labels[split])}")
        if (largest := int(labels[split].max())) >= len(classes):
            raise DataError(f"{path}: expected labels from 0 to {len(classes) - 1}, found {largest}")
        splits[split] = ArraySplit(images[split], labels[split], classes, "NHW", str(paths[split, "images"]))
    notes = unseen_notes(folder, splits["train"], splits["val"])
    return MemoryDataset(folder, splits["train"], splits["val"], tuple(classes), tuple(classes), notes=notes)


def _files(folder: Path) -> dict[tuple[str, str], Path]:
    """The path of each split's images and labels."""
    found, missing = {}, []
    for split, begin in PARTS.items():
        for kind, axes in AXES.items():
            if path := _file(folder, begin, kind, axes):
                found[split, kind] = path
            else:
                missing.append(f"{begin}-{kind}-idx{axes}-ubyte")
    if missing:
        raise DataError(f"{folder}: looked for {', '.join(missing)} (.gz or not), found {listing(folder)}")
    return found


def _file(folder: Path, begin: str, kind: str, axes: int) -> Path | None:
    names = (f"{begin}-{kind}{dot}idx{axes}-ubyte{end}" for dot in "-." for end in ("", ".gz"))
    return next((folder / name for name in names if os.path.exists(folder / name)), None)


def read_idx(path: Path, axes: int) -> np.ndarray:
    """The bytes of an IDX file with so many axes: uint8, of the shape that its header says. Whether it is gzipped, its
    content tells: browsers unpack files and leave their names.

    No more is taken into memory than the header promises, and that is compared with the file's size before.
    """
    try:
        with open_file(path) as raw:
            size = os.fstat(raw.fileno()).st_size
            gzipped = raw.read(2) == GZIP
            raw.seek(0)
            if not gzipped:
                return _read(path, raw, axes, size)
            with gzip.GzipFile(fileobj=raw, mode="rb") as file:
                return _read(path, file, axes, MOST_TIMES * size + ROOM)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _read(path: Path, file: RawIOBase | BufferedIOBase, axes: int, most: int) -> np.ndarray:
    """most: the bytes that the file may have, unpacked."""
    header = _filled(file, 4 + 4 * axes)
    magic = bytes([0, 0, 8, axes])
    if len(header) < 4 + 4 * axes or header[:4].tobytes() != magic:
        raise DataError(
            f"{path}: expected an IDX file of bytes in {axes} axes, which begins with the number "
            f"{int.from_bytes(magic)}, found {header[:4].tobytes()!r}"
        )
    shape = tuple(header[4:].view(">u4").tolist())
    promised, text = math.prod(shape), " x ".join(map(str, shape))
    if not promised:
        raise DataError(f"{path}: expected images or labels, found {text}")
    if promised > min(most, MOST_BYTES):
        raise DataError(f"{path}: its header promises {text} bytes, and it can have {min(most, MOST_BYTES)} at most")
    content = _filled(file, promised)
    if len(content) < promised:
        raise DataError(f"{path}: cut short: its header promises {text} bytes, found {len(content)}")
    if file.read(1):
        raise DataError(f"{path}: expected its end after the {text} bytes that its header promises, found more")
    return content.reshape(shape)


def _filled(file: RawIOBase | BufferedIOBase, size: int) -> np.ndarray:
    """The next `size` bytes, or those that there are: uint8."""
    content = np.empty(size, np.uint8)
    return content[: fill(file, content)]
