"""CIFAR-10 and CIFAR-100 by their short names."""

import pytest
from cifar_files import CIFAR10_NAMES, write_cifar10, write_cifar100

import tinynet.data
from tinynet.data import DataError, cifar10, cifar100


def test_cifar(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    write_cifar100(tmp_path / "cifar-100-binary")
    for folder in (tmp_path, "~", tmp_path / "cifar-10-batches-bin"):
        data = cifar10(folder)
        assert data.classes == tuple(CIFAR10_NAMES) and data.root == tmp_path / "cifar-10-batches-bin"
        assert data.val.load(0, 32).shape == (32, 32, 3)
    assert tinynet.data.sets.cifar10(tmp_path).fingerprint == cifar10(tmp_path).fingerprint
    assert len(cifar100(tmp_path).classes) == len(tinynet.data.sets.cifar100(tmp_path).train) == 100


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"looked for CIFAR-10's data_batch_1.bin, .*, found an empty folder"):
        cifar10(tmp_path)
    with pytest.raises(DataError, match=r"looked for CIFAR-100's train.bin, test.bin, found an empty folder"):
        cifar100(tmp_path)
