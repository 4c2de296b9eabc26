"""A split whose images are encoded files in a store: folders, lists, archives, parquet."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from tinynet.data.images.crops import shorter_side_resize
from tinynet.data.images.decoding import decode_content, shorter_side
from tinynet.data.names import encoded
from tinynet.errors import DataError


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
    split; otherwise they are in the store's order. notes: what a user should know, a sentence each. channels: 3, in
    RGB, or 1, in gray.
    """

    def __init__(
        self,
        store: Store,
        labels: np.ndarray,
        classes: tuple[str, ...],
        file_names: Iterable[str] | None = None,
        notes: Iterable[str] = (),
        channels: int = 3,
    ):
        labels = np.asarray(labels, np.int64)
        order = np.arange(len(labels))
        if file_names is not None:
            names = [encoded(name) for name in file_names]  # no array, as wide everywhere as one name of 4 kB
            order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
            order = order[np.argsort(labels[order], kind="stable")]
        self.classes, self.labels, self.store, self._positions = classes, labels[order], store, order
        self.notes, self.channels = tuple(notes), channels

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, indices: np.ndarray) -> "ImageSplit":
        """A split of the images at these indices alone, in their order, of the same store and classes; no notes."""
        part = ImageSplit(self.store, self.labels[indices], self.classes, channels=self.channels)
        part._positions = self._positions[indices]
        return part

    def name(self, index: int) -> str:
        """What to call the image in a message: its path, inside an archive too."""
        return self.store.name(int(self._positions[index]))

    def load(self, index: int, size: int) -> np.ndarray:
        """The image as uint8 (size, size, channels), decoded and cut as in the paper; DataError names one that cannot
        be read.
        """
        return decode_content(self._read(index), size, self.name(index), self.channels)

    def load_whole(self, index: int, size: int) -> np.ndarray:
        """All of the image, (height, width, channels) uint8, its shorter side `size`; DataError as above."""
        return decode_content(self._read(index), size, self.name(index), self.channels, shorter_side_resize)

    def shorter_side(self, index: int) -> int:
        """Of the image as it lies there, in pixels; DataError names one that cannot be read."""
        return shorter_side(self._read(index), self.name(index))

    def _read(self, index: int) -> bytes:
        try:
            return self.store.read(int(self._positions[index]))
        except OSError as error:
            raise DataError(f"{self.name(index)}: cannot be read: {error}") from error
