"""A network on several devices gives the numbers of the same network on one: outputs, gradients, training."""

from collections import defaultdict

import numpy as np
import pytest
from inputs import assert_close, normal, relative_difference
from parallel import networks
from parallel.networks import IMAGE, evaluated, given, small_alexnet, training_step

from tinynet import SGD, SoftmaxCrossEntropy
from tinynet.backend import on_gpu, to_host, xp
from tinynet.gradient_check import GradientCheckError, check_layer, check_network
from tinynet.parallel import partition
from tinynet.weights import whole_parameters

# After ten steps; in float32, emulated products round more than those of a BLAS, which adds in several sums.
BOUNDS = {"float64": 1e-12, "float32": 3e-5 if on_gpu else 1e-5}
BATCHES = (4, 4, 2, 5, 1, 5, 3, 4, 4, 4)  # a smaller batch uses the memory of a larger one again


def train_both(net, devices: int, image: tuple, dtype: str) -> dict[str, float]:
    """Ten steps on one device and on several, everything compared; the largest relative differences by name."""
    net.astype(dtype)
    net.needs_dx = True
    towers = partition(net, devices)
    options = {"lr_multipliers": {"bias": 2.0}, "decay_multipliers": {"bias": 0.0}} if net.params else {}
    optimizers = [SGD(each, 0.0005, weight_decay=0.01, **options) for each in (net, towers)]
    worst = defaultdict(float)

    def compare(what: str, found: dict, expected: dict) -> None:
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            assert found[name].dtype == dtype, name
            assert_close(found[name], values, BOUNDS[dtype], f"step {step}, {what} {name}")
            worst[f"{what} {name}"] = max(worst[f"{what} {name}"], relative_difference(found[name], values))

    for step, count in enumerate(BATCHES):
        x = normal(step, count, *image).astype(dtype)
        target = normal(step + 100, count, *net.output_shape(image)).astype(dtype)
        expected = training_step(net, x, target, optimizers[0], step)
        found = training_step(towers, x, target, optimizers[1], step)
        assert "dx" in found
        compare("values", {"output": found.pop("output")}, {"output": expected.pop("output")})
        compare("gradient", found, expected)
        compare("weights", whole_parameters(towers), whole_parameters(net))
        if step % 4 == 1:
            compare("values", {"output at test": evaluated(towers, x)}, {"output at test": evaluated(net, x)})
    return worst


@pytest.mark.parametrize(("devices", "dtype"), [(1, "float64"), (2, "float64"), (4, "float64"), (2, "float32")])
@pytest.mark.parametrize("make_net", networks.SMALL_NETS)
def test_small_networks(make_net, devices, dtype):
    train_both(make_net(), devices, IMAGE, dtype)


def test_three_devices():
    train_both(networks.vgg_like(), 3, IMAGE, "float64")


def test_alexnet(tables):
    worst = {dtype: train_both(small_alexnet(width=0.25), 2, (3, 67, 67), dtype) for dtype in BOUNDS}
    columns = [(what, dtype) for what in ("values", "gradient", "weights") for dtype in BOUNDS]
    lines = [f"{'':14}" + "".join(f"{' '.join(column):>18}" for column in columns)]
    for name in ("output", "output at test", "dx", *whole_parameters(small_alexnet())):
        found = (worst[dtype].get(f"{what} {name}") for what, dtype in columns)
        cells = (" " * 18 if value is None else f"{value:18.1e}" for value in found)
        lines.append(f"{name:14}{''.join(cells)}".rstrip())
    tables["Towers against one device, ten steps of AlexNet: largest relative difference"] = lines


@pytest.mark.parametrize(
    ("devices", "options"),
    [(2, {"order": "caffenet"}), (4, {"groups": 4}), (2, {"groups": 4}), (2, {"groups": 1, "width": 0.0625})],
)
def test_variations_of_alexnet(devices, options):
    train_both(small_alexnet(**options), devices, (3, 67, 67), "float64")


def test_every_tower_has_the_whole_output():
    net = networks.convolution_last()
    x = normal(1, 3, *IMAGE).astype("float32")
    expected = evaluated(net, x)
    towers = partition(net, 2)
    outputs = towers.on_devices(lambda rank: to_host(towers.towers[rank].forward(xp.asarray(x))).copy())
    for output in outputs:
        assert_close(output, expected, 1e-5)
        assert (output == outputs[0]).all()


def test_the_gradient_of_the_images_is_left_out_unless_told():
    net = small_alexnet()
    towers = partition(net)
    x, target = normal(1, 2, 3, 67, 67).astype("float32"), normal(2, 2, 5).astype("float32")
    assert not towers.needs_dx
    assert "dx" not in training_step(towers, x, target)
    towers.needs_dx = net.needs_dx = True
    assert_close(training_step(towers, x, target)["dx"], training_step(net, x, target)["dx"], 1e-5)


def test_the_network_stays_as_it_was():
    net = small_alexnet()
    before = {name: to_host(parameter).copy() for name, parameter in net.params.items()}
    towers = partition(net)
    optimizer = SGD(towers, 0.1)
    training_step(towers, normal(1, 2, 3, 67, 67).astype("float32"), normal(2, 2, 5).astype("float32"), optimizer)
    for name, after in whole_parameters(towers).items():
        assert (after != before[name]).any(), f"{name} was not trained"
        assert (to_host(net.params[name]) == before[name]).all(), f"{name} of the network itself has changed"
    assert net["dropout6"].step == 0


