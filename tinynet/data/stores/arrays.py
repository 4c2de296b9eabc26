"""Images that lie in memory as one array, or in a file that is mapped: what people have in a notebook, and what the
readers of IDX and .bin files make.

How such files are read is known to idx.py and cifar_binary.py.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from tinynet.data.dataset import Dataset, unseen_notes
from tinynet.data.images.crops import shorter_side_crop

LAYOUTS = {"NHW": 3, "NHWC": 4, "NCHW": 4}  # and how many axes each has
MOST_CLASSES = 1 << 20  # that labels alone may speak of
BLOCK = 1 << 22  # values that are looked through at a time, or one image


class ArraySplit:
    """Images of an array with their labels. Nothing is copied but the image that is loaded.

    images: uint8, 0 to 255, or floats of any width, loaded as float32 as they are; (N, H, W), (N, H, W, C) or (N, C, H,
    W). layout: "NHW", "NHWC" or "NCHW"; None: by where the 1 or 3 of the channels stands. labels: integers (N,), each a
    position in `classes`. name: what errors call the images; the labels are label_name. ValueError for an array or
    labels that are none of this, and for values that are NaN or infinite.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | Sequence[int],
        classes: Sequence[str],
        layout: str | None = None,
        name: str = "images",
        label_name: str = "labels",
    ):
        self.pixels = _channels_last(_array(images, name), layout, name)  # (N, H, W, C), a view
        self.channels = self.pixels.shape[3]
        self.dtype: type[np.generic] = np.uint8 if self.pixels.dtype == np.uint8 else np.float32
        self.classes = _class_tuple(classes)
        self.labels = _checked_labels(labels, len(self.pixels), len(self.classes), label_name)
        self._name = name
        if self.dtype == np.float32:
            self._refuse_infinite()

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """What to call the image in a message: x_train[12]."""
        return f"{self._name}[{index}]"

    def check(self, size: int) -> None:
        """ValueError, which says what to do, when images of size x size cannot be had: only pictures are resized."""
        _, height, width, channels = self.pixels.shape
        if (height, width) == (size, size) or (self.dtype == np.uint8 and channels in (1, 3)):
            return
        what = f"use size {height}" if height == width else "cut them to squares before, and use their size"
        raise ValueError(
            f"{self._name}: expected images of {size} x {size} pixels, found {height} x {width}, and only uint8 of 1 "
            f"or 3 channels is resized, not {self.pixels.dtype} of {channels}: {what}"
        )

    def shorter_side(self, index: int) -> int:
        """Of the image, in pixels, as Split has it."""
        return min(self.pixels.shape[1:3])

    def load(self, index: int, size: int) -> np.ndarray:
        """The image (size, size, channels), uint8 or float32, in memory of its own. One of another size is cut and
        resized as pictures are, where it can be one: uint8 with 1 or 3 channels; ValueError for any other, see check.
        """
        self.check(size)
        image = self.pixels[index]
        height, width, channels = image.shape
        if (height, width) == (size, size):
            return np.array(image, self.dtype, order="C")
        picture = np.ascontiguousarray(image if channels == 3 else image[..., 0])
        return shorter_side_crop(Image.fromarray(picture), size, channels)

    def blocks(self) -> Iterator[np.ndarray]:
        """All images in order, some at a time: (images, H, W, C), C order, of the split's dtype."""
        count = max(1, BLOCK // self.pixels[0].size)
        for first in range(0, len(self), count):
            with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
                yield np.array(self.pixels[first : first + count], self.dtype, order="C")

    def _refuse_infinite(self) -> None:
        first = 0
        for block in self.blocks():
            wrong = np.argwhere(~np.isfinite(block))
            if len(wrong):
                index, row, column, channel = wrong[0].tolist()
                raise ValueError(
                    f"{self.name(first + index)}: expected finite numbers (in float32), found "
                    f"{block[index, row, column, channel]} in row {row}, column {column}, channel {channel}"
                )
            first += len(block)


@dataclass(frozen=True)
class MemoryDataset(Dataset):
    """A data set of two ArraySplits. Its fingerprint is of their pixels and labels: arrays have no file names."""

    train: ArraySplit
    val: ArraySplit

    @cached_property
    def fingerprint(self) -> str:  # computed once: it looks at every pixel
        digest = hashlib.sha256()
        for split in (self.train, self.val):
            digest.update(f"{split.pixels.shape} {np.dtype(split.dtype).name}\n".encode())
            digest.update(split.labels.astype("<i8").tobytes())
            for block in split.blocks():
                digest.update(block.astype(block.dtype.newbyteorder("<"), copy=False).data)
        return digest.hexdigest()


class ArrayDataset(MemoryDataset):
    """A data set of arrays: `ArrayDataset(x_train, y_train, x_val, y_val)`.

    Images and layout as ArraySplit has them, the same shape, (H, W) and channels, and kind of numbers in both; labels
    are integers (N,). classes: what the labels 0, 1, ... stand for, each of which has a training image; None: "0", "1",
    ... up to the largest label of both. names: what reports call the classes; None: as `classes`. No array is copied.
    ValueError for anything else.
    """

    def __init__(
        self,
        x_train: np.ndarray,
        y_train: np.ndarray | Sequence[int],
        x_val: np.ndarray,
        y_val: np.ndarray | Sequence[int],
        classes: Sequence[str] | None = None,
        *,
        names: Sequence[str] | None = None,
        layout: str | None = None,
    ):
        x_train, x_val = _array(x_train, "x_train"), _array(x_val, "x_val")
        for name, images in (("x_train", x_train), ("x_val", x_val)):
            _channels_last(images, layout, name)  # before they are compared
        _refuse_different(x_train, x_val)
        if classes is None:
            classes = numbered_classes(_largest(y_train, "y_train"), _largest(y_val, "y_val"))
        classes = _class_tuple(classes)
        named = classes if names is None else _texts(names, "names", "what reports call the classes")
        if len(named) != len(classes):
            raise ValueError(f"names: expected {len(classes)}, one for each class, got {len(named)}")
        train = ArraySplit(x_train, y_train, classes, layout, "x_train", "y_train")
        val = ArraySplit(x_val, y_val, classes, layout, "x_val", "y_val")
        notes = unseen_notes("arrays", train, val, ValueError)
        super().__init__(Path("arrays"), train, val, classes, named, notes=notes)

    @property
    def place(self) -> str:
        return ""


def numbered_classes(*largest: int) -> tuple[str, ...]:
    """ "0", "1", ... up to the largest of these labels."""
    return tuple(map(str, range(max(largest) + 1)))


def _array(images: np.ndarray | Sequence, name: str) -> np.ndarray:
    """Anything that is an array or makes one; ValueError for what does not."""
    _refuse_masked(images, name)
    try:
        return np.asarray(images)
    except ValueError as error:  # lists of lists, of other lengths
        kind = type(images).__name__
        raise ValueError(
            f"{name}: expected images of one shape, which make an array, got a {kind} that makes none: {error}"
        ) from error


def _refuse_masked(values: object, name: str) -> None:
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name}: expected an array without a mask; filled() makes one")


