"""Several runs side by side: figures against ones worked out by hand, and pictures that show what they are given."""

import math

import numpy as np
import pytest
from PIL import Image

from tinynet.backend import to_device
from tinynet.inspection import comparisons
from tinynet.inspection.comparisons import (
    Line,
    Spread,
    chance_of_difference,
    colourfulness,
    difference,
    epochs_to,
    smoothness,
)


def test_spread_and_difference():
    base, other = Spread((10.0, 12.0)), Spread((14.0, 14.0))
    assert (base.mean, base.deviation) == (11.0, pytest.approx(math.sqrt(2)))
    assert str(base) == "11.0 ± 1.4" and str(Spread((3.25,))) == "3.2"
    assert difference(other, base) == "+3.0"
    assert difference(Spread((12.0, 12.0)), base) == "+1.0, within the spread"
    assert difference(Spread((9.0,)), base) == "-2.0, one seed"
    # both spread: the root of 2 + 2 is 2, more than 1.5 and less than 2.5
    assert difference(Spread((11.5, 13.5)), base) == "+1.5, within the spread"
    assert difference(Spread((12.5, 14.5)), base) == "+2.5"


def test_epochs_to_a_level():
    assert epochs_to([60.0, 40.0, 20.0], 25.0) == pytest.approx(2.75)
    assert epochs_to([60.0, 25.0, 20.0], 25.0) == 2.0
    assert epochs_to([20.0, 10.0], 25.0) == 1.0
    assert epochs_to([60.0, 30.0, 26.0], 25.0) is None
    assert epochs_to([60.0, 24.0, 30.0, 20.0], 25.0) == pytest.approx(1 + 35 / 36)  # the first time
    assert epochs_to([], 25.0) is None


def test_how_coloured_kernels_are():
    pattern = np.random.default_rng(0).standard_normal((11, 11))
    pattern -= pattern.mean()
    gray = np.stack([pattern] * 3)
    opponent = np.stack([pattern, -pattern, 0 * pattern])
    red = np.stack([pattern, 0 * pattern, 0 * pattern])
    patch = np.stack([np.ones((11, 11)), *np.zeros((2, 11, 11))])
    kernels = np.stack([gray, opponent, red, patch, np.zeros_like(gray)])
    assert colourfulness(to_device(kernels)) == pytest.approx([0, 1, 2 / 3, 1, 0], abs=1e-12)
    scaled = to_device(5 - 3 * kernels[:3])  # neither scale nor mean counts
    assert colourfulness(scaled) == pytest.approx([0, 1, 2 / 3], abs=1e-12)
    noise = np.random.default_rng(1).standard_normal((500, 3, 11, 11))
    assert colourfulness(to_device(noise)).mean() == pytest.approx(2 / 3, abs=0.01)
    with pytest.raises(ValueError, match="3 colours"):
        colourfulness(to_device(np.zeros((4, 1, 5, 5))))


def test_kernels_that_have_formed_are_smooth():
    """Of waves of w pixels to the side, neighbours across it correlate by cos(2 pi / w), those along it by 1."""
    across = np.cos(2 * np.pi * np.arange(48) / 12) * np.ones((48, 1))
    board = (-1.0) ** np.add.outer(np.arange(11), np.arange(11))
    expected = (np.cos(2 * np.pi / 12) + 1) / 2
    assert smoothness(to_device(np.stack([[across] * 3, [across.T, across, 0 * across]]))) == pytest.approx(
        [expected, expected], abs=0.01
    )
    assert smoothness(to_device(np.stack([[board] * 3]))) == pytest.approx([-1], abs=0.02)
    noise = smoothness(to_device(np.random.default_rng(0).standard_normal((500, 3, 11, 11))))
    assert abs(noise).max() < 0.25 and abs(noise.mean()) < 0.02
    assert smoothness(to_device(np.ones((1, 3, 5, 5)))) == 0
    with pytest.raises(ValueError, match="3 colours"):
        smoothness(to_device(np.zeros((4, 1, 5, 5))))


def test_the_chance_of_a_difference():
    one, other = np.arange(4.0), np.arange(10.0, 14.0)
    # of the 70 ways to draw 4 of these 8, 2 have means as far apart
    assert chance_of_difference(one, other) == pytest.approx(2 / 70, abs=0.006)
    assert chance_of_difference(one, other) == chance_of_difference(one, other)
    assert chance_of_difference(one, one) == chance_of_difference(one, one[:0]) == 1.0
    alike = [np.random.default_rng(seed).standard_normal((2, 20)) for seed in range(60)]
    assert 0.35 < np.mean([chance_of_difference(*pair, draws=1000) for pair in alike]) < 0.65  # any p is as likely


def picture(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def near(image: np.ndarray, colour, within: int = 30) -> np.ndarray:
    return np.abs(image - colour).sum(axis=2) < within


BLUE, ORANGE = (31, 119, 180), (255, 127, 14)


def test_curves(tmp_path):
    pytest.importorskip("matplotlib")
    lines = [Line("fast", [60.0, 20.0, 10.0]), Line("slow", [70.0, 65.0, 60.0], 1, dashed=True), Line("gone", [])]
    comparisons.curves(tmp_path / "curves.png", "a title " * 30, lines, "error (%)", level=(25.0, "25 %"))
    image = picture(tmp_path / "curves.png")
    fast, slow = (np.argwhere(near(image, colour)) for colour in (BLUE, ORANGE))
    assert len(fast) > 300 and len(slow) > 200
    assert np.median(fast[:, 0]) > np.median(slow[:, 0])  # lower on the page
    comparisons.curves(tmp_path / "none.png", "nothing yet", [Line("gone", [])], "error (%)")
    assert (tmp_path / "none.png").stat().st_size > 1000


def test_points_stand_where_the_values_are(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [(name, [("error", Spread(values))]) for name, values in (("base", (10.0, 12.0)), ("worse", (30.0, 31.0)))]
    comparisons.points(tmp_path / "points.png", "title", rows, "error (%)")
    marks = np.argwhere(near(picture(tmp_path / "points.png"), BLUE))
    upper, lower = marks[marks[:, 0] < 80], marks[marks[:, 0] > 130]
    assert len(upper) and len(lower)
    assert np.median(lower[:, 1]) - np.median(upper[:, 1]) > 200


def test_kernels_of_towers_by_how_coloured_they_are(tmp_path):
    pytest.importorskip("matplotlib")
    weight = np.zeros((4, 3, 5, 5), np.float32)
    weight[:, :, 2, 2] = 0.5
    weight[1, :, :2] = np.array([1, -1, -1])[:, None, None]  # tower 0: gray, then coloured
    weight[2, :, :2] = np.array([-1, 1, -1])[:, None, None]  # tower 1: the other way round, and drawn the same way
    comparisons.tower_kernels(tmp_path / "kernels.png", "title", [("seed 0", to_device(weight))], columns=2)
    image = picture(tmp_path / "kernels.png")
    half = image.shape[1] // 2
    red, green = (np.argwhere(near(image, colour, 12)) for colour in ((255, 0, 0), (0, 255, 0)))
    assert len(red) and len(green)
    assert half / 2 < red[:, 1].min() and red[:, 1].max() < half  # the right kernel of the left tower
    assert half + half / 2 < green[:, 1].min()
