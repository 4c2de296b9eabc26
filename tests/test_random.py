"""Named streams: the same name gives the same numbers, another name others."""

import numpy as np
import pytest

from tinynet.random import stream


def draw(*names) -> list[float]:
    return stream(*names).random(4).tolist()


def test_a_name_is_a_sequence():
    assert draw(0, "dropout6", 3) == draw(0, "dropout6", 3)
    assert draw(np.int64(0), "dropout6", np.int32(3)) == draw(0, "dropout6", 3)


def test_every_part_of_a_name_counts():
    names = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a", "1"), (0, "a"), (0, "a", 1, 1), (0, "a1")]
    names += [(0, "augment", 3, 17), (0, "augment", 31, 7)]
    assert len({tuple(draw(*name)) for name in names}) == len(names)


def test_the_numbers_never_change():
    """A resumed run, and a published result, depend on them."""
    assert stream(0, "dropout6", 3).integers(0, 1000, 5).tolist() == EXPECTED


EXPECTED = [151, 281, 80, 969, 250]


def test_neighbouring_streams_are_uncorrelated():
    draws = np.array([stream(0, "augment", 0, image).random(64) for image in range(500)])
    assert np.abs(np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]) < 0.02
    assert draws.mean() == pytest.approx(0.5, abs=0.01)


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="integers or strings"):
        stream(0, 1.5)
