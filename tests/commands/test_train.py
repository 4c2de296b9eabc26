"""train: any model in the common frame, with the settings of its page; what it leaves behind answers questions."""

import json

import numpy as np
import pytest
import safetensors.numpy
from cifar_files import write_cifar10
from idx_files import write_idx
from PIL import Image

from tinynet import models
from tinynet.training import best_checkpoint, load_trained, read_log

OWN = """
from tinynet import Flatten, Linear, MaxPool2d, Sequential

def tiny(num_classes, in_channels=3, input_size=32):
    side = input_size // 8
    layers = [("pool1", MaxPool2d(8)), ("flatten", Flatten()), ("fc2", Linear(in_channels * side * side, num_classes))]
    return Sequential(layers)
"""
SMALL = {
    "alexnet": ["--crop", 67, "--set", "width=0.06", "initialization=he"],
    "alexnet_torchvision": ["--crop", 67, "--set", "width=0.06"],
    "vgg": ["--crop", 32, "--set", "depth=11", "width=0.05"],
    "vgg_cifar": ["--set", "depth=11", "width=0.05"],
}


def weights(folder) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "final" / "weights.safetensors")


@pytest.mark.parametrize("model", models.MODELS)
def test_every_model_trains_and_answers(ask, folder, tmp_path, model):
    out = tmp_path / "run"
    words = ["--data", folder, "--epochs", 1, "--batch-size", 12, *SMALL.get(model, [])]
    code, told, err = ask("train", model, *words, "--output-dir", out)
    assert code == 0 and "epoch  1/1" in told, err
    trained = load_trained(out)
    assert trained.settings["model"] == model and trained.settings["job"] == f"train-{model}"
    assert trained.settings["network"]["num_classes"] == 3
    image = min(folder.glob("val/*/*.jpg"))
    code, answer, err = ask("predict", out, image, "--json")
    assert (code, err) == (0, "") and len(json.loads(answer)[0]["guesses"]) == 3


def test_settings_are_those_of_the_pages(ask, tmp_path):
    write_idx(tmp_path / "digits", train=70, val=20)
    code, told, _ = ask("train", "lenet", "--data", tmp_path / "digits", "--epochs", 1, "--output-dir", tmp_path / "a")
    kept = json.loads((tmp_path / "a" / "run.json").read_text())
    assert code == 0 and (kept["resize"], kept["crop"], kept["batch_size"], kept["mirror"]) == (28, 28, 64, False)
    assert "ten views" not in told and load_trained(tmp_path / "a").channels == 1
    image = tmp_path / "digit.png"
    Image.fromarray(np.tile(np.arange(28, dtype=np.uint8) * 9, (28, 1))).save(image)
    told = [ask("predict", tmp_path / "a", image, "--json", *views)[1] for views in ([], ["--views", "middle"])]
    assert told[0] == told[1] != ask("predict", tmp_path / "a", image, "--json", "--views", "ten")[1]
    write_cifar10(tmp_path / "cifar", count=20)
    words = ["--data", tmp_path / "cifar", "--epochs", 1, "--output-dir", tmp_path / "b"]
    assert ask("train", "cifar10_quick", *words)[0] == 0
    kept = json.loads((tmp_path / "b" / "run.json").read_text())
    assert (kept["lr"], kept["weight_decay"], kept["scale"], kept["batch_size"]) == (0.001, 0.004, 1.0, 100)


def test_pictures_decide_on_the_settings_of_large_models(ask, folder, tmp_path):
    code, told, _ = ask("train", "alexnet", "--data", folder, "--epochs", 1, "--output-dir", tmp_path / "a")
    assert code == 0 and "Preset small (these are not ImageNet's 1,000 classes)" in told
    kept = json.loads((tmp_path / "a" / "run.json").read_text())
    assert kept["set"] == ["width=0.5", "initialization=he-conv1"] and kept["network"]["width"] == 0.5
    assert kept["crop"] == kept["network"]["input_size"] == 67


def test_a_run_goes_on_to_the_same_weights(ask, folder, tmp_path):
    words = ["train", "alexnet", "--data", folder, "--batch-size", 8, "--lr-step-size", 1, *SMALL["alexnet"]]
    assert ask(*words, "--epochs", 2, "--output-dir", tmp_path / "whole")[0] == 0
    assert ask(*words, "--epochs", 1, "--output-dir", tmp_path / "parts")[0] == 0
    code, told, err = ask("train", "alexnet", "--resume", tmp_path / "parts", "--epochs", 2)
    assert code == 0 and "Going on from" in told, err
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all((array == other[name]).all() for name, array in one.items())
    code, _, err = ask("train", "vgg", "--resume", tmp_path / "parts")
    assert code == 1 and "a run of 'train-alexnet', which train-vgg cannot go on with" in err


def test_the_best_checkpoint_in_place_of_the_final_weights(ask, folder, tmp_path):
    run, image = tmp_path / "run", min(folder.glob("val/*/*.jpg"))
    words = ["--data", folder, "--batch-size", 8, "--lr", 0.03, *SMALL["alexnet"]]
    assert ask("train", "alexnet", *words, "--epochs", 4, "--keep", 1, "--output-dir", run)[0] == 0
    errors = [
        record["validation"]["top1_error"] for record in read_log(run / "log.jsonl") if record["event"] == "epoch"
    ]
    best = best_checkpoint(run)
    assert best.name == f"step-{5 * (1 + errors.index(min(errors))):09}"
    code, out, err = ask("test", run, "--best", "--views", "middle", "--worst", 1, "--page", tmp_path / "worst.png")
    assert code == 0 and f"Evaluating\n  {best}/weights.safetensors\n" in out, err
    assert f"middle crop: top-1 error {min(errors):.2f} %" in out
    assert ask("predict", run, "--best", image, "--json") == ask("predict", best, image, "--json")


def test_ones_own_model(ask, folder, tmp_path, monkeypatch):
    name = f"own_model_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["--data", folder, "--epochs", 1, "--crop", 64, "--batch-size", 12, "--output-dir", "run"]
    code, told, err = ask("train", f"{name}:tiny", *words)
    assert code == 0 and "MaxPool2d(8" in told, err
    image = min(folder.glob("val/*/*.jpg"))
    code, _, err = ask("predict", "run", image)
    assert code == 1 and "name it yourself with --model MODULE:FUNCTION" in err
    assert ask("predict", "run", image, "--model", f"{name}:tiny")[0] == 0
    assert ask("summary", "run", "--model", f"{name}:tiny")[0] == 0
    assert ask("check", "run", "--model", f"{name}:tiny")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["alexnt"], "(did you mean alexnet?)"),
        (["alexnet", "--data", "nowhere"], "nowhere"),
        (["alexnet", "--data", ""], "--data: expected a path, got nothing"),
        (["alexnet", "--resume"], "--resume needs a PATH, or --output-dir"),
        (["alexnet", "--data", "DATA", "--set", "with=2"], "alexnet: takes num_classes"),
        (["alexnet", "--data", "DATA", "--set", "width"], "--set width: expected NAME=VALUE"),
        (["alexnet", "--data", "DATA", "--devices", 3], "2 groups cannot be shared out over 3 devices"),
    ],
)
def test_mistakes_are_one_sentence(ask, folder, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = ask("train", *(folder if word == "DATA" else word for word in words))
    assert code == 1 and message in err and err.count("error: ") == 1 and list(tmp_path.iterdir()) == []