def _channels_last(images: np.ndarray, layout: str | None, name: str) -> np.ndarray:
    """A view (N, H, W, C) of images; ValueError for what can be none."""
    if layout is not None and not (isinstance(layout, str) and layout in LAYOUTS):
        raise ValueError(f"layout: expected {', '.join(LAYOUTS)} or None, got {layout!r}")
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise ValueError(
            f"{name}: expected uint8 (0 to 255) or floats, got {images.dtype}; "
            f"astype(np.uint8) makes bytes of values from 0 to 255, astype(np.float32) floats of any"
        )
    axes = (3, 4) if layout is None else (LAYOUTS[layout],)
    if images.ndim not in axes:
        shapes = "(N, H, W), (N, H, W, C) or (N, C, H, W)" if layout is None else f"({', '.join(layout)})"
        raise ValueError(f"{name}: expected images of the shape {shapes}, got {images.shape}")
    if not images.size:
        raise ValueError(f"{name}: expected images, got an empty array of the shape {images.shape}")
    if images.ndim == 3:
        return images[..., None]
    return images if (layout or _told_apart(images.shape, name)) == "NHWC" else images.transpose(0, 2, 3, 1)


def _told_apart(shape: tuple[int, ...], name: str) -> str:
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first == last:
        found = "both" if first else "neither"
        raise ValueError(
            f"{name}: expected 1 or 3 channels, first or last, and {found} may be in the shape {shape}: "
            f'say layout="NHWC" or layout="NCHW"'
        )
    return "NCHW" if first else "NHWC"


