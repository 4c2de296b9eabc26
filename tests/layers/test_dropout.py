"""Dropout: gradients against finite differences with one mask, masks from named streams, and the two scalings."""

import numpy as np
import pytest
import reference
from inputs import assert_close, batch_last, normal, signed

from tinynet.backend import to_device, to_host
from tinynet.gradient_check import check_layer
from tinynet.layers import Dropout
from tinynet.random import stream


def mask_of(layer, shape) -> np.ndarray:
    """Which values the layer keeps in its next training step."""
    return to_host(layer.forward(to_device(np.ones(shape)), train=True)) != 0


@pytest.mark.parametrize("order", [to_device, batch_last], ids=["C order", "batch-last"])
@pytest.mark.parametrize("scale", ["train", "test"])
@pytest.mark.parametrize(("shape", "p"), [((3, 8), 0.5), ((2, 3, 4, 2), 0.3), ((2, 5), 0.0)])
def test_gradients(shape, p, scale, order):
    check_layer(Dropout(p, scale), order(signed(1, *shape)))


@pytest.mark.parametrize("scale", ["train", "test"])
def test_values(scale):
    x, dy, layer = signed(1, 4, 3, 5), normal(2, 4, 3, 5), Dropout(0.3, scale)
    mask, factor = mask_of(layer, x.shape), 1 / 0.7 if scale == "train" else 1.0
    assert 0 < mask.sum() < mask.size
    layer.set_step(0)
    assert_close(layer.forward(to_device(x), train=True), reference.dropout(x, mask, factor), what="y")
    assert_close(layer.backward(to_device(dy)), reference.dropout(dy, mask, factor), what="dx")
    assert_close(layer.forward(to_device(x)), x if scale == "train" else 0.7 * x, what="y at test")


@pytest.mark.parametrize("scale", ["train", "test"])
def test_training_and_test_agree_on_average(scale):
    layer, x = Dropout(0.4, scale), to_device(np.ones((10, 10000)))
    train = to_host(layer.forward(x, train=True)).mean()
    assert abs(train - to_host(layer.forward(x)).mean()) < 0.02


def test_masks_are_named_by_seed_layer_and_step():
    def make(seed: int = 0, name: str = "dropout6", step: int = 0) -> Dropout:
        layer = Dropout(0.5)
        layer.rename(name)
        layer.seed, layer.step = seed, step
        return layer

    shape = (6, 50)
    masks = {
        (seed, name, step): mask_of(make(seed, name, step), shape)
        for seed in (0, 1)
        for name in ("dropout6", "dropout7")
        for step in (0, 1)
    }
    for place, mask in masks.items():
        same = sum((mask == other).all() for other in masks.values())
        assert same == 1, f"{place} has the mask of another"
        assert (mask_of(make(*place), shape) == mask).all(), f"{place} changed its mask"
        drawn = stream(*place).random((50, 6), np.float32) >= 0.5  # batch-last: (features, N)
        assert (mask == drawn.T).all()


def test_each_training_forward_takes_the_next_step():
    layer = Dropout(0.5)
    first, second = mask_of(layer, (4, 50)), mask_of(layer, (4, 50))
    assert layer.step == 2
    assert (first != second).any()
    layer.forward(to_device(np.ones((4, 50))))
    assert layer.step == 2, "a forward at test takes no step"
    layer.step = 1
    assert (mask_of(layer, (4, 50)) == second).all()
    layer.set_step(0)
    assert (mask_of(layer, (4, 50)) == first).all()


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_the_share_of_zeros_is_p(p):
    mask = mask_of(Dropout(p), (100, 1000))
    assert abs((~mask).mean() - p) < 0.005
