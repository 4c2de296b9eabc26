"""Image files by their paths, wherever they lie, without classes: what a trained network is asked about."""

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tinynet.data.file_kinds import ALL_SUFFIXES, hidden, names_image
from tinynet.data.images.decoding import read_file
from tinynet.data.names import encoded
from tinynet.data.stores.image_split import ImageSplit
from tinynet.errors import DataError


class FileStore:
    """Image files by their paths."""

    def __init__(self, paths: Sequence[str]):
        self._paths = paths

    def name(self, position: int) -> str:
        return self._paths[position]

    def read(self, position: int) -> bytes:
        return read_file(self._paths[position])


def image_files(paths: Sequence[str], classes: tuple[str, ...], channels: int = 3) -> ImageSplit:
    """The images at these paths, in this order; their labels, which nobody knows, are 0. classes: of the network that
    is asked.
    """
    return ImageSplit(FileStore(paths), np.zeros(len(paths), np.int64), classes, channels=channels)


def image_paths(names: Iterable[str]) -> Iterator[str]:
    """The names of files as they are, whether they are there or not; in place of a folder all images by name that lie
    in it and below, sorted, but for what is hidden. DataError for a folder without any.
    """
    for name in names:
        if not os.path.isdir(name):
            yield name
            continue
        inside = _below(name)
        first = next(inside, None)
        if first is None:
            raise DataError(f"{name}: no picture ({ALL_SUFFIXES}) in this folder nor below")
        yield first
        yield from inside


def _below(folder: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be listed: {error}") from error

    for where, folders, files in os.walk(folder, onerror=refuse):  # which follows no links to folders
        folders[:] = sorted((one for one in folders if not hidden(one)), key=encoded)
        images = (one for one in files if names_image(one) and not hidden(one))
        yield from (os.path.join(where, one) for one in sorted(images, key=encoded))
