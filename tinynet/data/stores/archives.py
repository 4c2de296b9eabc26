"""Images inside tar archives, read in place: the training set's tar of tars, the validation set's, webdataset's shards.

Where each image lies in its archive is found once and kept; that is in archive_index.py.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from tinynet.data.dataset import ProgressCallback
from tinynet.data.file_kinds import ALL_SUFFIXES
from tinynet.data.images.decoding import check_size
from tinynet.data.labels.integer_labels import check_integer_labels, classes_of_integer_labels
from tinynet.data.labels.validation_labels import folder_and_parents, validation_labels
from tinynet.data.names import encoded
from tinynet.data.reading import open_file
from tinynet.data.stores.archive_index import LINKS, SPECIAL, ArchiveIndex, index_archives, sample_key
from tinynet.data.stores.folders import is_class_archive, labels_of_groups, left_out_notes
from tinynet.data.stores.image_split import ImageSplit
from tinynet.errors import DataError

NO_FILES = {LINKS: "since links are not followed", SPECIAL: "such as devices"}  # and why they are left out


class ArchiveStore:
    """Members of tar archives. Each read opens its archive: that is little beside decoding an image, and leaves nothing
    that threads or processes would share.
    """

    def __init__(self, archives: Sequence[Path], index: ArchiveIndex):
        self._archives, self._index = [str(archive) for archive in archives], index

    def name(self, position: int) -> str:
        return f"{self._archives[self._index.archive[position]]}/{self._index.names[position]}"

    def read(self, position: int) -> bytes:
        index, size = self._index, int(self._index.size[position])
        check_size(size, self.name(position))
        with open_file(self._archives[index.archive[position]]) as file:
            file.seek(int(index.offset[position]))
            content = file.read(size)
        if len(content) < size:
            raise DataError(f"{self.name(position)}: the archive is shorter than when it was indexed")
        return content


def class_archives_split(
    archives: Sequence[Path], classes: tuple[str, ...] | None = None, progress: ProgressCallback | None = None
) -> ImageSplit:
    """Images of n01440764.tar and so on: each archive is a class."""
    index = index_archives(archives, progress)
    found = [archive.stem for archive in archives]
    return _split_of_groups(archives, index, found, index.archive, classes)


def nested_archive_split(
    archive: Path, classes: tuple[str, ...] | None = None, progress: ProgressCallback | None = None
) -> ImageSplit:
    """Images of ILSVRC2012_img_train.tar, a tar of tars: each inner one is a class."""
    index = index_archives([archive], progress)
    seen: dict[str, int] = {}
    inner = (name.split(".tar/", 1)[0] if ".tar/" in name else "" for name in index.names)
    group = np.fromiter((seen.setdefault(name, len(seen)) for name in inner), np.int64, len(index.names))
    if not seen or "" in seen:
        raise DataError(
            f"{archive}: expected an archive of archives, one per class (n01440764.tar, ...), found "
            f"{np.count_nonzero(group == seen.get(''))} images outside of such"
        )
    found = sorted(seen, key=encoded)
    positions = {name: position for position, name in enumerate(found)}
    group = np.array([positions[name] for name in seen])[group]
    return _split_of_groups([archive], index, found, group, classes)


def flat_archive_split(
    archive: Path, classes: tuple[str, ...], progress: ProgressCallback | None = None
) -> ImageSplit:
    """Images of ILSVRC2012_img_val.tar; validation_labels finds their labels."""
    index = index_archives([archive], progress)
    if not len(index.names):
        raise DataError(f"{archive}: expected images ({ALL_SUFFIXES}), found none")
    labels = validation_labels(str(archive), index.names, classes, folder_and_parents(archive.parent))
    return _split([archive], index, labels, classes)


def webdataset_split(
    archives: Sequence[Path], classes: tuple[str, ...] | None = None, progress: ProgressCallback | None = None
) -> ImageSplit:
    """Images of webdataset's shards: key.jpg with its label in key.cls, an integer. A key has one image in all."""
    _refuse_gaps(archives)
    index, where = index_archives(archives, progress), str(archives[0].parent)
    unlabelled = np.flatnonzero(index.label < 0)
    if len(unlabelled) or not len(index.label):
        store = ArchiveStore(archives, index)
        raise DataError(
            f"{where}: {len(unlabelled)} of {len(index.label)} images of {len(archives)} archives have no .cls file "
            f"with a label beside them: {', '.join(store.name(position) for position in unlabelled[:4].tolist())}"
        )
    _refuse_shared_keys(where, index.names, ArchiveStore(archives, index))
    if classes is None:
        classes = classes_of_integer_labels(where, index.label, index.names, None)
    else:
        check_integer_labels(where, index.label, index.names, classes)
    return _split(archives, index, index.label, classes)


