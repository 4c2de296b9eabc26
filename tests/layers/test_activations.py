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


TAILS = {  # of x in float64: the value and the slope, with exp(-2 |x|) and exp(-|x|) written so that nothing is lost
    "tanh": (np.tanh, lambda x: 4 * np.exp(-2 * abs(x)) / (1 + np.exp(-2 * abs(x))) ** 2),
    "sigmoid": (
        lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-abs(x))),
        lambda x: np.exp(-abs(x)) / (1 + np.exp(-abs(x))) ** 2,
    ),
}


@pytest.mark.parametrize("name", TAILS)
def test_tails_keep_their_digits(name):
    """Values and slopes of float32, to a few units in the last place, down to where float32 itself ends."""
    end = 43 if name == "tanh" else 87
    x = np.concatenate([np.linspace(-end, end, 2001), np.geomspace(1e-30, end, 500), [0.0]]).astype("float32")[None]
    value, slope = TAILS[name]
    layer = LAYERS[name]()
    y = to_host(layer.forward(to_device(x), train=True)).astype("float64")
    dx = to_host(layer.backward(to_device(np.ones_like(x)))).astype("float64")
    exact = x.astype("float64")
    assert np.all(abs(y - value(exact)) <= 1e-6 * abs(value(exact)))
    assert np.all(abs(dx - slope(exact)) <= 1e-6 * slope(exact))


def test_softmax_of_one_that_is_far_ahead_keeps_its_slope():
    logits = np.array([[0, -20, -40], [-30, 0, -25], [5, 5, 5]], "float32")
    layer = Softmax()
    y = to_host(layer.forward(to_device(logits), train=True))
    for best in range(3):
        dy = np.zeros((3, 3), "float32")
        dy[:, best] = 1
        dx = to_host(layer.backward(to_device(dy)))
        expected = reference.softmax_backward(logits.astype("float64"), dy.astype("float64"))
        exact = reference.softmax(logits.astype("float64"))
        for image in range(3):  # the slope of a class by its own logit is y times the probability of all others
            others = sum(exact[image, other] for other in range(3) if other != best)
            expected[image, best] = exact[image, best] * others
        assert_close(y, exact, relative=1e-6)
        assert np.allclose(dx, expected, rtol=5e-6, atol=0)


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
