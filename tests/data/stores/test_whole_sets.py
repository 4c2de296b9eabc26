"""Layouts of whole data sets through the one door: IDX, CIFAR's .bin and lists beside one another."""

import pickle
import re

import pytest
from cifar_files import write_cifar10, write_cifar100
from disk import image_bytes, write
from idx_files import write_idx

from tinynet.data import DataError, cifar10, cifar100, mnist, open_dataset


def raises(*parts):
    return pytest.raises(DataError, match="(?s)" + ".*".join(map(re.escape, parts)))


@pytest.mark.parametrize(
    "write_files, opened",
    [(write_idx, mnist), (write_cifar10, cifar10), (write_cifar100, cifar100)],
)
def test_they_are_known_by_their_files(tmp_path, write_files, opened):
    write_files(tmp_path)
    data, same = open_dataset(str(tmp_path)), opened(tmp_path)
    assert data.fingerprint == same.fingerprint and data.classes == same.classes and data.notes == same.notes
    with raises(f"{tmp_path}: val_share=0.1 would cut a validation set from the training images, and there is one"):
        open_dataset(tmp_path, val_share=0.1)


def test_a_data_sets_place_is_a_whole_path(tmp_path, monkeypatch):
    write_idx(tmp_path / "digits")
    (tmp_path / "link").symlink_to(tmp_path / "digits", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    for root in ("digits", "link", tmp_path / "digits", "digits/../digits"):
        assert open_dataset(root).place == str((tmp_path / "digits").resolve())
    for split in ("train", "val"):
        write(tmp_path / "pictures" / split / "cat" / "1.png", image_bytes(split))
    assert open_dataset("pictures").place == str((tmp_path / "pictures").resolve())


def test_channels_of_arrays_are_as_they_are(tmp_path):
    write_idx(tmp_path)
    assert open_dataset(tmp_path, channels=1).channels == 1
    with raises(f"{tmp_path}: has images of 1 channel, asked for 3: they are taken as they are"):
        open_dataset(tmp_path, channels=3)


def test_several_in_one_folder(tmp_path):
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    assert len(open_dataset(tmp_path).classes) == 10
    write_cifar100(tmp_path / "cifar-100-binary")
    with raises(f"{tmp_path}: several data sets, expected the folder of one of them:", "data_batch_1.bin", "CIFAR-100"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path / "cifar-100-binary").classes) == 100


def test_the_pickled_version_is_named(tmp_path):
    write(tmp_path / "data_batch_1", pickle.dumps({}))
    with raises("CIFAR-10's Python version", "expected the binary version, cifar-10-binary.tar.gz"):
        open_dataset(tmp_path)


def test_training_images_in_folders_come_first(tmp_path):
    write_idx(tmp_path)
    for split in ("train", "val"):
        write(tmp_path / split / "cat" / "1.png", image_bytes(split))
    assert open_dataset(tmp_path).classes == ("cat",)
    (tmp_path / "train" / "cat" / "1.png").unlink()
    with raises("1 of 1 classes have no image"):
        open_dataset(tmp_path)


def test_half_of_one(tmp_path):
    write_idx(tmp_path)
    for path in tmp_path.glob("t10k-*"):
        path.unlink()
    with raises(f"{tmp_path}: looked for t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte (.gz or not), found train-"):
        open_dataset(tmp_path)


def test_they_are_told_of_where_nothing_is_found(tmp_path):
    with raises("  or both: train-images-idx3-ubyte", "  or both: data_batch_1.bin", "  or both: train.bin", "found"):
        open_dataset(tmp_path)