def test_layers_that_are_not_trainable_stay_as_they_are():
    net = small_alexnet()
    net["conv3"].trainable = net["fc8"].trainable = False
    towers = partition(net)
    x, target = normal(1, 2, 3, 67, 67).astype("float32"), normal(2, 2, 5).astype("float32")
    training_step(towers, x, target, SGD(towers, 0.1))
    for name, after in whole_parameters(towers).items():
        stays = name.startswith(("conv3", "fc8"))
        assert (after == to_host(net.params[name])).all() == stays, name
    for name in ("conv1", "conv2", "conv4", "conv5"):
        net[name].trainable = False
    ends = partition(net)
    ends.towers[1]["conv5"].trainable = True  # in one tower alone: they still meet where they have to
    before = whole_parameters(ends)
    training_step(ends, x, target, SGD(ends, 0.1))
    for name, after in whole_parameters(ends).items():
        changes = name.startswith(("conv5", "fc6", "fc7"))
        assert (after != before[name]).any() == changes, name
    met = {crossing.layer for crossing in ends.ledger.crossings if crossing.direction == "backward"}
    assert met == {"fc6", "fc7"}
    towers.trainable = False
    assert not any(layer.trainable for tower in towers.towers for layer in tower)


def test_as_a_layer():
    net = small_alexnet()
    towers = partition(net)
    assert towers.output_shape((3, 67, 67)) == (5,)
    assert towers.multiply_adds((3, 67, 67)) == net.multiply_adds((3, 67, 67))
    assert towers.params.keys() == towers.grads.keys()
    assert towers.astype("float64") is towers
    assert {parameter.dtype.name for parameter in towers.params.values()} == {"float64"}
    assert "tower 1" in repr(towers)
    with pytest.raises(RuntimeError, match="fc8: backward needs a forward"):
        towers.backward(given(towers, normal(1, 2, 5)))
    with pytest.raises(ValueError, match=r"conv1: expected input \(N, 3, H, W\), got \(2, 1, 67, 67\)"):
        towers.forward(given(towers, normal(1, 2, 1, 67, 67)))


def train(make_net, steps: int = 4) -> dict[str, np.ndarray]:
    towers = partition(make_net())
    optimizer = SGD(towers, 0.01)
    for step in range(steps):
        x = normal(step, 4, *IMAGE).astype("float32")
        training_step(towers, x, normal(step, 4, *towers.output_shape(IMAGE)).astype("float32"), optimizer, step)
    return whole_parameters(towers)


@pytest.mark.parametrize("make_net", [networks.vgg_like, networks.take_block, networks.nested])
def test_two_runs_agree_to_the_last_bit(make_net):
    first, second = train(make_net), train(make_net)
    for name, values in first.items():
        assert (values == second[name]).all(), name


def test_two_networks_in_turn():
    nets = [networks.vgg_like(), networks.nested()]
    partitions = [partition(net, devices) for net, devices in zip(nets, (2, 4), strict=True)]
    for step in range(3):
        for net, towers in zip(nets, partitions, strict=True):
            x, target = normal(step, 3, *IMAGE), normal(step + 9, 3, *net.output_shape(IMAGE))
            expected = training_step(net.astype("float64"), x, target, step=step)
            found = training_step(towers.astype("float64"), x, target, step=step)
            for name, values in expected.items():
                assert_close(found[name], values, 1e-12, name)


# ---- finite differences through the crossings ----

PIXELS, LABELS = normal(1, 2, 3, 67, 67), np.array([1, 3])


def test_gradient_of_every_parameter_of_two_towers():
    towers = partition(small_alexnet(width=0.003, seed=15))
    assert 0 < check_network(towers, PIXELS, LABELS) < 1e-6
    towers.astype("float64")
    towers.set_step(0)
    loss = SoftmaxCrossEntropy()
    loss.forward(towers.forward(given(towers, PIXELS), train=True), LABELS)
    towers.backward(loss.backward())
    for name, gradient in towers.grads.items():
        assert abs(to_host(gradient)).max() > 1e-3, f"{name}: too small a gradient for the check to see"


@pytest.mark.parametrize(
    ("devices", "options"),
    [(2, {"order": "caffenet"}), (2, {"groups": 1, "width": 0.0625}), (4, {"groups": 4})],
)
def test_gradient_of_variations_on_towers(devices, options):
    towers = partition(small_alexnet(**options), devices)
    towers.needs_dx = True
    check_network(towers, PIXELS, LABELS, samples=1 if devices == 4 else 3)


@pytest.mark.parametrize("make_net", [networks.smooth, networks.convolution_last])
def test_towers_pass_the_gradient_check_as_a_layer(make_net):
    net = make_net()
    net.needs_dx = True
    check_layer(partition(net), normal(1, 1, *IMAGE))


def test_gradient_through_layers_that_need_all_channels():
    net = networks.softmax_inside()
    net.needs_dx = True
    check_network(partition(net), normal(1, 2, *IMAGE), LABELS, samples=8)


def test_a_wrong_crossing_is_found(monkeypatch):
    towers = partition(small_alexnet(width=0.003, seed=15))
    gather = towers.towers[0]["gather_conv3"].communicator
    original = gather._reduce_scatter

    def own_part_only(whole, out):
        original(whole, out)
        out[...] = whole[: len(out)]

    monkeypatch.setattr(gather, "_reduce_scatter", own_part_only)
    with pytest.raises(GradientCheckError, match="tower0"):
        check_network(towers, PIXELS, LABELS, samples=4)
