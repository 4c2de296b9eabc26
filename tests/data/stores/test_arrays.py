"""Data that lies in memory: what counts as images and labels, how layouts are told apart, and what the errors say."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinynet.data import ArrayDataset, shorter_side_crop
from tinynet.data.stores import arrays
from tinynet.data.stores.arrays import ArraySplit


def drawn(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def dataset(x, y=None, x_val=None, y_val=None, **settings):
    y = np.arange(len(x)) % 3 if y is None else y
    return ArrayDataset(x, y, x[:3] if x_val is None else x_val, y[:3] if y_val is None else y_val, **settings)


def raises(*parts):
    return pytest.raises(ValueError, match=".*".join(map(re.escape, parts)))


def test_what_a_data_set_has():
    x = drawn(5, 8, 8, 3)
    data = dataset(x, [0, 1, 2, 1, 0])
    assert data.root == Path("arrays") and data.place == ""
    assert data.classes == data.names == data.train.classes == ("0", "1", "2")
    assert (len(data.train), len(data.val), data.train.channels, data.train.dtype) == (5, 3, 3, np.uint8)
    assert data.train.labels.tolist() == [0, 1, 2, 1, 0] and data.train.labels.dtype == np.int64
    assert data.train.name(4) == "x_train[4]" and data.val.name(0) == "x_val[0]" and data.notes == ()
    image = data.train.load(2, 8)
    assert (image == x[2]).all() and image.dtype == np.uint8 and not np.shares_memory(image, x)


@pytest.mark.parametrize("channels", [1, 3])
def test_layouts_are_told_apart_by_where_the_channels_stand(channels):
    last = drawn(4, 8, 10, channels)
    first = np.ascontiguousarray(last.transpose(0, 3, 1, 2))
    datasets = [dataset(last), dataset(first), dataset(last, layout="NHWC"), dataset(first, layout="NCHW")]
    if channels == 1:
        datasets += [dataset(last[..., 0]), dataset(last[..., 0], layout="NHW")]
    for data in datasets:
        assert (data.train.pixels == last).all() and data.fingerprint == datasets[0].fingerprint


@pytest.mark.parametrize("shape, word", [((4, 3, 8, 3), "both"), ((4, 1, 1, 1), "both"), ((4, 8, 8, 4), "neither")])
def test_layouts_that_shapes_do_not_tell(shape, word):
    with raises("x_train: expected 1 or 3 channels, first or last, and", word, 'say layout="NHWC" or layout="NCHW"'):
        dataset(drawn(*shape))
    assert dataset(drawn(*shape), layout="NHWC").train.channels == shape[3]
    assert dataset(drawn(*shape), layout="NCHW").train.channels == shape[1]


def test_no_image_is_copied():
    x = drawn(4, 3, 8, 8)
    assert np.shares_memory(dataset(x).train.pixels, x)
    wide = x.astype(np.float64)
    assert np.shares_memory(dataset(wide).train.pixels, wide)


def test_a_mapped_file(tmp_path):
    np.save(tmp_path / "x.npy", drawn(4, 8, 8))
    data = dataset(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert data.train.load(1, 8).tolist() == drawn(4, 8, 8)[1][..., None].tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_are_taken_as_they_are(dtype):
    x = (drawn(4, 8, 8, 2) / 64 - 1).astype(dtype)
    split = dataset(x, layout="NHWC").train
    assert split.dtype == np.float32 and split.load(3, 8).dtype == np.float32
    np.testing.assert_array_equal(split.load(3, 8), x[3].astype(np.float32))


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e300])
def test_values_that_are_not_finite(value, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK", 5000)
    x = np.zeros((600, 4, 4, 3))
    x[517, 2, 3, 1] = value
    with raises("x_train[517]: expected finite numbers (in float32), found", "in row 2, column 3, channel 1"):
        dataset(x)
    with raises("x_val[517]: "):
        dataset(np.zeros((600, 4, 4, 3)), x_val=x, y_val=np.zeros(600, int))


@pytest.mark.parametrize("dtype", [bool, np.int64, np.uint16, complex, object])
def test_other_dtypes(dtype):
    with raises("x_train: expected uint8 (0 to 255) or floats, got", "astype(np.uint8)"):
        dataset(np.ones((4, 8, 8), dtype))


@pytest.mark.parametrize("shape", [(4,), (4, 8), (4, 8, 8, 3, 1), ()])
def test_other_ranks(shape):
    with raises("x_train: expected images of the shape (N, H, W), (N, H, W, C) or (N, C, H, W), got"):
        ArrayDataset(np.zeros(shape), [], np.zeros(shape), [])


def test_other_shapes():
    with raises("x_train: expected images of the shape (N, C, H, W), got (4, 8, 8)"):
        dataset(drawn(4, 8, 8), layout="NCHW")
    with raises("layout: expected NHW, NHWC, NCHW or None, got 'HWC'"):
        dataset(drawn(4, 8, 8), layout="HWC")
    for layout in (["NHW"], 3):
        with raises(f"layout: expected NHW, NHWC, NCHW or None, got {layout!r}"):
            dataset(drawn(4, 8, 8), layout=layout)
    for shape in ((0, 8, 8), (4, 0, 8)):
        with raises("x_train: expected images, got an empty array of the shape"):
            ArrayDataset(np.zeros(shape), [], np.zeros(shape), [])
    with raises("x_val: expected images (8, 8, 3) as in x_train, got (8, 8, 1)"):
        dataset(drawn(4, 8, 8, 3), x_val=drawn(3, 8, 8, 1))
    with raises("x_val: expected images (8, 8) as in x_train, got (8, 9)"):
        dataset(drawn(4, 8, 8), x_val=drawn(3, 8, 9))
    with raises("x_val: expected uint8 as in x_train, got float64"):
        dataset(drawn(4, 8, 8), x_val=np.zeros((3, 8, 8)))


def test_labels():
    x = drawn(4, 8, 8)
    for y in ([0, 1, 2, 3], (0, 1, 2, 3), np.array([0, 1, 2, 3], np.uint8), np.array([0, 1, 2, 3], np.uint64)):
        assert dataset(x, y).train.labels.tolist() == [0, 1, 2, 3]
    assert dataset(x, [0, 1, 2, 3], y_val=[0, 0, 0]).classes == ("0", "1", "2", "3")
    with raises("arrays: 2 of 6 classes have no training image: 4, 5"):  # up to the largest of both
        dataset(x, [0, 1, 2, 3], y_val=[0, 0, 5])
    for y, words in {
        (0, 1, 2): "y_train: expected 4 labels, one for each image, got 3",
        (0, 1, -1, 2): "y_train: expected labels from 0 on, got -1 at 2",
        (0.0, 1.0, 1.0, 0.0): "y_train: expected integers as labels, got float64",
        (True, False, True, True): "y_train: expected integers as labels, got bool",
        ("cat", "dog", "cat", "dog"): "y_train: expected integers as labels, got <U3",
        ((0,), (1,), (0,), (1,)): "y_train: expected labels of the shape (N,), got (4, 1); reshape(-1) makes them so",
        ((0, 1), (1, 0), (0, 1), (1, 0)): "y_train: expected labels of the shape (N,), got (4, 2); argmax(axis=1)",
        (0, 1, 2, 1 << 40): "y_train: expected labels below 1048576, or classes= that names them, got 1099511627776",
    }.items():
        with raises(words):
            dataset(x, y, y_val=[0, 1, 2])
    with raises("y_val: expected labels from 0 to 1 for 2 classes, got 2 at 1"):
        dataset(x, [0, 1, 0, 1], y_val=[0, 2, 1], classes=("cat", "dog"))


def test_what_is_no_array():
    x = drawn(4, 8, 8)
    ragged = [x[0].tolist(), x[1, :5].tolist()]
    with raises("x_train: expected images of one shape, which make an array, got a list that makes none: "):
        ArrayDataset(ragged, [0, 1], x, [0, 1, 0, 1])
    with raises("x_val: expected images of one shape"):
        dataset(x, x_val=ragged, y_val=[0, 1])
    with raises("images: expected images of one shape"):
        ArraySplit(ragged, [0, 1], "ab")
    with raises("y_train: expected integers as labels, got a list that makes no array: "):
        dataset(x, [0, 1, [2, 3], 1])
    with raises("x_train: expected an array without a mask; filled() makes one"):
        dataset(np.ma.masked_equal(x, 3))
    with raises("y_val: expected an array without a mask"):
        dataset(x, y_val=np.ma.masked_equal([0, 1, 2], 1))
    with raises("y_train: expected labels from 0 to 2 for 3 classes, got -1 at 1"):
        dataset(x, [0, -1, 1, 2], classes=["a", "b", "c"])


def test_classes_and_their_names():
    x = drawn(4, 8, 8)
    data = dataset(x, [0, 1, 2, 1], y_val=[0, 1, 1], classes=["n1", "n2", "n3"], names=["cat", "dog", "eel"])
    assert data.classes == data.val.classes == ("n1", "n2", "n3") and data.names == ("cat", "dog", "eel")
    assert data.notes == ("arrays: 1 of 3 classes have no validation image: n3",)
    with raises("arrays: 1 of 3 classes have no training image: n3"):
        dataset(x, [0, 1, 1, 1], classes=["n1", "n2", "n3"])
    with raises("names: expected 3, one for each class, got 1"):
        dataset(x, classes=["a", "b", "c"], names=["a"])
    with raises("classes: expected each once, got a twice"):
        dataset(x, classes=["a", "b", "a"])
    assert dataset(x, classes=np.array(["a", "b", "c"])).classes == ("a", "b", "c")
    for wrong, found in (([], "[]"), (3, "3"), ("cat", "'cat'"), ({0: "a"}, "{0: 'a'}"), ({"a"}, "{'a'}")):
        with raises(f"classes: expected what the labels 0, 1, ... stand for, in their order, got {found}"):
            dataset(x, classes=wrong)
        with raises("names: expected ", f"in their order, got {found}"):
            dataset(x, names=wrong)
    with raises("classes: expected what the labels"):
        ArraySplit(x, [0, 0, 0, 0], "a")
    with pytest.raises(TypeError):
        ArrayDataset(x, [0, 1, 2, 0], x, [0, 1, 2, 0], ["a", "b", "c"], ["a", "b", "c"])


def test_the_fingerprint_is_of_pixels_and_labels():
    x, y = drawn(4, 8, 8), np.array([0, 1, 2, 0])
    same = dataset(x.copy(), y.tolist(), classes=("a", "b", "c"))
    other = x.copy()
    other[3, 7, 7] ^= 1
    prints = {data.fingerprint for data in (dataset(x, y), dataset(other, y), dataset(x, y[::-1]), dataset(x / 1.0, y))}
    assert len(prints) == 4 and same.fingerprint == dataset(x, y).fingerprint
    assert dataset(x / 1.0, y).fingerprint == dataset(x.astype(np.float16), y).fingerprint


def test_pictures_of_another_size_are_cut_as_pictures_are():
    colour, gray = drawn(4, 8, 12, 3), drawn(4, 8, 12)
    for size in (4, 8, 12):
        image = dataset(colour).train.load(1, size)
        np.testing.assert_array_equal(image, shorter_side_crop(Image.fromarray(colour[1]), size))
        image = dataset(gray).train.load(1, size)
        assert image.shape == (size, size, 1)
        np.testing.assert_array_equal(image, shorter_side_crop(Image.fromarray(gray[1]), size)[..., :1])


def test_what_is_no_picture_is_not_resized():
    wide, deep = dataset(drawn(4, 8, 12, 3) / 255).train, dataset(drawn(4, 8, 8, 5), layout="NHWC").val
    for what in (wide.check, lambda size: wide.load(1, size)):
        with raises(
            "x_train: expected images of 8 x 8 pixels, found 8 x 12, and only uint8 of 1 or 3 channels is resized, "
            "not float64 of 3: cut them to squares before, and use their size"
        ):
            what(8)
    for what in (deep.check, lambda size: deep.load(1, size)):
        with raises("x_val: expected images of 4 x 4 pixels, found 8 x 8", "not uint8 of 5: use size 8"):
            what(4)
    deep.check(8)
    for channels in (1, 3):
        dataset(drawn(4, 8, 12, channels)).train.check(5)


def test_a_split_of_its_own():
    split = ArraySplit(drawn(2, 8, 8), [1, 0], ("a", "b"), name="digits")
    assert pickle.loads(pickle.dumps(split)).load(1, 8).tolist() == split.load(1, 8).tolist()
    with raises("labels: expected 2 labels"):
        ArraySplit(drawn(2, 8, 8), [1], ("a", "b"))
