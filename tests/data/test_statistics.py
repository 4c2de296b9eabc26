"""Mean image and principal components against plain NumPy over all pixels at once."""

import numpy as np
import pytest
from PIL import Image

from tinynet.data import DataError, FolderSplit, Statistics, measure
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


def test_errors(folder, tmp_path):
    split = FolderSplit(folder)
    with pytest.raises(ValueError, match="limit and workers >= 1, got 70, 0 and 2"):
        measure(split, SIZE, limit=0)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "broken.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        measure(FolderSplit(tmp_path), SIZE)