def _refuse_shared_keys(where: str, names: Sequence[str], store: ArchiveStore) -> None:
    """DataError for images that a .cls could not tell apart: img.0.jpg and img.1.jpg both have the key img."""
    if (shared := shared_key(names)) is None:
        return
    key, one, other = shared
    hint = "a key has one image in all shards"
    if longer := next((names[position] for position in (one, other) if _dots(names[position]) > 1), None):
        folder, slash, base = longer.rpartition("/")
        hint = f"rename them, such as {folder + slash + base.replace('.', '_', _dots(longer) - 1)}"
    raise DataError(
        f"{where}: several images have the key {key}, what comes before a name's first dot, and so one .cls: "
        f"{store.name(one)} and {store.name(other)}; {hint}"
    )


def _dots(name: str) -> int:
    return name.rpartition("/")[2].count(".")


def shared_key(names: Iterable[str]) -> tuple[str, int, int] | None:
    """A key that several of webdataset's images have, and the positions of its first two; None: no such key."""
    seen: dict[str, int] = {}
    for position, key in enumerate(map(sample_key, names)):
        if seen.setdefault(key, position) != position:
            return key, seen[key], position
    return None


def in_shard(name: str) -> bool:
    """Whether an image of this full name is in a webdataset's archive, by the archive's name."""
    archive, inside, _ = name.partition(".tar/")
    file_name = archive.rsplit("/", 1)[-1] + ".tar"
    return bool(inside) and not file_name.startswith("ILSVRC2012_") and not is_class_archive(file_name)


def _refuse_gaps(archives: Sequence[Path]) -> None:
    """imagenet1k-train-0002.tar after -0000.tar: a download that is not complete would be a smaller data set."""
    ends = [re.search(r"(\d+)$", archive.stem) for archive in archives]
    numbers = {int(end[1]) for end in ends if end}
    between = range(min(numbers, default=0), max(numbers, default=-1) + 1)  # of any length, by a name of 20 digits
    if len(numbers) < between.stop - between.start:
        missing = list(islice((str(number) for number in between if number not in numbers), 8))
        raise DataError(
            f"{archives[0].parent}: {len(archives)} archives, and between {archives[0].name} and {archives[-1].name} "
            f"those of {between.stop - between.start - len(numbers)} numbers are missing: {', '.join(missing)}, ..."
        )


def _split_of_groups(
    archives: Sequence[Path], index: ArchiveIndex, found: list[str], group: np.ndarray, classes: tuple[str, ...] | None
) -> ImageSplit:
    """group: for each image, the position of its class in `found`, which is sorted."""
    classes = tuple(found) if classes is None else classes
    counts = np.bincount(group, minlength=len(found))
    labels = np.empty(len(group), np.int64)
    told = labels_of_groups(archives[0].parent, found, counts.tolist(), classes, index.others)
    labels[np.argsort(group, kind="stable")] = told
    return _split(archives, index, labels, classes)


def _split(
    archives: Sequence[Path], index: ArchiveIndex, labels: np.ndarray, classes: tuple[str, ...]
) -> ImageSplit:
    where = archives[0] if len(archives) == 1 else archives[0].parent
    file_names = (name.rsplit("/", 1)[-1] for name in index.names)
    return ImageSplit(ArchiveStore(archives, index), labels, classes, file_names, _notes(where, index.others))


def _notes(where: Path, others: Mapping[str, int]) -> list[str]:
    """What a user should know of members that are left out."""
    notes = left_out_notes(where, {kind: count for kind, count in others.items() if kind not in NO_FILES})
    for kind, why in NO_FILES.items():
        if count := others.get(kind):
            notes.append(f"{where}: {count} {kind if count > 1 else kind[:-1]} left out, {why}")
    return notes
