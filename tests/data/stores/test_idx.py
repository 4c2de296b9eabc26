"""IDX files: the same images however they are kept, and what damaged, lying and hostile files lead to."""

import gzip
import re
import tracemalloc

import numpy as np
import pytest
from disk import write
from idx_files import digits, idx_bytes, write_idx

from tinynet.data import DataError
from tinynet.data.stores import idx
from tinynet.data.stores.idx import idx_dataset, idx_folder, read_idx


def raises(*parts):
    return pytest.raises(DataError, match=".*".join(map(re.escape, parts)))


@pytest.mark.parametrize("dot", "-.")
@pytest.mark.parametrize("end", ["", ".gz"])
def test_files_by_any_of_their_names(tmp_path, dot, end):
    write_idx(tmp_path, dot, end)
    data = idx_dataset(tmp_path)
    images, labels = digits(20, 20)
    assert data.classes == data.names == tuple("0123456789") and data.root == tmp_path and data.notes == ()
    assert data.train.labels.tolist() == labels.tolist() and data.train.labels.dtype == np.int64
    assert data.train.channels == 1 and data.train.dtype == np.uint8 and len(data.val) == 10
    np.testing.assert_array_equal(data.train.load(3, 28), images[3][..., None])
    assert data.train.name(3) == f"{tmp_path}/train-images{dot}idx3-ubyte{end}[3]"


def test_unpacked_by_a_browser_that_left_the_name(tmp_path):
    write_idx(tmp_path)
    fingerprint = idx_dataset(tmp_path).fingerprint
    for path in list(tmp_path.iterdir()):
        path.rename(f"{path}.gz")
    assert idx_dataset(tmp_path).fingerprint == fingerprint


def test_where_the_files_lie(tmp_path):
    assert idx_folder(tmp_path) is None
    write_idx(tmp_path / "MNIST" / "raw")
    assert idx_folder(tmp_path) == tmp_path / "MNIST" / "raw"
    write_idx(tmp_path)
    assert idx_folder(tmp_path) == tmp_path


def test_files_that_are_missing(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with raises(f"{tmp_path}: looked for t10k-labels-idx1-ubyte (.gz or not), found t10k-images-idx3-ubyte, train-"):
        idx_dataset(tmp_path)


def test_images_and_labels_that_do_not_belong_together(tmp_path):
    write_idx(tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    write(labels, idx_bytes(np.zeros(9, np.uint8)))
    with raises(f"{labels}: expected 10 labels, one per image, found 9"):
        idx_dataset(tmp_path)
    write(labels, idx_bytes(np.full(10, 10, np.uint8)))
    with raises(f"{labels}: expected labels from 0 to 9, found 10"):
        idx_dataset(tmp_path, tuple("0123456789"))
    with raises(f"{tmp_path}: 1 of 11 classes have no training image: 10"):
        idx_dataset(tmp_path)
    write(labels, idx_bytes(np.full(10, 9, np.uint8)))
    assert idx_dataset(tmp_path).notes == (
        f"{tmp_path}: 9 of 10 classes have no validation image: 0, 1, 2, 3, 4, 5, 6, 7 and 1 more",
    )
    images = tmp_path / "t10k-images-idx3-ubyte"
    write(images, idx_bytes(np.zeros((10, 28, 27), np.uint8)))
    with raises(f"{images}: expected images of 28 x 28 as for training, found 28 x 27"):
        idx_dataset(tmp_path)


IMAGES = idx_bytes(digits(3)[0])


def packings(test):
    return pytest.mark.parametrize("pack", [bytes, gzip.compress])(test)


@packings
def test_other_content(tmp_path, pack):
    for content in (b"", b"\0\0", IMAGES[:15], idx_bytes(np.zeros(3, np.uint8)), b"\0\0\x0d" + IMAGES[3:], b"x" * 99):
        path = write(tmp_path / "images", pack(content))
        with raises(f"{path}: expected an IDX file of bytes in 3 axes, which begins with the number 2051, found b"):
            read_idx(path, 3)
    path = write(tmp_path / "images", pack(idx_bytes(np.zeros((0, 28, 28), np.uint8))))
    with raises(f"{path}: expected images or labels, found 0 x 28 x 28"):
        read_idx(path, 3)


@packings
def test_more_or_less_than_the_header_promises(tmp_path, pack):
    path = write(tmp_path / "images", pack(IMAGES + b"\0"))
    with raises(f"{path}: expected its end after the 3 x 28 x 28 bytes that its header promises, found more"):
        read_idx(path, 3)
    path.write_bytes(pack(IMAGES[:-1]))
    with raises(f"{path}: ", "header promises 3 x 28 x 28 bytes"):
        read_idx(path, 3)


def test_damaged_gzip(tmp_path):
    whole = gzip.compress(IMAGES)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    for content in (whole[:-9], whole[:100], bytes(flipped), whole[:-8] + bytes(8), whole + b"more"):
        path = write(tmp_path / "images", content)
        with raises(f"{path}: cannot be read: "):
            read_idx(path, 3)


def peak(path):
    tracemalloc.start()
    try:
        with raises(str(path)):
            read_idx(path, 3)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@packings
@pytest.mark.parametrize("shape", [(1 << 20, 1 << 10, 1 << 10), (0xFFFFFFFF,) * 3, (10_000_000, 28, 28)])
def test_sizes_that_lie_take_no_memory(tmp_path, pack, shape):
    path = write(tmp_path / "images", pack(b"\0\0\x08\x03" + np.array(shape, ">u4").tobytes() + bytes(1000)))
    assert peak(path) < 4 << 20


def test_bombs(tmp_path):
    """64 MB of zeros in 64 kB, with a header that says so, or that says less."""
    zeros = bytes(64 << 20)
    for shape in ((1 << 16, 32, 32), (1, 28, 28)):
        content = b"\0\0\x08\x03" + np.array(shape, ">u4").tobytes() + zeros
        path = write(tmp_path / "images", gzip.compress(content, 9))
        assert peak(path) < 8 << 20


def test_an_array_larger_than_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "MOST_BYTES", 2000)
    path = write(tmp_path / "images", IMAGES)
    with raises(f"{path}: its header promises 3 x 28 x 28 bytes, and it can have 2000 at most"):
        read_idx(path, 3)


def test_what_is_no_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with raises("folder: cannot be read: "):
        read_idx(tmp_path / "folder", 3)
    with raises("nothing: cannot be read: "):
        read_idx(tmp_path / "nothing", 3)
