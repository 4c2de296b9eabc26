"""Bytes to the net's input, against plain NumPy."""

import numpy as np
import pytest

from tinynet.backend import to_host
from tinynet.data.batches.loader import Batch
from tinynet.data.batches.prepare import Prepare
from tinynet.data.statistics import Statistics

SIZE, CROP = 13, 8


@pytest.fixture
def statistics():
    generator = np.random.default_rng(0)
    mean = generator.uniform(0, 255, (3, SIZE, SIZE)).astype(np.float32)
    return Statistics(mean, np.eye(3, dtype=np.float32), np.array([3, 4, 12], np.float32), 5)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1 / 64])
@pytest.mark.parametrize("count", [1, 6])
def test_mean_shift_and_scale(statistics, shifted, scale, count):
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (count, 3, CROP, CROP), np.uint8)
    shifts = generator.normal(0, 20, (count, 3)).astype(np.float32) if shifted else None
    batch = Batch(images, np.zeros(count, np.int64), shifts, np.arange(count), 1)
    x = Prepare(statistics, CROP, scale)(batch)
    low = (SIZE - CROP) // 2
    expected = images - statistics.mean_image[:, low : low + CROP, low : low + CROP].astype(np.float64)
    if shifted:
        expected += shifts[:, :, None, None]
    assert x.dtype == np.float32 and x.shape == (count, 3, CROP, CROP)
    assert x.transpose(1, 2, 3, 0).flags.c_contiguous
    np.testing.assert_allclose(to_host(x), expected * scale, rtol=1e-5, atol=1e-4 * scale)


def test_the_deviation_of_a_pixel(statistics):
    assert statistics.pixel_deviation == pytest.approx(13 / np.sqrt(3))
