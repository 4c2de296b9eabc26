"""Batches: the right pixels, the same for any number of threads, and threads that end when they should."""

import threading
import time
from collections import Counter

import numpy as np
import pytest

from tinynet.data import Batch, DataError, Loader, Statistics, colour_shift, crops, middle_crop, random_crop
from tinynet.random import stream

SIZE, CROP, IMAGES = 9, 6, 23
STATISTICS = Statistics(
    np.zeros((3, SIZE, SIZE), np.float32), np.eye(3, dtype=np.float32), np.array([3, 20, 90], np.float32), 1
)


class ArraySplit:
    """Random images in memory: a split as the loader sees it."""

    classes = ("even", "odd")

    def __init__(self, broken: tuple[int, ...] = (), delay: float = 0.0, error=DataError, images: int = IMAGES):
        self.images = stream(0, "test images").integers(0, 256, (images, SIZE, SIZE, 3), dtype=np.uint8)
        self.labels = np.arange(images, dtype=np.int64) % 2
        self.broken, self.delay, self.error, self.loaded = broken, delay, error, Counter()

    def __len__(self):
        return len(self.images)

    def name(self, index):
        return f"image {index}"

    def load(self, index, size):
        assert size == SIZE and type(index) is int
        self.loaded[index] += 1
        time.sleep(self.delay)
        if index in self.broken:
            raise self.error(f"{self.name(index)}: cannot be decoded")
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


@pytest.mark.parametrize("views", ["middle+rotations", "ten+vertical+diagonal"])
def test_further_views_follow_one_another(views):
    split = ArraySplit()
    batches = list(make_loader(split, views=views).epoch())
    expected = np.concatenate([crops(image, CROP, views).transpose(0, 3, 1, 2) for image in split.images])
    assert batches[0].views == len(expected) // IMAGES
    np.testing.assert_array_equal(np.concatenate([batch.images for batch in batches]), expected)


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
    expected = np.concatenate([crops(image, CROP, "ten").transpose(0, 3, 1, 2) for image in split.images])
    np.testing.assert_array_equal(np.concatenate([batch.images for batch in ten]), expected)


def test_the_number_of_workers_and_the_distance_ahead_change_nothing():
    expected = list(make_loader(workers=0).epoch(1))
    for options in ({"workers": 1}, {"workers": 2}, {"workers": 4}, {"workers": 9, "ahead": 1}, {"ahead": 50}):
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
def test_an_error_that_is_no_bad_image_reaches_the_consumer(workers):
    order = stream(7, "shuffle", 0).permutation(IMAGES)
    batches = make_loader(ArraySplit((int(order[12]),), error=KeyError), workers=workers).epoch()
    assert len(next(batches).labels) == len(next(batches).labels) == 5  # those before the broken one
    with pytest.raises(KeyError, match=f"image {order[12]}: cannot be decoded"):
        next(batches)
    assert not loader_threads()


# ---- bad images ----


def without(batch: Batch, broken) -> Batch:
    """What is left of a batch, image by image."""
    kept = [place for place, index in enumerate(batch.indices) if index not in broken]
    images = np.concatenate([batch.images[:0], *(np.split(batch.images, len(batch.labels))[place] for place in kept)])
    shifts = None if batch.shifts is None else batch.shifts[kept]
    return Batch(images, batch.labels[kept], shifts, batch.indices[kept], batch.views)


@pytest.mark.parametrize("views", ["random", "middle", "ten"])
@pytest.mark.parametrize("workers", [0, 1, 2, 7])
def test_bad_images_are_left_out_of_their_batch(workers, views):
    broken = (2, 3, 11, 22)
    whole = list(make_loader(views=views).epoch(1))
    loader = make_loader(ArraySplit(broken), views=views, workers=workers, max_bad=0.5, on_bad=lambda name, why: None)
    batches = list(loader.epoch(1))
    assert len(batches) == len(loader) == 5 and sum(len(batch.labels) for batch in batches) == IMAGES - 4
    for batch in batches:
        assert batch.images.flags.c_contiguous
        assert len(batch.images) == len(batch.labels) * batch.views
    expected = [without(batch, broken) for batch in whole]
    if views == "random":
        assert_same(batches, expected)
    else:
        for name in ("images", "labels", "indices"):
            for batch, other in zip(batches, expected, strict=True):
                np.testing.assert_array_equal(getattr(batch, name), getattr(other, name), strict=True)


