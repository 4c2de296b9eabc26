"""The one door to a data set on disk: `open_dataset` finds out how it is laid out."""

from pathlib import Path

from tinynet.data.dataset import Dataset
from tinynet.data.errors import DataError
from tinynet.data.folders import FolderSplit, entries, listing

VALIDATION_NAMES = ("val", "valid", "validation")


def open_dataset(root: str | Path) -> Dataset:
    """Open the data set at `root`, whose folders are train and val (or valid, or validation).

    Raises DataError that says what was looked for and what was found.
    """
    root = Path(root)
    folders = [entry.name for entry in entries(root) if entry.is_dir()]
    val = next((name for name in VALIDATION_NAMES if name in folders), None)
    if "train" not in folders or val is None:
        raise DataError(
            f"{root}: looked for the folders train and val (or valid, or validation), each with a folder of "
            f"images per class; found {listing(root)}"
        )
    train = FolderSplit(root / "train")
    return Dataset(root, train, FolderSplit(root / val, train.classes), train.classes, names=train.classes)
