"""Images as files in folders, one folder per class or all in one, and what is in a folder at all.

Which folders: that is known to layouts.py. Labels of images without class folders are in validation_labels.py.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from tinynet.data.dataset import ProgressCallback
from tinynet.data.file_kinds import ALL_SUFFIXES, SYSTEM_NAMES, count_other, hidden, names_image, told
from tinynet.data.images.decoding import read_file
from tinynet.data.labels.validation_labels import folder_and_parents, validation_labels
from tinynet.data.names import PackedNames, encoded, shortened
from tinynet.data.stores.image_split import ImageSplit
from tinynet.errors import DataError

STANDARD_NAME = re.compile(r"ILSVRC2012_val_\d{8}")
MOST_COUNTED = 100_000  # files in sub-folders, which are left out anyway


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
    (those of the training set), every class folder must be among them. Hidden files and folders and a system's own
    (@eaDir) are ignored; files that are no JPEG or PNG by name, or lie anywhere but directly in a class's folder, are
    left out, and `notes` tell of them.
    """

    def __init__(
        self, folder: str | Path, classes: tuple[str, ...] | None = None, progress: ProgressCallback | None = None
    ):
        folder = Path(folder)
        inside = entries(folder)
        found = [entry.name for entry in inside if is_folder(entry)]
        if not found:
            raise DataError(f"{folder}: looked for a folder per class, found {listing(folder)}")
        _refuse_half_sorted(folder, found, [entry.name for entry in inside])
        counts: list[int] = []
        others: Counter[str] = Counter()
        deeper: Counter[str] = Counter()

        def paths():
            for done, name in enumerate(found, start=1):
                files = entries(folder / name)
                images = [f"{name}/{entry.name}" for entry in files if is_image(entry)]
                counts.append(len(images))
                yield from images
                if len(images) < len(files):
                    _count_left_out(files, others, deeper)
                if progress:
                    progress(done, len(found))

        store = FolderStore(folder, PackedNames(paths()))
        classes = tuple(found) if classes is None else classes
        labels = labels_of_groups(folder, found, counts, classes, others, deeper)
        notes = [
            *left_out_notes(folder, others),
            *left_out_notes(folder, deeper, "in folders inside the class folders"),
            *left_out_notes(folder, _loose(inside), "beside the class folders"),
        ]
        if systems := [name for name in sorted(os.listdir(folder)) if name.lower() in SYSTEM_NAMES]:
            notes.append(f"{folder}: {shortened(systems)} is the system's own, and no class")
        super().__init__(store, labels, classes, notes=notes)  # sorted as they were found


def flat_folder_split(folder: Path, classes: tuple[str, ...], progress: ProgressCallback | None = None) -> ImageSplit:
    """The validation images of one folder without class folders; validation_labels finds their labels."""
    files = entries(folder)
    others: Counter[str] = Counter()
    names = PackedNames(entry.name for entry in files if is_image(entry))
    _count_left_out(files, others, Counter())
    labels = validation_labels(str(folder), names, classes, folder_and_parents(folder))
    return ImageSplit(FolderStore(folder, names), labels, classes, names, left_out_notes(folder, others))


def labels_of_groups(
    where: str | Path,
    found: Sequence[str],
    counts: Sequence[int],
    classes: tuple[str, ...],
    left_out: Mapping[str, int],
    deeper: Mapping[str, int] | None = None,
) -> np.ndarray:
    """A label per image, int64, for groups of images (folders, archives) that are named for their classes.

    found: the groups' names, sorted. counts: each one's images. left_out: how many files were, by suffix; deeper: how
    many lie in folders inside the groups, where no image counts. DataError for a class that is not among `classes` or
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
        also = f"; left out were {told(left_out)}" if left_out else ""
        also += f"; in folders inside them, where none counts, lie {told(deeper)}" if deeper else ""
        raise DataError(
            f"{where}: {len(empty)} of {len(found)} classes have no image ({ALL_SUFFIXES}): {shortened(empty)}{also}"
        )
    return np.repeat(np.array([positions[name] for name in found], np.int64), counts)


def left_out_notes(where: str | Path, counts: Mapping[str, int], why: str = "no JPEG or PNG by name") -> list[str]:
    """What a user should know of files that are left out; nothing where there are none."""
    count = sum(counts.values())
    return [f"{where}: {count} file{'s' * (count > 1)} left out, {why}: {told(counts)}"] if count else []


def _count_left_out(files: Sequence[os.DirEntry], others: Counter, deeper: Counter) -> None:
    """Counts by suffix what is no image: `others` right among `files`, `deeper` in folders among them."""
    for entry in files:
        if is_folder(entry, follow_symlinks=False):
            for name in islice(_names_below(entry.path), MOST_COUNTED):
                _count(deeper, name)
        elif not is_image(entry) and not is_folder(entry):
            count_other(others, entry.name)


def _loose(inside: Sequence[os.DirEntry]) -> Counter:
    counts: Counter[str] = Counter()
    for entry in inside:
        if not is_folder(entry) and not is_class_archive(entry.name):
            _count(counts, entry.name)
    return counts


def _count(counts: Counter, name: str) -> None:
    if names_image(name):
        counts[os.path.splitext(name)[1].lower()] += 1
    else:
        count_other(counts, name)


def _names_below(folder: str) -> Iterator[str]:
    """The names of all files below a folder; links to folders are not followed."""
    folders = [folder]
    while folders:
        try:
            inside = entries(Path(folders.pop()))
        except (DataError, OSError):  # not to be read: what is left out anyway
            continue
        folders += [entry.path for entry in inside if is_folder(entry, follow_symlinks=False)]
        yield from (entry.name for entry in inside if not is_folder(entry, follow_symlinks=False))


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
    """What is in a folder, sorted by name as bytes, without hidden entries and a system's own."""
    if not folder.exists():
        raise DataError(f"{folder}: looked for a folder, found nothing of that name")
    if not folder.is_dir():
        raise DataError(f"{folder}: looked for a folder, found a file")
    try:
        with os.scandir(folder) as found:
            visible = [entry for entry in found if not hidden(entry.name)]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error}") from error
    return sorted(visible, key=lambda entry: encoded(entry.name))


def is_folder(entry: os.DirEntry, follow_symlinks: bool = True) -> bool:
    """Whether it is one, or a link to one. A link that leads round in a circle is none, as one to nowhere is."""
    try:
        return entry.is_dir(follow_symlinks=follow_symlinks)
    except OSError:
        return False


def is_image(entry: os.DirEntry) -> bool:
    """By its name. A link to nowhere or a pipe counts: it is an image that cannot be read, and will be named."""
    return names_image(entry.name) and not is_folder(entry)


def is_class_archive(name: str) -> bool:
    """n01440764.tar, as ILSVRC2012_img_train.tar has one for each class."""
    return re.fullmatch(r"n\d{8}\.tar", name) is not None


def listing(folder: Path) -> str:
    names = [entry.name + "/" * is_folder(entry) for entry in entries(folder)]
    return shortened(names) if names else "an empty folder"
