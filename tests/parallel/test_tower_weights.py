"""Weights and checkpoints know nothing of devices: saved on any number of them, opened on any other."""

import numpy as np
import pytest
from inputs import assert_close, normal
from parallel import networks
from parallel.networks import IMAGE, evaluated, small_alexnet, training_step

from tinynet import SGD, CheckpointError, load_weights, save_weights
from tinynet.backend import device_of, to_host
from tinynet.data.statistics import Statistics
from tinynet.parallel import partition
from tinynet.training import Checkpoints, load_checkpoint
from tinynet.weights import whole_parameters

NETS = [lambda: small_alexnet(groups=4), networks.take_block, networks.vgg_like, networks.nested]
IDS = ["alexnet", "take_block", "vgg_like", "nested"]
STATISTICS = Statistics(np.zeros((3, 4, 4), np.float32), np.eye(3, dtype=np.float32), np.ones(3, np.float32), 5)


def on(net, devices: int):
    """The net itself, or its towers."""
    return partition(net, devices) if devices > 1 else net


def changed(net):
    """The net with other parameters, all of its own."""
    for index, (_, layer, key) in enumerate(net.parameters()):
        with device_of(layer.params[key]):
            layer.params[key] += layer.params[key].dtype.type(1 + index)
    return net


@pytest.mark.parametrize("make_net", NETS, ids=IDS)
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 4), (4, 1), (4, 2)])
def test_weights_move_between_numbers_of_devices(before, after, make_net, tmp_path):
    first, second = on(changed(make_net()), before), on(make_net(), after)
    save_weights(first, tmp_path / "weights.safetensors")
    load_weights(second, tmp_path / "weights.safetensors")
    expected = make_net()
    load_weights(expected, tmp_path / "weights.safetensors")
    for name, parameter in whole_parameters(changed(make_net())).items():
        assert (whole_parameters(second)[name] == parameter).all(), name
        assert (to_host(expected.params[name]) == parameter).all(), name
    save_weights(second, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("make_net", NETS, ids=IDS)
def test_split_and_merge_are_each_others_reverse(make_net):
    towers = partition(make_net(), 4)
    whole = {name: normal(1, *value.shape) for name, value in whole_parameters(towers).items()}
    parts = towers.split(whole)
    assert {name: part.shape for name, part in parts.items()} == {n: p.shape for n, p in towers.params.items()}
    merged = towers.merge(parts)
    assert list(merged) == list(whole)
    for name, values in whole.items():
        assert (merged[name] == values).all(), name


def test_loading_converts_to_the_towers_dtype(tmp_path):
    net = small_alexnet()
    save_weights(net, tmp_path / "weights")
    towers = partition(small_alexnet(seed=1)).astype("float64")
    load_weights(towers, tmp_path / "weights")
    for name, parameter in whole_parameters(towers).items():
        assert parameter.dtype == "float64"
        assert (parameter == to_host(net.params[name])).all(), name


def test_wrong_files_change_no_tower(tmp_path):
    towers = partition(small_alexnet())
    before = {name: parameter.copy() for name, parameter in whole_parameters(towers).items()}
    save_weights(small_alexnet(num_classes=7), tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"fc8.weight has the shape \(7, \d+\), expected \(5, \d+\)"):
        load_weights(towers, tmp_path / "other")
    save_weights(networks.vgg_like(), tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"conv1.weight is missing"):
        load_weights(towers, tmp_path / "other")
    for name, parameter in whole_parameters(towers).items():
        assert (parameter == before[name]).all(), name


# ---- checkpoints ----


def run(net, optimizer, steps: range) -> None:
    for step in steps:
        x, target = normal(step, 4, *IMAGE).astype("float32"), normal(step + 50, 4, 3).astype("float32")
        training_step(net, x, target, optimizer, step)


def state(net, optimizer) -> dict[str, np.ndarray]:
    """Parameters and velocities as a whole, on the host."""
    velocity = net.merge({name: to_host(value).copy() for name, value in optimizer.velocity.items()})
    weights = {f"weights.{name}": value.copy() for name, value in whole_parameters(net).items()}
    return {**weights, **{f"velocity.{name}": value for name, value in velocity.items()}}


def saved(folder, net, optimizer, step: int):
    place = {"settings": {}, "history": [], "step": step, "epoch": 0, "running": {}}
    return Checkpoints(folder).save(net, optimizer, STATISTICS, place)


def resumed(path, devices: int):
    """A net and an optimizer that know what the checkpoint says."""
    net = on(changed(networks.nested()), devices)
    optimizer = SGD(net, 0.01)
    load_checkpoint(path).restore(net, optimizer)
    return net, optimizer


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 2), (4, 2), (2, 4)])
def test_a_run_goes_on_with_another_number_of_devices(before, after, tmp_path):
    net = on(networks.nested(), before)
    optimizer = SGD(net, 0.01)
    run(net, optimizer, range(3))
    other, its_optimizer = resumed(saved(tmp_path, net, optimizer, 3), after)
    now, restored = state(net, optimizer), state(other, its_optimizer)
    assert now.keys() == restored.keys()
    for name, values in now.items():
        assert (restored[name] == values).all(), name
        assert values.any(), f"{name} is nothing but zeros"
    run(net, optimizer, range(3, 8))
    run(other, its_optimizer, range(3, 8))
    for name, values in state(net, optimizer).items():
        assert_close(state(other, its_optimizer)[name], values, 0 if before == after else 1e-5, name)
        assert (values != now[name]).any(), f"{name} has not changed"


def test_towers_and_network_evaluate_alike_after_loading(tmp_path):
    net = changed(networks.smooth())
    save_weights(net, tmp_path / "weights")
    towers = partition(networks.smooth(), 4)
    load_weights(towers, tmp_path / "weights")
    x = normal(1, 3, *IMAGE).astype("float32")
    assert_close(evaluated(towers, x), evaluated(net, x), 1e-5)
