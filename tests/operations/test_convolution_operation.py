"""operations/convolution.py and operations/linear.py against plain loops, however the work is cut into tiles."""

import pytest
import reference
from inputs import assert_close, normal

from tinynet.backend import on_gpu, to_device, xp
from tinynet.operations import bands, shifted
from tinynet.operations.convolution import (
    bias_gradient,
    conv2d_backward_input,
    conv2d_backward_weight,
    conv2d_forward,
    other_way,
)
from tinynet.operations.linear import linear_backward_input, linear_backward_weight, linear_forward
from tinynet.operations.window import Geometry, Window

CASES = {  # N, C, H, W; K, kernel, stride, padding ((top, bottom), (left, right)), groups
    "one pixel": ((1, 1, 1, 1), 1, (1, 1), (1, 1), ((0, 0), (0, 0)), 1),
    "1 x 1 kernel": ((2, 3, 4, 5), 4, (1, 1), (1, 1), ((0, 0), (0, 0)), 1),
    "padded": ((3, 2, 5, 4), 3, (3, 3), (1, 1), ((1, 1), (1, 1)), 1),
    "rows left over": ((2, 2, 8, 9), 3, (3, 2), (2, 3), ((0, 0), (0, 0)), 1),
    "groups": ((2, 4, 6, 5), 6, (3, 2), (1, 1), ((1, 1), (0, 0)), 2),
    "one channel a group": ((2, 3, 5, 5), 6, (2, 3), (2, 1), ((1, 0), (1, 2)), 3),
    "uneven padding": ((2, 2, 4, 6), 2, (3, 4), (2, 2), ((2, 1), (0, 3)), 1),
    "stride beyond the kernel": ((2, 2, 7, 8), 2, (2, 1), (3, 4), ((0, 0), (1, 1)), 1),
    "mostly padding": ((1, 2, 2, 1), 2, (4, 5), (1, 1), ((2, 1), (2, 2)), 1),
    "as conv1": ((2, 3, 23, 23), 4, (11, 11), (4, 4), ((0, 0), (0, 0)), 1),
}


def to_memory(x):
    """(N, ...) on the host as a batch-last array (..., N) on the device."""
    return xp.ascontiguousarray(to_device(x).transpose(*range(1, x.ndim), 0))


def from_memory(x):
    """A batch-last array (..., N) as (N, ...)."""
    return x.transpose(x.ndim - 1, *range(x.ndim - 1))


@pytest.fixture(params=["columns", "shifted", "bands"])
def way(request, monkeypatch):
    """Which of the ways convolves, where it can: the choice goes by sizes that these small cases do not reach."""
    for module, sizes in ((shifted, ("MIN_CHANNELS", "MIN_ROW", "MIN_PRODUCT")), (bands, ("MIN_ROW",))):
        for size in sizes:
            monkeypatch.setattr(module, size, 1 if module.__name__.endswith(request.param) else 2**62)
    return request.param


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_conv2d(case, cut, way):
    shape, kernels, kernel, stride, padding, groups = case
    x = normal(1, *shape)
    weight, bias = normal(2, kernels, shape[1] // groups, *kernel), normal(3, kernels)
    dy = normal(4, shape[0], kernels, *reference.output_size(shape, kernel, stride, padding))
    windows = (Window(*sizes, *sides) for *sizes, sides in zip(shape[2:], kernel, stride, padding, strict=True))
    geometry = Geometry(*windows, groups)
    if way == "shifted" and not shifted.suits(geometry, weight.shape, shape[0]):
        pytest.skip("not a convolution of stride 1 on a CPU")
    if way == "bands" and not bands.suits(geometry, shape[0]):
        pytest.skip("rows are not shared, or this is a GPU")

    y, dx = xp.full(to_memory(dy).shape, xp.nan), xp.full(to_memory(x).shape, xp.nan)
    dweight, dbias = xp.full(weight.shape, xp.nan), xp.full(bias.shape, xp.nan)
    conv2d_forward(to_memory(x), to_device(weight), to_device(bias), geometry, y)
    conv2d_backward_weight(to_memory(x), to_memory(dy), geometry, dweight)
    conv2d_backward_input(to_memory(dy), to_device(weight), geometry, dx)
    bias_gradient(to_memory(dy), dbias)

    expected_dx, expected_dweight, expected_dbias = reference.conv2d_backward(x, weight, dy, stride, padding, groups)
    assert_close(from_memory(y), reference.conv2d(x, weight, bias, stride, padding, groups), what="y")
    assert_close(from_memory(dx), expected_dx, what="dx")
    assert_close(dweight, expected_dweight, what="dweight")
    assert_close(dbias, expected_dbias, what="dbias")


CHOICES = {  # (kernels, channels of a group, kernel), size and stride and padding of the input, groups, images
    "columns": [
        ((96, 3, 11), (227, 4, 0), 1, 1),  # AlexNet's conv1 for one image: rows of 55 are short
        ((384, 256, 3), (13, 1, 1), 1, 1),
        ((64, 3, 1), (32, 1, 0), 1, 100),  # 1 x 1: no rows are shared
        ((64, 3, 2), (32, 2, 0), 1, 100),  # nor where windows do not overlap
    ],
    "bands": [
        ((96, 3, 11), (227, 4, 0), 1, 128),
        ((32, 3, 5), (32, 1, 2), 1, 100),  # CIFAR-10 quick's conv1
        ((50, 20, 5), (12, 1, 0), 1, 64),  # Caffe's LeNet's conv2: products of 2.6 million multiply-adds
    ],
    "shifted": [
        ((256, 48, 5), (27, 1, 2), 2, 128),
        ((384, 192, 3), (13, 1, 1), 2, 10),
        ((32, 32, 5), (16, 1, 2), 1, 100),
    ],
}


@pytest.mark.skipif(on_gpu or not shifted.can_accumulate, reason="GPUs have one way, and other BLAS two")
@pytest.mark.parametrize("way", CHOICES)
def test_which_way(way):
    for (kernels, channels, kernel), (size, stride, padding), groups, batch in CHOICES[way]:
        geometry = Geometry(*[Window(size, kernel, stride, padding, padding)] * 2, groups)
        chosen = other_way(geometry, (kernels, channels, kernel, kernel), batch)
        assert chosen is {"columns": None, "bands": bands, "shifted": shifted}[way], (kernels, channels, kernel, batch)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 5, 4), (4, 2, 7)])
def test_linear(sizes, cut):
    batch, inputs, outputs = sizes
    x, weight, bias = normal(1, batch, inputs), normal(2, outputs, inputs), normal(3, outputs)
    dy = normal(4, batch, outputs)
    y, dweight, dx = (xp.full(shape, xp.nan) for shape in ((outputs, batch), weight.shape, (inputs, batch)))
    linear_forward(to_memory(x), to_device(weight), to_device(bias), y)
    linear_backward_weight(to_memory(x), to_memory(dy), dweight)
    linear_backward_input(to_memory(dy), to_device(weight), dx)

    expected_dx, expected_dweight, _ = reference.linear_backward(x, weight, dy)
    assert_close(from_memory(y), reference.linear(x, weight, bias), what="y")
    assert_close(from_memory(dx), expected_dx, what="dx")
    assert_close(dweight, expected_dweight, what="dweight")
