"""A trained folder names its model and its arguments: each of the project's own opens; a user's, when it is named."""

import sys

import numpy as np
import pytest
from run_on_disk import settings_of, write_weights

from tinynet import CheckpointError, Flatten, Linear, Sequential, models
from tinynet.backend import to_device, to_host
from tinynet.inspection.pictures import draw_pictures
from tinynet.training import load_trained

SIZE = 72
X = np.random.default_rng(0).standard_normal((2, 3, 67, 67)).astype(np.float32)
NETWORKS = {
    "alexnet": {"num_classes": 3, "groups": 1, "width": 0.06, "input_size": 67, "seed": 3},
    "alexnet_torchvision": {"num_classes": 3, "width": 0.06, "input_size": 67, "seed": 3},
    "cifar10_full": {"num_classes": 3, "input_size": 67, "seed": 3},
    "cifar10_quick": {"num_classes": 3, "input_size": 67, "seed": 3},
    "lenet": {"num_classes": 3, "in_channels": 3, "input_size": 67, "activation": "relu", "seed": 3},
    "vgg": {"depth": 11, "num_classes": 3, "input_size": 67, "width": 0.02, "seed": 3},
    "vgg_cifar": {"depth": 11, "num_classes": 3, "input_size": 67, "width": 0.02, "seed": 3},
}
HIDDEN = {"cifar10_full": "all layers but the last", "cifar10_quick": "fc4", "lenet": "fc4", "vgg_cifar": "fc6"}


def tiny(num_classes: int, side: int = 67) -> Sequential:
    return Sequential([("flatten", Flatten()), ("fc1", Linear(3 * side * side, num_classes))])


@pytest.fixture
def save(make_run, data, tmp_path):
    """save(net, **settings) -> the folder in which it lies as a finished run's."""

    def save(net, **settings):
        made = settings_of(data, SIZE, 67, scale=0.02) | settings
        return write_weights(tmp_path / "run", net, make_run().statistics, made)

    return save


@pytest.mark.parametrize("name", NETWORKS)
def test_each_model_opens_and_can_be_looked_into(save, name):
    net = models.build(name, **NETWORKS[name])
    folder = save(net, model=name, network=NETWORKS[name])
    found = load_trained(folder)
    assert to_host(found.net.forward(to_device(X))).tobytes() == to_host(net.forward(to_device(X))).tobytes()
    pytest.importorskip("matplotlib")
    sentences = list(draw_pictures(folder, images=2))
    first = "conv1_1" if name.startswith("vgg") else "conv1"
    assert f"{first}_filters.png: the kernels of {first} (finished)" in sentences[1]
    assert (folder / f"{first}_filters.png").exists() and (folder / "neighbours.png").exists()
    assert sentences[-1].endswith(f"by the output of {HIDDEN.get(name, 'fc7')}")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "resnet"}, "is of the model 'resnet', which this tinynet does not have"),
        ({"model": "x\x1b" * 99}, r"is of the model 'x\\x1b"),
        ({"model": 7}, "its settings: model: expected a text, found 7"),
        ({"model": "vgg"}, "cannot be rebuilt: vgg: takes depth, .*; got initialization"),
        ({"model": "lenet", "network": {"pooling": []}}, "cannot be rebuilt: "),
        ({"model": "lenet", "network": {"in_channels": 3, "input_size": 67}}, r"\(10,\), and 3 classes"),
        ({"model": "lenet", "network": {"num_classes": 3}}, "cannot be rebuilt: "),
        ({"model": "os:system"}, "of somebody's own, 'os:system', which no file can make tinynet import: name it"),
    ],
)
def test_a_model_that_cannot_be_rebuilt_is_told(save, settings, message):
    folder = save(models.alexnet(**NETWORKS["alexnet"]), **settings)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_trained(folder)
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_users_own_model_that_is_not_named_is_one_sentence(save, make_run, data, tmp_path, capsys):
    settings = {"model": "nets_from_a_file:tiny", "network": {"num_classes": 3}}
    made = settings_of(data, SIZE, 67, scale=0.02) | settings
    for step in (1, 2):
        write_weights(tmp_path / "checkpoints" / f"step-{step:09}", tiny(3), make_run().statistics, made)
    with pytest.raises(CheckpointError, match=r"step-000000002/.*no file can make tinynet import: name it yourself"):
        load_trained(tmp_path)
    for model, message in (
        ("nocolon", "expected a model, .*got 'nocolon'"),
        ("no_such_nets:tiny", "there is no module 'no_such_nets'"),
        (lambda **arguments: None, "expected it to return a Sequential, got NoneType"),
        (lambda side: None, "takes side; got num_classes"),
    ):
        with pytest.raises((CheckpointError, ImportError, ValueError), match=message):
            load_trained(tmp_path, model=model)
    capsys.readouterr()
    with pytest.raises(ImportError, match="no_such_nets"):
        list(draw_pictures(tmp_path, model="no_such_nets:tiny"))


def test_a_users_own_model_is_imported_only_when_the_user_names_it(save, tmp_path, monkeypatch):
    (tmp_path / "nets_from_a_file.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    net = tiny(3)
    folder = save(net, model="nets_from_a_file:tiny", network={"num_classes": 3})
    with pytest.raises(CheckpointError, match="no file can make tinynet import"):
        load_trained(folder)
    assert "nets_from_a_file" not in sys.modules
    found = load_trained(folder, model=tiny)
    assert to_host(found.net.forward(to_device(X))).tobytes() == to_host(net.forward(to_device(X))).tobytes()
    (tmp_path / "my_own_nets.py").write_text(
        "from tinynet import Flatten, Linear, Sequential\n"
        "def tiny(num_classes):\n"
        "    return Sequential([('flatten', Flatten()), ('fc1', Linear(3 * 67 * 67, num_classes))])\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = load_trained(folder, model="my_own_nets:tiny")
    assert to_host(found.net.forward(to_device(X))).tobytes() == to_host(net.forward(to_device(X))).tobytes()
    pytest.importorskip("matplotlib")
    assert any("No filters: the network has no convolution" in line for line in draw_pictures(folder, model=tiny))
