"""MaxPool2d and AvgPool2d: gradients against finite differences, values against plain loops."""

import pytest
import reference
from inputs import assert_close, batch_last, normal, spread

from tinynet.backend import to_device
from tinynet.gradient_check import check_layer
from tinynet.layers import AvgPool2d, MaxPool2d

CASES = {  # input; kernel_size, stride, padding, ceil_mode
    "one pixel": ((1, 1, 1, 1), (1,)),
    "apart": ((2, 2, 4, 6), (2,)),
    "overlapping, as in the paper": ((2, 2, 7, 5), (3, 2)),
    "kh is not kw, rows left over": ((2, 2, 6, 8), ((3, 2), (2, 3))),
    "rows left over, ceil": ((2, 2, 6, 8), ((3, 2), (2, 3), 0, True)),
    "padded": ((2, 2, 5, 4), (3, 1, 1)),
    "padded on one side": ((2, 2, 5, 6), (3, 2, ((0, 1), (1, 0)))),
    "padded, ceil": ((2, 2, 6, 5), ((3, 4), 2, (1, 2), True)),
    "larger than the input, ceil": ((2, 2, 2, 3), ((3, 4), 2, (0, 1), True)),
    "stride beyond the kernel": ((1, 2, 7, 8), (2, 3)),
}


def settings(layer):
    """The arguments of the reference."""
    return layer.kernel_size, layer.stride, tuple(layer._sides()), layer.ceil_mode


@pytest.mark.parametrize("order", [to_device, batch_last], ids=["C order", "batch-last"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradients(case, order):
    shape, arguments = case
    check_layer(MaxPool2d(*arguments), order(spread(1, *shape)))
    check_layer(AvgPool2d(*arguments), order(normal(1, *shape)))
    check_layer(AvgPool2d(*arguments, count_include_pad=False), order(normal(1, *shape)))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_values(case):
    shape, arguments = case
    x, layer = spread(1, *shape), MaxPool2d(*arguments)
    y, winners = reference.max_pool(x, *settings(layer))
    assert_close(layer.forward(to_device(x), train=True), y, what="y")
    dy = normal(2, *y.shape)
    assert_close(layer.backward(to_device(dy)), reference.max_pool_backward(x, winners, dy), what="dx")
    for count_include_pad in (True, False):
        layer = AvgPool2d(*arguments, count_include_pad=count_include_pad)
        y = reference.avg_pool(x, *settings(layer), count_include_pad)
        assert_close(layer.forward(to_device(x), train=True), y, what="y")
        dx = reference.avg_pool_backward(shape, dy, *settings(layer), count_include_pad)
        assert_close(layer.backward(to_device(dy)), dx, what="dx")


def test_the_stride_is_the_kernel_size_unless_told():
    assert MaxPool2d((3, 2)).stride == (3, 2)
    assert MaxPool2d(3).output_shape((4, 9, 9)) == (4, 3, 3)
    assert AvgPool2d(3, stride=2).output_shape((4, 9, 9)) == (4, 4, 4)


def test_padding_never_wins():
    x = to_device(-1 - abs(normal(1, 2, 2, 4, 4)))
    assert (MaxPool2d(3, stride=2, padding=1).forward(x) < -1).all()
