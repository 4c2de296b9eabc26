"""Weights in safetensors files: there and back, and every way in which a file can be wrong."""

import contextlib
import json
import os
import re
import struct

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from odd_files import NO_FILES

from tinynet import CheckpointError, Conv2d, Flatten, Linear, Sequential, initializers, load_weights, save_weights
from tinynet.arrays import read_arrays
from tinynet.backend import to_host


def make_net(channels: int = 4, seed: int = 0) -> Sequential:
    net = Sequential([("conv1", Conv2d(3, channels, 3)), ("flatten", Flatten()), ("fc2", Linear(channels * 9, 5))])
    initializers.initialize(net, seed, biases={"fc2": 1})
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


NUMBERS = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype("f")


def test_any_float_that_fits_is_taken(tmp_path):
    net, path = make_net(), tmp_path / "w"
    good = values(net)
    for array in (NUMBERS.astype("float16"), NUMBERS.astype("float64"), NUMBERS.astype("float64") * 1e37):
        safetensors.numpy.save_file(good | {"conv1.weight": array}, path)
        load_weights(net, path)
        assert np.array_equal(values(net)["conv1.weight"], array.astype("float32"))
    diverged = NUMBERS.copy()
    diverged[0, 0, 0] = np.nan, np.inf, -np.inf
    safetensors.numpy.save_file(good | {"conv1.weight": diverged}, path)
    load_weights(net, path)  # to be looked at
    assert np.array_equal(values(net)["conv1.weight"], diverged, equal_nan=True)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (NUMBERS > 0, "conv1.weight is of type bool, expected float16, float32 or float64"),
        *[((NUMBERS * 9).astype(f"int{bits}"), "is of type int") for bits in (8, 16, 32, 64)],
        *[(abs(NUMBERS * 9).astype(f"uint{bits}"), "is of type uint") for bits in (8, 16, 32, 64)],
        (NUMBERS.astype(float) * 1e300, r"conv1.weight has \d+ values that are too large for float32"),
        (NUMBERS.astype(float) - 3.5e38, "conv1.weight has 108 values that are too large for float32"),
    ],
)
def test_what_weights_cannot_mean_is_refused(tmp_path, array, message):
    net = make_net()
    safetensors.numpy.save_file(values(net) | {"conv1.weight": array}, tmp_path / "w")
    fails(net, tmp_path / "w", message)


def raw(header: dict | bytes, body: bytes = b"") -> bytes:
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + body


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
TYPES = {"BF16": 4, "F8_E4M3": 2, "F8_E5M2": 2, "F8_E8M0": 2, "F4": 1, "C64": 16}  # bytes of two numbers


@pytest.mark.parametrize(
    "content",
    [
        *[raw({"a": {"dtype": t, "shape": [2], "data_offsets": [0, size]}}, bytes(size)) for t, size in TYPES.items()],
        *[
            raw({"a": ENTRY | {"shape": shape}}, bytes(8))
            for shape in ([2**40], [-2], [2**64], [2**40, 2**40], [2.0], ["2"], None, [1] * 100 + [2])
        ],
        raw({"a": ENTRY | {"shape": [2**63, 0], "data_offsets": [0, 0]}}),
        raw({"a": ENTRY, "b": ENTRY}, bytes(8)),
        raw({"a": ENTRY | {"data_offsets": [8, 0]}}, bytes(8)),
        raw({"a": ENTRY, "__metadata__": {"settings": 1}}, bytes(8)),
        raw({"a": ENTRY, "__metadata__": ["settings"]}, bytes(8)),
        raw(b'{"\xff":' + json.dumps(ENTRY).encode() + b"}", bytes(8)),
        raw(b'{"\\ud800":' + json.dumps(ENTRY).encode() + b"}", bytes(8)),
        raw(b"[" * 5000),
        raw(b'{"a":' * 5000),
        *[struct.pack("<Q", length) + b"{}" for length in (0, 1, 3, 10**8, 2**63, 2**64 - 1)],
        *[bytes(length) for length in range(9)],
    ],
)
def test_hostile_files_are_one_error(tmp_path, content):
    path = tmp_path / "w"
    path.write_bytes(content)
    fails(make_net(), path, f"^{re.escape(str(path))}: not ")
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))}: not a readable safetensors file"):
        read_arrays(path)


def test_names_from_a_file_are_escaped_and_not_too_long(tmp_path):
    (tmp_path / "w").write_bytes(raw({"x\x1b[2J\nforged" + "y" * 100_000: ENTRY}, bytes(8)))
    with pytest.raises(CheckpointError, match=r"x\\x1b\[2J\\nforgedyyy") as caught:
        load_weights(Sequential([("fc", Linear(2, 2))]), tmp_path / "w")
    assert len(str(caught.value)) < 2000 and str(caught.value).isprintable()


def test_flipped_bits_are_found_or_cost_nothing(tmp_path):
    net = make_net()
    save_weights(net, tmp_path / "w", {"settings": "{}"})
    whole = (tmp_path / "w").read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    before = {name: value.shape for name, value in values(net).items()}
    for place in range(0, header):
        for bit in (0, 3, 6):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            (tmp_path / "w").write_bytes(damaged)
            with contextlib.suppress(CheckpointError):
                load_weights(net, tmp_path / "w")
    assert {name: value.shape for name, value in values(net).items()} == before


@pytest.mark.parametrize("make", NO_FILES)
def test_what_is_no_file_is_told(tmp_path, make):
    make(tmp_path / "w")
    fails(make_net(), tmp_path / "w", "w: not a readable safetensors file .expected a file, found a")


def test_other_shapes_are_refused_before_they_are_read(tmp_path):
    """A file of 64 GiB, nearly all of it a hole."""
    numbers = 2**34
    header = raw({"fc.weight": ENTRY | {"shape": [numbers], "data_offsets": [0, 4 * numbers]}})
    with open(tmp_path / "w", "wb") as file:
        file.write(header)
        file.truncate(len(header) + 4 * numbers)
    with pytest.raises(CheckpointError, match=r"fc\.bias is missing; fc\.weight has the shape"):
        load_weights(Sequential([("fc", Linear(2, 2))]), tmp_path / "w")


def test_any_name_can_be_saved_and_nothing_planted_is_followed(tmp_path):
    net, victim = make_net(), tmp_path / "victim"
    victim.write_text("precious")
    for name in ("m" * 243 + ".safetensors", os.fsdecode(b"caf\xe9"), "ü" * 127, "w"):
        (tmp_path / f".{name}.partial"[:60]).symlink_to(victim)
        save_weights(net, tmp_path / name)
        load_weights(net, tmp_path / name)
        (tmp_path / f".{name}.partial"[:60]).unlink()
    assert victim.read_text() == "precious" and len(list(tmp_path.iterdir())) == 5


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere/w.safetensors: cannot be written"):
        save_weights(make_net(), tmp_path / "nowhere" / "w.safetensors")


@pytest.mark.parametrize(("name", "named"), [("a\0b", r"a\\x00b"), ("", "an empty name"), ("a" * 5000, "a" * 5000)])
def test_names_that_no_file_can_have_are_told(tmp_path, monkeypatch, name, named):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=f"^{named}: cannot be written"):
        save_weights(make_net(), name)
    with pytest.raises(CheckpointError):
        load_weights(make_net(), name)
    assert list(tmp_path.iterdir()) == []


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
