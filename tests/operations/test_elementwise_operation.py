"""operations/elementwise.py against plain loops, however the work is cut into tiles."""

import numpy as np
import pytest
import reference
from inputs import assert_close, memory_orders, normal, signed

from tinynet.backend import to_device, to_host, xp
from tinynet.operations import elementwise

SHAPES = [(1, 1), (5, 3), (3, 2, 5, 4)]


def empty(x):
    return xp.full(x.shape, xp.nan)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("function", ["relu", "tanh", "sigmoid"])
def test_activations(function, shape, cut):
    x, dy = 3 * signed(1, *shape), normal(2, *shape)
    y, dx = empty(x), empty(x)
    getattr(elementwise, f"{function}_forward")(to_device(x), y)
    kept = y if function == "relu" else to_device(x)
    getattr(elementwise, f"{function}_backward")(kept, to_device(dy), dx)
    assert_close(y, getattr(reference, function)(x), what="y")
    assert_close(dx, getattr(reference, f"{function}_backward")(x, dy), what="dx")


@pytest.mark.parametrize("shape", SHAPES)
def test_relu_in_place(shape, cut):
    x, dy = signed(1, *shape), normal(2, *shape)
    y, dx = xp.array(to_device(x)), xp.array(to_device(dy))
    elementwise.relu_forward(y, y)
    elementwise.relu_backward(y, dx, dx)
    assert_close(y, reference.relu(x), what="y")
    assert_close(dx, reference.relu_backward(x, dy), what="dx")


def test_relu_at_zero_passes_no_gradient():
    x = to_device(np.array([[0.0, -0.0, 1e-300, -1e-300]]))
    y, dx = empty(x), empty(x)
    elementwise.relu_forward(x, y)
    elementwise.relu_backward(y, xp.ones_like(x), dx)
    assert to_host(dx).tolist() == [[0, 0, 1, 0]]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_masked_scale(shape, scale, cut):
    x, mask = normal(1, *shape), np.random.default_rng(2).random(shape) < 0.5
    y = empty(x)
    elementwise.masked_scale(to_device(x), to_device(mask), scale, y)
    assert_close(y, reference.dropout(x, mask, scale))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_a_mask_excludes_is_zero_whatever_stands_there(dtype, cut):
    """Infinity times 0 is not a number."""
    x = np.array([[np.inf, -np.inf, np.nan, 1.0], [np.inf, -np.inf, np.nan, -2.0]], dtype)
    kept = np.array([[False] * 4, [True] * 4])
    y = to_device(np.where(kept, 1, -1).astype(dtype))
    for result in (empty(x).astype(dtype), empty(x).astype(dtype)):
        elementwise.masked_scale(to_device(x), to_device(kept), 2.0, result)
        assert np.array_equal(to_host(result), np.where(kept, 2 * x, 0), equal_nan=True)
        elementwise.relu_backward(y, to_device(x), result)
        assert np.array_equal(to_host(result), np.where(kept, x, 0), equal_nan=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_scaled(shape, cut):
    x = normal(1, *shape)
    y = empty(x)
    elementwise.scaled(to_device(x), 0.25, y)
    assert_close(y, 0.25 * x)


@pytest.mark.parametrize("shape", SHAPES)
def test_softmax(shape, cut):
    """Batch-last: the classes are the first axis, the batch is the last; the reference has (N, classes, ...)."""
    x, dy = normal(1, *shape), normal(2, *shape)
    y, dx = empty(x), empty(x)
    elementwise.softmax_forward(to_device(x), y)
    elementwise.softmax_backward(y, to_device(dy), dx)
    batch_first = [np.moveaxis(array, -1, 0) for array in (x, dy, to_host(y), to_host(dx))]
    assert_close(batch_first[2], reference.softmax(batch_first[0]), what="y")
    assert_close(batch_first[3], reference.softmax_backward(*batch_first[:2]), what="dx")


def test_copy_takes_any_memory_order(cut):
    x = normal(1, 3, 4, 2, 5)
    for order, array in memory_orders(x):
        out = empty(x)
        elementwise.copy(array, out)
        assert (to_host(out) == x).all(), order
