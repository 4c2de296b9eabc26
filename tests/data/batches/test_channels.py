"""Images of one channel, of many, and of floating-point numbers, from the split to the network's input."""

import numpy as np
import pytest

from tinynet.backend import to_host
from tinynet.data import Loader, Prepare, Statistics, measure
from tinynet.random import stream

SIZE, IMAGES = 6, 50


class InMemory:
    """A split of arrays, (N, size, size, channels)."""

    def __init__(self, images: np.ndarray):
        self.images, self.classes = images, ("a", "b")
        self.labels = np.arange(len(images)) % 2
        self.channels, self.dtype = images.shape[-1], images.dtype

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return str(index)

    def load(self, index: int, size: int) -> np.ndarray:
        return self.images[index]


def split(channels: int, dtype: str) -> InMemory:
    generator = stream(0, "test channels", channels)
    shape = IMAGES, SIZE, SIZE, channels
    if dtype == "uint8":
        return InMemory(generator.integers(0, 256, shape, dtype=np.uint8))
    return InMemory(generator.standard_normal(shape, np.float32))


KINDS = [(1, "uint8"), (3, "float32"), (1, "float32"), (5, "uint8"), (13, "float32")]


@pytest.mark.parametrize(("channels", "dtype"), KINDS)
def test_statistics_are_numpys(channels, dtype):
    data = split(channels, dtype)
    statistics = measure(data, SIZE)
    values = data.images.astype(np.float64)
    np.testing.assert_allclose(statistics.mean_image, values.mean(axis=0).transpose(2, 0, 1), rtol=1e-5, atol=1e-6)
    covariance = np.cov(values.reshape(-1, channels).T, bias=True).reshape(channels, channels)
    found = statistics.components @ np.diag(statistics.deviations**2) @ statistics.components.T
    np.testing.assert_allclose(found, covariance, rtol=1e-4, atol=1e-4 * covariance.max())
    assert statistics.pixel_deviation == pytest.approx(np.sqrt(np.diag(covariance).mean()), rel=1e-5)
    again = measure(data, SIZE, workers=5)
    for name, array in statistics.to_arrays().items():
        assert array.tobytes() == again.to_arrays()[name].tobytes(), name
    back = Statistics.from_arrays(statistics.to_arrays())
    np.testing.assert_array_equal(back.components, statistics.components)


@pytest.mark.parametrize(("channels", "dtype"), KINDS)
def test_batches_and_the_networks_input(channels, dtype):
    data = split(channels, dtype)
    loader = Loader(data, 16, SIZE, SIZE, colour=0, mirror=False)
    plain, centred = Prepare(None, SIZE, scale=0.5), Prepare(measure(data, SIZE), SIZE)
    mean = data.images.astype(np.float64).mean(axis=0)
    for batch in loader.epoch(0):
        assert batch.images.dtype == data.images.dtype
        expected = data.images[batch.indices].transpose(0, 3, 1, 2)  # (N, C, size, size)
        np.testing.assert_array_equal(batch.images, expected)
        np.testing.assert_array_equal(to_host(plain(batch)), expected.astype(np.float32) * np.float32(0.5))
        found = to_host(centred(batch))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected - mean.transpose(2, 0, 1), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("workers", [0, 3])
def test_padding_and_views(workers):
    data = split(1, "uint8")
    data.images |= 1  # no zeros but those around
    (batch,) = Loader(data, 50, SIZE, SIZE, colour=0, padding=2, workers=workers).epoch(0)
    seen = (batch.images != 0).sum(axis=(1, 2, 3))  # of an image moved by up to two pixels either way
    possible = {(SIZE - down) * (SIZE - across) for down in range(3) for across in range(3)}
    assert set(seen.tolist()) == possible
    (test,) = Loader(data, 50, SIZE, SIZE, "middle", colour=0, padding=2).epoch()
    np.testing.assert_array_equal(test.images, data.images.transpose(0, 3, 1, 2))


def test_mistakes_are_told():
    data = split(1, "uint8")
    with pytest.raises(ValueError, match="colour noise is for 3 channels, the images have 1: use colour=0"):
        Loader(data, 16, SIZE, SIZE, statistics=measure(data, SIZE))
    with pytest.raises(ValueError, match="expected padding from 0 to 6, the size of the images, got -1"):
        Loader(data, 16, SIZE, SIZE, colour=0, padding=-1)
    with pytest.raises(ValueError, match="got crop 11 and size 6, and padding 2"):
        Loader(data, 16, SIZE, SIZE + 5, colour=0, padding=2)
    with pytest.raises(ValueError, match=r"got crop 7 and size 6$"):
        Loader(data, 16, SIZE, SIZE + 1, "middle", padding=2)


def test_no_mean_is_a_mean_of_zeros():
    none = Statistics.none(2, SIZE)
    assert none.mean_image.shape == (2, SIZE, SIZE) and none.images == 0 and not none.mean_image.any()
    back = Statistics.from_arrays(none.to_arrays())
    assert back.deviations.shape == (2,)
