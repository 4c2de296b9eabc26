"""The pictures of a run, finished, killed or under way, and the command that makes them."""

import io
import json
import re
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from run_on_disk import settings_of, write_log, write_weights

from tinynet import Conv2d, Flatten, Linear, ReLU, Sequential, Softmax, commands, console, models
from tinynet.backend import to_host
from tinynet.data import DataError, open_dataset
from tinynet.inspection import pictures, plots
from tinynet.training import load_trained, trained

pytest.importorskip("matplotlib")
SIZE, CROP = 72, 67
ALL = ["learning_curves.png", "conv1_filters.png", "guesses.png", "neighbours.png"]


@pytest.fixture
def run(make_run, data):
    run = make_run(seed=3)
    run.settings = settings_of(data, SIZE, CROP, scale=0.02)
    return run


@pytest.fixture
def finished(run, tmp_path):
    folder = write_weights(tmp_path / "finished", run.net, run.statistics, run.settings)
    write_log(folder, epochs=3)
    return folder


@pytest.fixture
def drawn(monkeypatch):
    """What was given to plots' functions, by their names, in place of drawing."""
    given = {}

    def spy(name: str):
        def draw(*arguments, **named):
            given[name] = SimpleNamespace(arguments=arguments, title=arguments[-1])

        return draw

    for name in ("learning_curves", "filters", "guesses", "neighbours"):
        monkeypatch.setattr(plots, name, spy(name))
    return given


def made(folder) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png"))


def test_a_finished_run_gets_all_pictures(finished, tmp_path):
    sentences = list(pictures.draw_pictures(finished))
    assert made(finished) == sorted(ALL)
    assert [sentence.split(":")[0] for sentence in sentences] == [str(finished / name) for name in ALL]
    list(pictures.draw_pictures(finished, out=tmp_path / "deep" / "elsewhere"))
    assert made(tmp_path / "deep" / "elsewhere") == sorted(ALL)


def test_names_are_drawn_and_shown_whatever_they_hold(run, tmp_path, monkeypatch, capsysbinary):
    folder = tmp_path / "x\x1b[2J\nwarning: forged caf\udce9"
    try:
        folder.mkdir()
    except (OSError, ValueError):
        pytest.skip("a file system that wants names to be text")
    run.settings["names"] = [f"{name}\x1b[2J\n\udce9" for name in run.settings["names"]]
    write_weights(folder, run.net, run.statistics, run.settings)
    write_log(folder, epochs=2)
    shown = str(tmp_path / r"x\x1b[2J\nwarning: forged caf\xe9")
    command(monkeypatch, folder, "--images", 1)
    assert made(folder) == sorted(ALL)
    printed = capsysbinary.readouterr().out.decode().splitlines()
    assert [line.split(".png:")[0] for line in printed] == [f"{shown}/{name[:-4]}" for name in ALL]
    assert all(line.isprintable() for line in printed)
    with pytest.raises(SystemExit) as stopped:
        command(monkeypatch, folder, "--data", folder)
    assert str(stopped.value).startswith(f"error: {shown}: ")
    assert all(line.isprintable() for line in str(stopped.value).split("\n"))


def test_a_damaged_log_gives_the_epochs_that_are_whole(finished, drawn):
    records = pictures.read_log(finished / "log.jsonl")
    broken = [{**records[-1], "train": 5}, {**records[-1], "lr": "0.1"}, {**records[-1], "validation": {"loss": []}}]
    lines = [json.dumps({**record, "step": 10**6 + number}) for number, record in enumerate(broken)]
    lines.append(json.dumps({"event": "epoch", "step": 10**7}))
    with open(finished / "log.jsonl", "a") as log:
        log.write("\n".join(lines))
    list(pictures.draw_pictures(finished))
    assert drawn["learning_curves"].arguments[0] == [record for record in records if record["event"] == "epoch"]


