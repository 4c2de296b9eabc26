"""LocalResponseNorm: gradients against finite differences and values against plain loops, where it is strong enough."""

import numpy as np
import pytest
import reference
from inputs import assert_close, batch_last, normal, signed

from tinynet.backend import to_device, to_host
from tinynet.gradient_check import check_layer
from tinynet.layers import LocalResponseNorm

CASES = {  # input, and the arguments of LocalResponseNorm: more channels than the window and fewer, k 1 and 2
    "more channels than the window": ((2, 7, 2, 3), {"size": 5, "alpha": 0.5}),
    "window of 3, k 1": ((2, 5, 3, 2), {"size": 3, "alpha": 1.0, "k": 1.0}),
    "fewer channels than the window": ((2, 3, 2, 2), {"size": 5, "alpha": 0.3}),
    "an even window": ((2, 6, 2, 2), {"size": 4, "alpha": 0.5}),
    "averaged": ((2, 6, 2, 2), {"size": 5, "alpha": 1.0, "average": True}),
    "two groups": ((2, 8, 2, 2), {"size": 5, "alpha": 0.5, "groups": 2}),
    "a group per channel": ((2, 3, 2, 2), {"size": 3, "alpha": 0.5, "groups": 3}),
    "another power": ((2, 6, 2, 2), {"size": 3, "alpha": 0.5, "beta": 0.5, "k": 1.0}),
    "within a channel": ((2, 2, 4, 5), {"size": 3, "alpha": 0.5, "within_channel": True}),
    "within a channel, averaged": ((1, 2, 3, 6), {"size": 5, "alpha": 2.0, "within_channel": True, "average": True}),
    "within a channel, even": ((1, 2, 4, 3), {"size": 2, "alpha": 0.5, "within_channel": True}),
    "nothing to normalise": ((2, 3, 2, 2), {"alpha": 0.0}),
}


@pytest.mark.parametrize("order", [to_device, batch_last], ids=["C order", "batch-last"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradients(case, order):
    shape, options = case
    check_layer(LocalResponseNorm(**options), order(2 * signed(1, *shape)))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_values(case):
    shape, options = case
    layer = LocalResponseNorm(**options)
    x, dy = 2 * signed(1, *shape), normal(2, *shape)
    every = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0, **options}
    assert_close(layer.forward(to_device(x), train=True), reference.lrn(x, **every), what="y")
    assert_close(layer.backward(to_device(dy)), reference.lrn_backward(x, dy, **every), what="dx")


def test_groups_are_normalised_on_their_own():
    """What two devices compute, each with half of the channels (Krizhevsky et al. 2012, section 3.2)."""
    x = 3 * signed(1, 2, 12, 3, 3)
    whole = to_host(LocalResponseNorm(5, alpha=0.5, groups=2).forward(to_device(x))).copy()
    halves = [to_host(LocalResponseNorm(5, alpha=0.5).forward(to_device(half))) for half in np.split(x, 2, axis=1)]
    assert_close(whole, np.concatenate(halves, axis=1))
    ungrouped = to_host(LocalResponseNorm(5, alpha=0.5).forward(to_device(x)))
    differs = (abs(whole - ungrouped) > 1e-3).any(axis=(0, 2, 3))
    assert np.flatnonzero(differs).tolist() == [4, 5, 6, 7]  # two channels on each side of the edge


def test_the_average_divides_alpha_by_the_full_window():
    x = to_device(3 * signed(1, 2, 6, 4, 4))
    for within, values in ((False, 3), (True, 9)):
        average = LocalResponseNorm(3, alpha=0.9, average=True, within_channel=within)
        plain = LocalResponseNorm(3, alpha=0.9 / values, within_channel=within)
        assert_close(average.forward(x), to_host(plain.forward(x)))


def test_the_defaults_are_the_papers():
    """Section 3.3: k 2, n 5, alpha 1e-4, beta 0.75, and pixels up to 255 make it visible."""
    x = 100 * signed(1, 2, 9, 2, 2)
    assert_close(LocalResponseNorm().forward(to_device(x)), reference.lrn(x, 5, 1e-4, 0.75, 2.0))
