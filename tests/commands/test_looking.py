"""summary, time and check: of models by name, of one of the user's own, and of a trained network."""

import itertools
import json
import math

import pytest

from tinynet import models
from tinynet.backend import to_host
from tinynet.inspection import timing
from tinynet.inspection.checking import WHOLE, check_layers

OWN = """
from tinynet import Linear, Flatten, Sequential, Tanh

class Wrong(Tanh):
    def backward(self, dy):
        dx = super().backward(dy)
        dx *= 1.01
        return dx

def right(size=12):
    return Sequential([("flatten", Flatten()), ("fc1", Linear(size, 4)), ("tanh1", Tanh()), ("fc2", Linear(4, 2))])

def wrong():
    return Sequential([("flatten", Flatten()), ("fc1", Linear(12, 4)), ("odd", Wrong()), ("fc2", Linear(4, 2))])
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's, in the folder where commands are given."""
    name = f"own_nets_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_the_summary_is_the_networks(ask):
    code, out, err = ask("summary", "alexnet")
    assert (code, err) == (0, "") and str(models.alexnet().summary((3, 227, 227))) in out
    assert "alexnet, images of 3 x 227 x 227" in out and "60,965,224" in out
    found = json.loads(ask("summary", "alexnet", "--set", "groups=1", "num_classes=10", "--json")[1])
    expected = models.alexnet(10, groups=1).summary((3, 227, 227))
    assert found["total"] == {
        "parameters": expected.parameters,
        "multiply_adds": expected.multiply_adds,
        "activation_bytes": expected.activation_bytes,
    }
    assert [(row["name"], row["parameters"]) for row in found["layers"]] == [
        (row.name, row.parameters) for row in expected.rows
    ]


def test_the_summary_of_two_devices_says_where_it_crosses(ask):
    out = ask("summary", "alexnet", "--devices", 2, "--set", "width=0.25")[1]
    crossing = [line.split()[0] for line in out.splitlines() if "cross to each device" in line]
    assert crossing == ["gather_conv3", "gather_fc6", "gather_fc7", "reduce_fc8"]


def test_a_run_and_ones_own_model_are_looked_at_too(ask, trained, own):
    code, out, _ = ask("summary", trained.path)
    assert code == 0 and f"{trained.path}/final/weights.safetensors, images of 3 x 67 x 67" in out
    code, out, _ = ask("summary", f"{own}:right", "--input", 3, 2, 2)
    assert code == 0 and "images of 3 x 2 x 2" in out and "Linear(12 -> 4)" in out
    code, out, _ = ask("summary", f"{own}:right", "--input", 1, 2, 4, "--set", "size=8")
    assert code == 0 and "Linear(8 -> 4)" in out


def test_times_are_those_of_the_layers(monkeypatch):
    """With a clock that goes on by 1, 2, 4 ... seconds at each look, the medians are known."""
    ticks = itertools.accumulate(2.0**step for step in itertools.count())
    net = models.lenet()
    times = timing.layer_times(net, (1, 28, 28), batch_size=2, steps=1, clock=lambda: next(ticks))
    assert [one.name for one in times] == list(net.layers)
    layers, looks = len(net), 4 * len(net)  # of each step: a look before and after each layer, both ways
    forward = [2.0 ** (looks + 2 * place + 1) for place in range(layers)]
    backward = [2.0 ** (looks + 2 * layers + 2 * place + 1) for place in range(layers)][::-1]
    assert [one.forward for one in times] == forward and [one.backward for one in times] == backward


def test_times_are_finite_numbers(ask, trained):
    words = "--batch-size", 4, "--steps", 1
    found = json.loads(ask("time", trained.path, *words, "--json")[1])
    names = list(models.alexnet(3, width=0.06, input_size=67).layers)
    assert [layer["name"] for layer in found["layers"]] == names
    values = [layer[way] for layer in found["layers"] for way in ("forward", "backward")]
    assert all(math.isfinite(value) and value > 0 for value in (*values, found["training_step"], found["inference"]))
    code, out, err = ask("time", "lenet", *words)
    assert (code, err) == (0, "") and "all layers" in out and "images/s" in out and "backend" in out
    code, out, _ = ask("time", "alexnet", *words, "--devices", 2, "--set", "width=0.06", "input_size=67")
    assert code == 0 and "training step" in out and "conv1" not in out


@pytest.mark.parametrize("model", models.MODELS)
def test_every_model_passes_the_check(ask, model):
    code, out, err = ask("check", model, "--samples", 3)
    lines = [line.split("  ", 1) for line in out.splitlines()[3:]]
    assert (code, err) == (0, "") and lines[-1][0] == WHOLE and len(lines) > 10
    assert all(float(value) <= (1e-4 if name == WHOLE else 1e-6) for name, value in lines)


def test_a_wrong_gradient_is_found(ask, own):
    assert ask("check", f"{own}:right", "--input", 3, 2, 2)[0] == 0
    code, out, err = ask("check", f"{own}:wrong", "--input", 3, 2, 2)
    lines = {line.split()[0]: line for line in out.splitlines()[3:]}
    assert code == 1 and err == "" and "the gradient of x[" in lines["odd"] and "finite differences" in lines["odd"]
    assert "the gradient of" in lines["whole"] and "the gradient" not in lines["fc1"] + lines["fc2"] + lines["flatten"]
    found = json.loads(ask("check", f"{own}:wrong", "--input", 3, 2, 2, "--json")[1])
    assert [result["name"] for result in found if result["problem"]] == ["odd", WHOLE]


def test_the_check_leaves_the_network_as_it_was(trained):
    net = models.alexnet(3, width=0.06, input_size=67, initialization="he")
    before = {name: to_host(array).copy() for name, array in net.params.items()}
    results = list(check_layers(net, (3, 67, 67), samples=1))
    assert [result.name for result in results] == [*net.layers, WHOLE] and not net.needs_dx
    assert all((to_host(array) == before[name]).all() for name, array in net.params.items())


def test_a_trained_networks_model_is_checked_small(ask, trained):
    code, out, _ = ask("check", trained.path, "--samples", 1)
    assert code == 0 and f"{trained.path}/final/weights.safetensors: images of 3 x 67 x 67" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["summary", "alexnt"], "alexnt: no model and no path: expected a model, alexnet"),
        (["summary", "alexnt"], "(did you mean alexnet?)"),
        (["time", "AlexNet"], "(did you mean alexnet?)"),
        (["summary", "lenet", "--set", "width=2"], "lenet: takes num_classes"),
        (["summary", "lenet", "--set", "width"], "--set width: expected NAME=VALUE"),
        (["summary", "RUN", "--set", "width=1"], "--set width=1: "),
        (["summary", "OWN:right"], "its arguments do not tell its input's shape: say it with --input C H W"),
        (["summary", "OWN:none"], "has no function 'none'"),
        (["summary", "alexnet", "--devices", 3], "2 groups cannot be shared out over 3 devices"),
        (["summary", "EMPTY"], "looked for final/weights.safetensors or checkpoints"),
        (["time", "lenet", "--batch-size", 0], "expected 1 or more"),
        (["check", "lenet", "--samples", 0], "--samples 0: expected 1 or more"),
    ],
)
def test_mistakes_are_one_sentence(ask, trained, own, tmp_path, words, message):
    (tmp_path / "EMPTY").mkdir()
    words = [str(trained.path) if word == "RUN" else str(word).replace("OWN", own) for word in words]
    code, out, err = ask(*words)
    assert code == 1 and message in err and err.count("error: ") == 1 and out == ""