def _refuse_different(x_train: np.ndarray, x_val: np.ndarray) -> None:
    if x_val.shape[1:] != x_train.shape[1:]:
        raise ValueError(f"x_val: expected images {x_train.shape[1:]} as in x_train, got {x_val.shape[1:]}")
    if (x_val.dtype == np.uint8) != (x_train.dtype == np.uint8):
        raise ValueError(f"x_val: expected {x_train.dtype} as in x_train, got {x_val.dtype}")


def _integers(labels: np.ndarray | Sequence[int], name: str) -> np.ndarray:
    _refuse_masked(labels, name)
    try:
        array = np.asarray(labels)
    except ValueError as error:
        kind = type(labels).__name__
        raise ValueError(f"{name}: expected integers as labels, got a {kind} that makes no array: {error}") from error
    if array.ndim != 1:
        hint = ""
        if array.ndim == 2:
            one_hot = "; argmax(axis=1) makes them of one-hot rows"
            hint = "; reshape(-1) makes them so" if array.shape[1] == 1 else one_hot
        raise ValueError(f"{name}: expected labels of the shape (N,), got {array.shape}{hint}")
    if len(array) and array.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected integers as labels, got {array.dtype}")
    return array


def _largest(labels: np.ndarray | Sequence[int], name: str) -> int:
    array = _integers(labels, name)
    if array.min(initial=0) < 0:
        raise ValueError(f"{name}: expected labels from 0 on, got {array.min()} at {array.argmin()}")
    largest = int(array.max(initial=0))
    if largest >= MOST_CLASSES:
        raise ValueError(f"{name}: expected labels below {MOST_CLASSES}, or classes= that names them, got {largest}")
    return largest


def _checked_labels(labels: np.ndarray | Sequence[int], images: int, classes: int, name: str) -> np.ndarray:
    """int64 (N,), in memory of their own; ValueError unless there is one for each image, a position in the classes."""
    array = _integers(labels, name)
    if len(array) != images:
        raise ValueError(f"{name}: expected {images} labels, one for each image, got {len(array)}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= classes:
        index = int(array.argmin() if low < 0 else array.argmax())
        raise ValueError(
            f"{name}: expected labels from 0 to {classes - 1} for {classes} classes, got {array[index]} at {index}"
        )
    return array.astype(np.int64)


def _class_tuple(classes: Sequence[str]) -> tuple[str, ...]:
    ordered = _texts(classes, "classes", "what the labels 0, 1, ... stand for")
    if twice := next((one for one, other in pairwise(sorted(ordered)) if one == other), None):
        raise ValueError(f"classes: expected each once, got {twice} twice")
    return ordered


def _texts(values: Sequence[str], name: str, what: str) -> tuple[str, ...]:
    """Of classes, at least one; ValueError for one text, which would be its letters, and for sets, without order."""
    if isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping | Set):
        texts = tuple(map(str, values))
        if texts:
            return texts
    raise ValueError(f"{name}: expected {what}, in their order, got {values!r}")
