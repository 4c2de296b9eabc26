"""SoftmaxCrossEntropy against plain loops and finite differences, and far out where exponentials overflow."""

import math
import warnings

import numpy as np
import pytest
import reference
from inputs import assert_close, batch_last, memory_orders, normal

import tinynet
from tinynet import SoftmaxCrossEntropy
from tinynet.backend import to_device, to_host
from tinynet.gradient_check import check_network
from tinynet.layers import Flatten

SHAPES = [(1, 2), (1, 1), (4, 3), (3, 7)]


def labels_for(shape) -> np.ndarray:
    return np.random.default_rng(3).integers(0, shape[1], shape[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_values(shape):
    loss, logits, labels = SoftmaxCrossEntropy(), 3 * normal(1, *shape), labels_for(shape)
    value = loss.forward(to_device(logits), labels)
    assert type(value) is float
    assert value == pytest.approx(reference.cross_entropy(logits, labels), rel=1e-12, abs=1e-15)
    assert_close(loss.backward(), reference.cross_entropy_backward(logits, labels))


@pytest.mark.parametrize("order", [to_device, batch_last], ids=["C order", "batch-last"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradient(shape, order):
    net = tinynet.Sequential([("flatten", Flatten())], needs_dx=True)  # hands the logits through
    check_network(net, order(3 * normal(1, *shape)), labels_for(shape))


def test_any_memory_order_and_label_dtype():
    logits, labels, loss = normal(1, 4, 3), labels_for((4, 3)), SoftmaxCrossEntropy()
    expected = loss.forward(to_device(logits), labels)
    for order, given in memory_orders(logits):
        for dtype in ("int64", "int32", "uint8"):
            assert loss.forward(given, labels.astype(dtype)) == expected, (order, dtype)
            assert (to_host(given) == logits).all(), order
    assert loss.forward(to_device(logits), to_device(labels)) == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_of_ten_thousand(dtype):
    logits = np.array([[1e4, 0, -1e4], [1e4, 1e4, -1e4], [-1e4, -1e4, -1e4]], dtype)
    loss = SoftmaxCrossEntropy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        right = loss.forward(to_device(logits), np.array([0, 0, 0]))
        gradient = to_host(loss.backward())
        wrong = loss.forward(to_device(logits), np.array([2, 2, 2]))
    assert right == pytest.approx((0 + math.log(2) + math.log(3)) / 3, rel=1e-6)
    assert wrong == pytest.approx((2e4 + 2e4 + math.log(2) + math.log(3)) / 3, rel=1e-6)
    assert gradient.dtype == dtype
    expected = np.array([[0, 0, 0], [-1 / 2, 1 / 2, 0], [-2 / 3, 1 / 3, 1 / 3]]) / 3
    assert_close(gradient, expected, relative=1e-6)


def test_the_gradient_of_each_image_sums_to_zero_and_shrinks_with_the_batch():
    logits, labels, loss = normal(1, 4, 5), labels_for((4, 5)), SoftmaxCrossEntropy()
    loss.forward(to_device(logits), labels)
    gradient = to_host(loss.backward()).copy()
    assert abs(gradient.sum(axis=1)).max() < 1e-15
    loss.forward(to_device(np.tile(logits, (2, 1))), np.tile(labels, 2))
    assert_close(to_host(loss.backward())[:4], gradient / 2)


def test_a_loss_that_is_not_a_number_shows():
    logits = normal(1, 2, 3)
    logits[1, 1] = np.nan
    assert math.isnan(SoftmaxCrossEntropy().forward(to_device(logits), np.array([0, 0])))


def test_backward_needs_a_forward_that_went_well():
    loss, logits = SoftmaxCrossEntropy(), to_device(normal(1, 2, 3))
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        loss.backward()
    loss.forward(logits, np.array([0, 1]))
    with pytest.raises(ValueError, match="labels"):
        loss.forward(logits, np.array([0, 3]))
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        loss.backward()


def test_an_image_that_is_right_by_far_keeps_its_loss_and_gradient():
    """The loss log(1 + rest) and the gradient -rest / (1 + rest), far below the distance of 1 to its neighbours."""
    logits, loss = np.array([[0, -20, -23], [-30, 3, -27], [-40, -41, 40]], "float32"), SoftmaxCrossEntropy()
    for image, label in enumerate((0, 1, 2)):
        value = loss.forward(to_device(logits[image : image + 1]), np.array([label]))
        gradient = to_host(loss.backward())[0]
        others = np.delete(logits[image].astype("float64") - logits[image, label], label)
        rest = np.exp(others).sum()
        assert value == pytest.approx(math.log1p(rest), rel=1e-5)
        assert gradient[label] == pytest.approx(-rest / (1 + rest), rel=1e-5)
        assert np.delete(gradient, label) == pytest.approx(np.exp(others) / (1 + rest), rel=1e-5)


def test_repr_is_one_line():
    assert repr(SoftmaxCrossEntropy()) == "SoftmaxCrossEntropy()"
