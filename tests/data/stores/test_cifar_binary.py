"""CIFAR's binary files: records, labels and names, what damaged files lead to, and that nothing is unpickled."""

import pickle
import re

import numpy as np
import pytest
from cifar_files import CIFAR10_NAMES, pictures, records, write_cifar10, write_cifar100
from disk import write

from tinynet.data import DataError
from tinynet.data.stores import cifar_binary
from tinynet.data.stores.cifar_binary import CIFAR10, CIFAR100, cifar_dataset, cifar_folder


def raises(*parts):
    return pytest.raises(DataError, match=".*".join(map(re.escape, parts)))


def test_cifar_10(tmp_path):
    write_cifar10(tmp_path)
    data = cifar_dataset(tmp_path, CIFAR10)
    assert data.classes == data.names == tuple(CIFAR10_NAMES) and data.root == tmp_path
    assert (len(data.train), len(data.val), data.train.channels, data.train.dtype) == (50, 10, 3, np.uint8)
    assert data.train.labels.tolist() == [*range(10)] * 5 and data.train.labels.dtype == np.int64
    image = data.train.load(23, 32)
    np.testing.assert_array_equal(image, pictures(10, 3)[0][3].transpose(1, 2, 0))  # R G B
    assert image.flags.c_contiguous and data.train.name(23) == f"{tmp_path}/train[23]"
    np.testing.assert_array_equal(data.val.load(9, 32), pictures(10, 0)[0][9].transpose(1, 2, 0))
    assert data.notes == (
        f"{tmp_path}: 50 training and 10 validation images, where CIFAR-10 has 50000 and 10000",
    )


def test_pixels_are_kept_once(tmp_path):
    write_cifar10(tmp_path)
    base = cifar_dataset(tmp_path, CIFAR10).train.pixels
    while base.base is not None:
        base = base.base
    assert base.shape == (50, 3073)


def test_cifar_100_has_its_fine_labels(tmp_path):
    write_cifar100(tmp_path)
    data = cifar_dataset(tmp_path, CIFAR100)
    assert data.train.labels.tolist() == list(range(100)) and data.classes[99] == "thing 99"
    np.testing.assert_array_equal(data.val.load(7, 32), pictures(100)[0][7].transpose(1, 2, 0))


def test_classes_without_images(tmp_path):
    write_cifar100(tmp_path, 99, 98)
    with raises(f"{tmp_path}: 1 of 100 classes have no training image: thing 99"):
        cifar_dataset(tmp_path, CIFAR100)
    write_cifar100(tmp_path, 100, 98)
    assert cifar_dataset(tmp_path, CIFAR100).notes[1:] == (
        f"{tmp_path}: 2 of 100 classes have no validation image: thing 98, thing 99",
    )


def test_where_the_files_lie(tmp_path):
    assert cifar_folder(tmp_path, CIFAR10) is None
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    write_cifar100(tmp_path / "cifar-100-binary")
    for kind in (CIFAR10, CIFAR100):
        assert cifar_folder(tmp_path, kind) == cifar_folder(tmp_path / kind.folder, kind) == tmp_path / kind.folder


class Explosive:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_pickled_files_are_never_read(tmp_path):
    for names, kind in ((["data_batch_1"], CIFAR10), (["train", "test", "meta"], CIFAR100)):
        folder = tmp_path / kind.pickled[0]
        for name in names:
            write(folder / name, pickle.dumps(Explosive()))
        for root in (tmp_path, folder):
            archive = kind.title.lower() + "-binary.tar.gz"
            with raises(f"{folder}: {kind.title}'s Python version", "expected the binary version, ", archive):
                cifar_folder(root, kind)
    write_cifar10(tmp_path)
    assert cifar_folder(tmp_path, CIFAR10) == tmp_path  # the pickled ones beside do no harm
    assert len(cifar_dataset(tmp_path, CIFAR10).train) == 50


def test_files_that_are_missing(tmp_path):
    write_cifar10(tmp_path)
    (tmp_path / "data_batch_4.bin").unlink()
    (tmp_path / "test_batch.bin").unlink()
    with raises(f"{tmp_path}: looked for CIFAR-10's data_batch_4.bin, test_batch.bin, found batches.meta.txt, data_"):
        cifar_dataset(tmp_path, CIFAR10)


@pytest.mark.parametrize("size", [0, 1, 3072, 3074, 3073 * 2 - 1])
def test_files_of_another_length(tmp_path, size):
    write_cifar10(tmp_path)
    path = write(tmp_path / "data_batch_2.bin", bytes(size))
    with raises(f"{path}: expected records of 3073 bytes, 1073741824 bytes at most, found {size} bytes"):
        cifar_dataset(tmp_path, CIFAR10)


def test_a_file_without_end(tmp_path):
    write_cifar10(tmp_path)
    with open(tmp_path / "data_batch_2.bin", "wb") as file:
        file.truncate(3073 << 32)  # which takes no room on the disk
    with raises("data_batch_2.bin: expected records of 3073 bytes, 1073741824 bytes at most"):
        cifar_dataset(tmp_path, CIFAR10)


def test_a_file_that_shrinks_meanwhile(tmp_path, monkeypatch):
    write_cifar10(tmp_path)
    monkeypatch.setattr(cifar_binary, "_count", lambda path, length: 11)
    with raises("data_batch_1.bin: expected 33803 bytes, found 30730"):
        cifar_dataset(tmp_path, CIFAR10)


def test_labels_out_of_range(tmp_path):
    write_cifar10(tmp_path)
    images, labels = pictures(10)
    labels[4] = 10
    path = write(tmp_path / "data_batch_5.bin", records(images, labels))
    with raises(f"{path}: expected labels from 0 to 9, found 10 in record 4"):
        cifar_dataset(tmp_path, CIFAR10)


def test_names_of_classes(tmp_path):
    write_cifar10(tmp_path)
    path = tmp_path / "batches.meta.txt"
    for text in ("a\nb\n", "", "a\n" * 10, "".join(f"{number}\n" for number in range(11))):
        path.write_text(text)
        with raises(f"{path}: expected 10 names of classes, a line for each, found "):
            cifar_dataset(tmp_path, CIFAR10)
    path.unlink()
    assert cifar_dataset(tmp_path, CIFAR10).classes == tuple("0123456789")


def test_what_is_no_file(tmp_path):
    write_cifar10(tmp_path)
    (tmp_path / "test_batch.bin").unlink()
    (tmp_path / "test_batch.bin").mkdir()
    with raises("test_batch.bin: cannot be read: "):
        cifar_dataset(tmp_path, CIFAR10)
