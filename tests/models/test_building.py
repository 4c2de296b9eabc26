"""Networks by name: the project's own, and a user's."""

import sys

import pytest

from tinynet import models

OWN = """
from tinynet import Flatten, Linear, Sequential

def tiny(num_classes, side=4):
    return Sequential([("flatten", Flatten()), ("fc1", Linear(3 * side * side, num_classes))])

def wrong():
    return 7

def named(name, model):
    return tiny(5)

def anything(**arguments):
    return tiny(**arguments)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(OWN)
    (tmp_path / "my_broken_nets.py").write_text("import there_is_no_such_module")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield
    for name in ("my_nets", "my_broken_nets"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("alexnet", {"num_classes": 3, "width": 0.06, "input_size": 67}),
        ("alexnet_torchvision", {"num_classes": 3, "width": 0.06, "input_size": 67}),
        ("cifar10_full", {"num_classes": 3, "in_channels": 1, "input_size": 40}),
        ("cifar10_quick", {"num_classes": 3, "in_channels": 1, "input_size": 40}),
        ("lenet", {"in_channels": 3, "pooling": "max"}),
        ("lenet", {"in_channels": 3, "variant": "caffe"}),
        ("vgg", {"depth": 11, "num_classes": 3, "width": 0.02, "input_size": 32}),
        ("vgg_cifar", {"depth": 11, "in_channels": 1, "width": 0.02, "dropout": 0.1}),
    ],
)
def test_a_model_by_name_is_the_model(name, arguments):
    assert repr(models.build(name, **arguments)) == repr(getattr(models, name)(**arguments))
    assert name in models.MODELS


def test_a_model_of_the_users_own(own):
    assert repr(models.build("my_nets:tiny", num_classes=5)["fc1"]) == "Linear(48 -> 5)"
    assert repr(models.build("my_nets:anything", num_classes=5)["fc1"]) == "Linear(48 -> 5)"
    assert repr(models.build("my_nets:named", name="a", model="b")["fc1"]) == "Linear(48 -> 5)"
    assert repr(models.build(models.lenet, num_classes=5)["fc5"]) == "Linear(84 -> 5)"


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "message"),
    [
        ("alexnt", {}, ValueError, r"expected a model, alexnet, .* as module:function; got 'alexnt' \(did you mean a"),
        ("os.system", {}, ValueError, "expected a model, .*; got 'os.system'$"),
        (":", {}, ValueError, "expected a model"),
        (".my_nets:tiny", {}, ValueError, "expected a model"),
        ("alexnet", {"name": "x"}, ValueError, "alexnet: takes num_classes, .*; got name"),
        ("", {}, ValueError, "expected a model"),
        ("vgg", {"groups": 2, "x": 1}, ValueError, "vgg: takes depth, num_classes, .*; got groups, x$"),
        ("my_nets:tiny", {"width": 2}, ValueError, "my_nets:tiny: takes num_classes, side; got width"),
        ("my_nets:huge", {}, ImportError, "my_nets:huge: my_nets has no function 'huge'"),
        ("no_nets:tiny", {}, ImportError, "there is no module 'no_nets' here"),
        ("my_nets:wrong", {}, TypeError, "my_nets:wrong: expected it to return a Sequential, got int"),
        ("my_broken_nets:tiny", {}, ModuleNotFoundError, "No module named 'there_is_no_such_module'"),
    ],
)
def test_what_is_no_model_is_told(own, name, arguments, kind, message):
    with pytest.raises(kind, match=message):
        models.build(name, **arguments)
