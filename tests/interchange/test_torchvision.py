"""torchvision's weights in and out, and PyTorch's files, of which nothing is run."""

import os
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from inputs import relative_difference
from interchange import pickles
from interchange.chains import forward

from tinynet import CheckpointError, models
from tinynet.arrays import read_arrays, write_arrays
from tinynet.interchange import read_pth, read_torchvision, write_torchvision
from tinynet.interchange.torchvision import PLACES
from tinynet.weights import whole_parameters

NAMES = list(PLACES)
ARRAYS = {
    "a": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "b": np.arange(5, dtype=np.float64),
    "c": np.arange(6, dtype=np.float16).reshape(3, 2),
    "d": np.array(7, np.int64),
}
WRITERS = [pickles.write_zip, pickles.write_legacy]


def test_what_is_written_is_read_again(tmp_path):
    net = models.alexnet_torchvision(3)
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    write_torchvision(net, tmp_path / "w.safetensors")
    arrays = read_arrays(tmp_path / "w.safetensors")[0]
    assert set(arrays) >= {"features.0.weight", "classifier.6.bias"} and arrays["classifier.6.bias"].shape == (3,)
    again = read_torchvision(tmp_path / "w.safetensors")
    assert list(again.layers) == list(net.layers) and (forward(again, x) == forward(net, x)).all()
    pickles.write_zip(tmp_path / "w.pth", pickles.tensors(arrays))
    again = whole_parameters(read_torchvision(tmp_path / "w.pth"))
    assert all((array == again[key]).all() for key, array in whole_parameters(net).items())


