"""Which pixels a unit sees, against which units change when a pixel does."""

import numpy as np
import pytest
from inputs import normal

from tinynet import AvgPool2d, Conv2d, Flatten, Linear, LocalResponseNorm, MaxPool2d, ReLU, Sequential, models
from tinynet.backend import to_device, to_host, xp
from tinynet.inspection.receptive_fields import Field, receptive_fields

LAYERS = {
    "convolutions": [
        ("conv1", Conv2d(1, 2, (3, 5), stride=(2, 1), padding=1)),
        ("relu1", ReLU(inplace=True)),
        ("conv2", Conv2d(2, 2, 3, padding="same", stride=2)),
        ("conv3", Conv2d(2, 1, 2)),
    ],
    "pools": [
        ("pool1", MaxPool2d(3, stride=2, ceil_mode=True)),
        ("conv1", Conv2d(1, 1, 3, padding=((0, 1), (2, 0)))),
        ("pool2", AvgPool2d(2, stride=1, padding=1)),
        ("lrn2", LocalResponseNorm(3, alpha=0.1, within_channel=True)),
        ("lrn3", LocalResponseNorm(2, alpha=0.1, within_channel=True)),
    ],
    "inside": [("block", Sequential([("conv", Conv2d(1, 1, 3)), ("pool", MaxPool2d(2))])), ("conv", Conv2d(1, 1, 2))],
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_pixel_changes_the_units_that_see_it_and_no_others(name):
    net = Sequential(LAYERS[name]).astype("float64")
    for _, layer, key in net.parameters():  # so that more of a pixel is more, or less, of all that see it
        layer.params[key] = xp.abs(layer.params[key]) + 0.1
    shape = (1, 13, 11)
    x = abs(normal(1, 1, *shape)) + 0.1
    before = net.activations(to_device(x))
    sees = {layer: np.zeros((*y.shape[2:], *shape[1:]), bool) for layer, y in before.items()}
    for row, column in np.ndindex(*shape[1:]):
        changed = x.copy()
        changed[0, 0, row, column] += 1000  # which no pool has a larger one beside
        for layer, y in net.activations(to_device(changed)).items():
            sees[layer][:, :, row, column] = (y != before[layer])[0].any(axis=0)
    fields = receptive_fields(net, shape)
    assert fields.keys() == sees.keys() - {"block"}
    for layer, field in fields.items():
        for unit in np.ndindex(*sees[layer].shape[:2]):
            expected = np.zeros(shape[1:], bool)
            expected[field.rectangle(*unit, shape)] = True
            np.testing.assert_array_equal(sees[layer][unit], expected, f"{layer} {unit}")


def test_alexnet_s_fields():
    fields = receptive_fields(models.alexnet(width=0.06), (3, 227, 227))
    assert fields["conv1"] == Field((11, 11), (4, 4), (0, 0))
    assert fields["conv5"] == fields["relu5"] == Field((163, 163), (16, 16), (-64, -64))
    assert fields["pool5"].rectangle(0, 5, (3, 227, 227)) == (slice(0, 131), slice(96, 227))
    assert all(fields[name] is None for name in ("flatten", "fc6", "relu6", "dropout6", "fc8"))


def test_a_vector_sees_all_and_so_does_what_follows():
    net = Sequential([("flatten", Flatten()), ("fc1", Linear(12, 3)), ("relu1", ReLU())])
    assert receptive_fields(net, (3, 2, 2)) == {"flatten": None, "fc1": None, "relu1": None}
    assert to_host(net.forward(to_device(normal(2, 1, 3, 2, 2)))).shape == (1, 3)
