"""Conv2d: gradients against finite differences, values against plain loops, and its kinds of padding."""

import math

import pytest
import reference
from inputs import assert_close, batch_last, normal

from tinynet.backend import to_device, to_host
from tinynet.gradient_check import check_layer
from tinynet.layers import Conv2d

# both where products are added to their output and where NumPy has no OpenBLAS
pytestmark = pytest.mark.usefixtures("any_blas")

CASES = {  # input, and the arguments of Conv2d
    "one pixel": ((1, 1, 1, 1), (1, 1, 1)),
    "height is not width": ((2, 2, 5, 7), (2, 3, (3, 2))),
    "rows left over": ((2, 2, 8, 9), (2, 3, (3, 2), (2, 3))),
    "padded": ((2, 2, 4, 5), (2, 2, 3, 1, 1)),
    "padded by a pair": ((2, 2, 4, 5), (2, 2, (2, 3), (1, 2), (0, 2))),
    "four paddings": ((2, 2, 4, 5), (2, 2, (2, 3), 2, ((1, 0), (2, 1)))),
    "same": ((2, 2, 5, 6), (2, 2, (4, 3), 1, "same")),
    "same, stride": ((2, 2, 5, 6), (2, 2, (2, 3), (2, 4), "same")),
    "valid": ((2, 2, 5, 6), (2, 2, (2, 3), (2, 4), "valid")),
    "groups": ((2, 4, 5, 4), (4, 6, (3, 2), 1, 1, 2)),
    "groups, batch 1": ((1, 4, 6, 5), (4, 2, (3, 2), 2, 1, 2)),
    "a group per channel": ((2, 3, 4, 4), (3, 6, 3, 1, 1, 3)),
    "no bias": ((2, 2, 4, 4), (2, 3, 2, 1, 0, 1, False)),
    "stride beyond the kernel": ((2, 2, 7, 8), (2, 2, (2, 1), (3, 4), (0, 1))),
}


def make(arguments) -> Conv2d:
    """A layer with a bias that shows."""
    layer = Conv2d(*arguments).astype("float64")
    if "bias" in layer.params:
        layer.params["bias"][...] = to_device(normal(9, layer.out_channels))
    return layer


@pytest.mark.parametrize("order", [to_device, batch_last], ids=["C order", "batch-last"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradients(case, order):
    shape, arguments = case
    check_layer(make(arguments), order(normal(1, *shape)))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_values(case):
    shape, arguments = case
    layer, x = make(arguments), normal(1, *shape)
    padding = layer.padding
    if padding == "same":  # ceil(size / stride) outputs, an odd pixel at the end
        totals = [
            max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
            for size, stride, kernel in zip(shape[2:], layer.stride, layer.kernel_size, strict=True)
        ]
        padding = tuple((total // 2, (total + 1) // 2) for total in totals)
    elif padding == "valid":
        padding = ((0, 0), (0, 0))
    elif isinstance(padding, int):
        padding = ((padding, padding),) * 2
    elif isinstance(padding[0], int):
        padding = tuple((side, side) for side in padding)
    weight = to_host(layer.params["weight"])
    bias = to_host(layer.params["bias"]) if "bias" in layer.params else [0] * len(weight)
    y = to_host(layer.forward(to_device(x), train=True)).copy()
    assert_close(y, reference.conv2d(x, weight, bias, layer.stride, padding, layer.groups), what="y")
    dy = normal(2, *y.shape)
    dx, dweight, dbias = reference.conv2d_backward(x, weight, dy, layer.stride, padding, layer.groups)
    assert_close(layer.backward(to_device(dy)), dx, what="dx")
    assert_close(layer.grads["weight"], dweight, what="dweight")
    if "bias" in layer.params:
        assert_close(layer.grads["bias"], dbias, what="dbias")


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_same_keeps_the_size_divided_by_the_stride(kernel, stride):
    for size in range(1, 9):
        layer = Conv2d(1, 1, kernel, stride, padding="same")
        assert layer.output_shape((1, size, 9 - size)) == (1, math.ceil(size / stride), math.ceil((9 - size) / stride))


def test_an_odd_pixel_of_same_goes_to_the_end():
    same, sides = Conv2d(1, 1, 4, padding="same"), Conv2d(1, 1, 4, padding=((1, 2), (1, 2)))
    sides.params["weight"][...] = same.params["weight"]
    x = to_device(normal(1, 1, 1, 5, 6))
    assert (same.forward(x) == sides.forward(x)).all()


def test_a_number_is_a_pair_is_four_sides():
    x = to_device(normal(1, 2, 2, 5, 4))
    outputs = []
    for padding in (2, (2, 2), ((2, 2), (2, 2))):
        outputs.append(to_host(Conv2d(2, 3, 3, padding=padding).forward(x)).copy())
    assert (outputs[0] == outputs[1]).all()
    assert (outputs[0] == outputs[2]).all()


def test_weights_at_the_start():
    """He et al. 2015, section 2.2: a standard deviation of sqrt(2 / fan-in), biases of 0."""
    layer = Conv2d(64, 128, 3)
    weight = to_host(layer.params["weight"])
    assert abs(weight.std() / math.sqrt(2 / (64 * 9)) - 1) < 0.01
    assert abs(weight.mean()) < 1e-3
    assert not to_host(layer.params["bias"]).any()


def test_multiply_adds():
    assert Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=2).multiply_adds((4, 7, 6)) == 6 * 4 * 4 * 2 * 3 * 2
