"""Mean image and principal components against plain NumPy over all pixels at once."""

import numpy as np
import pytest
from PIL import Image

from tinynet.data import DataError, FolderSplit, Statistics, Sums, measure
from tinynet.random import stream

SIZE, IMAGES = 12, 70  # more than two tasks of 32 images


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("statistics")
    (root / "only").mkdir()
    generator = stream(0, "test statistics")
    rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    mixing = np.diag([6, 18, 50]) @ rotation
    for number in range(IMAGES):
        pixels = (
            generator.normal(size=(SIZE, SIZE, 3)) @ mixing + (90, 120, 150) + np.arange(SIZE)[:, None] * 3
        )
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / "only" / f"{number:03d}.png")
    return root


def all_pixels(split, indices):
    return np.stack([split.load(int(index), SIZE) for index in indices]).astype(
        np.float64
    )  # (images, H, W, 3)


def test_against_numpy(folder):
    split = FolderSplit(folder)
    pixels = all_pixels(split, range(IMAGES))
    statistics = measure(split, SIZE)
    assert statistics.images == IMAGES
    assert [getattr(statistics, name).dtype for name in ("mean_image", "components", "deviations")] == [
        np.float32
    ] * 3
    assert statistics.mean_image.flags.c_contiguous
    np.testing.assert_allclose(statistics.mean_image, pixels.mean(axis=0).transpose(2, 0, 1), rtol=1e-6)

    colours = pixels.reshape(-1, 3)
    # The singular values of the centred colours, an independent way to their principal components.
    _, singular, rows = np.linalg.svd(colours - colours.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(statistics.deviations, singular[::-1] / np.sqrt(len(colours)), rtol=1e-5)
    np.testing.assert_allclose(np.abs(np.sum(statistics.components.T * rows[::-1], axis=1)), 1, rtol=1e-6)
    assert (statistics.deviations[1:] > 1.5 * statistics.deviations[:-1]).all()  # the case tells them apart
    for column in statistics.components.T:
        assert column[np.abs(column).argmax()] > 0


def test_the_number_of_workers_changes_nothing(folder):
    split = FolderSplit(folder)
    expected = measure(split, SIZE, workers=1).to_arrays()
    for workers in (2, 4):
        for name, array in measure(split, SIZE, workers=workers).to_arrays().items():
            np.testing.assert_array_equal(array, expected[name], strict=True)


def test_limit_takes_a_random_part(folder):
    split = FolderSplit(folder)
    some = measure(split, SIZE, limit=40, seed=3)
    chosen = stream(3, "statistics").permutation(IMAGES)[:40]
    assert some.images == 40
    np.testing.assert_allclose(
        some.mean_image, all_pixels(split, chosen).mean(axis=0).transpose(2, 0, 1), rtol=1e-6
    )
    assert (some.mean_image != measure(split, SIZE, limit=40, seed=4).mean_image).any()


def test_progress_ends_at_the_total(folder):
    calls = []
    measure(FolderSplit(folder), SIZE, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(32, IMAGES), (64, IMAGES), (IMAGES, IMAGES)]


def test_arrays_there_and_back(folder):
    statistics = measure(FolderSplit(folder), SIZE, limit=3)
    arrays = statistics.to_arrays() | {"conv1.weight": np.zeros(3)}
    again = Statistics.from_arrays(arrays)
    assert again.images == statistics.images and isinstance(again.images, int)
    for name in ("mean_image", "components", "deviations"):
        np.testing.assert_array_equal(getattr(again, name), getattr(statistics, name), strict=True)
    del arrays["statistics.deviations"]
    with pytest.raises(ValueError, match=r"expected arrays named statistics\.deviations"):
        Statistics.from_arrays(arrays)


def add_all(images) -> Sums:
    sums = Sums.zero(SIZE)
    for image in images:
        sums.add(image)
    return sums


def test_sums_are_exact_however_they_are_divided(folder):
    split = FolderSplit(folder)
    images = [split.load(index, SIZE) for index in range(IMAGES)]
    whole = add_all(images)
    colours = np.stack(images).reshape(-1, 3).astype(np.int64)
    np.testing.assert_array_equal(whole.pixel_sums, np.stack(images).sum(axis=0, dtype=np.int64), strict=True)
    np.testing.assert_array_equal(whole.products, colours.T @ colours, strict=True)
    assert whole.images == IMAGES

    parts = [add_all(images[50:]), add_all([]), add_all(images[:1]), add_all(images[1:50])]
    merged = Sums.zero(SIZE)
    for part in parts:
        merged.merge(part)
    expected = measure(split, SIZE).to_arrays()
    for statistics in (whole.statistics(), merged.statistics()):
        for name, array in statistics.to_arrays().items():
            np.testing.assert_array_equal(array, expected[name], strict=True)


def test_sums_of_the_brightest_images_are_exact():
    sums, image = Sums.zero(256), np.full((256, 256, 3), 255, np.uint8)
    for _ in range(3):
        sums.add(image)
    assert (sums.products == 3 * 65536 * 255**2).all() and (sums.pixel_sums == 765).all()
    assert sums.statistics().deviations.tolist() == [0, 0, 0]


def test_sums_over_nothing():
    with pytest.raises(DataError, match="at least one image that can be read, found none"):
        Sums.zero(SIZE).statistics()


class DamagedSplit(FolderSplit):
    """The folder, but for these images."""

    damaged: tuple[int, ...] = ()
    error = DataError

    def load(self, index, size):
        if index in self.damaged:
            raise self.error(f"{self.name(index)}: cannot be decoded")
        return super().load(index, size)


@pytest.mark.parametrize("workers", [1, 3])
def test_bad_images_are_left_out_and_reported_in_order(folder, workers):
    split, reports, calls = DamagedSplit(folder), [], []
    split.damaged = (69, 3, 40)
    statistics = measure(
        split, SIZE, workers=workers, max_bad=0.05, on_bad=lambda *bad: reports.append(bad),
        progress=lambda *call: calls.append(call),
    )  # fmt: skip
    assert reports == [(split.name(index), "cannot be decoded") for index in (3, 40, 69)]
    assert calls == [(32, IMAGES), (64, IMAGES), (IMAGES, IMAGES)]
    good = [split.load(index, SIZE) for index in range(IMAGES) if index not in split.damaged]
    expected = add_all(good).statistics().to_arrays()
    assert statistics.images == 67
    for name, array in statistics.to_arrays().items():
        np.testing.assert_array_equal(array, expected[name], strict=True)


def test_too_many_bad_images_end_the_measuring(folder):
    split = DamagedSplit(folder)
    split.damaged = tuple(range(0, IMAGES, 10))
    with pytest.raises(DataError, match=r"4 of 70 images \(5\.71%\) cannot be read, more than the 5\.00%"):
        measure(split, SIZE, max_bad=0.05, on_bad=lambda *bad: None)
    with pytest.raises(DataError, match=r"1 of 70 images"):  # a share of the split, of which 20 are looked at
        measure(split, SIZE, limit=20, max_bad=0, on_bad=lambda *bad: None)
    split.damaged = range(IMAGES)
    with pytest.raises(DataError, match="found none"):
        measure(split, SIZE, max_bad=1, on_bad=lambda *bad: None)


def test_other_errors_are_raised(folder):
    split = DamagedSplit(folder)
    split.damaged, split.error = (60,), KeyError
    with pytest.raises(KeyError, match=r"060\.png"):
        measure(split, SIZE, max_bad=1)


def test_errors(folder, tmp_path):
    split = FolderSplit(folder)
    with pytest.raises(ValueError, match="limit and workers >= 1, got 70, 0 and 2"):
        measure(split, SIZE, limit=0)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "broken.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        measure(FolderSplit(tmp_path), SIZE)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mean_image", np.zeros((3, 4, 5), "f"), r"mean_image: expected .* \(3, 5, 5\), found float32 \(3, 4, 5\)"),
        ("mean_image", np.zeros((4, 4), "f"), "mean_image: expected floating-point numbers of the shape"),
        ("mean_image", np.zeros((3, 0, 0), "f"), "mean_image: expected floating-point numbers of the shape"),
        ("mean_image", np.zeros((3, 4, 4), "i4"), "mean_image: expected .*, found int32"),
        ("mean_image", np.full((3, 4, 4), np.nan), "mean_image: has values that are not finite"),
        ("mean_image", np.full((3, 4, 4), 1e300), "mean_image: has values that are not finite"),
        ("components", np.zeros((3, 4), "f"), "components: expected"),
        ("components", np.full((3, 3), np.inf), "components: has values that are not finite"),
        ("deviations", np.array([1, -1, 2.0]), "deviations: has values that are not finite, or below zero"),
        ("deviations", np.ones(3, bool), "deviations: expected .*, found bool"),
        ("images", np.array([-1]), "images: has values that are not finite, or below zero"),
        ("images", np.array([1.5]), "images: expected integers of the shape"),
        ("images", np.zeros(0, int), "images: expected integers of the shape"),
    ],
)
def test_arrays_that_are_no_statistics_are_named(name, value, message):
    arrays = {
        "statistics.mean_image": np.zeros((3, 4, 4)), "statistics.components": np.eye(3, dtype="f"),
        "statistics.deviations": np.ones(3, "f"), "statistics.images": np.array([7]),
    }  # fmt: skip
    statistics = Statistics.from_arrays(arrays)
    assert statistics.images == 7 and statistics.mean_image.dtype == np.float32
    with pytest.raises(ValueError, match=message):
        Statistics.from_arrays(arrays | {f"statistics.{name}": value})