@pytest.mark.parametrize("name", NAMES)
def test_torchvision_computes_the_same(tmp_path, name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = pytest.importorskip("torchvision_models", reason="torchvision is not installed", exc_type=ImportError)
    torch.manual_seed(0)
    net = getattr(theirs.models, name)(weights=None, num_classes=5).eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = net(x).numpy()
    torch.save(net.state_dict(), tmp_path / "w.pth")
    torch.save(net.state_dict(), tmp_path / "l.pth", _use_new_zipfile_serialization=False)
    for file in ("w.pth", "l.pth"):
        ours = read_torchvision(tmp_path / file)
        assert relative_difference(forward(ours, x.numpy()), expected) < 1e-5
    write_torchvision(ours, tmp_path / "back.safetensors")
    arrays = {key: torch.from_numpy(array) for key, array in read_arrays(tmp_path / "back.safetensors")[0].items()}
    again = getattr(theirs.models, name)(weights=None, num_classes=5).eval()
    again.load_state_dict(arrays)
    with torch.no_grad():
        assert (again(x).numpy() == expected).all()


def test_networks_that_torchvision_has_not(tmp_path):
    for net in (models.lenet(), models.alexnet(5, width=0.06), models.vgg(11, 5, width=0.05), models.vgg(11, 5, 64)):
        with pytest.raises(CheckpointError, match="torchvision has no such network"):
            write_torchvision(net, tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_torchvisions(tmp_path):
    path = tmp_path / "w.safetensors"
    arrays = {f"features.{place}.{key}": np.ones(3, np.float32) for place in (0, 3) for key in ("weight", "bias")}
    for wrong, message in (
        (arrays, "its layers are not those of alexnet, vgg11"),
        (arrays | {"features.1.running_mean": np.ones(3, np.float32)}, "has batch normalisation"),
        (arrays | {"fc.weight": np.ones(3, np.float32)}, "is not of torchvision's alexnet or vgg: fc.weight"),
    ):
        write_arrays(path, wrong)
        with pytest.raises(CheckpointError, match=message):
            read_torchvision(path)


# ---- PyTorch's files ----


@pytest.mark.parametrize("write", WRITERS)
def test_tensors_of_all_kinds(tmp_path, write):
    found = read_pth(write(tmp_path / "w.pth", pickles.tensors(ARRAYS)))
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape and (found[name] == array).all()


@pytest.mark.parametrize("write", WRITERS)
def test_tensors_that_share_a_storage_and_are_parts_of_it(tmp_path, write):
    whole = np.arange(12, dtype=np.float32)
    parts = {
        "whole": pickles.part(whole, 0, (3, 4), (4, 1)),
        "transposed": pickles.part(whole, 0, (4, 3), (1, 4)),
        "part": pickles.part(whole, 5, (2,), (3,)),
        "empty": pickles.part(whole, 0, (0, 3), (3, 1)),
    }
    found = read_pth(write(tmp_path / "w.pth", OrderedDict(parts)))
    rows = whole.reshape(3, 4)
    assert (found["whole"] == rows).all() and (found["transposed"] == rows.T).all()
    assert found["part"].tolist() == [5, 8] and found["empty"].shape == (0, 3)


def test_wrapped_state_dicts(tmp_path):
    content = {"epoch": 3, "state_dict": pickles.tensors({"module.a": ARRAYS["a"]})}
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickles.pickled(content))
        archive.writestr("x/data/0", ARRAYS["a"].tobytes())
    assert (read_pth(path)["a"] == ARRAYS["a"]).all()


RUNS = {
    "os.system": b"cos\nsystem\n(X\x0b\x00\x00\x00touch ownedtR.",
    "builtins": b"cbuiltins\neval\n(X\x01\x00\x00\x001tR.",
    "a submodule": b"ctorch.hub\nload\n(X\x01\x00\x00\x001tR.",
    "nested": b"\x80\x02ccollections\nOrderedDict\n(cos\ngetcwd\n)RtR.",
    "an extension": b"\x82\x01.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06getcwd\x93)R.",
    "INST": b"(ios\ngetcwd\n.",
    "a type's attribute": b"\x80\x02ctorch\nFloatStorage\n}X\x05\x00\x00\x00dtypeK\x01sb.",
    "a function's attribute": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__)s\x86b.",
    "attributes": b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.",
}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("program", RUNS.values(), ids=RUNS)
def test_nothing_is_run(tmp_path, monkeypatch, write, program):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("ran"))
    monkeypatch.setattr(os, "getcwd", lambda: pytest.fail("ran"))
    with pytest.raises(CheckpointError) as raised:
        read_pth(write(tmp_path / "w.pth", {}, program))
    assert len(str(raised.value).splitlines()) == 1 and not (tmp_path / "owned").exists()
    assert set(read_pth(write(tmp_path / "w.pth", pickles.tensors(ARRAYS)))) == set(ARRAYS)  # nothing has changed


WRONG = {
    "beyond the storage": (5, (3, 3), (3, 1)),
    "repeated without end": (0, (1 << 40,), (0,)),
    "backwards": (5, (3,), (-1,)),
    "a negative offset": (-1, (2,), (1,)),
    "other axes": (0, (2, 2), (1,)),
    "huge": (0, (1 << 62, 1 << 62), (1, 1)),
    "texts": (0, ("x",), (1,)),
}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("numbers", WRONG.values(), ids=WRONG)
def test_tensors_that_lie(tmp_path, write, numbers):
    content = {"a": pickles.part(np.arange(6, dtype=np.float32), *numbers)}
    with pytest.raises(CheckpointError):
        read_pth(write(tmp_path / "w.pth", content))


def test_other_content(tmp_path):
    for content in ([1, 2], 5, {}, {"a": 1}, {1: pickles.part(np.ones(3, np.float32), 0, (3,), (1,))}, None):
        with pytest.raises(CheckpointError, match="expected"):
            read_pth(pickles.write_zip(tmp_path / "w.pth", content if content is not None else {"a": None}))


def test_compressed_and_missing_members(tmp_path):
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\x80\x02]" + b"N" * 1_000_000 + b".")
    with pytest.raises(CheckpointError, match="is compressed"):
        read_pth(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickles.pickled(pickles.tensors(ARRAYS)))
    with pytest.raises(CheckpointError, match="is not there, or shorter"):
        read_pth(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/other", b"")
    with pytest.raises(CheckpointError, match="with 0 files"):
        read_pth(path)
