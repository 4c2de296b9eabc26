"""Files of other programs in place of a run, in every command, and runs as such files."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from interchange import caffemodels, pickles
from interchange.chains import forward
from interchange.test_caffe import small

from tinynet import initializers, models
from tinynet.arrays import read_arrays
from tinynet.interchange import load_network, write_onnx, write_torchvision
from tinynet.interchange.foreign import PREPROCESSING
from tinynet.models.chain import chain, describe
from tinynet.training import load_trained


def guesses(ask, *words) -> list[tuple[str, float]]:
    code, out, err = ask("predict", *words, "--json", "--views", "middle")
    assert code == 0, err
    return [(guess["name"], guess["probability"]) for entry in json.loads(out) for guess in entry["guesses"]]


def picture(folder: Path) -> Path:
    return min(folder.glob("val/*/*.jpg"))


def test_a_run_as_onnx_and_back(ask, trained, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = picture(folder)
    code, out, err = ask("convert", trained.path, "net.onnx", "--check")
    assert (code, err) == (0, "") and f"{trained.path}/final/weights.safetensors as onnx: net.onnx" in out
    assert float(out.split()[-1]) < 1e-5
    ours, theirs = guesses(ask, trained.path, image), guesses(ask, "net.onnx", image)
    assert [name for name, _ in theirs] == [name for name, _ in ours]  # by a mean colour in place of the mean image
    assert [value for _, value in theirs] == pytest.approx([value for _, value in ours], abs=0.05)
    code, out, err = ask("convert", "net.onnx", "folder", "--check")
    assert (code, err) == (0, "") and float(out.split()[-1]) == 0
    assert guesses(ask, "folder", image) == theirs
    again = load_trained("folder")
    assert again.settings["classes"] == list(trained.data.classes) and again.settings["model"] == "chain"
    assert again.settings["names"] == [f"the {name}" for name in trained.data.classes]
    for words in (["test", "--data", folder], ["features", image, "--layer", "fc7", "--out", "f.npz"], ["summary"]):
        for source in ("net.onnx", "folder"):
            code, _, err = ask(words[0], source, *words[1:])
            assert code == 0, err


def test_torchvisions_weights_need_a_preprocessing(ask, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = models.alexnet_torchvision(3)
    initializers.initialize(net, 1)
    write_torchvision(net, "w.safetensors")
    pickles.write_zip(Path("w.pth"), pickles.tensors(read_arrays("w.safetensors")[0]))
    Path("names.txt").write_text("ant\nbee\n\ncat\n")
    image, way = picture(folder), ["--preprocessing", "imagenet-torchvision"]
    code, _, err = ask("predict", "w.pth", image)
    assert code == 1 and "say it with --preprocessing imagenet-torchvision or imagenet-caffe" in err
    found = guesses(ask, "w.pth", image, *way, "--classes", "names.txt")
    assert found == guesses(ask, "w.safetensors", image, *way, "--classes", "names.txt")
    trained = load_network("w.pth", preprocessing=way[1], classes="names.txt")
    pixels = np.zeros((1, 3, 224, 224), np.uint8) + np.array([200, 100, 50], np.uint8)[:, None, None]
    from tinynet.backend import to_host
    from tinynet.data import Batch

    x = to_host(trained.prepare()(Batch(pixels, np.zeros(1, int), None, np.zeros(1, int), 1)))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(x, expected, rtol=1e-5)
    assert (forward(trained.net, x) == forward(net, x)).all() and trained.settings["names"] == ["ant", "bee", "cat"]
    assert ask("convert", "w.pth", "folder", *way, "--classes", "names.txt")[0] == 0
    assert guesses(ask, "folder", image) == found
    again = ask("convert", "folder", "w2.safetensors", "--check")
    assert again[0] == 0 and float(again[1].split()[-1]) == 0
    one, other = (safetensors.numpy.load_file(name) for name in ("w.safetensors", "w2.safetensors"))
    assert one.keys() == other.keys() and all((array == other[name]).all() for name, array in one.items())


def test_blue_first(tmp_path):
    """The same network as a .caffemodel, read with red first, and as ONNX of a network that wants blue first."""
    net = small()
    caffe = load_network(caffemodels.write(tmp_path / "n.caffemodel", net), preprocessing="imagenet-caffe")
    blue = small()
    blue["conv1"].params["weight"] = blue["conv1"].params["weight"][:, ::-1].copy()
    blue["norm2"].within_channel, blue["pool2"].count_include_pad = False, False  # which ONNX has
    write_onnx(blue, tmp_path / "n.onnx", (3, 28, 28))
    other = load_network(tmp_path / "n.onnx", preprocessing="imagenet-caffe")
    weights = [one.net["conv1"].params["weight"] for one in (caffe, other)]
    assert (weights[0] == weights[1]).all() and (weights[0] == net["conv1"].params["weight"]).all()
    assert caffe.statistics.mean_image[:, 0, 0].tolist() == pytest.approx(PREPROCESSING["imagenet-caffe"].mean)
    assert caffe.settings["crop"] == 28


def test_mean_images_of_caffe(tmp_path):
    path = caffemodels.write(tmp_path / "n.caffemodel", small())
    mean = np.random.default_rng(0).random((3, 256, 256)).astype(np.float32)
    np.save(tmp_path / "mean.npy", mean)
    trained = load_network(path, preprocessing="imagenet-caffe", mean=tmp_path / "mean.npy")
    assert (trained.statistics.mean_image == mean[::-1]).all()
    np.save(tmp_path / "mean.npy", mean[:, 1:, 1:])
    with pytest.raises(ValueError, match=r"has the shape \(3, 255, 255\), expected \(3, 256, 256\)"):
        load_network(path, preprocessing="imagenet-caffe", mean=tmp_path / "mean.npy")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "RUN", "IMAGE", "--preprocessing", "imagenet-caffe"], "says that itself"),
        (["predict", "NET", "IMAGE", "--preprocessing", "imagenet"], "--preprocessing imagenet: expected imagenet-"),
        (
            ["predict", "NET", "IMAGE", "--preprocessing", "imagenet-caffe", "--classes", "two.txt"],
            "the names of 5 classes",
        ),
        (
            ["predict", "NET", "IMAGE", "--preprocessing", "imagenet-caffe", "--classes", "none"],
            "--classes none: cannot be",
        ),
        (["predict", "nowhere.onnx", "IMAGE"], "nowhere.onnx: not a readable ONNX file"),
        (["convert", "RUN", "x.safetensors"], "torchvision has no such network"),
        (["convert", "RUN", "none/x.onnx"], "no such folder"),
        (["convert", "RUN", "TAKEN"], "there is a network already (weights.safetensors"),
    ],
)
def test_mistakes_are_one_sentence(ask, trained, folder, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    Path("two.txt").write_text("ant\nbee\n")
    places = {"RUN": trained.path, "IMAGE": picture(folder), "NET": "n.caffemodel", "TAKEN": trained.path / "final"}
    caffemodels.write(Path("n.caffemodel"), small())
    code, _, err = ask(*(places.get(word, word) for word in words))
    assert code == 1 and message in err and err.count("error: ") == 1


def test_what_a_chain_describes_is_built_again():
    for net in (models.alexnet(5, width=0.06, input_size=67), models.lenet(), models.cifar10_full(), small()):
        again = chain(json.loads(json.dumps(describe(net))))
        assert repr(again) == repr(net)
    other = chain(describe(small()), num_classes=9)
    assert other["fc4"].out_features == 9 and other["fc3"].out_features == 7
    for wrong in (
        [],
        [["a"]],
        [["a", "Conv3d", {}]],
        [["a", "ReLU", {"inplace": True, "p": 1}]],
        [["a.b", "ReLU", {}]],
    ):
        with pytest.raises(ValueError, match=r"chain|name"):
            chain(wrong)
