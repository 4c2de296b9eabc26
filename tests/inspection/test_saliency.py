"""What an answer rests on: against differences, plain loops and nets whose answer rests on one place."""

import numpy as np
import pytest
from inputs import assert_close, normal

from tinynet import Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential, initializers, models
from tinynet.backend import to_device, to_host
from tinynet.inspection.saliency import grad_cam, input_gradient, occlusion


def make_net(inplace: bool = False, scale: str = "train") -> Sequential:
    """2 x 7 x 7 to 3 logits."""
    net = Sequential(
        [
            ("conv1", Conv2d(2, 4, 3)),
            ("relu1", ReLU(inplace=inplace)),
            ("conv2", Conv2d(4, 5, 2)),
            ("relu2", ReLU(inplace=inplace)),
            ("pool2", MaxPool2d(2)),
            ("flatten", Flatten()),
            ("fc3", Linear(20, 6)),
            ("relu3", ReLU(inplace=inplace)),
            ("dropout3", Dropout(0.5, scale=scale)),
            ("fc4", Linear(6, 3)),
        ]
    )
    initializers.initialize(net, 1)
    return net.astype("float64")


X = normal(3, 1, 2, 7, 7)


@pytest.mark.parametrize("scale", ["train", "test"])
@pytest.mark.parametrize("inplace", [False, True])
def test_the_gradient_is_that_of_differences_without_dropout(inplace, scale):
    net = make_net(inplace, scale)
    gradient = input_gradient(net, to_device(X), 2)
    numeric, step = np.empty_like(gradient), 1e-6
    for place in np.ndindex(gradient.shape):
        logits = []
        for sign in (1, -1):
            x = X.copy()
            x[(0, *place)] += sign * step
            logits.append(to_host(net.forward(to_device(x)))[0, 2])
        numeric[place] = (logits[0] - logits[1]) / (2 * step)
    assert abs(numeric).max() > 0.01
    assert_close(gradient, numeric, 1e-6)


def _arrays(net: Sequential) -> dict[str, np.ndarray]:
    return {name: to_host(array) for name, array in net.params.items()}


def _dense(weight: np.ndarray, bias: np.ndarray, shape: tuple) -> tuple[np.ndarray, np.ndarray, tuple]:
    """A convolution of one image as a matrix, by plain loops."""
    (channels, height, width), (kernels, _, kh, kw) = shape, weight.shape
    out = kernels, height - kh + 1, width - kw + 1
    matrix = np.zeros((*out, channels, height, width))
    for k, row, column in np.ndindex(out):
        matrix[k, row, column, :, row : row + kh, column : column + kw] = weight[k]
    return matrix.reshape(np.prod(out), -1), np.repeat(bias, out[1] * out[2]), out


def test_guided_backpropagation_is_that_of_plain_matrices():
    net, p = make_net(), _arrays(make_net())
    w1, b1, shape1 = _dense(p["conv1.weight"], p["conv1.bias"], (2, 7, 7))
    w2, b2, shape2 = _dense(p["conv2.weight"], p["conv2.bias"], shape1)
    y1 = w1 @ X.ravel() + b1
    y2 = w2 @ np.maximum(y1, 0) + b2
    maps = np.maximum(y2, 0).reshape(shape2)  # (5, 4, 4)
    windows = maps.reshape(5, 2, 2, 2, 2).transpose(0, 1, 3, 2, 4).reshape(5, 2, 2, 4)
    y3 = p["fc3.weight"] @ windows.max(axis=3).ravel() + p["fc3.bias"]
    g = p["fc4.weight"][1]
    assert (g < 0).any() and (y3 > 0).any()
    g = p["fc3.weight"].T @ (np.maximum(g, 0) * (y3 > 0))
    unpooled = np.zeros((5, 2, 2, 4))
    np.put_along_axis(unpooled, windows.argmax(axis=3)[..., None], g.reshape(5, 2, 2, 1), axis=3)
    unpooled = unpooled.reshape(5, 2, 2, 2, 2).transpose(0, 1, 3, 2, 4).ravel()
    g = w2.T @ (np.maximum(unpooled, 0) * (y2 > 0))
    expected = (w1.T @ (np.maximum(g, 0) * (y1 > 0))).reshape(2, 7, 7)
    assert_close(input_gradient(net, to_device(X), 1, guided=True), expected, 1e-9)
    assert abs(expected - input_gradient(net, to_device(X), 1)).max() > 0.01


