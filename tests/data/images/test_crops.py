"""The paper's cut, training's crops and the colour shift, each against an independent computation by pixel.

Decoding is in test_any_file.py, the views of a test in test_views.py.
"""

import numpy as np
import pytest
from PIL import Image

from tinynet.data import Statistics, colour_shift, middle_crop, random_crop, shorter_side_crop
from tinynet.random import stream


def pixels(*shape: int) -> np.ndarray:
    return stream(0, "test pixels", *shape).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(("width", "height"), [(12, 8), (8, 12), (8, 8), (21, 8), (8, 21)])
def test_shrinking_is_the_mean_over_each_area(width, height):
    scale = 4
    image = pixels(height * scale, width * scale, 3)
    top, left = (height - 8) * scale // 2, (width - 8) * scale // 2  # at 21 x 8 in the middle of a block
    square = image[top : top + 8 * scale, left : left + 8 * scale]
    expected = square.reshape(8, scale, 8, scale, 3).mean(axis=(1, 3))  # (8, 8, 3)
    result = shorter_side_crop(Image.fromarray(image), 8)
    assert result.shape == (8, 8, 3) and result.dtype == np.uint8
    assert np.abs(result - expected).max() <= 1.01  # Pillow rounds after the rows and after the columns


@pytest.mark.parametrize(("width", "height"), [(11, 7), (7, 12), (7, 7)])
def test_enlarging_is_bicubic(width, height):
    image = pixels(height, width, 3) // 2 + 64  # room for overshoot: Pillow clips between its two passes
    size, side = 20, 7

    def weights(length: int) -> np.ndarray:
        """A (size, length) matrix: in each row Keys' cubic, a = -1/2, around an output pixel's centre."""
        matrix = np.zeros((size, length))
        for row in range(size):
            centre = (length - side) / 2 + (row + 0.5) * side / size
            distance = np.abs(np.arange(length) + 0.5 - centre)
            near = 1.5 * distance**3 - 2.5 * distance**2 + 1
            far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
            matrix[row] = np.where(distance < 1, near, np.where(distance < 2, far, 0))
        return matrix / matrix.sum(axis=1, keepdims=True)

    expected = np.einsum("yh,xw,hwc->yxc", weights(height), weights(width), image).clip(0, 255)
    result = shorter_side_crop(Image.fromarray(image), size)
    assert np.abs(result - expected).max() <= 1.5


def test_an_image_of_the_right_size_is_only_cut():
    image = pixels(10, 17, 3)
    np.testing.assert_array_equal(shorter_side_crop(Image.fromarray(image), 10), image[:, 3:13])


def test_extreme_sides_cost_no_memory():
    assert shorter_side_crop(Image.new("RGB", (20_000, 1), "red"), 256).shape == (256, 256, 3)


def test_random_crops_reach_every_offset_and_both_mirrors():
    height, width, crop = 7, 9, 5
    image = np.arange(height * width * 3).reshape(height, width, 3)
    generator = stream(0, "test crops")
    seen = {}
    for _ in range(1500):
        view = random_crop(image, crop, generator)
        assert view.shape == (crop, crop, 3) and view.base is not None  # a view: nothing was copied
        mirrored = view[0, 0, 0] > view[0, 1, 0]
        corner = (view[:, ::-1] if mirrored else view)[0, 0, 0] // 3
        place = (int(corner // width), int(corner % width), bool(mirrored))
        expected = image[place[0] : place[0] + crop, place[1] : place[1] + crop]
        np.testing.assert_array_equal(view, expected[:, ::-1] if mirrored else expected)
        seen[place] = seen.get(place, 0) + 1
    assert set(seen) == {
        (top, left, mirror) for top in range(3) for left in range(5) for mirror in (False, True)
    }
    assert min(seen.values()) > 20 and max(seen.values()) < 90  # 50 each on average
    assert 650 < sum(count for place, count in seen.items() if place[2]) < 850


def test_random_crop_of_the_whole_image():
    image = pixels(5, 5, 3)
    view = random_crop(image, 5, stream(0, "test whole"))
    assert (view == image).all() or (view == image[:, ::-1]).all()


def test_the_middle_crop_leaves_an_odd_pixel_below_and_to_the_right():
    image = pixels(9, 12, 3)
    np.testing.assert_array_equal(middle_crop(image, 6), image[1:7, 3:9])
    np.testing.assert_array_equal(middle_crop(image, 9), image[:, 1:10])


def test_colour_shift_has_the_covariance_of_the_components():
    components = np.linalg.qr(stream(0, "test components").normal(size=(3, 3)))[0].astype(np.float32)
    deviations = np.array([5, 20, 60], np.float32)
    statistics = Statistics(np.zeros((3, 4, 4), np.float32), components, deviations, 1)
    generator = stream(0, "test shifts")
    shifts = np.stack([colour_shift(statistics, generator, 0.2) for _ in range(20_000)])
    assert shifts.dtype == np.float32 and shifts.shape == (20_000, 3)
    expected = components @ np.diag((0.2 * deviations) ** 2) @ components.T
    np.testing.assert_allclose(shifts.T @ shifts / len(shifts), expected, atol=0.03 * np.abs(expected).max())
    assert np.abs(shifts.mean(axis=0)).max() < 0.3


def test_padding_lays_zeros_around_before_the_crop():
    image = pixels(4, 4, 3) // 2 + 1  # no zeros
    padded = np.zeros((8, 8, 3), np.uint8)
    padded[2:6, 2:6] = image
    places = set()
    for number in range(300):
        view = random_crop(image, 4, stream(number, "test padding"), mirror=False, padding=2)
        found = [(y, x) for y in range(5) for x in range(5) if (padded[y : y + 4, x : x + 4] == view).all()]
        assert len(found) == 1
        places |= set(found)
    assert len(places) == 25


def test_without_mirrors_the_same_places_are_cut():
    image = pixels(7, 9, 1)
    for number in range(40):
        either, plain = (random_crop(image, 5, stream(number, "test"), mirror) for mirror in (True, False))
        assert (either == plain).all() or (either == plain[:, ::-1]).all()


@pytest.mark.parametrize("size", [8, 5, 20])
def test_gray_pictures_have_one_channel(size):
    gray = pixels(8, 12, 1)[..., 0]
    one = shorter_side_crop(Image.fromarray(gray), size, channels=1)
    three = shorter_side_crop(Image.fromarray(np.repeat(gray[..., None], 3, axis=2)), size)
    assert one.shape == (size, size, 1) and one.dtype == np.uint8
    np.testing.assert_array_equal(np.repeat(one, 3, axis=2), three)
    with pytest.raises(ValueError, match="expected pictures of 1 or 3 channels, got 2"):
        shorter_side_crop(Image.fromarray(gray), size, channels=2)
