"""Linear and Flatten: gradients against finite differences, values against plain loops."""

import pytest
import reference
from inputs import assert_close, batch_last, normal

from tinynet.backend import to_device, to_host
from tinynet.gradient_check import check_layer
from tinynet.layers import Flatten, Linear

CASES = [(1, 1, 1), (1, 5, 3), (4, 3, 5), (3, 4, 4)]  # batch, in, out


def make(inputs: int, outputs: int, bias: bool = True) -> Linear:
    """A layer with a bias that shows."""
    layer = Linear(inputs, outputs, bias).astype("float64")
    if bias:
        layer.params["bias"][...] = to_device(normal(9, outputs))
    return layer


@pytest.mark.parametrize("order", [to_device, batch_last], ids=["C order", "batch-last"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_linear_gradients(case, bias, order):
    batch, inputs, outputs = case
    check_layer(make(inputs, outputs, bias), order(normal(1, batch, inputs)))


@pytest.mark.parametrize("case", CASES)
def test_linear_values(case):
    batch, inputs, outputs = case
    layer, x, dy = make(inputs, outputs), normal(1, batch, inputs), normal(2, batch, outputs)
    weight, bias = (to_host(layer.params[key]) for key in ("weight", "bias"))
    assert_close(layer.forward(to_device(x), train=True), reference.linear(x, weight, bias), what="y")
    dx, dweight, dbias = reference.linear_backward(x, weight, dy)
    assert_close(layer.backward(to_device(dy)), dx, what="dx")
    assert_close(layer.grads["weight"], dweight, what="dweight")
    assert_close(layer.grads["bias"], dbias, what="dbias")


def test_linear_multiply_adds():
    assert Linear(7, 3).multiply_adds((7,)) == 21
    assert Flatten().multiply_adds((2, 3, 4)) == 0


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 2, 1, 3), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("order", [to_device, batch_last], ids=["C order", "batch-last"])
def test_flatten_keeps_the_order_of_channels_rows_columns(shape, order):
    x = normal(1, *shape)
    layer = Flatten()
    flat = x.reshape(len(x), -1)  # (N, C*H*W)
    assert (to_host(layer.forward(order(x), train=True)) == flat).all()
    assert (to_host(layer.backward(order(flat))) == x).all()
    check_layer(layer, order(x))