def test_guesses_are_the_networks_for_the_images_shown(finished, drawn, data):
    list(pictures.draw_pictures(finished, images=5, seed=1))
    images, labels, probabilities, names, _, title = drawn["guesses"].arguments
    trained = load_trained(finished)
    for image, label, row in zip(images, labels, probabilities, strict=True):
        index = next(i for i in range(len(data.val)) if (data.val.load(i, SIZE) == image).all())
        assert data.val.labels[index] == label
        (batch,) = pictures.Loader(pictures.Chosen(data.val, np.array([index])), 1, SIZE, CROP, "ten").epoch()
        logits = to_host(trained.net.forward(trained.prepare()(batch)))
        softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(row, softmax.mean(axis=0), rtol=1e-4)
    assert len(images) == 5 and names == trained.settings["names"]
    assert title.startswith("finished, finished: validation images chosen by seed 1") and "ten views" in title


def test_the_seed_chooses_the_images(finished, drawn):
    chosen = []
    for seed in (1, 1, 2):
        list(pictures.draw_pictures(finished, images=4, seed=seed))
        chosen.append(np.array(drawn["guesses"].arguments[0]))
    assert (chosen[0] == chosen[1]).all() and not (chosen[0] == chosen[2]).all()


def test_the_nearest_image_to_a_training_image_is_itself(finished, drawn, data, monkeypatch):
    monkeypatch.setattr(trained, "open_dataset", lambda root, *more, **options: replace(data, val=data.train))
    list(pictures.draw_pictures(finished))
    images, labels, nearest, nearest_labels, _, title = drawn["neighbours"].arguments
    assert len(images) == 5 and all(len(row) == 6 for row in nearest)
    for image, label, row, row_labels in zip(images, labels, nearest, nearest_labels, strict=True):
        assert (row[0] == image).all() and row_labels[0] == label
    assert "36 training images" in title


def test_a_run_under_way_is_drawn_from_its_newest_checkpoint(run, drawn, tmp_path):
    for step in (10, 12_345):
        write_weights(tmp_path / "checkpoints" / f"step-{step:09}", run.net, run.statistics, run.settings)
    write_log(tmp_path, epochs=1)
    with open(tmp_path / "log.jsonl", "a") as log:
        log.write('{"event": "ep')  # killed here
    list(pictures.draw_pictures(tmp_path))
    assert len(drawn["learning_curves"].arguments[0]) == 1
    assert "step 12,345" in drawn["guesses"].title


def test_a_run_that_has_just_begun_says_what_there_is_not_yet(tmp_path):
    write_log(tmp_path, epochs=0)
    curves, others = pictures.draw_pictures(tmp_path)
    assert "log.jsonl has no finished epoch yet" in curves
    assert "No filters and no guesses" in others and "found neither" in others
    assert made(tmp_path) == []


def test_without_the_data_set_the_other_pictures_are_made(run, finished, data):
    run.settings["data"] = "/nowhere/at all"
    write_weights(finished, run.net, run.statistics, run.settings)
    *_, last = pictures.draw_pictures(finished)
    assert made(finished) == ["conv1_filters.png", "learning_curves.png"]
    assert "/nowhere/at all" in last and "--data PATH" in last
    list(pictures.draw_pictures(finished, data=data.root))
    assert made(finished) == sorted(ALL)
    del run.settings["data"]
    write_weights(finished, run.net, run.statistics, run.settings)
    *_, last = pictures.draw_pictures(finished)
    assert "do not say where the images are" in last


def test_a_data_set_that_was_asked_for_and_does_not_fit_is_an_error(finished, tmp_path):
    with pytest.raises(DataError, match="typo: looked for a folder"):
        list(pictures.draw_pictures(finished, data=tmp_path / "typo"))
    assert made(finished) == ["conv1_filters.png", "learning_curves.png"]
    for split in ("train", "val"):
        (tmp_path / "other" / split / "cats").mkdir(parents=True)
        Image.new("RGB", (80, 80)).save(tmp_path / "other" / split / "cats" / "1.png")
    with pytest.raises(DataError, match="other: has other classes than those that"):
        list(pictures.draw_pictures(finished, data=tmp_path / "other"))


