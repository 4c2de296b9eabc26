"""operations/pooling.py against plain loops, however the work is cut into tiles."""

import numpy as np
import pytest
import reference
from inputs import assert_close, normal, spread

from tinynet.backend import to_device, to_host, xp
from tinynet.operations import pooling
from tinynet.operations.window import Window

CASES = {  # N, C, H, W; kernel, stride, padding, ceil_mode
    "one pixel": ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0), False),
    "apart": ((2, 3, 6, 4), (2, 2), (2, 2), (0, 0), False),
    "overlapping": ((2, 3, 7, 9), (3, 3), (2, 2), (0, 0), False),
    "rows left over": ((2, 2, 8, 6), (3, 2), (2, 3), (0, 0), False),
    "rows left over, ceil": ((2, 2, 8, 6), (3, 2), (2, 3), (0, 0), True),
    "padded": ((2, 2, 5, 6), (3, 4), (1, 2), (1, 2), False),
    "padded, ceil": ((2, 2, 6, 7), (3, 2), (2, 2), (1, 1), True),
    "a last window on padding only": ((1, 3, 2, 2), (3, 3), (3, 3), (1, 1), True),
    "stride beyond the kernel": ((2, 2, 7, 8), (2, 1), (3, 3), (0, 0), False),
}


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    """shape, kernel, stride, padding as ((top, bottom), (left, right)), ceil_mode, and the engine's two windows."""
    shape, kernel, stride, padding, ceil_mode = request.param
    sides = tuple((side, side) for side in padding)
    windows = [
        Window(shape[2 + axis], kernel[axis], stride[axis], *sides[axis], ceil_mode) for axis in (0, 1)
    ]
    return shape, kernel, stride, sides, ceil_mode, windows


def to_memory(x):
    """(N, C, H, W) on the host as a batch-last array (C, H, W, N) on the device."""
    return xp.ascontiguousarray(to_device(x).transpose(1, 2, 3, 0))


def run_max_pool(x, dy, windows):
    """(y, dx), (N, C, H, W)."""
    y, dx = xp.full(to_memory(dy).shape, xp.nan), xp.full(to_memory(x).shape, xp.nan)
    pooling.max_pool_forward(to_memory(x), *windows, y)
    pooling.max_pool_backward(to_memory(x), y, to_memory(dy), *windows, dx)
    return y.transpose(3, 0, 1, 2), dx.transpose(3, 0, 1, 2)


def test_max_pool(case, cut):
    shape, *settings, windows = case
    x = spread(1, *shape)
    expected_y, winners = reference.max_pool(x, *settings)
    dy = normal(2, *expected_y.shape)
    y, dx = run_max_pool(x, dy, windows)
    assert_close(y, expected_y, what="y")
    assert_close(dx, reference.max_pool_backward(x, winners, dy), what="dx")


def test_max_pool_among_equals_the_first_in_row_order_takes_the_gradient(case, cut):
    shape, *settings, windows = case
    x = np.random.default_rng(3).integers(-2, 1, shape).astype(float)  # three values only: most windows have ties
    expected_y, winners = reference.max_pool(x, *settings)
    dy = normal(4, *expected_y.shape)
    y, dx = run_max_pool(x, dy, windows)
    assert_close(y, expected_y, what="y")
    assert_close(dx, reference.max_pool_backward(x, winners, dy), what="dx")


def test_the_winners_of_the_max_pool_cases_stand_at_every_offset():
    """Inputs whose winner is always at the same place would let a wrong gradient pass."""
    x = spread(1, 2, 3, 7, 9)
    _, winners = reference.max_pool(x, (3, 3), (2, 2), ((0, 0), (0, 0)))
    offsets = winners - 2 * np.stack(np.meshgrid(np.arange(3), np.arange(4), indexing="ij"), axis=-1)
    assert {tuple(offset) for offset in offsets.reshape(-1, 2).tolist()} == set(np.ndindex(3, 3))


@pytest.mark.parametrize("count_include_pad", [True, False])
def test_avg_pool(case, count_include_pad, cut):
    shape, *settings, windows = case
    x = normal(1, *shape)
    expected_y = reference.avg_pool(x, *settings, count_include_pad)
    dy = normal(2, *expected_y.shape)
    y, dx = xp.full(to_memory(dy).shape, xp.nan), xp.full(to_memory(x).shape, xp.nan)
    pooling.avg_pool_forward(to_memory(x), *windows, count_include_pad, y)
    pooling.avg_pool_backward(to_memory(dy), *windows, count_include_pad, dx)
    assert_close(y.transpose(3, 0, 1, 2), expected_y, what="y")
    expected_dx = reference.avg_pool_backward(shape, dy, *settings, count_include_pad)
    assert_close(dx.transpose(3, 0, 1, 2), expected_dx, what="dx")


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_gradient_that_is_not_finite_stays_where_the_maximum_was(value, cut):
    x = np.arange(12.0).reshape(1, 3, 4, 1)  # (C, H, W, N)
    windows = Window(3, 2, 1), Window(4, 3, 1)
    y, dx = xp.empty((1, 2, 2, 1)), xp.empty_like(to_device(x))
    dy = np.array([value, 1.0, 2.0, 3.0]).reshape(1, 2, 2, 1)
    pooling.max_pool_forward(to_device(x), *windows, y)
    pooling.max_pool_backward(to_device(x), y, to_device(dy), *windows, dx)
    expected = np.zeros(12)
    expected[[6, 7, 10, 11]] = dy.ravel()
    assert np.array_equal(to_host(dx).ravel(), expected, equal_nan=True)
