"""Batches: the right pixels, the same for any number of threads, and threads that end when they should."""

import threading
import time
from collections import Counter

import numpy as np
import pytest

from tinynet.data import DataError, Loader, Statistics, colour_shift, middle_crop, random_crop, ten_crops
from tinynet.random import stream

SIZE, CROP, IMAGES = 9, 6, 23
STATISTICS = Statistics(
    np.zeros((3, SIZE, SIZE), np.float32), np.eye(3, dtype=np.float32), np.array([3, 20, 90], np.float32), 1
)


class ArraySplit:
    """Random images in memory: a split as the loader sees it."""

    classes = ("even", "odd")

    def __init__(self, broken: int | None = None, delay: float = 0.0):
        self.images = stream(0, "test images").integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
        self.labels = np.arange(IMAGES, dtype=np.int64) % 2
        self.broken, self.delay, self.loaded = broken, delay, Counter()

    def __len__(self):
        return IMAGES

    def name(self, index):
        return f"image {index}"

    def load(self, index, size):
        assert size == SIZE and type(index) is int
        self.loaded[index] += 1
        time.sleep(self.delay)
        if index == self.broken:
            raise DataError(f"{self.name(index)}: cannot be decoded")
        return self.images[index]


def make_loader(split=None, **options):
    defaults = {"batch_size": 5, "size": SIZE, "crop": CROP, "statistics": STATISTICS, "seed": 7}
    return Loader(ArraySplit() if split is None else split, **(defaults | options))


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        for name in ("images", "labels", "indices", "shifts"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("tinynet-loader")]


def test_random_views_are_those_of_their_streams():
    split = ArraySplit()
    batches = list(make_loader(split).epoch(3))
    order = stream(7, "shuffle", 3).permutation(IMAGES)
    np.testing.assert_array_equal(np.concatenate([batch.indices for batch in batches]), order)
    for batch in batches:
        np.testing.assert_array_equal(batch.labels, split.labels[batch.indices])
        for position, index in enumerate(batch.indices):
            generator = stream(7, "augment", 3, int(index))
            expected = random_crop(split.images[index], CROP, generator).transpose(2, 0, 1)
            np.testing.assert_array_equal(batch.images[position], expected)
            np.testing.assert_array_equal(batch.shifts[position], colour_shift(STATISTICS, generator, 0.1))


def test_shapes_and_dtypes():
    loader = make_loader()
    batches = list(loader.epoch())
    assert len(loader) == len(batches) == 5 and [len(batch.labels) for batch in batches] == [5, 5, 5, 5, 3]
    for batch in batches:
        assert batch.images.shape == (len(batch.labels), 3, CROP, CROP) and batch.images.dtype == np.uint8
        assert batch.images.flags.c_contiguous and batch.views == 1
        assert batch.shifts.shape == (len(batch.labels), 3) and batch.shifts.dtype == np.float32
        assert batch.labels.dtype == batch.indices.dtype == np.int64


@pytest.mark.parametrize("workers", [0, 3])
def test_test_views_are_in_the_order_of_the_split(workers):
    split = ArraySplit()
    middle = list(make_loader(split, views="middle", workers=workers).epoch())
    ten = list(make_loader(split, views="ten", workers=workers).epoch())
    assert middle[0].shifts is None and ten[0].shifts is None and ten[0].views == 10
    assert ten[-1].images.shape == (30, 3, CROP, CROP) and ten[-1].images.flags.c_contiguous
    np.testing.assert_array_equal(np.concatenate([batch.indices for batch in ten]), np.arange(IMAGES))
    expected = np.stack([middle_crop(image, CROP).transpose(2, 0, 1) for image in split.images])
    np.testing.assert_array_equal(np.concatenate([batch.images for batch in middle]), expected)
    expected = np.concatenate([ten_crops(image, CROP).transpose(0, 3, 1, 2) for image in split.images])
    np.testing.assert_array_equal(np.concatenate([batch.images for batch in ten]), expected)


