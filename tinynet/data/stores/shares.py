"""A folder of classes that nobody has split: root/CLASS/*.jpg. A share of its images becomes the validation set.

Which, their names alone decide: the same on every machine, and a picture that is added later moves no other.
"""

import hashlib
import os
from itertools import islice
from pathlib import Path

import numpy as np

from tinynet.data.dataset import ProgressCallback
from tinynet.data.names import encoded, shortened
from tinynet.data.stores.folders import FolderSplit, entries, is_folder, is_image
from tinynet.data.stores.image_split import ImageSplit
from tinynet.errors import DataError

VAL_SHARE = 0.1  # when nobody says another
SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test", "testing"}  # no class is called so


def unsplit_folder(root: Path, asked: bool) -> bool:
    """Whether `root` is a folder of classes: two of the folders in it hold images, and none, nor itself, has the name
    of a split: that would be half of a data set, or a name mistyped. asked: a share is to be cut of it, now or by a run
    that has kept it, and its own name is known.
    """
    folders = [entry for entry in entries(root) if is_folder(entry)]
    names = {entry.name.lower() for entry in folders} | (set() if asked else {root.absolute().name.lower()})
    if not names.isdisjoint(SPLIT_NAMES):
        return False
    return len(_with_images(folders)) == 2


def lone_class(root: Path) -> str | None:
    """The name of the one folder in `root` that holds images, where no other does."""
    with_images = _with_images([entry for entry in entries(root) if is_folder(entry)])
    return with_images[0].name if len(with_images) == 1 else None


def splits_among_classes(root: Path) -> list[str]:
    """Folders with the name of a split, where two neighbours hold images: these are no classes because of them."""
    folders = [entry for entry in entries(root) if is_folder(entry)]
    splits = [entry.name for entry in folders if entry.name.lower() in SPLIT_NAMES]
    others = [entry for entry in folders if entry.name not in splits]
    return splits if splits and len(_with_images(others)) == 2 else []


def _with_images(folders: list[os.DirEntry]) -> list[os.DirEntry]:
    """The first two that hold images, if there are so many."""
    return list(islice((entry for entry in folders if any(map(is_image, entries(Path(entry.path))))), 2))


def shared_splits(
    root: Path, share: float = VAL_SHARE, progress: ProgressCallback | None = None
) -> tuple[ImageSplit, ImageSplit]:
    """Training and validation images of a folder of classes, both in the order of label and name.

    An image is for validation when the SHA-256 of "class/name", as a fraction of 1, is below `share`. DataError when
    that leaves a class without a training image, or no image for validation.
    """
    whole = FolderSplit(root, progress=progress)
    labels = enumerate(whole.labels.tolist())
    for_val = np.array([fraction(whole.classes[label], whole.name(index)) < share for index, label in labels])
    train, val = whole.part(np.flatnonzero(~for_val)), whole.part(np.flatnonzero(for_val))
    if not len(val):
        raise DataError(f"{root}: none of {len(whole)} images is in a validation share of {share:g}: expected a larger")
    empty = np.flatnonzero(np.bincount(train.labels, minlength=len(whole.classes)) == 0).tolist()
    if empty:
        raise DataError(
            f"{root}: {len(empty)} of {len(whole.classes)} classes have no training image left beside a validation "
            f"share of {share:g}: {shortened([whole.classes[label] for label in empty])}"
        )
    note = (
        f"{root}: there is no validation set, so {len(val)} of {len(whole)} images were taken out for it, by their "
        f"names (val_share={share:g}), and {len(train)} are left for training"
    )
    train.notes = (note, *whole.notes)
    return train, val


def fraction(class_name: str, path: str) -> float:
    """From 0 to 1, below 1, even over all names: of the class and the path's last part."""
    name = path.rsplit("/", 1)[-1]
    digest = hashlib.sha256(encoded(f"{class_name}/{name}")).digest()
    return (int.from_bytes(digest[:8]) >> 11) / (1 << 53)  # as many bits as a float has
