"""ReLU, Tanh, Sigmoid and Softmax: gradients against finite differences, values against plain loops, and far out."""

import warnings

import numpy as np
import pytest
import reference
from inputs import assert_close, batch_last, normal, signed

from tinynet.backend import to_device, to_host
from tinynet.gradient_check import check_layer
from tinynet.layers import ReLU, Sigmoid, Softmax, Tanh

LAYERS = {"relu": ReLU, "tanh": Tanh, "sigmoid": Sigmoid, "softmax": Softmax}
SHAPES = [(1, 1), (3, 5), (2, 3, 4, 2), (2, 4, 3)]


@pytest.mark.parametrize("order", [to_device, batch_last], ids=["C order", "batch-last"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name, shape, order):
    check_layer(LAYERS[name](), order(2 * signed(1, *shape)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LAYERS)
def test_values(name, shape):
    x, dy, layer = 2 * signed(1, *shape), normal(2, *shape), LAYERS[name]()
    assert_close(layer.forward(to_device(x), train=True), getattr(reference, name)(x), what="y")
    assert_close(layer.backward(to_device(dy)), getattr(reference, f"{name}_backward")(x, dy), what="dx")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_values_far_out_neither_overflow_nor_warn(name, dtype):
    x = np.array([[-1e4, 0, 1e4], [1e4, 1e4, 1e4], [-1e4, -1e4, -1e30]], dtype)
    expected = {
        "relu": np.maximum(x, 0),
        "tanh": np.sign(x),
        "sigmoid": (np.sign(x) + 1) / 2,
        "softmax": [[0, 0, 1], [1 / 3] * 3, [0.5, 0.5, 0]],
    }
    layer = LAYERS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = to_host(layer.forward(to_device(x), train=True))
        dx = to_host(layer.backward(to_device(np.ones_like(x))))
    assert_close(y, np.asarray(expected[name], dtype), relative=1e-6)
    assert np.isfinite(dx).all()


@pytest.mark.parametrize("name", LAYERS)
def test_nan_is_passed_on(name):
    """A broken input must not look healthy behind an activation."""
    x = normal(1, 2, 3)
    x[1, 1] = np.nan
    assert np.isnan(to_host(LAYERS[name]().forward(to_device(x)))[1, 1])


def test_relu_in_place_takes_the_place_of_x_and_dy():
    x, dy = signed(1, 2, 3, 4, 5), normal(2, 2, 3, 4, 5)
    layer, given_x, given_dy = ReLU(inplace=True), batch_last(x), batch_last(dy)
    y = layer.forward(given_x, train=True)
    dx = layer.backward(given_dy)
    assert_close(y, reference.relu(x))
    assert_close(dx, reference.relu_backward(x, dy))
    assert (given_x == y).all()
    assert (given_dy == dx).all()
    check_layer(layer, batch_last(x))


def test_softmax_sums_to_one():
    y = to_host(Softmax().forward(to_device(5 * normal(1, 3, 6, 2, 2))))
    assert_close(y.sum(axis=1), np.ones((3, 2, 2)))
