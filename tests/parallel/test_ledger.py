"""What crosses between the devices of AlexNet as the paper has it: the ledger of a step, and the forecast of it."""

import pytest
from inputs import normal
from parallel import networks
from parallel.networks import IMAGE, given, training_step

from tinynet import models
from tinynet.parallel import Crossing, Ledger, partition

BATCH = 2
# bytes per image and device: half of pool2, of pool5 and of fc6's neurons, and the other device's part of the logits
CONV3, FC6, FC7, FC8 = 86_528, 18_432, 8_192, 4_000
FORWARD = [
    Crossing("conv3", "forward", "all_gather", (BATCH * CONV3,) * 2),
    Crossing("fc6", "forward", "all_gather", (BATCH * FC6,) * 2),
    Crossing("fc7", "forward", "all_gather", (BATCH * FC7,) * 2),
    Crossing("fc8", "forward", "all_reduce", (BATCH * FC8,) * 2),
]
BACKWARD = [
    Crossing("fc7", "backward", "reduce_scatter", (BATCH * FC7,) * 2),
    Crossing("fc6", "backward", "reduce_scatter", (BATCH * FC6,) * 2),
    Crossing("conv3", "backward", "reduce_scatter", (BATCH * CONV3,) * 2),
]


@pytest.fixture(scope="module")
def towers():
    return partition(models.alexnet())


def test_alexnets_crossings(towers):
    images, gradient = normal(1, BATCH, 3, 227, 227).astype("float32"), normal(2, BATCH, 1000).astype("float32")
    assert towers.ledger.crossings == []
    for _ in range(2):  # each step's anew
        towers.forward(given(towers, images), train=True)
        assert towers.ledger.crossings == FORWARD
        towers.backward(given(towers, gradient))
        assert towers.ledger.crossings == FORWARD + BACKWARD
    assert towers.ledger.total == 2 * BATCH * (2 * (CONV3 + FC6 + FC7) + FC8)
    assert str(towers.ledger).splitlines() == [
        "layer     direction  operation               device 0        device 1",
        "conv3     forward    all_gather             173,056 B       173,056 B",
        "fc6       forward    all_gather              36,864 B        36,864 B",
        "fc7       forward    all_gather              16,384 B        16,384 B",
        "fc8       forward    all_reduce               8,000 B         8,000 B",
        "fc7       backward   reduce_scatter          16,384 B        16,384 B",
        "fc6       backward   reduce_scatter          36,864 B        36,864 B",
        "conv3     backward   reduce_scatter         173,056 B       173,056 B",
        "total                                       921,216 B",
    ]
    towers.forward(given(towers, images[:1]))
    assert [(row.layer, row.direction, row.received) for row in towers.ledger.crossings] == [
        ("conv3", "forward", (CONV3, CONV3)),
        ("fc6", "forward", (FC6, FC6)),
        ("fc7", "forward", (FC7, FC7)),
        ("fc8", "forward", (FC8, FC8)),
    ], "of one image, at test, there is no way back"


def test_what_is_told_before_any_data(towers):
    text = towers.describe((3, 227, 227))
    lines = {line.split()[0]: line for line in text.splitlines()[1:]}
    for layer in towers.towers[0].layers:
        assert layer in lines, layer
    first, second = (int(number.replace(",", "")) for number in lines["parameters"].split()[1:])
    assert first + second == 60_965_224
    assert first - second == 1000, "fc8's bias lies on the first device"
    assert lines["conv3"].split()[1:6] == ["192", "x", "13", "x", "13"]
    assert lines["conv3"].split()[6:] == ["442,560", "442,560"]
    for layer, received in {
        "gather_conv3": "86,528", "gather_fc6": "18,432", "gather_fc7": "8,192", "reduce_fc8": "4,000",
    }.items():  # fmt: skip
        assert f"<- {received} B per image" in lines[layer], layer
    assert [name for name in lines if "<-" in lines[name]] == [
        "gather_conv3", "gather_fc6", "gather_fc7", "reduce_fc8",
    ]  # fmt: skip
    assert text.endswith("per image and device: 117,152 B")
    megabytes = [12 * count / 1e6 for count in (first, second)]
    assert [float(value) for value in lines["weights,"].split()[-2:]] == pytest.approx(megabytes, abs=0.5)
    activations = (towers.describe((3, 227, 227), count).splitlines()[-2] for count in (64, 256))
    small, large = (float(line.split()[-1].replace(",", "")) for line in activations)
    assert large == pytest.approx(4 * small, abs=3)


def test_crossings_of_a_network_that_is_connected_everywhere():
    """Each convolution and linear layer gathers, and all but the first send back what they owe to the others."""
    net = networks.vgg_like().astype("float64")
    towers = partition(net, 4)
    training_step(towers, normal(1, 3, *IMAGE), normal(2, 3, 5))
    rows = towers.ledger.crossings
    gathered = ["conv2d2", "conv2d5", "conv2d7", "linear11", "linear14"]
    assert [row.layer for row in rows if row.operation == "all_gather"] == gathered
    assert [row.layer for row in rows if row.operation == "reduce_scatter"] == gathered[::-1]
    assert [(row.layer, row.direction) for row in rows if row.operation == "all_reduce"] == [("linear17", "forward")]
    first = next(row for row in rows if row.layer == "conv2d2")
    assert first.received == (3 * 9 * 11 * 9 * 8,) * 4, "nine of twelve channels, float64"
    logits = next(row for row in rows if row.layer == "linear17")
    assert logits.received == (3 * 3 * 5 * 8,) * 4, "what three others have found"


@pytest.mark.parametrize("make_net", [networks.convolution_last, networks.convolution_and_softmax_last])
def test_after_the_last_parameters_nothing_crosses_backwards(make_net):
    towers = partition(make_net())
    shape = towers.output_shape(IMAGE)
    training_step(towers, normal(1, 3, *IMAGE).astype("float32"), normal(2, 3, *shape).astype("float32"))
    assert "softmax4" not in [row.layer for row in towers.ledger.crossings if row.direction == "backward"]
    assert "output" not in [row.layer for row in towers.ledger.crossings if row.direction == "backward"]
    assert towers.ledger.crossings[-1].layer in ("output", "conv2d2")


def test_one_device_receives_nothing():
    towers = partition(networks.vgg_like(), 1)
    training_step(towers, normal(1, 2, *IMAGE).astype("float32"), normal(2, 2, 5).astype("float32"))
    assert towers.ledger.total == 0
    assert {row.received for row in towers.ledger.crossings} == {(0,)}


def test_a_ledger_shows_what_all_devices_have_done():
    """After an error some devices may have come further than others."""
    ledger = Ledger(2)
    for device in (0, 1):
        ledger.record(device, "conv3", "forward", "all_gather", 8)
    ledger.record(0, "fc6", "forward", "all_gather", 4)
    assert ledger.crossings == [Crossing("conv3", "forward", "all_gather", (8, 8))]
    assert ledger.total == 16
    ledger.clear()
    assert ledger.crossings == []
