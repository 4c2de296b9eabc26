"""Bad input gets an error that tells the layer, what was expected and what came, when it can first be known."""

import re

import numpy as np
import pytest
from inputs import normal

import tinynet
from tinynet.backend import to_device
from tinynet.layers import AvgPool2d, Conv2d, Dropout, Flatten, Linear, LocalResponseNorm, MaxPool2d, Softmax
from tinynet.losses import SoftmaxCrossEntropy


def named(layer, name: str):
    layer.rename(name)
    return layer


WRONG_SHAPES = [  # layer, input, what the error says
    (
        named(Conv2d(256, 8, 3), "conv3"),
        (4, 128, 13, 13),
        r"^conv3: expected input \(N, 256, H, W\), got \(4, 128, 13, 13\)$",
    ),
    (named(Conv2d(3, 8, 3), "conv1"), (3, 8, 8), r"^conv1: expected input \(N, 3, H, W\), got \(3, 8, 8\)$"),
    (named(Conv2d(3, 8, 11), "conv1"), (2, 3, 10, 12), "conv1: a kernel of 11 x 11 does not fit an input of 10 x 12"),
    (named(Conv2d(3, 8, 5, padding=1), "conv1"), (2, 3, 8, 2), "conv1: .* 5 x 5 does not fit .* 8 x 2 with padding 1"),
    (named(Linear(9216, 8), "fc6"), (2, 9215), r"^fc6: expected input \(N, 9216\), got \(2, 9215\)$"),
    (named(Linear(4, 8), "fc6"), (2, 4, 1), r"^fc6: expected input \(N, 4\), got \(2, 4, 1\)$"),
    (named(Flatten(), "flatten"), (5,), r"^flatten: expected input \(N, \.\.\.\), got \(5\)$"),
    (named(Softmax(), "softmax"), (5,), r"^softmax: expected input \(N, classes, \.\.\.\), got \(5\)$"),
    (named(MaxPool2d(3, 2), "pool5"), (2, 4, 2, 5), "pool5: a kernel of 3 x 3 does not fit an input of 2 x 5"),
    (named(MaxPool2d(3, 2), "pool5"), (2, 4), r"^pool5: expected input \(N, C, H, W\), got \(2, 4\)$"),
    (named(AvgPool2d(9), "pool"), (2, 4, 8, 9), "pool: a kernel of 9 x 9 does not fit an input of 8 x 9"),
    (named(LocalResponseNorm(), "lrn1"), (2, 9), r"^lrn1: expected input \(N, C, H, W\), got \(2, 9\)$"),
    (named(LocalResponseNorm(groups=2), "lrn1"), (2, 9, 3, 3), "lrn1: 2 groups must divide the channels, got 9"),
]