@pytest.mark.parametrize("workers", [0, 3])
def test_each_bad_image_is_reported_once_in_the_order_of_the_batches(workers):
    broken, reports = (4, 9, 17), []

    def on_bad(name, reason):
        assert threading.current_thread() is threading.main_thread()
        reports.append((name, reason))

    loader = make_loader(ArraySplit(broken), workers=workers, max_bad=0.2, on_bad=on_bad)
    assert loader.bad == {}
    for epoch in range(3):
        list(loader.epoch(epoch))
    turn = [int(index) for index in stream(7, "shuffle", 0).permutation(IMAGES) if index in broken]
    assert reports == [(f"image {index}", "cannot be decoded") for index in turn]
    assert list(loader.bad.items()) == [(index, "cannot be decoded") for index in turn]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_without_images_is_delivered(workers):
    broken, options = range(5, 10), {"views": "ten", "workers": workers, "max_bad": 0.5}
    batches = list(make_loader(ArraySplit(broken), **options).epoch())
    assert [len(batch.labels) for batch in batches] == [5, 0, 5, 5, 3]
    assert batches[1].images.shape == (0, 3, CROP, CROP) and batches[1].images.dtype == np.uint8
    assert batches[1].indices.dtype == batches[1].labels.dtype == np.int64
    nothing = list(make_loader(ArraySplit(range(IMAGES)), workers=workers, max_bad=1).epoch())
    assert [batch.shifts.shape for batch in nothing] == [(0, 3)] * 5


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_bad_images_stop_the_run(workers):
    reports = []
    options = {"workers": workers, "max_bad": 2 / IMAGES, "on_bad": lambda *bad: reports.append(bad)}
    loader = make_loader(ArraySplit((1, 7, 8)), views="middle", **options)
    batches = loader.epoch()
    assert len(next(batches).labels) == 4
    message = r"^3 of 23 images \(13\.04%\) .* 8\.70% that --max-bad .*image 1: .*image 7: .*image 8: cannot be"
    with pytest.raises(DataError, match=message):
        next(batches)
    assert len(reports) == 3 and not loader_threads()


def test_by_default_one_of_a_hundred_may_be_bad():
    loader = make_loader(ArraySplit((5, 50), images=200), views="middle", batch_size=50)
    assert [len(batch.labels) for batch in loader.epoch()] == [49, 49, 50, 50]
    with pytest.raises(DataError, match=r"3 of 200 images \(1\.50%\)"):
        list(make_loader(ArraySplit((5, 50, 51), images=200), views="middle").epoch())
    with pytest.raises(DataError, match=r"1 of 200 images"):
        list(make_loader(ArraySplit((5,), images=200), max_bad=0).epoch())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_split_of_one_image(workers):
    for broken, count in (((), 1), ((0,), 0)):
        loader = make_loader(ArraySplit(broken, images=1), workers=workers, max_bad=1)
        assert [len(batch.labels) for batch in loader.epoch()] == [count]


# ---- threads ----


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
    while sum(split.loaded.values()) < 15:
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
        ({"views": "all"}, "views to be random, shuffled, middle or ten, or one of them followed by any of .*'all'"),
        ({"views": "random+vertical"}, r"got 'random\+vertical'"),
        ({"max_bad": 1.5}, "max_bad: expected a share of the images from 0 to 1, got 1.5"),
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


def test_without_offsets_every_crop_is_the_middle_one_and_all_else_stays():
    """Crops, mirrors and colour noise can be left out each on its own."""
    split, common = ArraySplit(), {"size": SIZE, "crop": CROP, "workers": 0, "statistics": STATISTICS}
    (batch,) = Loader(split, IMAGES, colour=0.1, padding=2, offsets=False, **common).epoch(3)
    for index, image, shift in zip(batch.indices, batch.images, batch.shifts, strict=True):
        generator = stream(0, "augment", 3, int(index))
        middle = middle_crop(split.images[index], CROP)
        mirrored = generator.integers((1, 1, 2))[2]
        assert np.array_equal(image.transpose(1, 2, 0), middle[:, ::-1] if mirrored else middle)
        assert np.array_equal(shift, colour_shift(STATISTICS, generator, 0.1))
    mirrored = [np.array_equal(image.transpose(1, 2, 0), middle_crop(split.images[index], CROP)[:, ::-1])
                for index, image in zip(batch.indices, batch.images, strict=True)]  # fmt: skip
    assert 3 < sum(mirrored) < IMAGES - 3
    (plain,) = Loader(split, IMAGES, colour=0, mirror=False, offsets=False, **common).epoch(3)
    (shuffled,) = Loader(split, IMAGES, views="shuffled", **common).epoch(3)
    assert np.array_equal(plain.images, shuffled.images) and np.array_equal(plain.indices, shuffled.indices)