def test_the_number_of_workers_and_the_distance_ahead_change_nothing():
    expected = list(make_loader(workers=0).epoch(1))
    for options in (
        {"workers": 1},
        {"workers": 2},
        {"workers": 4},
        {"workers": 9, "ahead": 1},
        {"ahead": 50},
    ):
        assert_same(make_loader(**options).epoch(1), expected)


def test_epochs_and_seeds_differ_in_order_and_in_crops():
    first, second = list(make_loader().epoch(0)), list(make_loader().epoch(1))
    other = list(make_loader(seed=8).epoch(0))
    for batches in (second, other):
        assert (batches[0].indices != first[0].indices).any()

    def by_image(batches):
        images, shifts = (
            np.concatenate([getattr(batch, name) for batch in batches]) for name in ("images", "shifts")
        )
        order = np.argsort(np.concatenate([batch.indices for batch in batches]))
        return images[order], shifts[order]

    images, shifts = by_image(first)
    for batches in (second, other):
        other_images, other_shifts = by_image(batches)
        assert (images != other_images).any(axis=(1, 2, 3)).mean() > 0.7  # 1 in 32 by chance the same crop
        assert (shifts != other_shifts).all()
    assert_same(make_loader().epoch(0), first)  # and an epoch again is the same


@pytest.mark.parametrize("workers", [0, 2])
def test_start_resumes_in_the_middle_of_an_epoch(workers):
    split = ArraySplit()
    whole = list(make_loader(workers=workers).epoch(2))
    for start in range(6):
        assert_same(make_loader(split, workers=workers).epoch(2, start), whole[start:])
    split.loaded.clear()
    list(make_loader(split, workers=workers).epoch(2, 4))
    assert sorted(split.loaded) == sorted(whole[4].indices)  # what was seen before is not decoded again


def test_no_shifts_without_colour():
    batch = next(iter(make_loader(statistics=None, colour=0).epoch()))
    assert batch.shifts is None
    with_colour = next(iter(make_loader().epoch()))
    np.testing.assert_array_equal(batch.images, with_colour.images)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_in_a_worker_reaches_the_consumer(workers):
    order = stream(7, "shuffle", 0).permutation(IMAGES)
    batches = make_loader(ArraySplit(broken=int(order[12])), workers=workers).epoch()
    assert len(next(batches).labels) == len(next(batches).labels) == 5  # those before the broken one
    with pytest.raises(DataError, match=f"^image {order[12]}: cannot be decoded$"):
        next(batches)
    assert not loader_threads()


def test_abandoning_an_epoch_leaves_no_thread():
    split = ArraySplit(delay=0.002)
    for batch in make_loader(split, batch_size=2, ahead=2).epoch():
        assert len(batch.labels) == 2 and loader_threads()
        break
    assert not loader_threads()
    assert sum(split.loaded.values()) <= 6  # one batch delivered, two ahead


def test_batches_are_prepared_ahead_but_not_further_than_asked():
    split = ArraySplit()
    batches = make_loader(split, ahead=2).epoch()
    next(batches)
    deadline = time.monotonic() + 5
    while sum(split.loaded.values()) < 15 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    assert sum(split.loaded.values()) == 15  # the delivered batch and two ahead of it
    batches.close()


def test_finished_epochs_leave_no_thread():
    assert len(list(make_loader(workers=4).epoch())) == 5
    assert not loader_threads()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": 10}, "1 <= crop <= size, got crop 10 and size 9"),
        ({"crop": 0}, "1 <= crop <= size"),
        ({"views": "all"}, "views to be one of random, middle, ten, got 'all'"),
        ({"batch_size": 0}, "batch_size >= 1"),
        ({"workers": -1}, "workers >= 0"),
        ({"ahead": 0}, "ahead >= 1"),
        ({"colour": -0.1}, "colour >= 0, got -0.1"),
        ({"statistics": None}, "needs the training set's statistics"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        make_loader(**options)


def test_a_start_beyond_the_epoch():
    with pytest.raises(ValueError, match="first batch from 0 to 5, got 6"):
        make_loader().epoch(0, 6)
