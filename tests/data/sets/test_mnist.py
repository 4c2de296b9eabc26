"""MNIST by its short name."""

import re

import pytest
from idx_files import write_idx

import tinynet.data
from tinynet.data import DataError, mnist


def test_mnist(tmp_path, monkeypatch):
    write_idx(tmp_path / "digits", end=".gz", train=12, val=3)
    monkeypatch.setenv("HOME", str(tmp_path))
    for data in (mnist(tmp_path / "digits"), mnist("~/digits"), tinynet.data.sets.mnist(str(tmp_path / "digits"))):
        assert data.classes == data.names == tuple("0123456789") and (len(data.train), len(data.val)) == (12, 3)
        assert data.val.load(2, 28).shape == (28, 28, 1) and data.root == tmp_path / "digits"
        assert data.notes == (
            f"{data.root}: 7 of 10 classes have no validation image: 3, 4, 5, 6, 7, 8, 9",
        )


def test_other_images(tmp_path):
    write_idx(tmp_path, side=32)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}: expected images of 28 x 28 pixels, found 32 x 32")):
        mnist(tmp_path)
    with pytest.raises(DataError, match="nowhere: looked for a folder, found nothing of that name"):
        mnist(tmp_path / "nowhere")
