"""Webdataset's keys, which say which label is whose, and labels that cannot be."""

import re

import pytest
from disk import image_bytes, tar_bytes, write

from tinynet.data import DataError, open_dataset


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def raises(*parts):
    return pytest.raises(DataError, match="(?s)" + ".*".join(map(re.escape, parts)))


def test_a_key_of_a_webdataset_has_one_image(tmp_path):
    one, other = image_bytes("one"), image_bytes("other")
    files = {"img.jpg": one, "img.cls": b"0", "pic.png": other, "pic.cls": b"1"}
    write(tmp_path / "x-val-0.tar", tar_bytes(files))  # the same key as a training image's

    def opened(*shards):
        for number, files in enumerate(shards):
            write(tmp_path / f"x-train-{number}.tar", tar_bytes(files))
        return open_dataset(tmp_path)

    reason = "several images have the key b/img, what comes before a name's first dot"
    with raises(reason, "0.tar/b/img.0.jpg and ", "0.tar/b/img.1.jpg; rename them, such as b/img_0.jpg"):
        opened({"b/img.0.jpg": one, "b/img.cls": b"0", "b/img.1.jpg": other, "c.jpg": one, "c.cls": b"1"})
    with raises("several .cls files have the key img"):
        opened({"img.0.jpg": one, "img.0.cls": b"0", "img.1.jpg": other, "img.1.cls": b"1"})
    with raises(f"{tmp_path}: several images have the key img, ", "x-train-0.tar/img.jpg and ",
                "x-train-1.tar/img.jpg; a key has one image in all shards"):  # fmt: skip
        opened({"img.jpg": one, "img.cls": b"0"}, {"img.jpg": other, "img.cls": b"1"})
    with raises("a.b/img.jpg and ", "a.b/img.rgb.jpg; rename them, such as a.b/img_rgb.jpg"):
        opened({"a.b/img.jpg": one, "a.b/img.cls": b"0", "a.b/img.rgb.jpg": other})
    (tmp_path / "x-train-1.tar").unlink()
    data = opened({"img.jpg": one, "img.cls": b"0"}, {"a/img.png": other, "a/img.cls": b"1"})
    assert data.train.labels.tolist() == [0, 1]
    data = opened({"img.rgb.jpg": one, "img.cls": b"0"}, {"img_1.0.png": other, "img_1.cls": b"1"})
    assert data.train.labels.tolist() == [0, 1]


def test_an_archive_with_an_endless_number(tmp_path):
    for split, number in (("train", 0), ("train", 10**20), ("val", 10**20)):
        write(tmp_path / f"x-{split}-{number}.tar", tar_bytes({"a.jpg": image_bytes("one"), "a.cls": b"0"}))
    with raises("x-train-100000000000000000000.tar those of 99999999999999999999 numbers are missing: 1, 2, 3, "):
        open_dataset(tmp_path)


def test_labels_of_a_webdataset_that_cannot_be(tmp_path):
    one = image_bytes("one")
    write(tmp_path / "x-val-0.tar", tar_bytes({"a.jpg": one, "a.cls": b"0"}))
    for label in (2_000_000_000, 10**17):
        files = {"a.jpg": one, "a.cls": b"0", "b.jpg": one, "b.cls": b"1", "c.jpg": one, "c.cls": b"%d" % label}
        write(tmp_path / "x-train-0.tar", tar_bytes(files))
        with raises(f"{tmp_path}: {label - 2} of {label + 1} classes have no training image: 2, 3, 4, 5, 6, 7, 8, 9"):
            open_dataset(tmp_path)


def test_labels_as_editors_write_them(tmp_path):
    files = {"a.jpg": image_bytes("one"), "a.cls": b"\xef\xbb\xbf0\r\n", "b.jpg": image_bytes("two"), "b.cls": b" +1"}
    for split in ("train", "val"):
        write(tmp_path / f"x-{split}-0.tar", tar_bytes(files))
    assert open_dataset(tmp_path).train.labels.tolist() == [0, 1]
    write(tmp_path / "x-train-0.tar", tar_bytes(files | {"b.cls": "\uff11".encode()}))
    with raises("x-train-0.tar/b.cls: expected an integer label, found b'\\xef"):
        open_dataset(tmp_path)
