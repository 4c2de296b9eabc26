"""What the partition makes of a network: which layers stand in a tower, what it says of them, and what it refuses."""

import pytest
from inputs import normal
from parallel import networks
from parallel.networks import given, small_alexnet

from tinynet import Conv2d, Flatten, Linear, LocalResponseNorm, ReLU, Sequential, Softmax, models
from tinynet.backend import to_host
from tinynet.layers import Layer
from tinynet.parallel import Towers, partition
from tinynet.weights import whole_parameters


def test_a_tower_of_alexnet():
    """Half of the kernels, and layers that exchange where the paper's devices do."""
    tower = partition(small_alexnet()).towers[1]
    crossings = ["gather_conv3", "gather_fc6", "gather_fc7", "reduce_fc8"]
    names = list(tower.layers)
    assert [name for name in names if name not in crossings] == list(small_alexnet().layers)
    assert [name for name in names if name in crossings] == crossings
    for name in crossings[:3]:
        assert names[names.index(name) + 1] == name.removeprefix("gather_")
    assert names[-2:] == ["fc8", "reduce_fc8"]
    whole = small_alexnet()
    assert tower["conv1"].out_channels == whole["conv1"].out_channels // 2
    assert tower["conv1"].in_channels == 3
    assert (tower["conv2"].groups, tower["conv2"].in_channels) == (1, whole["conv1"].out_channels // 2)
    assert (tower["lrn1"].groups, tower["conv3"].groups) == (1, 1)
    assert tower["conv3"].in_channels == whole["conv3"].in_channels
    assert tower["fc8"].in_features == whole["fc8"].in_features // 2
    assert tower["fc8"].out_features == whole["fc8"].out_features


@pytest.mark.parametrize(
    ("make_net", "crossings"),
    [
        (networks.take_block, ["take_conv2d0", "gather_localresponsenorm2", "take_conv2d3", "reduce_linear9"]),
        (networks.convolution_last, ["gather_output"]),
        (networks.convolution_and_softmax_last, ["gather_conv2d2", "gather_softmax4"]),
        (networks.softmax_last, ["gather_linear3", "reduce_linear5"]),
        (networks.linear_only, ["take_linear1", "reduce_linear1"]),
        (networks.no_parameters, []),
        (networks.nested, ["gather_classifier_fc3", "reduce_classifier_fc4"]),
    ],
)
def test_crossings_follow_from_the_layers(make_net, crossings):
    kinds = ("take_", "gather_", "reduce_")
    assert [name for name in partition(make_net()).towers[0].layers if name.startswith(kinds)] == crossings


def test_parameters_are_blocks_of_the_whole():
    net = small_alexnet()
    towers = partition(net)
    half = net["fc8"].in_features // 2
    for rank, tower in enumerate(towers.towers):
        weight = to_host(net["fc8"].params["weight"])[:, rank * half : (rank + 1) * half]
        assert (to_host(tower["fc8"].params["weight"]) == weight).all()
        count = net["conv3"].out_channels // 2
        for key in ("weight", "bias"):
            block = to_host(net["conv3"].params[key])[rank * count : (rank + 1) * count]
            assert (to_host(tower["conv3"].params[key]) == block).all()
    assert "bias" in towers.towers[0]["fc8"].params
    assert "bias" not in towers.towers[1]["fc8"].params
    names = {name for name, _, _ in towers.parameters()}
    assert names == {name for rank in (0, 1) for name, _, _ in towers.parameters(rank)} == set(towers.params)
    assert len(names) == 2 * len(net.params) - 1
    whole = whole_parameters(towers)
    assert list(whole) == list(net.params)
    for name, parameter in net.params.items():
        assert (whole[name] == to_host(parameter)).all(), name


def test_a_network_that_is_part_of_another():
    inner = networks.nested()["features"]
    towers = partition(inner)
    assert list(whole_parameters(towers)) == [name for name, _, _ in inner.parameters()]
    assert towers.towers[0]["block_conv1"].name == "features.block.conv1"


def test_describe_four_devices():
    towers = partition(small_alexnet(groups=4), 4)
    text = towers.describe((3, 67, 67))
    assert "device 3" in text.splitlines()[0]
    channels = towers.towers[0]["gather_conv3"].output_shape((small_alexnet(groups=4)["conv2"].out_channels // 4, 3, 3))
    assert f"<- {4 * 3 * channels[0] // 4 * 9:,} B per image" in text
    assert f"<- {4 * 3 * 5} B per image" in next(line for line in text.splitlines() if line.startswith("reduce_fc8"))


# ---- what cannot be split ----


class Unknown(Layer):
    def forward(self, x, train=False):
        return x

    def backward(self, dy):
        return dy


@pytest.mark.parametrize(
    ("layers", "devices", "message"),
    [
        ([("conv1", Conv2d(3, 5, 3))], 2, "conv1: 5 output channels cannot be shared out over 2 devices"),
        ([("conv1", Conv2d(3, 4, 3))], 3, "conv1: 4 output channels cannot be shared out over 3 devices"),
        ([("conv1", Conv2d(6, 6, 3, groups=3))], 2, "conv1: 3 groups cannot be shared out over 2 devices"),
        ([("conv1", Conv2d(6, 6, 3, groups=2))], 4, "conv1: 2 groups cannot be shared out over 4 devices"),
        ([("fc1", Linear(8, 5)), ("fc2", Linear(5, 4))], 2, "fc1: 5 output features cannot"),
        ([("fc1", Linear(5, 4))], 2, "fc1: 5 input features cannot be shared out over 2 devices"),
        ([("fc1", Linear(8, 4)), ("odd", Unknown())], 2, "odd: partition does not know how to split a Unknown"),
        ([("fc1", Linear(8, 4)), ("odd", Unknown())], 1, "odd: partition does not know how to split a Unknown"),
        ([("in", Sequential([("fc1", Linear(5, 4))]))], 2, r"in\.fc1: 5 input features"),
        ([("in", Sequential([("odd", Unknown())]))], 2, r"in\.odd: partition does not know"),
    ],
)
def test_what_cannot_be_split_says_so_by_name(layers, devices, message):
    with pytest.raises(ValueError, match=message):
        partition(Sequential(layers), devices)


@pytest.mark.parametrize("net", [ReLU(), "alexnet", None, [ReLU()], models.alexnet])
def test_only_a_sequential_can_be_split(net):
    with pytest.raises(TypeError, match=r"partition: expected a Sequential, got \w+"):
        partition(net)


def test_towers_are_not_split_again():
    with pytest.raises(TypeError, match="partition: expected a Sequential, got Towers"):
        partition(partition(small_alexnet()))


@pytest.mark.parametrize("devices", ["2", 2.0, None, True])
def test_a_number_of_devices_is_a_whole_number(devices):
    with pytest.raises(TypeError, match="partition: expected a whole number of devices, got"):
        partition(small_alexnet(), devices)


@pytest.mark.parametrize("devices", [0, -1, 257, 10**9])
def test_there_is_at_least_one_device_and_not_thousands(devices, monkeypatch):
    monkeypatch.setattr("tinynet.parallel.devices.Worker", None)  # no thread is started
    with pytest.raises(ValueError, match=f"partition: expected 1 to 256 devices, got {devices}"):
        partition(small_alexnet(), devices)


def test_one_device_takes_any_network():
    odd = [("conv1", Conv2d(3, 5, 3)), ("lrn", LocalResponseNorm(3)), ("conv2", Conv2d(5, 7, 1)), ("end", Softmax())]
    net = Sequential(odd)
    towers = partition(net, 1)
    assert isinstance(towers, Towers)
    x = normal(1, 2, 3, 5, 5)
    assert (to_host(towers.forward(given(towers, x))) == to_host(net.forward(given(net, x)))).all()


def test_images_that_devices_cannot_share():
    net = Sequential([("conv1", Conv2d(4, 4, 3, groups=2)), ("flatten", Flatten()), ("fc2", Linear(4, 2))])
    towers = partition(net)
    for channels, message in [(5, "take_conv1: 2 devices must divide 5 channels"), (6, "conv1: expected input .N, 2,")]:
        with pytest.raises(ValueError, match=message):
            towers.forward(given(towers, normal(1, 2, channels, 3, 3)))
        with pytest.raises(ValueError, match=message):
            towers.output_shape((channels, 3, 3))
