"""Weights in safetensors files: there and back, and every way in which a file can be wrong."""

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from tinynet import CheckpointError, Conv2d, Flatten, Linear, Sequential, initializers, load_weights, save_weights
from tinynet.backend import to_host


def make_net(channels: int = 4, seed: int = 0) -> Sequential:
    net = Sequential([("conv1", Conv2d(3, channels, 3)), ("flatten", Flatten()), ("fc2", Linear(channels * 9, 5))])
    initializers.initialize(net, seed, ones=("fc2",))
    return net


def values(net) -> dict:
    return {name: to_host(parameter).copy() for name, parameter in net.params.items()}


def test_there_and_back(tmp_path):
    net, other = make_net(seed=1), make_net(seed=2)
    save_weights(net, tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors")
    for name, value in values(net).items():
        assert np.array_equal(value, values(other)[name])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w.safetensors"]
    assert sorted(safetensors.numpy.load_file(tmp_path / "w.safetensors")) == [
        "conv1.bias", "conv1.weight", "fc2.bias", "fc2.weight",
    ]  # fmt: skip


def test_loading_converts_to_the_nets_dtype(tmp_path):
    save_weights(make_net(seed=1), tmp_path / "w.safetensors")
    net = make_net(seed=2).astype("float64")
    load_weights(net, tmp_path / "w.safetensors")
    assert {parameter.dtype.name for parameter in net.params.values()} == {"float64"}


def fails(net, path, message: str) -> None:
    before = values(net)
    with pytest.raises(CheckpointError, match=message):
        load_weights(net, path)
    assert all(np.array_equal(before[name], value) for name, value in values(net).items())


def test_wrong_files_change_nothing(tmp_path):
    net = make_net()
    fails(net, tmp_path / "none.safetensors", "none.safetensors: no such file")
    (tmp_path / "text").write_text("not weights")
    fails(net, tmp_path / "text", "not a readable safetensors file")
    (tmp_path / "empty").touch()
    fails(net, tmp_path / "empty", "not a readable safetensors file")
    save_weights(net, tmp_path / "whole")
    (tmp_path / "half").write_bytes((tmp_path / "whole").read_bytes()[:-100])
    fails(net, tmp_path / "half", "not a readable safetensors file")
    fails(net, tmp_path, "not a readable safetensors file")
    save_weights(make_net(channels=8), tmp_path / "wider")
    fails(net, tmp_path / "wider", r"conv1.weight has the shape \(8, 3, 3, 3\), expected \(4, 3, 3, 3\)")
    smaller = Sequential([("conv1", Conv2d(3, 4, 3)), ("extra", Conv2d(4, 4, 1))])
    save_weights(smaller, tmp_path / "other")
    fails(net, tmp_path / "other", "fc2.weight is missing; fc2.bias is missing; .* is not in the net and 1 more")


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere/w.safetensors: cannot be written"):
        save_weights(make_net(), tmp_path / "nowhere" / "w.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    save_weights(make_net(seed=1), tmp_path / "w.safetensors")
    before = (tmp_path / "w.safetensors").read_bytes()

    def fail(arrays, path, metadata):
        path.write_bytes(b"half")
        raise safetensors.SafetensorError("I/O error: No space left on device")  # what a full disk gives

    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(CheckpointError, match=r"w.safetensors: cannot be written \(.*No space"):
        save_weights(make_net(seed=2), tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
