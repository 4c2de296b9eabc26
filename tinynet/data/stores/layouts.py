"""The one door to a data set on disk: `open_dataset` finds out how it is laid out.

Each layout is a function that looks into one folder and returns how to open what it found: one split, or the whole data
set. The images themselves are read in the other files of this room.
"""

import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from numbers import Real
from pathlib import Path

from tinynet.data.dataset import Dataset, ProgressCallback, channels_of, unseen_notes
from tinynet.data.file_kinds import ALL_SUFFIXES
from tinynet.data.labels.class_names import class_names
from tinynet.data.labels.validation_labels import folder_and_parents
from tinynet.data.stores.archives import (
    class_archives_split,
    flat_archive_split,
    nested_archive_split,
    webdataset_split,
)
from tinynet.data.stores.cache import CacheSplit, is_cache, open_cache
from tinynet.data.stores.cifar_binary import CIFAR10, CIFAR100, Cifar, cifar_dataset, cifar_folder
from tinynet.data.stores.folders import (
    FolderSplit,
    entries,
    flat_folder_split,
    is_class_archive,
    is_folder,
    is_image,
    listing,
)
from tinynet.data.stores.idx import idx_dataset, idx_folder
from tinynet.data.stores.image_split import ImageSplit
from tinynet.data.stores.lists import has_lists, list_splits, lists_name_files
from tinynet.data.stores.parquet import parquet_split
from tinynet.data.stores.shares import VAL_SHARE, lone_class, shared_splits, splits_among_classes, unsplit_folder
from tinynet.errors import DataError
from tinynet.files import shown