def test_images_that_cannot_be_read_are_passed_over(finished, drawn, data, tmp_path):
    shutil.copytree(data.root, tmp_path / "dirty")
    val = open_dataset(tmp_path / "dirty").val
    broken = [val.name(index) for index in range(len(val))]
    for path in broken[:4]:
        (tmp_path / path).write_bytes(b"no image")
    list(pictures.draw_pictures(finished, data=tmp_path / "dirty", images=12))
    assert len(drawn["guesses"].arguments[0]) == 8
    for path in broken:
        (tmp_path / path).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of 12 images can be read; the last: .*dirty"):
        list(pictures.draw_pictures(finished, data=tmp_path / "dirty"))


def test_training_images_that_cannot_be_read_are_passed_over(finished, drawn, data, tmp_path, capfd):
    shutil.copytree(data.root, tmp_path / "dirty")
    train = open_dataset(tmp_path / "dirty").train
    names = [train.name(index) for index in range(len(train))]
    for path in names[3:]:
        (tmp_path / path).write_bytes(b"no image")
    list(pictures.draw_pictures(finished, data=tmp_path / "dirty"))
    assert [len(row) for row in drawn["neighbours"].arguments[2]] == [3] * 5
    assert capfd.readouterr().err == ""
    for path in names:
        (tmp_path / path).write_bytes(b"no image")
    with pytest.raises(DataError, match="none of 36 training images can be read"):
        list(pictures.draw_pictures(finished, data=tmp_path / "dirty"))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_network_that_overflows_has_no_guesses(run, finished):
    run.net["conv1"].params["weight"][0] = np.inf
    write_weights(finished, run.net, run.statistics, run.settings)
    *_, last = pictures.draw_pictures(finished)
    assert made(finished) == ["conv1_filters.png", "learning_curves.png"]
    assert last.startswith("No more pictures: evaluation, batch 1 of 1: the loss is nan")


# ---- the command ----


def command(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["tinynet", "plot", *map(str, arguments)])
    console.run(commands.main)


def test_the_command_prints_what_it_made(finished, tmp_path, monkeypatch, capsys):
    command(monkeypatch, finished, "--out", tmp_path / "out", "--images", 3, "--seed", 4)
    assert made(tmp_path / "out") == sorted(ALL)
    assert "3 validation images and the best guesses, by the mean over ten views" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "error: .*nowhere: looked for the folder of a run.*found no such folder"),
        (["finished/weights.safetensors"], "error: .*looked for the folder of a run.*found that is a file"),
        (["."], "error: .*looked for the folder of a run.*found none of them"),
        (["finished", "--images", "0"], "error: expected 1 or more images, got 0"),
        (
            ["finished", "--out", "finished/log.jsonl"],
            "error: .*log.jsonl: pictures cannot be written there .* --out DIR",
        ),
        (["finished", "--data", "typo"], "error: typo: looked for a folder"),
    ],
)
def test_the_command_says_what_is_wrong(finished, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        command(monkeypatch, *arguments)
    assert re.match(message, str(stopped.value))


def test_what_the_terminal_cannot_encode_is_escaped(monkeypatch):
    """Nor does it end what has been done."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", printed)
    monkeypatch.setattr(pictures, "draw_pictures", lambda *arguments: iter(["Käfer.png: a picture"]))
    command(monkeypatch, "run")
    assert printed.buffer.getvalue() == b"K\\xe4fer.png: a picture\n"


def test_without_matplotlib_the_command_says_what_to_install(finished, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SystemExit, match=r"pip install 'tinynet\[plots\]'"):
        command(monkeypatch, finished)
    assert made(finished) == []


def test_the_hidden_layer_whose_outputs_are_compared():
    assert pictures.hidden_layer(models.alexnet(width=0.06)) == ("fc7", "dropout7")
    body = Sequential([("fc1", Linear(4, 3)), ("relu1", ReLU())])
    nested = Sequential([("body", body), ("fc2", Linear(3, 2)), ("softmax", Softmax())])
    assert pictures.hidden_layer(nested) == ("body.fc1", "body.relu1")
    single = Sequential([("relu", ReLU()), ("fc", Linear(4, 2))])
    assert pictures.hidden_layer(single) == ("all layers but the last", "relu")
    assert pictures.hidden_layer(Sequential([("conv", Conv2d(1, 1, 1)), ("flatten", Flatten())]))[1] == "conv"
