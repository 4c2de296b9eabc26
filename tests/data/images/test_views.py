"""The views of a test, each against np.flip, np.rot90 and transposing, and as a set against pixels."""

import numpy as np
import pytest

from tinynet.data import crops, middle_crop, view_count
from tinynet.random import stream

CROP = 6
IMAGE = stream(0, "test view").integers(0, 256, (8, 11, 3), dtype=np.uint8)
CORNERS = [IMAGE[:6, :6], IMAGE[:6, 5:], IMAGE[2:, :6], IMAGE[2:, 5:], IMAGE[1:7, 2:8]]
MIDDLE = CORNERS[4]


def horizontal(view):
    return np.flip(view, axis=1)


def vertical(view):
    return np.flip(view, axis=0)


def diagonal(view):
    return view.transpose(1, 0, 2)


TEN = [*CORNERS, *map(horizontal, CORNERS)]
EXPECTED = {
    "middle": [MIDDLE],
    "ten": TEN,
    "middle+vertical": [MIDDLE, vertical(MIDDLE)],
    "middle+diagonal": [MIDDLE, diagonal(MIDDLE)],
    "middle+rotations": [np.rot90(MIDDLE, turns) for turns in range(4)],
    "middle+vertical+diagonal": [
        MIDDLE, vertical(MIDDLE), diagonal(MIDDLE), diagonal(vertical(MIDDLE)),
    ],
    "middle+diagonal+vertical": [
        MIDDLE, diagonal(MIDDLE), vertical(MIDDLE), vertical(diagonal(MIDDLE)),
    ],
    "middle+vertical+rotations": [
        MIDDLE, vertical(MIDDLE), *(np.rot90(MIDDLE, turns) for turns in (1, 2, 3)),
        *(np.rot90(vertical(MIDDLE), turns) for turns in (1, 2, 3)),
    ],
    "ten+vertical": [*TEN, *map(vertical, TEN)],
    "ten+diagonal": [*TEN, *map(diagonal, TEN)],
    "ten+vertical+diagonal": [*TEN, *map(vertical, TEN), *map(diagonal, TEN), *(diagonal(vertical(v)) for v in TEN)],
    "ten+rotations": [
        *TEN, *(np.rot90(view, turns) for view in CORNERS for turns in (1, 2, 3)),
        *(np.rot90(horizontal(view), turns) for view in CORNERS for turns in (1, 2, 3)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("views", EXPECTED)
def test_each_view(views):
    result = crops(IMAGE, CROP, views)
    assert result.dtype == np.uint8 and len(result) == view_count(views)
    np.testing.assert_array_equal(result, np.stack(EXPECTED[views]), strict=True)


@pytest.mark.parametrize(
    ("views", "count"),
    [
        ("middle+vertical+rotations", 8),
        ("middle+vertical+diagonal+rotations", 8),
        ("ten+vertical+vertical", 20),
        ("ten+vertical+diagonal+rotations", 40),
        ("ten+rotations+vertical+diagonal", 40),
    ],
)
def test_no_view_is_there_twice(views, count):
    result = crops(IMAGE, CROP, views)
    assert len({view.tobytes() for view in result}) == len(result) == view_count(views) == count


def test_all_together_are_the_symmetries_of_the_five_crops():
    result = crops(IMAGE, CROP, "ten+rotations")
    expected = {
        np.rot90(view, turns).tobytes() for crop in CORNERS for view in (crop, horizontal(crop)) for turns in range(4)
    }
    assert {view.tobytes() for view in result} == expected


def test_a_crop_of_the_whole_image():
    square = IMAGE[:, :8]
    np.testing.assert_array_equal(crops(square, 8), [square] * 5 + [horizontal(square)] * 5)
    np.testing.assert_array_equal(crops(square, 5, "middle")[0], middle_crop(square, 5))


@pytest.mark.parametrize("views", ["", "random", "Ten", "ten+", "ten+mirrors", "vertical", "ten vertical", "+ten"])
def test_wrong_names_list_the_choices(views):
    for function in (view_count, lambda views: crops(IMAGE, CROP, views)):
        with pytest.raises(ValueError, match=r"middle or ten, .*\+vertical, \+diagonal, \+rotations; got") as caught:
            function(views)
        assert repr(views) in str(caught.value)
