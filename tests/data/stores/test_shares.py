"""A folder of classes without a split: which images are for validation, what is told, and which folders are none."""

import hashlib
import os
import re
import shutil

import numpy as np
import pytest
from disk import image_bytes, write

from tinynet.data import DataError, open_dataset
from tinynet.data.caching.writer import write_cache
from tinynet.data.stores.shares import fraction

IMAGE = image_bytes("x")
CLASSES = ("cat", "dog", "eel")


def write_classes(root, count=30, classes=CLASSES):
    for name in classes:
        for number in range(count):
            write(root / name / f"{number}.png", IMAGE)


def names(split):
    return ["/".join(split.name(index).rsplit("/", 2)[1:]) for index in range(len(split))]


def raises(*parts):
    return pytest.raises(DataError, match="(?s)" + ".*".join(map(re.escape, parts)))


def test_an_image_is_for_validation_by_its_name(tmp_path):
    write_classes(tmp_path)
    data = open_dataset(tmp_path)
    everything = [f"{name}/{file}" for name in CLASSES for file in sorted(f"{number}.png" for number in range(30))]
    hashes = {name: int(hashlib.sha256(name.encode()).hexdigest(), 16) for name in everything}
    assert names(data.val) == [name for name in everything if hashes[name] * 10 < 1 << 256]
    assert names(data.train) == [name for name in everything if hashes[name] * 10 >= 1 << 256]
    assert data.classes == data.train.classes == data.val.classes == CLASSES and data.root == tmp_path
    for split in (data.train, data.val):
        assert [CLASSES[label] for label in split.labels] == [name.split("/")[0] for name in names(split)]
        assert split.labels.dtype == np.int64 and split.load(len(split) - 1, 8).shape == (8, 8, 3)
    assert data.notes == (
        f"{tmp_path}: there is no validation set, so {len(data.val)} of 90 images were taken out for it, by their "
        f"names (val_share=0.1), and {len(data.train)} are left for training",
    )


def test_a_fraction_for_good():
    """Written down, so that no later version moves an image from one set to the other."""
    assert fraction("cat", "/anywhere/cat/1.png") == fraction("cat", "1.png") == 0.41497065056175675
    shares = [fraction("cat", f"{number}.png") for number in range(10_000)]
    assert min(shares) >= 0 and max(shares) < 1 and abs(np.mean(np.array(shares) < 0.3) - 0.3) < 0.02


def test_an_image_more_moves_no_other(tmp_path):
    write_classes(tmp_path)
    before = open_dataset(tmp_path, val_share=0.3)
    write_classes(tmp_path, 60)
    write_classes(tmp_path, 20, ["ant"])
    after = open_dataset(tmp_path, val_share=0.3)
    assert set(names(before.train)) <= set(names(after.train)) and set(names(before.val)) <= set(names(after.val))
    larger = open_dataset(tmp_path, val_share=0.5)
    assert set(names(after.val)) < set(names(larger.val))


def test_classes_without_a_validation_image_are_told_of(tmp_path):
    write_classes(tmp_path)
    write(tmp_path / "fox" / "1.png", IMAGE)
    write(tmp_path / "cat" / "a.webp", IMAGE)
    assert fraction("fox", "1.png") > 0.1
    assert open_dataset(tmp_path).notes[1:] == (
        f"{tmp_path}: 1 file left out, no JPEG or PNG by name: 1 .webp",
        f"{tmp_path}: 1 of 4 classes have no validation image: fox",
    )


def test_classes_left_without_a_training_image(tmp_path):
    write_classes(tmp_path)
    write(tmp_path / "fox" / "1.png", IMAGE)
    share = fraction("fox", "1.png") + 0.01
    with raises(f"{tmp_path}: 1 of 4 classes have no training image left beside a validation share of", ": fox"):
        open_dataset(tmp_path, val_share=share)
    (tmp_path / "gnu").mkdir()
    with raises("1 of 5 classes have no image", ": gnu"):
        open_dataset(tmp_path)


def test_a_share_that_takes_nothing(tmp_path):
    write_classes(tmp_path, 2)
    with raises(f"{tmp_path}: none of 6 images is in a validation share of 1e-09: expected a larger"):
        open_dataset(tmp_path, val_share=1e-9)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan"), "0.1", [0.1]])
def test_shares_that_are_none(tmp_path, share):
    with pytest.raises(ValueError, match=re.escape(f"expected a number 0 < val_share < 1, got {share!r}")):
        open_dataset(tmp_path, val_share=share)


