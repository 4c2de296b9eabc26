"""Images told by two lists, as Caffe's examples have them: train.txt and val.txt, in each line a picture's path and its
label.

The labels of ImageNet's validation images, in a val.txt of the same form, are in labels/validation_labels.py.
"""

import io
import os
import stat
from array import array
from collections import Counter
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import numpy as np

from tinynet.data.dataset import ProgressCallback
from tinynet.data.labels.class_names import WNID
from tinynet.data.labels.integer_labels import integer_label, numbers_unseen
from tinynet.data.names import PackedNames, shortened
from tinynet.data.reading import open_file, read_text
from tinynet.data.stores.folders import FolderStore
from tinynet.data.stores.image_split import ImageSplit
from tinynet.errors import DataError

TRAIN, VAL = "train.txt", "val.txt"
CLASSES = ("synset_words.txt", "labels.txt")  # a class per line, in the order of the labels; the first that is there
LONGEST_LINE = 1 << 16  # bytes of a list that are looked at for its first picture
STRIDE = 1024  # lines between two reports of progress


def has_lists(root: Path) -> bool:
    return (root / TRAIN).is_file() and (root / VAL).is_file()


def lists_name_files(root: Path) -> bool:
    """Whether both lists are there, and the first picture of each too: ImageNet's own lists name none below `root`."""
    return has_lists(root) and all(_first_is_there(root, root / name) for name in (TRAIN, VAL))


def _first_is_there(root: Path, file: Path) -> bool:
    with BufferedReader(open_file(file)) as lines:
        begin = lines.read(LONGEST_LINE).decode("utf-8-sig", "surrogateescape")
    fields = begin.strip().split("\n", 1)[0].strip().rsplit(None, 1)
    try:
        return len(fields) == 2 and os.path.isfile(root / fields[0])
    except ValueError:  # a zero byte in the path
        return False


def list_splits(root: Path, progress: ProgressCallback | None = None) -> tuple[ImageSplit, ImageSplit, tuple[str, ...]]:
    """The training and validation images that the lists in `root` name, in the lists' order, and the classes' names.

    Paths are relative to `root` and stay in it. Labels are 0, 1, ...: the lines of synset_words.txt ("n01440764 tench,
    Tinca tinca") or labels.txt, where one is there, else the classes are called "0", "1", ... Each must have a training
    image. DataError names file and line of what is not as it should be.
    """
    inside = _Inside(root)
    told = _classes(root)
    train_names, train_labels = _read(root / TRAIN, inside, told[0] if told else None, progress)
    if told is None:
        numbers = _numbers(root / TRAIN, train_labels)
        told = numbers, numbers
    classes, names = told
    val_names, val_labels = _read(root / VAL, inside, classes, progress)
    train = ImageSplit(FolderStore(root, train_names), train_labels, classes)
    return train, ImageSplit(FolderStore(root, val_names), val_labels, classes), names


def _read(
    file: Path, inside: "_Inside", classes: tuple[str, ...] | None, progress: ProgressCallback | None
) -> tuple[PackedNames, np.ndarray]:
    """The paths of a list and their labels, int64."""
    labels, text = array("q"), read_text(file)
    total = text.count("\n") + (not text.endswith("\n"))

    def paths() -> Iterator[str]:
        lines = io.StringIO(text, "\n")  # not splitlines, which knows ends of lines that a path may have inside
        for number, line in enumerate(lines, start=1):
            if progress and (number % STRIDE == 0 or number == total):
                progress(number, total)
            if not line.strip():
                continue
            try:
                path, label = _parsed(line, classes)
                inside.check(path)
            except ValueError as error:
                raise DataError(f"{file}: line {number}: {error}") from error
            labels.append(label)
            yield path

    names = PackedNames(paths())
    if not labels:
        raise DataError(f"{file}: expected lines of a picture's path and its label, found none")
    return names, np.array(labels, np.int64)


def _parsed(line: str, classes: tuple[str, ...] | None) -> tuple[str, int]:
    """ValueError for a line that is no path and label."""
    fields = line.strip().rsplit(None, 1)
    if len(fields) < 2:
        raise ValueError(f"expected a picture's path and its label, found {fields[0]}")
    label = integer_label(fields[1])
    if label is None:
        raise ValueError(f"expected a label that is a number behind the path, found {fields[1]}")
    if label < 0:
        raise ValueError(f"expected a label from 0 on, found {label}")
    if classes is not None and label >= len(classes):
        raise ValueError(f"expected a label from 0 to {len(classes) - 1} for {len(classes)} classes, found {label}")
    return fields[0], label


class _Inside:
    """Whether a path leads to a file below a folder, and not out of it: a list may come from anywhere."""

    def __init__(self, folder: Path):
        self._folder, self._real = str(folder), os.path.realpath(folder)
        self._folders: dict[str, bool] = {}  # what is known: most pictures share theirs

    def check(self, path: str) -> None:
        """ValueError for one that does not."""
        parts = path.replace("\\", "/").split("/") if os.name == "nt" else path.split("/")
        if os.path.isabs(path) or os.path.splitdrive(path)[0] or ".." in parts:
            raise ValueError(f"expected a path below {self._folder}, found {path}, which leads out of it")
        full = os.path.join(self._folder, path)
        folder = os.path.dirname(full)
        try:
            if folder not in self._folders:
                self._folders[folder] = self._holds(folder)
            within, mode = self._folders[folder], os.lstat(full).st_mode
            if stat.S_ISLNK(mode):
                within, mode = within and self._holds(full), os.stat(full).st_mode
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
            reason = error.strerror if isinstance(error, OSError) else error
            raise ValueError(f"the picture {path} cannot be found: {reason}") from error
        if not within:
            raise ValueError(f"expected a path below {self._folder}, found {path}, a link that leads out of it")
        if not stat.S_ISREG(mode):
            raise ValueError(f"expected a picture, found {path}, which is no file")

    def _holds(self, path: str) -> bool:
        """Of a path without its links; with separators behind, so that root does not hold root2."""
        return os.path.join(os.path.realpath(path), "").startswith(os.path.join(self._real, ""))


def _classes(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Classes and what reports call them, from a list of them; None: there is none."""
    file = next((root / name for name in CLASSES if (root / name).is_file()), None)
    if file is None:
        return None
    lines = [line.strip() for line in read_text(file).split("\n") if line.strip()]
    pairs = [(wnid[0], line[wnid.end() :].strip()) if (wnid := WNID.match(line)) else (line, "") for line in lines]
    classes = tuple(name for name, _ in pairs)
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice or not classes:
        found = f"several of {shortened(twice)}" if twice else "none"
        raise DataError(f"{file}: expected a class per line, each of another name, found {found}")
    times = Counter(text.split(",")[0] for _, text in pairs)  # there are two cranes
    short = (text.split(",")[0] if times[text.split(",")[0]] == 1 else text for _, text in pairs)
    return classes, tuple(name or wnid for name, wnid in zip(short, classes, strict=True))


def _numbers(file: Path, labels: np.ndarray) -> tuple[str, ...]:
    """ "0", "1", ... up to the largest label; DataError when one of them has no image."""
    used = set(labels.tolist())
    top = max(used) + 1
    if len(used) < top:  # a single label of 10 ** 17 makes nothing of that size here
        raise DataError(f"{file}: {numbers_unseen(used, top)}")
    return tuple(map(str, range(top)))
