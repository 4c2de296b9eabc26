"""Caches of data sets that are read into memory as a whole."""

import re

import pytest
from cifar_files import write_cifar10
from idx_files import write_idx

from tinynet.data import DataError, cifar10, open_dataset
from tinynet.data.caching.writer import write_cache


def test_a_cache_of_bin_files(tmp_path):
    write_cifar10(tmp_path / "cifar")
    write_cache(tmp_path / "cifar", tmp_path / "out", 32, workers=1)
    data, cached = cifar10(tmp_path / "cifar"), open_dataset(tmp_path / "out")
    assert cached.classes == data.classes and cached.train.labels.tolist() == data.train.labels.tolist()
    assert (cached.train.load(23, 32) == data.train.load(23, 32)).all()
    assert cached.val.name(3) == f"{tmp_path}/cifar/test[3]"


def test_gray_images_are_no_cache(tmp_path):
    write_idx(tmp_path / "digits")
    message = f"{tmp_path}/digits: a prepared cache holds uint8 of 3 channels, and these images are uint8 of 1: "
    with pytest.raises(DataError, match=re.escape(message)):
        write_cache(tmp_path / "digits", tmp_path / "out", 28)
    assert not (tmp_path / "out").exists()