def test_grad_cam_weighs_the_maps_of_the_last_convolution_behind_its_relu():
    net = make_net(inplace=True)
    found = grad_cam(net, to_device(X), 2)
    maps = net.activations(to_device(X), ["relu2"])["relu2"][0]  # (5, 4, 4)
    above, step = net["pool2":], 1e-6
    gradient = np.empty_like(maps)
    for place in np.ndindex(maps.shape):
        logits = []
        for sign in (1, -1):
            moved = maps[None].copy()
            moved[(0, *place)] += sign * step
            logits.append(to_host(above.forward(to_device(moved)))[0, 2])
        gradient[place] = (logits[0] - logits[1]) / (2 * step)
    expected = np.maximum(0, (gradient.mean(axis=(1, 2))[:, None, None] * maps).sum(axis=0))
    assert expected.max() > 0
    assert_close(found, expected, 1e-6)
    assert (
        grad_cam(Sequential([("flatten", Flatten()), ("fc", Linear(98, 3))]).astype("float64"), to_device(X), 0) is None
    )


@pytest.mark.parametrize("place", [(0, 0), (3, 2), (5, 5)])
def test_occlusion_blames_the_one_place_that_counts(place):
    row, column = place
    net = Sequential([("flatten", Flatten()), ("fc", Linear(72, 2))])
    weight = np.zeros((2, 2, 6, 6), np.float32)
    weight[1, 0, row, column] = 3
    net["fc"].params["weight"] = to_device(weight.reshape(2, 72))
    x = np.ones((1, 2, 6, 6), np.float32)
    lost = occlusion(net, to_device(x), 1, size=2, stride=1)
    assert np.unravel_index(lost.argmax(), lost.shape) == place
    before, after = 1 / (1 + np.exp(-3)), 0.5
    assert lost[place] == pytest.approx(before - after, abs=1e-6)
    far = [(r, c) for r, c in np.ndindex(6, 6) if max(abs(r - row), abs(c - column)) > 1]
    assert max(abs(lost[one]) for one in far) < 1e-6
    with pytest.raises(ValueError, match="expected a size from 1 to 6 and a stride of 1 or more, got 7 and 1"):
        occlusion(net, to_device(x), 1, size=7, stride=1)


def test_the_network_stays_as_it_was():
    net = models.alexnet(3, width=0.06, input_size=67, initialization="he")
    net["conv2"].trainable = False
    x = to_device(normal(1, 1, 3, 67, 67).astype("float32"))
    before, logits, steps = _arrays(net), to_host(net.forward(x)).copy(), net["dropout6"].step
    gradients = {name: to_host(gradient).copy() for name, gradient in net.grads.items()}
    kept = to_host(x).copy()
    for label in range(3):
        assert input_gradient(net, x, label).shape == (3, 67, 67)
        assert input_gradient(net, x, label, guided=True).shape == (3, 67, 67)
        assert grad_cam(net, x, label).shape == (3, 3)
        assert occlusion(net, x, label).shape == (67, 67)
    assert all((array == before[name]).all() for name, array in _arrays(net).items())
    assert all((to_host(gradient) == gradients[name]).all() for name, gradient in net.grads.items())
    assert (to_host(net.forward(x)) == logits).all() and (to_host(x) == kept).all()
    assert net["dropout6"].step == steps and not net.needs_dx and net["conv1"].trainable and not net["conv2"].trainable


def test_the_network_stays_as_it_was_when_a_layer_fails(monkeypatch):
    net = make_net()
    net["conv2"].trainable = False

    def fail(dy):
        raise MemoryError

    monkeypatch.setattr(net["pool2"], "backward", fail)  # above the maps that Grad-CAM weighs
    for measure in (input_gradient, grad_cam):
        with pytest.raises(MemoryError):
            measure(net, to_device(X), 0)
        assert not net.needs_dx and net["conv1"].trainable and not net["conv2"].trainable
    drawn = [to_host(net.forward(to_device(X), train=True)).copy() for _ in range(8)]
    assert any((one != drawn[0]).any() for one in drawn)  # dropout acts in training as before
