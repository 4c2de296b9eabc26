"""predict, test and features: what a trained network says of pictures, and what is told of those it cannot read."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from run_on_disk import write_weights

from tinynet import models
from tinynet.backend import to_device
from tinynet.data import Loader
from tinynet.inspection.explanations import _as_loss
from tinynet.training import evaluate_networks, load_trained, predict


def images(data) -> list[str]:
    return [data.val.name(index) for index in range(len(data.val))]


def expected(path: Path, data, views: str = "ten") -> np.ndarray:
    trained = load_trained(path)
    settings = trained.settings
    loader = Loader(data.val, 16, settings["resize"], settings["crop"], views)
    return predict(trained.net, loader, trained.prepare()).probabilities


@pytest.mark.parametrize("views", ["ten", "middle", "middle+rotations"])
def test_predictions_are_those_of_an_evaluation(ask, trained, tmp_path, views):
    paths, probabilities = images(trained.data), expected(trained.path, trained.data, views)
    code, out, err = ask("predict", trained.path, *paths, "--views", views, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [entry["file"] for entry in found] == paths
    for entry, row in zip(found, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")
        assert [guess["class"] for guess in entry["guesses"]] == [trained.data.classes[one] for one in best]
        assert [guess["name"] for guess in entry["guesses"]] == [f"the {trained.data.classes[one]}" for one in best]
        assert [guess["probability"] for guess in entry["guesses"]] == pytest.approx(row[best].tolist(), abs=2e-6)


def test_several_networks_are_averaged(ask, trained):
    paths = images(trained.data)
    mean = (expected(trained.path, trained.data) + expected(trained.other, trained.data)) / 2
    code, out, _ = ask("predict", trained.path, *paths, "--with", trained.other, "--json", "--top", 1)
    best = [(entry["guesses"][0]["class"], entry["guesses"][0]["probability"]) for entry in json.loads(out)]
    assert code == 0 and [name for name, _ in best] == [trained.data.classes[one] for one in mean.argmax(axis=1)]
    assert [probability for _, probability in best] == pytest.approx(mean.max(axis=1).tolist(), abs=2e-6)


def test_the_table_and_files(ask, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"{'long ' * 12}猫.jpg"
    shutil.copy(images(trained.data)[0], tmp_path / name)
    shutil.copy(images(trained.data)[1], tmp_path / "b.jpg")
    code, out, err = ask("predict", trained.path, "b.jpg", name, "--top", 2)
    lines = out.splitlines()
    assert (code, err) == (0, "") and lines[0].split() == ["file", "probability", "class"]
    assert lines[1].startswith("b.jpg ") and " %  the " in lines[1] and lines[3] == name and len(lines) == 6
    code, out, _ = ask("predict", trained.path, "b.jpg", name, "--top", 2, "--out", "x.csv")
    assert code == 0 and out == "2 pictures: x.csv\n"
    with open("x.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["rank"]) for row in rows] == [("b.jpg", "1"), ("b.jpg", "2"), (name, "1"), (name, "2")]
    assert set(rows[0]) == {"file", "rank", "class", "name", "probability"} and float(rows[0]["probability"]) > 0.33
    ask("predict", trained.path, "b.jpg", name, "--out", "x.json")
    assert [entry["file"] for entry in json.loads(Path("x.json").read_text())] == ["b.jpg", name]


def test_folders_and_names_from_standard_input(ask, trained, folder):
    code, out, _ = ask("predict", trained.path, folder / "val", "-", "--json", stdin=f"{folder}/train\n\n")
    found = [entry["file"] for entry in json.loads(out)]
    assert code == 0 and found == sorted(map(str, folder.glob("val/*/*.jpg"))) + sorted(
        map(str, folder.glob("train/*/*.jpg"))
    )


def test_pictures_that_cannot_be_read_are_named_and_the_rest_goes_on(ask, trained, tmp_path):
    good = images(trained.data)[0]
    (tmp_path / "text.jpg").write_text("no picture")
    code, out, err = ask("predict", trained.path, tmp_path / "text.jpg", good, tmp_path / "nowhere.png", "--json")
    found = json.loads(out)
    assert code == 1 and len(err.splitlines()) == 2
    assert f"error: {tmp_path / 'text.jpg'}: expected a JPEG or PNG image" in err
    assert f"error: {tmp_path / 'nowhere.png'}: cannot be read: No such file" in err
    assert [("guesses" in entry, "error" in entry) for entry in found] == [(False, True), (True, False), (False, True)]
    alone = json.loads(ask("predict", trained.path, good, "--json")[1])
    assert alone == [found[1]]
    assert ask("predict", trained.path, tmp_path / "nowhere.png")[1] == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "nowhere", "a.jpg"], "error: nowhere: no such file or folder"),
        (["predict", "RUN", "EMPTY"], "no picture (.jpeg, .jpg, .jpe, .jfif, .png) in this folder nor below"),
        (["predict", "RUN", "-"], "no pictures: standard input has no names"),
        (["predict", "RUN", "IMAGE", "--top", 4], "--top 4: the network knows 3 classes: expected 1 to 3"),
        (["predict", "RUN", "IMAGE", "--views", "nine"], "got 'nine'"),
        (["predict", "RUN", "IMAGE", "--out", "x.txt"], "--out x.txt: expected a name that ends in .csv or .json"),
        (["predict", "RUN", "IMAGE", "--out", "none/x.csv"], "--out none/x.csv: no such folder"),
        (["predict", "RUN", "IMAGE", "--best"], "there is no best one"),
        (["predict", "RUN", "IMAGE", "--model", "no.module:net"], "no.module"),
        (["features", "RUN", "IMAGE", "--layer", "Conv_1", "--out", "x.npz"], "(did you mean conv1?)"),
        (["features", "RUN", "IMAGE", "--layer", "fc7", "--out", "x.npy"], "expected a name that ends in .npz"),
        (["explain", "RUN", "nowhere.jpg"], "nowhere.jpg: cannot be read: No such file"),
        (["explain", "RUN", "IMAGE", "--class", "THE CRSOS"], "no class 'THE CRSOS' among the 3 of"),
        (["explain", "RUN", "IMAGE", "--class", "THE CRSOS"], "(did you mean the cross?)"),
        (["explain", "RUN", "IMAGE", "--out", "x.jpg"], "--out x.jpg: expected a name that ends in .png"),
        (["test", "RUN", "--worst", 0], "--worst 0: expected 1 or more"),
        (["test", "RUN", "--confusion", "x.jpg"], "--confusion x.jpg: expected a name that ends in .csv or .png"),
        (["test", "RUN", "--data", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_sentence(ask, trained, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    given = {"RUN": trained.path, "IMAGE": images(trained.data)[0]}
    code, out, err = ask(*(given.get(word, word) for word in words))
    assert code == 1 and message in err and err.count("error: ") == 1 and out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["EMPTY"]


def test_features_are_those_of_the_layer_behind_its_relu(ask, trained, tmp_path):
    paths, out = images(trained.data), tmp_path / "x.npz"
    (tmp_path / "bad.jpg").write_text("no picture")
    code, told, err = ask(
        "features", trained.path, *paths[:5], tmp_path / "bad.jpg", *paths[5:], "--layer", "fc7", "--out", out
    )
    assert code == 1 and "bad.jpg" in err and f"{len(paths)} pictures, 246 numbers each, the output of relu7" in told
    with np.load(out) as found:
        features, files = found["features"], found["files"]
    assert files.tolist() == paths and features.dtype == np.float32 and features.min() == 0
    net = load_trained(trained.path)
    loader = Loader(trained.data.val, 12, 72, 67, "middle")
    [batch] = loader.epoch()
    x = net.prepare()(batch)
    np.testing.assert_allclose(features, net.net.activations(x, ["relu7"])["relu7"], rtol=1e-4, atol=1e-5)
    ask("features", trained.path, *paths, "--layer", "conv5", "--out", out)
    with np.load(out) as found:
        assert found["features"].shape == (12, 16, 3, 3)


def test_errors_tables_and_pages(ask, trained, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    result = evaluate_networks([load_trained(trained.path)], trained.data.val, "middle")
    words = ["test", trained.path, "--views", "ten", "middle", "--class-table", "t.csv", "--confusion", "c.csv"]
    code, out, err = ask(*words, "--worst", 50)
    assert (code, err) == (0, "") and f"middle crop: top-1 error {result.top1_error:.2f} %" in out
    with open("c.csv", newline="") as file:
        rows = list(csv.reader(file))
    counts = np.array([row[1:] for row in rows[1:]], int)
    assert rows[0] == ["class", *trained.data.classes] and counts.sum(axis=1).tolist() == [4, 4, 4]
    assert counts.tolist() == result.confusions().tolist()
    assert 100 * (1 - counts.trace() / 12) == pytest.approx(result.top1_error)
    worst = result.surest_mistakes(50)
    assert len(worst.labels) == 12 - counts.trace() and (np.diff(worst.probabilities.max(axis=1)) <= 0).all()
    assert (worst.probabilities.argmax(axis=1) != worst.labels).all()
    assert (trained.data.val.labels[worst.indices] == worst.labels).all()
    assert f"The {len(worst.labels)} surest mistakes: worst.png" in out
    assert Path("worst.png").read_bytes()[:4] == b"\x89PNG" and Path("t.csv").exists()
    code, out, _ = ask("test", trained.path, "--confusion", "c.png", "--json", "--with", trained.other)
    assert code == 0 and json.loads(out)["views"]["ten"]["networks"] == 2 and len(json.loads(out)["networks"]) == 2
    assert Path("c.png").read_bytes()[:4] == b"\x89PNG"


def test_an_explanation_is_a_page(ask, trained, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    best = expected(trained.path, trained.data, "middle")[0]
    image = images(trained.data)[0]
    code, out, err = ask("explain", trained.path, image)
    name = f"the {trained.data.classes[best.argmax()]}"
    assert (code, err) == (0, "")
    assert out == f"{image}: {name}, {100 * best.max():.1f} %; what that rests on: explanation.png\n"
    assert Path("explanation.png").read_bytes()[:4] == b"\x89PNG"
    code, out, _ = ask("explain", trained.path, image, "--class", "The CROSS", "--out", "cross.png")
    assert code == 0 and f"the cross, {100 * best[2]:.1f} %" in out and Path("cross.png").exists()


def test_an_explanation_says_what_it_leaves_out(ask, trained, tmp_path, monkeypatch):
    """Grad-CAM, of a network without convolutions; all, of one whose answer is no number."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    name, known = f"flat_{tmp_path.name}", load_trained(trained.path)
    code = "from tinynet import Flatten, Linear, Sequential\n\ndef net():\n"
    code += "    return Sequential([('flatten', Flatten()), ('fc', Linear(3 * 67**2, 3))])\n"
    Path(f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    net, settings = models.build(f"{name}:net"), known.settings | {"model": f"{name}:net", "network": {}}
    net["fc"].params["bias"][:] = to_device(np.array([0, 1, 0], np.float32))
    write_weights(tmp_path / "flat", net, known.statistics, settings)
    words = ["explain", "flat/weights.safetensors", images(trained.data)[0], "--model", f"{name}:net"]
    code, out, err = ask(*words)
    assert (code, err) == (0, "") and "(No Grad-CAM: the network has no convolution)" in out
    Path("explanation.png").unlink()
    net["fc"].params["bias"][:] = np.nan
    write_weights(tmp_path / "flat", net, known.statistics, settings)
    code, out, err = ask(*words)
    assert code == 1 and "what the network gives is not finite" in err and not Path("explanation.png").exists()


def test_occlusion_is_drawn_by_its_sign():
    picture = np.full((2, 2, 1), 102, np.uint8)
    drawn = _as_loss(np.array([[0.5, -0.5], [0, 0.25]]), picture)
    red, blue, nothing, less_red = drawn.reshape(4, 3)
    assert red[0] > 0.7 and red[2] < 0.2 and blue[2] > 0.7 and blue[0] < 0.2
    np.testing.assert_allclose(nothing, 0.4)
    np.testing.assert_allclose(less_red, (red + nothing) / 2)


def test_other_classes_are_refused(ask, trained, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other" / "train" / "cross").rename(tmp_path / "other" / "train" / "crosses")
    (tmp_path / "other" / "val" / "cross").rename(tmp_path / "other" / "val" / "crosses")
    code, _, err = ask("test", trained.path, "--data", tmp_path / "other")
    assert code == 1 and "was trained on other classes than the images'" in err