TRAINING_NAMES = ("train",)
VALIDATION_NAMES = ("val", "valid", "validation")
TEST_NAMES = ("test",)  # taken for validation where there is nothing else
INSIDE = (".", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC")  # where Kaggle's archive has train and val

Names = tuple[str, ...]  # what the folder of a split may be called
Opener = Callable[..., ImageSplit]  # opener(classes=..., progress=...)
WholeOpener = Callable[[ProgressCallback | None], Dataset]


def open_dataset(
    root: str | Path,
    progress: ProgressCallback | None = None,
    val_share: float | None = None,
    channels: int | None = None,
    *,
    asked: bool = True,
) -> Dataset:
    """Open the data set at `root`, in any of the layouts below; training and validation may have different ones. Or
    the cache that was prepared of one.

    `root` is the folder that has them, or Kaggle's with ILSVRC/Data/CLS-LOC inside. progress(done, total) is called
    while folders are listed or archives indexed, from its start for each. val_share: of a folder of classes that has no
    validation set, the share of the images that becomes one; None: 0.1. asked: somebody says so now, and it is an error
    where there is a validation set; False: it is what a run has kept, and counts only where there is none. channels: 1
    reads pictures in gray, 3 in RGB; None: pictures in RGB, arrays as they are. Raises DataError that says what was
    looked for and what was found, ValueError for a val_share that is not between 0 and 1 and for other channels.
    """
    if val_share is not None and not (isinstance(val_share, Real) and 0 < val_share < 1):
        raise ValueError(f"open_dataset: expected a number 0 < val_share < 1, got {val_share!r}")
    if channels not in (None, 1, 3):
        raise ValueError(f"open_dataset: expected channels 1 or 3, got {channels!r}")
    root = Path(os.path.expanduser(root))
    try:
        _refuse_file(root)
        if is_cache(root):
            _refuse_share(root, val_share, asked)
            return _with_channels(open_cache(root), channels)
        return _with_channels(_open(root, progress, val_share, asked), channels)
    except OSError as error:  # a folder or file that this user may not read, a disk that fails
        raise DataError(f"{error.filename or root}: cannot be read: {error.strerror or error}") from error


def _with_channels(dataset: Dataset, channels: int | None) -> Dataset:
    if channels is None:
        return dataset
    for split in (dataset.train, dataset.val):
        if isinstance(split, ImageSplit):
            split.channels = channels
        elif channels_of(split) != channels:
            count = channels_of(split)
            way = "use the pictures themselves" if isinstance(split, CacheSplit) else "they are taken as they are"
            what = "channel" if count == 1 else "channels"
            raise DataError(f"{dataset.root}: has images of {count} {what}, asked for {channels}: {way}")
    return dataset


def class_folders(base: Path, names: Names) -> Opener | None:
    folders = (folder for folder in _split_folders(base, names) if any(is_folder(entry) for entry in entries(folder)))
    return _opener(FolderSplit, next(folders, None))


def class_archives(base: Path, names: Names) -> Opener | None:
    for folder in (*_split_folders(base, names), base):
        archives = [Path(entry.path) for entry in entries(folder) if is_class_archive(entry.name)]
        if archives:
            return partial(class_archives_split, archives)
    return None


def training_archive(base: Path, names: Names) -> Opener | None:
    return _opener(nested_archive_split, _file(base, names, "ILSVRC2012_img_train.tar"))


def flat_folder(base: Path, names: Names) -> Opener | None:
    folders = (folder for folder in _split_folders(base, names) if any(map(is_image, entries(folder))))
    return _opener(flat_folder_split, next(folders, None))


def validation_archive(base: Path, names: Names) -> Opener | None:
    return _opener(flat_archive_split, _file(base, names, "ILSVRC2012_img_val.tar"))


def parquet_files(base: Path, names: Names) -> Opener | None:
    return _opener(parquet_split, _shards(base, names, ".parquet"))


def webdataset(base: Path, names: Names) -> Opener | None:
    return _opener(webdataset_split, _shards(base, names, ".tar"))


# The layouts of each split, in the order in which they are tried, and what an error says of them.
TRAINING = {
    class_folders: f"train/<class>/*.JPEG: a folder of images ({ALL_SUFFIXES}, in any case) per class",
    class_archives: "train/n01440764.tar or n01440764.tar, ...: an archive per class",
    training_archive: "ILSVRC2012_img_train.tar: the original archive",
    parquet_files: "train-*.parquet, data/train-*.parquet or train/*.parquet: Hugging Face's files",
    webdataset: "*-train-*.tar or train/*.tar: webdataset's archives of key.jpg and key.cls",
}
VALIDATION = {
    class_folders: "val/<class>/*.JPEG (or valid/, validation/, at last test/): a folder of images per class",
    flat_folder: "val/*.JPEG: all images in one folder, their labels in val.txt, LOC_val_solution.csv or the like",
    validation_archive: "ILSVRC2012_img_val.tar: the original archive",
    parquet_files: "validation-*.parquet, data/validation-*.parquet or val/*.parquet: Hugging Face's files",
    webdataset: "*-val-*.tar, *-validation-*.tar or val/*.tar: webdataset's archives of key.jpg and key.cls",
}
TEST = (class_folders, parquet_files, webdataset)  # a contest's, which has no labels, is none of these


def idx_files(root: Path) -> WholeOpener | None:
    folder = idx_folder(root)
    return (lambda progress: idx_dataset(folder)) if folder else None


def cifar_files(root: Path, kind: Cifar) -> WholeOpener | None:
    folder = cifar_folder(root, kind)
    return (lambda progress: cifar_dataset(folder, kind)) if folder else None


def image_lists(root: Path) -> WholeOpener | None:
    return partial(_open_lists, root) if has_lists(root) else None


# Those of a whole data set, which count where no training images are found in the layouts above; lists of files that
# are there count also where no validation images are.
WHOLE: dict[Callable[[Path], WholeOpener | None], str] = {
    idx_files: "train-images-idx3-ubyte and t10k-images-idx3-ubyte (.gz or not), with labels-idx1: MNIST's files",
    partial(cifar_files, kind=CIFAR10): "data_batch_1.bin to data_batch_5.bin and test_batch.bin: CIFAR-10's files",
    partial(cifar_files, kind=CIFAR100): "train.bin and test.bin: CIFAR-100's files",
    image_lists: "train.txt and val.txt: lists as Caffe's, a picture's path and its label per line",
}
UNSPLIT = "<class>/*.JPEG: two folders of images or more, and none for a split: a share of them is for validation"


def _open(root: Path, progress: ProgressCallback | None, val_share: float | None, asked: bool) -> Dataset:
    open_train, open_val = _find(root, TRAINING, TRAINING_NAMES), _find(root, VALIDATION, VALIDATION_NAMES)
    if open_train is None and (open_whole := _find_whole(root)):
        _refuse_share(root, val_share, asked)
        return open_whole(progress)
    if open_train is None and open_val is None and unsplit_folder(root, asked=val_share is not None):
        train, val = shared_splits(root, VAL_SHARE if val_share is None else val_share, progress)
        return _dataset(root, train, val)
    notes = []
    if open_val is None and (open_val := _find(root, TEST, TEST_NAMES)):
        notes.append(f"{root}: no validation images were found, so those of test/ are taken as the validation set")
    if open_val is None and lists_name_files(root):  # of pictures that may lie in class folders for training
        _refuse_share(root, val_share, asked)
        return _open_lists(root, progress)
    if open_train is None or open_val is None:
        raise DataError(*_not_found(root, open_train is None, open_val is None))
    _refuse_share(root, val_share, asked)
    train = open_train(classes=None, progress=progress)
    return _dataset(root, train, open_val(classes=train.classes, progress=progress), notes)


def _open_lists(root: Path, progress: ProgressCallback | None) -> Dataset:
    train, val, names = list_splits(root, progress)
    return _dataset(root, train, val, names=names)


def _dataset(
    root: Path, train: ImageSplit, val: ImageSplit, notes: Iterable[str] = (), names: Names | None = None
) -> Dataset:
    names = class_names(train.classes, folder_and_parents(root)) if names is None else names
    shown_notes = map(shown, (*notes, *train.notes, *val.notes))
    return Dataset(root, train, val, train.classes, names, notes=(*shown_notes, *unseen_notes(root, train, val)))


def _find_whole(root: Path) -> WholeOpener | None:
    found = {text: opener for look, text in WHOLE.items() if (opener := look(root))}
    if len(found) > 1:
        raise DataError(f"{root}: several data sets, expected the folder of one of them:", *(f"  {t}" for t in found))
    return next(iter(found.values()), None)


def _refuse_share(root: Path, val_share: float | None, asked: bool) -> None:
    if val_share is not None and asked:
        raise DataError(
            f"{root}: val_share={val_share:g} would cut a validation set from the training images, and there is one"
        )


def _find(root: Path, layouts: Iterable[Callable[[Path, Names], Opener | None]], names: Names) -> Opener | None:
    bases = [root / inside for inside in INSIDE if (root / inside).is_dir()]
    return next((opener for base in bases for look in layouts if (opener := look(base, names))), None)


def _opener(split: Callable[..., ImageSplit], found: Path | list[Path] | None) -> Opener | None:
    return partial(split, found) if found else None


def _split_folders(base: Path, names: Names) -> list[Path]:
    return [base / name for name in names if (base / name).is_dir()]


def _file(base: Path, names: Names, name: str) -> Path | None:
    return next((folder / name for folder in (base, *_split_folders(base, names)) if (folder / name).is_file()), None)


def _shards(base: Path, names: Names, suffix: str) -> list[Path]:
    """Files of one of several: by their own names in `base` or its folder data, else by the name of their folder."""
    folders = [folder for folder in (base, base / "data") if folder.is_dir()]
    found = [[file for file in _files(folder, suffix) if _names_split(file, names)] for folder in folders]
    found += [_files(inside, suffix) for folder in folders for inside in _split_folders(folder, names)]
    return next((files for files in found if files), [])


def _files(folder: Path, suffix: str) -> list[Path]:
    """Without the original archives, which webdataset's are not."""
    found = (Path(entry.path) for entry in entries(folder) if entry.name.lower().endswith(suffix))
    ours = (file for file in found if not file.name.startswith("ILSVRC2012_") and not is_class_archive(file.name))
    return [file for file in ours if file.is_file()]


def _names_split(file: Path, names: Names) -> bool:
    return not set(names).isdisjoint(re.findall("[a-z]+", file.stem.lower()))


def _refuse_file(root: Path) -> None:
    if root.is_file():
        raise DataError(
            f"{root}: looked for a folder, found a file. Archives and parquet files are found by their names: "
            f"give the folder that they are in, {root.absolute().parent}"
        )


def _not_found(root: Path, no_train: bool, no_val: bool) -> list[str]:
    missing = " or ".join(["training"] * no_train + ["validation"] * no_val)
    other = "" if no_train and no_val else f" ({'training' if no_val else 'validation'} images were found)"
    lines = [f"{root}: no {missing} images found{other}. Looked here and in {', '.join(INSIDE[1:])} for one of"]
    if no_train:
        lines += [f"  training: {text}" for text in TRAINING.values()]
    if no_val:
        lines += [f"  validation: {text}" for text in VALIDATION.values()]
    if no_train:
        lines += [f"  or both: {text}" for text in (*WHOLE.values(), UNSPLIT)]
    lines.append(f"found {listing(root)}")
    if no_train and (splits := splits_among_classes(root)):
        lines.append(f"A folder called {splits[0]} is taken for a split, so its neighbours are not taken for classes")
    if no_train and no_val and (name := lone_class(root)):
        lines.append(f"Only one folder in it holds images, {name}: two classes or more are needed, a folder for each")
    if no_val and class_folders(root, TRAINING_NAMES):
        lines.append(
            f"open_dataset of the training folder alone, with val_share={VAL_SHARE}, cuts a validation set from it"
        )
    if root.absolute().name in TRAINING_NAMES + VALIDATION_NAMES:
        lines.append(
            f"This looks like one half of a data set: try the folder above it, {root.absolute().parent}; or "
            f"open_dataset with val_share={VAL_SHARE} (--val-share), which cuts a validation set from it"
        )
    return lines