@pytest.mark.parametrize(("layer", "shape", "message"), WRONG_SHAPES)
def test_inputs_that_do_not_fit(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.forward(to_device(np.zeros(shape)))
    with pytest.raises(ValueError, match=message.replace(rf"got \({shape[0]}", r"got \(N")):
        layer.output_shape(shape[1:])


CONSTRUCTORS = [  # what is made, the error, what it says
    (lambda: Conv2d(3, 8, 3, groups=2), ValueError, "groups must divide the channels, .*in_channels=3.*groups=2"),
    (lambda: Conv2d(4, 7, 3, groups=2), ValueError, "groups must divide the channels, .*out_channels=7"),
    (lambda: Conv2d(0, 8, 3), ValueError, "in_channels: expected 1 or more, got 0"),
    (lambda: Conv2d(3, -8, 3), ValueError, "out_channels: expected 1 or more, got -8"),
    (lambda: Conv2d(3, 8, 0), ValueError, "kernel_size: expected 1 or more, got 0"),
    (lambda: Conv2d(3, 8, 3, stride=0), ValueError, "stride: expected 1 or more, got 0"),
    (lambda: Conv2d(3, 8, 3, groups=0), ValueError, "groups: expected 1 or more, got 0"),
    (lambda: Conv2d(3, 8, 3, padding=-1), ValueError, "padding: expected 0 or more, got -1"),
    (lambda: Conv2d(3, 8, 3, padding="full"), ValueError, "padding must be .*'same' or 'valid', got 'full'"),
    (lambda: Conv2d(3, 8, 3, padding=(1, 2, 3)), TypeError, r"padding: expected .* got \(1, 2, 3\)"),
    (lambda: Conv2d(3, 8, 3, padding=((1, 2), (3,))), TypeError, "padding: expected"),
    (lambda: Conv2d(3, 8, 3.0), TypeError, "kernel_size: expected a whole number or a pair .* got 3.0"),
    (lambda: Conv2d(3, 8, (3, 3, 3)), TypeError, "kernel_size: expected a whole number or a pair"),
    (lambda: Linear(0, 8), ValueError, "in_features: expected 1 or more, got 0"),
    (lambda: Linear(8, 2.5), TypeError, "out_features: expected a whole number"),
    (lambda: MaxPool2d(3, padding=2), ValueError, "padding must be at most half of the kernel.*padding=2, kernel_.*=3"),
    (lambda: AvgPool2d((4, 3), padding=(2, 2)), ValueError, "padding must be at most half of the kernel"),
    (lambda: MaxPool2d(0), ValueError, "kernel_size: expected 1 or more"),
    (lambda: MaxPool2d(2, stride=0), ValueError, "stride: expected 1 or more"),
    (lambda: LocalResponseNorm(size=0), ValueError, "size: expected 1 or more"),
    (lambda: LocalResponseNorm(groups=0), ValueError, "groups: expected 1 or more"),
    (lambda: LocalResponseNorm(k=0), ValueError, "k > 0, got .*k=0"),
    (lambda: LocalResponseNorm(alpha=-1), ValueError, "alpha >= 0.*alpha=-1"),
    (lambda: Dropout(1.0), ValueError, "expected 0 <= p < 1, got p=1.0"),
    (lambda: Dropout(-0.1), ValueError, "expected 0 <= p < 1"),
    (lambda: Dropout(0.5, scale="both"), ValueError, "scale must be 'train' or 'test', got 'both'"),
]


@pytest.mark.parametrize(("make", "error", "message"), CONSTRUCTORS)
def test_settings_that_make_no_sense(make, error, message):
    with pytest.raises(error, match=message):
        make()


LABELS = [  # labels for 3 images and 5 classes, the error, what it says
    ([0, 5, 1], ValueError, r"labels: expected 0\.\.4, got 5 at index 1"),
    ([0, 1, -1], ValueError, r"labels: expected 0\.\.4, got -1 at index 2"),
    ([0, 1], ValueError, r"labels: expected one per image, \(3,\), got \(2,\)"),
    ([[0], [1], [2]], ValueError, r"labels: expected one per image, \(3,\), got \(3, 1\)"),
    ([0.0, 1.0, 2.0], TypeError, "labels: expected integers, got float64"),
    ([True, False, True], TypeError, "labels: expected integers, got bool"),
]


@pytest.mark.parametrize(("labels", "error", "message"), LABELS)
def test_labels(labels, error, message):
    with pytest.raises(error, match=message):
        SoftmaxCrossEntropy().forward(to_device(normal(1, 3, 5)), np.array(labels))


def test_logits():
    labels = np.array([0, 1, 2])
    with pytest.raises(TypeError, match=r"logits of float32 or float64.*int64"):
        SoftmaxCrossEntropy().forward(to_device(np.zeros((3, 5), int)), labels)
    for shape in ((3, 5, 1), (3,), (0, 5), (3, 0)):
        with pytest.raises(ValueError, match=rf"expected logits \(N, classes\), got {re.escape(str(shape))}"):
            SoftmaxCrossEntropy().forward(to_device(np.zeros(shape)), labels)
    with pytest.raises(TypeError, match="list"):
        SoftmaxCrossEntropy().forward([[1.0]], np.array([0]))


def test_a_layer_that_failed_can_be_used_again():
    layer = Conv2d(3, 4, 3)
    x = to_device(normal(1, 2, 3, 5, 5))
    layer.forward(x, train=True)
    with pytest.raises(ValueError, match="expected input"):
        layer.forward(x[:, :2], train=True)
    with pytest.raises(RuntimeError, match="backward needs"):  # not the gradient of the input before
        layer.backward(to_device(normal(2, 2, 4, 3, 3)))
    layer.forward(x, train=True)
    assert layer.backward(to_device(normal(2, 2, 4, 3, 3))).shape == x.shape


def test_errors_have_a_family():
    for error in (tinynet.BackendError, tinynet.DataError, tinynet.CheckpointError):
        assert issubclass(error, RuntimeError)
