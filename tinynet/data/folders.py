"""Images as files in folders, one folder per class or all in one, and what is in a folder at all.

Which folders: that is known to layouts.py. Labels of images without class folders are in validation_labels.py.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinynet.data.dataset import ImageSplit, ProgressCallback
from tinynet.data.errors import DataError
from tinynet.data.names import PackedNames, shortened
from tinynet.data.preprocessing import read_file
from tinynet.data.validation_labels import folder_and_parents, validation_labels

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")
STANDARD_NAME = re.compile(r"ILSVRC2012_val_\d{8}")


class FolderStore:
    """Image files below one folder, by their paths relative to it."""

    def __init__(self, folder: Path, names: PackedNames):
        self._folder, self._names = str(folder), names

    def name(self, position: int) -> str:
        return os.path.join(self._folder, self._names[position])

    def read(self, position: int) -> bytes:
        return read_file(self.name(position))


class FolderSplit(ImageSplit):
    """The images of one folder with a folder per class.

    `classes` are the class folders sorted by name, and a label is a class's position there; given `classes`
    (those of the training set), every class folder must be among them. Hidden files and files that are no
    JPEG or PNG by name are ignored.
    """

    def __init__(
        self, folder: str | Path, classes: tuple[str, ...] | None = None, progress: ProgressCallback | None = None
    ):
        folder = Path(folder)
        inside = entries(folder)
        found = [entry.name for entry in inside if entry.is_dir()]
        if not found:
            raise DataError(f"{folder}: looked for a folder per class, found {listing(folder)}")
        _refuse_half_sorted(folder, found, [entry.name for entry in inside])
        counts: list[int] = []

        def paths():
            for done, name in enumerate(found, start=1):
                images = [f"{name}/{entry.name}" for entry in entries(folder / name) if is_image(entry)]
                counts.append(len(images))
                yield from images
                if progress:
                    progress(done, len(found))

        store = FolderStore(folder, PackedNames(paths()))
        classes = tuple(found) if classes is None else classes
        super().__init__(store, labels_of_groups(folder, found, counts, classes), classes)  # sorted as they were found


def flat_folder_split(folder: Path, classes: tuple[str, ...], progress: ProgressCallback | None = None) -> ImageSplit:
    """The validation images of one folder without class folders; validation_labels finds their labels."""
    names = PackedNames(entry.name for entry in entries(folder) if is_image(entry))
    labels = validation_labels(str(folder), names, classes, folder_and_parents(folder))
    return ImageSplit(FolderStore(folder, names), labels, classes, names)


def labels_of_groups(
    where: str | Path, found: Sequence[str], counts: Sequence[int], classes: tuple[str, ...]
) -> np.ndarray:
    """A label per image, int64, for groups of images (folders, archives) that are named for their classes.

    found: the groups' names, sorted. counts: each one's images. DataError for a class that is not among `classes` or
    has no image.
    """
    positions = {name: position for position, name in enumerate(classes)}
    unknown = [name for name in found if name not in positions]
    if unknown:
        raise DataError(
            f"{where}: {len(unknown)} of {len(found)} classes are not among the {len(classes)} of the "
            f"training set: {shortened(unknown)}"
        )
    empty = [name for name, count in zip(found, counts, strict=True) if not count]
    if empty:
        raise DataError(
            f"{where}: {len(empty)} of {len(found)} classes have no image "
            f"({', '.join(IMAGE_SUFFIXES)}): {shortened(empty)}"
        )
    return np.repeat(np.array([positions[name] for name in found], np.int64), counts)


def _refuse_half_sorted(folder: Path, classes: list[str], names: list[str]) -> None:
    """What an interrupted unpacking leaves behind would otherwise be a smaller data set without a sign."""
    unpacked = set(classes)
    packed = [name for name in names if is_class_archive(name) and name[:-4] not in unpacked]
    if packed:
        raise DataError(
            f"{folder}: {len(classes)} class folders and {len(packed)} archives of further classes: unpack these too, "
            f"or remove the folders and tinynet reads the archives: {shortened(packed)}"
        )
    loose = [name for name in names if STANDARD_NAME.match(name)]
    if loose:
        raise DataError(
            f"{folder}: {len(classes)} class folders and {len(loose)} validation images beside them: sort the rest "
            f"into the folders, or put all of them back into one folder: {shortened(loose)}"
        )


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


def is_image(entry: os.DirEntry) -> bool:
    """By its name. A link to nowhere counts: it is an image that cannot be read, and will be named."""
    if not entry.name.lower().endswith(IMAGE_SUFFIXES):
        return False
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))


def is_class_archive(name: str) -> bool:
    """n01440764.tar, as ILSVRC2012_img_train.tar has one for each class."""
    return re.fullmatch(r"n\d{8}\.tar", name) is not None


def listing(folder: Path) -> str:
    names = [entry.name + "/" * entry.is_dir() for entry in entries(folder)]
    return shortened(names) if names else "an empty folder"