@pytest.mark.parametrize("name", ["val", "valid", "test"])
def test_a_share_where_there_is_a_validation_set(tmp_path, name):
    write_classes(tmp_path / "train")
    write_classes(tmp_path / name, 3)
    with raises(f"{tmp_path}: val_share=0.2 would cut a validation set from the training images, and there is one"):
        open_dataset(tmp_path, val_share=0.2)


def test_a_share_of_a_cache(tmp_path):
    write_classes(tmp_path / "pictures")
    out = tmp_path / "out"
    lines = []
    write_cache(tmp_path / "pictures", out, 8, workers=1, report=lines.append)
    assert lines[0].startswith(f"warning: {tmp_path / 'pictures'}: there is no validation set, so ")
    assert open_dataset(out).fingerprint == open_dataset(tmp_path / "pictures").fingerprint
    with raises("out: val_share=0.1 would cut"):
        open_dataset(out, val_share=0.1)
    with raises("out: has images of 3 channels, asked for 1: use the pictures themselves"):
        open_dataset(out, channels=1)


@pytest.mark.parametrize("name", ["train", "Train", "training", "val", "validation", "testing"])
def test_a_split_among_the_folders_is_no_class(tmp_path, name):
    write_classes(tmp_path)
    write_classes(tmp_path / name)
    for share in (None, 0.1):
        with raises(f"{tmp_path}: no ", "images found"):
            open_dataset(tmp_path, val_share=share)


@pytest.mark.parametrize("name", ["test", "Test", "Valid", "validation", "Train"])
def test_a_split_among_the_folders_is_told_of(tmp_path, name):
    message = f"\nA folder called {name} is taken for a split, so its neighbours are not taken for classes"
    write_classes(tmp_path)
    write(tmp_path / name / "1.png", IMAGE)
    with raises("no training", "images found", message):
        open_dataset(tmp_path)
    for other in ("dog", "eel"):
        shutil.rmtree(tmp_path / other)
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path)
    assert "is taken for a split" not in str(caught.value)


def test_names_mistyped_are_no_classes(tmp_path):
    write_classes(tmp_path / "trian")
    write_classes(tmp_path / "vla")
    with raises("no training or validation images found", "  or both: <class>/*.JPEG", "found trian/, vla/"):
        open_dataset(tmp_path)


def test_one_folder_of_images_is_no_data_set(tmp_path):
    write_classes(tmp_path, classes=["images"])
    with raises("no training or validation images found"):
        open_dataset(tmp_path)


def test_half_of_a_data_set_is_only_cut_when_asked_to(tmp_path, monkeypatch):
    write_classes(tmp_path / "train")
    with raises("no validation images found", "open_dataset of the training folder alone, with val_share=0.1, cuts"):
        open_dataset(tmp_path)
    monkeypatch.chdir(tmp_path / "train")
    for root in (tmp_path / "train", ".", os.path.join(tmp_path, "train", "")):
        with raises("This looks like one half of a data set: try the folder above it", "open_dataset with val_share"):
            open_dataset(root)
        assert len(open_dataset(root, val_share=0.1).train) == len(open_dataset(".", val_share=0.1).train) > 60


@pytest.mark.parametrize("name", ["val", "test", None])
def test_a_share_that_was_kept_counts_only_where_there_is_no_validation_set(tmp_path, name):
    write_classes(tmp_path / "train")
    if name:
        write_classes(tmp_path / name, 3)
        kept, plain = open_dataset(tmp_path, val_share=0.2, asked=False), open_dataset(tmp_path)
        assert kept.fingerprint == plain.fingerprint and kept.notes == plain.notes
    kept, typed = (open_dataset(tmp_path / "train", val_share=0.2, asked=asked) for asked in (False, True))
    assert kept.fingerprint == typed.fingerprint and kept.notes == typed.notes
    with raises("This looks like one half of a data set"):
        open_dataset(tmp_path / "train", asked=False)
    with pytest.raises(ValueError, match="expected a number 0 < val_share < 1, got 2"):
        open_dataset(tmp_path, val_share=2, asked=False)


def test_a_share_that_was_kept_of_lists_and_of_a_cache(tmp_path):
    write_classes(tmp_path / "pictures")
    write(tmp_path / "train.txt", "pictures/cat/1.png 0\npictures/dog/1.png 1\n")
    write(tmp_path / "val.txt", "pictures/cat/2.png 0\n")
    assert len(open_dataset(tmp_path, val_share=0.2, asked=False).val) == 1
    write_cache(tmp_path / "pictures", tmp_path / "out", 8, workers=1, report=lambda line: None)
    data = open_dataset(tmp_path / "out", val_share=0.2, asked=False)
    assert data.fingerprint == open_dataset(tmp_path / "pictures").fingerprint
