"""operations/normalization.py against plain loops, where the normalisation is strong enough to be seen."""

import itertools

import pytest
import reference
from inputs import assert_close, normal, signed

from tinynet.backend import to_device, xp
from tinynet.operations.normalization import lrn_backward, lrn_forward

ACROSS = [  # shape, size, groups: more channels than the window and fewer, even sizes, one pixel, one channel
    ((2, 7, 3, 2), 5, 1),
    ((2, 8, 2, 3), 5, 2),
    ((1, 3, 2, 2), 5, 1),
    ((2, 6, 1, 2), 3, 3),
    ((2, 7, 2, 1), 4, 1),
    ((2, 6, 2, 2), 2, 2),
    ((3, 1, 2, 2), 3, 1),
    ((1, 4, 1, 1), 1, 1),
    ((2, 4, 3, 1), 9, 2),
]
WITHIN = [  # shape, size
    ((2, 3, 5, 4), 3),
    ((2, 2, 4, 6), 5),
    ((1, 2, 2, 3), 5),
    ((2, 2, 5, 4), 2),
    ((2, 2, 5, 4), 4),
    ((1, 1, 1, 1), 3),
]
CASES = [(*case, False) for case in ACROSS] + [(*case, 1, True) for case in WITHIN]
CONSTANTS = [(0.1, 0.75, 2.0), (1.0, 0.75, 1.0), (0.5, 0.5, 1.0), (1.0, 1.3, 0.5)]  # alpha, beta, k


@pytest.mark.parametrize(("shape", "size", "groups", "within_channel"), CASES)
def test_lrn(shape, size, groups, within_channel, cut):
    x, dy = 3 * signed(1, *shape), normal(2, *shape)
    for alpha, beta, k in CONSTANTS:
        options = {"groups": groups, "within_channel": within_channel}
        memory_x, memory_dy = (
            xp.ascontiguousarray(to_device(array).transpose(1, 2, 3, 0)) for array in (x, dy)  # (C, H, W, N)
        )
        y, dx = (xp.full(memory_x.shape, xp.nan) for _ in range(2))
        lrn_forward(memory_x, size, alpha, beta, k, groups, within_channel, y)
        lrn_backward(memory_x, memory_dy, size, alpha, beta, k, groups, within_channel, dx)
        assert_close(y.transpose(3, 0, 1, 2), reference.lrn(x, size, alpha, beta, k, **options), what="y")
        expected_dx = reference.lrn_backward(x, dy, size, alpha, beta, k, **options)
        assert_close(dx.transpose(3, 0, 1, 2), expected_dx, what="dx")


def test_every_setting_of_the_cases_is_visible():
    """At the paper's alpha and inputs near 1 nothing is normalised at all, and any formula passes."""
    x = 3 * signed(1, 2, 8, 5, 4)
    results = [
        reference.lrn(x, size, alpha, beta, k, groups, average, within)
        for (alpha, beta, k), size, groups, average, within in itertools.product(
            CONSTANTS, (2, 3, 4, 5), (1, 2), (False, True), (False, True)
        )
        if not (within and groups == 2)
    ]
    for a, b in itertools.combinations(results, 2):
        assert abs(a - b).max() > 1e-2
