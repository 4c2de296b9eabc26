"""What the page is told, against what the commands and the network itself say."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tinynet.backend import to_device, to_host
from tinynet.data import Batch
from tinynet.data.images.crops import middle_crop
from tinynet.errors import DataError
from tinynet.inspection.saliency import grad_cam, input_gradient
from tinynet.training.evaluation import mean_softmax
from tinynet.view.changes import Changes
from tinynet.view.images import Picture, UnknownPictureError
from tinynet.view.searches import Searches
from tinynet.view.viewer import GivenUpError, Viewer


def array(told: dict, key: str = "pixels", dtype="uint8") -> np.ndarray:
    return np.frombuffer(base64.b64decode(told[key]), dtype)


def bring(viewer: Viewer, path: str) -> str:
    with open(path, "rb") as file:
        return viewer.images.add(viewer.images.decode(file.read()))


def from_pixels(trained, crop: np.ndarray) -> np.ndarray:
    """The network's input of a middle crop (crop, crop, C)."""
    images = np.ascontiguousarray(crop.transpose(2, 0, 1))[None]
    return trained.prepare()(Batch(images, np.zeros(1, np.int64), None, np.zeros(1, np.int64), 1))


@pytest.mark.parametrize("views", ["middle", "ten"])
def test_guesses_are_those_of_predict(viewer, trained, ask, views):
    for index in range(4):
        path = trained.data.val.name(index)
        _, out, _ = ask("predict", trained.path, path, "--views", views, "--json")
        [expected] = json.loads(out)
        told = viewer.answer({"picture": bring(viewer, path), "views": views})
        assert [guess["class"] for guess in told["guesses"]] == [guess["class"] for guess in expected["guesses"]]
        probabilities = [guess["probability"] for guess in told["guesses"]]
        assert probabilities == pytest.approx([guess["probability"] for guess in expected["guesses"]], abs=2e-6)
        assert told["truth"] is None


def test_an_image_of_the_data_set_has_a_true_class(viewer, trained):
    picture = viewer.images.sample("validation", 5)
    told = viewer.answer({"picture": viewer.images.add(picture), "crop": True, "all": True})
    label = int(trained.data.val.labels[5])
    assert told["truth"]["label"] == label and told["truth"]["name"] == f"the {trained.data.classes[label]}"
    ranked = [guess["label"] for guess in told["guesses"]]
    assert ranked.index(label) + 1 == told["truth"]["rank"]
    probabilities = array(told, "all", "<f4")
    assert len(probabilities) == 3 and probabilities[label] == pytest.approx(told["truth"]["probability"], abs=1e-6)
    crop = array(told["crop"]).reshape(67, 67, 3)
    np.testing.assert_array_equal(crop, middle_crop(trained.data.val.load(5, 72), 67))


def test_a_channel_off_is_the_net_with_that_kernel_of_zeros(viewer, fresh, trained):
    name = bring(viewer, trained.data.val.name(0))
    told = viewer.answer({"picture": name, "changes": {"off": {"conv1": [2], "conv3": [0, 5]}}, "layer": "relu1"})
    other = fresh()
    for layer, channels in (("conv1", [2]), ("conv3", [0, 5])):
        for key in ("weight", "bias"):
            values = np.array(to_host(other.net[layer].params[key]))
            values[channels] = 0
            other.net[layer].params[key] = to_device(values)
    x = from_pixels(other, middle_crop(trained.data.val.load(0, 72), 67))
    expected = mean_softmax(to_host(other.net.forward(x)), 1)[0]
    for guess in told["guesses"]:
        assert guess["probability"] == pytest.approx(expected[guess["label"]], abs=2e-6)
    assert told["layer"]["strength"][2] == 0
    whole = viewer.answer({"picture": name})
    assert whole["guesses"] != told["guesses"]


def test_channels_are_those_of_the_layer(viewer, trained):
    name = bring(viewer, trained.data.val.name(1))
    x = from_pixels(viewer.trained, middle_crop(trained.data.val.load(1, 72), 67))
    for views in ("middle", "ten"):
        told = viewer.answer({"picture": name, "layer": "conv2", "channel": 3, "views": views})
        expected = viewer.trained.net.activations(x, ["conv2"])["conv2"][0]
        assert told["layer"]["shape"] == expected.shape and told["channel"]["channel"] == 3
        whole = array(told["channel"], "values", "<f4").reshape(told["channel"]["shape"])
        np.testing.assert_allclose(whole, expected[3], rtol=1e-4, atol=1e-5)
        strength = abs(expected).mean(axis=(1, 2))
        np.testing.assert_allclose(told["layer"]["strength"], strength, rtol=1e-3, atol=1e-5)
        assert told["layer"]["order"][0] == strength.argmax()
        tiles = array(told["layer"], dtype="int8").reshape(len(expected), *told["layer"]["tile"])
        np.testing.assert_allclose(tiles * told["layer"]["scale"] / 127, expected, atol=told["layer"]["scale"] / 200)
    vector = viewer.answer({"picture": name, "layer": "fc6", "channel": 7})
    assert vector["layer"]["tile"] == (1, 1) and vector["channel"]["shape"] == (1, 1)


def test_large_maps_are_shown_small(viewer):
    from tinynet.view.viewer import _channels

    maps = np.random.default_rng(0).normal(size=(2, 150, 97)).astype(np.float32)
    told = _channels(maps)
    assert told["tile"] == (50, 32)
    expected = maps[:, :150, :96].reshape(2, 50, 3, 32, 3).mean((2, 4))
    found = array(told, dtype="int8").reshape(2, 50, 32) * told["scale"] / 127
    np.testing.assert_allclose(found, expected, atol=told["scale"] / 200)


@pytest.mark.parametrize("kind", ["gradient", "guided", "grad-cam"])
def test_saliency_is_that_of_explain(viewer, trained, kind):
    told = viewer.saliency({"picture": bring(viewer, trained.data.val.name(2)), "kind": kind, "label": 1})
    x = from_pixels(viewer.trained, middle_crop(trained.data.val.load(2, 72), 67))
    found = array(told).reshape(*told["shape"], told["channels"]) / 255
    if kind == "grad-cam":
        cam = grad_cam(viewer.trained.net, x, 1)
        expected = cam[..., None] / max(cam.max(), 1e-30)
    else:
        gradient = input_gradient(viewer.trained.net, x, 1, guided=kind == "guided")
        size = abs(gradient).max(axis=0)
        expected = np.clip(size / np.percentile(size, 99), 0, 1)[..., None]
    if kind == "guided":
        assert found.shape == (67, 67, 3)
        expected = (0.5 + 0.5 * np.clip(gradient / np.percentile(abs(gradient), 99.5), -1, 1)).transpose(1, 2, 0)
    np.testing.assert_allclose(found, expected, atol=0.003)
    assert told["name"] == f"the {trained.data.classes[1]}"
    best = viewer.saliency({"picture": bring(viewer, trained.data.val.name(2)), "kind": kind, "label": None})
    assert best["label"] == viewer.answer({"picture": bring(viewer, trained.data.val.name(2))})["guesses"][0]["label"]


def test_kernels(viewer):
    told = viewer.kernels()
    weight = to_host(viewer.trained.net["conv1"].params["weight"])
    kernels = array(told).reshape(len(weight), *weight.shape[2:], 3)
    assert told["layer"] == "conv1" and told["shape"] == weight.shape
    for kernel, expected in zip(kernels, weight, strict=True):
        scaled = 127.5 + 127.5 * expected / abs(expected).max()
        np.testing.assert_allclose(kernel, scaled.transpose(1, 2, 0), atol=0.51)


# ---- a changed picture ----


def changed(viewer: Viewer, pixels: np.ndarray, **changes) -> np.ndarray:
    """The middle crop that the network sees."""
    told = viewer.answer({"picture": viewer.images.add(Picture(pixels)), "changes": changes, "crop": True})
    return array(told["crop"]).reshape(67, 67, 3)


def test_a_picture_is_mirrored_turned_shifted_and_covered(viewer, trained):
    pixels, mean = trained.data.val.load(3, 72), np.rint(viewer.trained.statistics.mean_image).transpose(1, 2, 0)
    whole = middle_crop(pixels, 67)
    np.testing.assert_array_equal(changed(viewer, pixels), whole)
    np.testing.assert_array_equal(changed(viewer, pixels, mirror=True), middle_crop(pixels[:, ::-1], 67))
    np.testing.assert_array_equal(changed(viewer, pixels, turn=90), middle_crop(np.rot90(pixels), 67))
    moved = changed(viewer, pixels, shift=[10, -5])
    np.testing.assert_array_equal(moved[12:, :60], middle_crop(np.roll(pixels, (10, -5), (0, 1)), 67)[12:, :60])
    colour = mean.reshape(-1, 3).mean(axis=0)
    assert abs(moved[:7].reshape(-1, 3) - colour).max() <= 1.5
    covered = changed(viewer, pixels, covered=[[4, 6, 10, 20], [60, 60, 50, 50], [-5, -5, 6, 6]])
    expected, gray = whole.copy(), middle_crop(mean, 67)
    for rows, columns in ((slice(4, 14), slice(6, 26)), (slice(60, 67), slice(60, 67)), (slice(0, 1), slice(0, 1))):
        expected[rows, columns] = gray[rows, columns]
    np.testing.assert_array_equal(covered, expected)
    np.testing.assert_array_equal(pixels, trained.data.val.load(3, 72))


def test_what_is_covered_is_nothing_to_the_network(viewer, trained):
    x, _ = viewer.input(Picture(trained.data.val.load(0, 72)), Changes.read({"covered": [[0, 0, 67, 67]]}))
    assert abs(to_host(x)).max() <= 0.51 * viewer.trained.settings["scale"]


# ---- what is found in the data set ----


def test_mistakes_are_all_that_there_are(viewer, trained):
    searches, split = Searches(viewer), trained.data.val
    done, told = -1, searches.mistakes()
    while told["done"] < told["total"]:
        assert told["done"] > done
        done, told = told["done"], searches.mistakes()
    expected = []
    for index in range(len(split)):
        x = from_pixels(viewer.trained, middle_crop(split.load(index, 72), 67))
        row = mean_softmax(to_host(viewer.trained.net.forward(x)), 1)[0]
        if row.argmax() != split.labels[index]:
            expected.append((-row.max(), index, f"the {trained.data.classes[row.argmax()]}"))
    expected.sort()
    assert expected and told["total"] == len(split)
    assert [(one["index"], one["answer"]) for one in told["mistakes"]] == [one[1:] for one in expected]
    assert searches.mistakes() == told


def test_neighbours_are_the_nearest(viewer, trained):
    searches, train = Searches(viewer), trained.data.train
    asked = {"picture": viewer.images.add(viewer.images.sample("training", 7))}
    told = searches.neighbours(asked)
    while told["nearest"] is None:
        told = searches.neighbours(asked)
    features = []
    for index in range(len(train)):
        x = from_pixels(viewer.trained, middle_crop(train.load(index, 72), 67))
        features.append(viewer.trained.net.activations(x, ["dropout7"])["dropout7"][0])
    distances = np.linalg.norm(np.stack(features) - features[7], axis=1)
    nearest = told["nearest"]
    assert told["layer"] == "fc7" and nearest[0]["index"] == 7 and nearest[0]["distance"] < 1e-3
    assert [one["distance"] for one in nearest] == pytest.approx(sorted(distances)[:6], abs=1e-3)
    assert all(one["label"] == train.labels[one["index"]] for one in nearest)


def test_guesses_of_some_validation_images(viewer, trained):
    told = Searches(viewer).guesses()
    assert [one["index"] for one in told["images"]] == sorted({int(at) for at in np.linspace(0, 11, 8)})
    for one in told["images"]:
        answer = viewer.answer({"picture": viewer.images.add(viewer.images.sample("validation", one["index"]))})
        assert one["guesses"] == answer["guesses"][:3] and one["label"] == trained.data.val.labels[one["index"]]


def test_newer_weights_are_taken(viewer, trained):
    from tinynet.training import load_trained

    name = bring(viewer, trained.data.val.name(0))
    searches, before = Searches(viewer), viewer.answer({"picture": name})
    found = searches.mistakes()
    viewer.update(load_trained(trained.other), "step 7")
    after = viewer.answer({"picture": name})
    assert (before["version"], after["version"]) == (0, 1) and before["guesses"] != after["guesses"]
    other = Viewer(load_trained(trained.other), "other", "finished")
    expected = other.answer({"picture": bring(other, trained.data.val.name(0))})
    assert after["guesses"] == expected["guesses"] and viewer.network()["state"] == "step 7"
    while (told := searches.mistakes())["done"] < told["total"]:
        pass
    assert told["mistakes"] != found["mistakes"]


# ---- what cannot be ----


def test_an_answer_that_nobody_waits_for_ends(viewer, trained):
    name, calls = bring(viewer, trained.data.val.name(0)), []

    def given_up() -> bool:
        calls.append(1)
        return len(calls) == 5

    expected = viewer.answer({"picture": name})["guesses"]
    with pytest.raises(GivenUpError):
        viewer.answer({"picture": name, "changes": {"off": {"conv1": [0]}}}, given_up)
    assert len(calls) == 5 and viewer.answer({"picture": name})["guesses"] == expected


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "picture: expected a text, found 'None'"),
        ({"picture": "p1", "pictures": 1}, "answer: expected fields of picture, changes, views, crop, "),
        ({"picture": "p1", "layer": "conv9"}, "no layer named 'conv9'"),
        ({"picture": "p1", "layer": 3}, "layer: expected a text"),
        ({"picture": "p1", "layer": "conv1", "channel": 6}, "channel 6: expected one from 0 to 5"),
        ({"picture": "p1", "layer": "conv1", "channel": -1}, "channel: expected a whole number from 0"),
        ({"picture": "p1", "views": "all"}, "views: expected middle or ten, found 'all'"),
        ({"picture": "p1", "crop": "yes"}, "crop: expected true or false"),
        ({"picture": "p1", "changes": []}, "changes: expected an object"),
        ({"picture": "p1", "changes": {"mirrored": True}}, "changes: expected fields of mirror"),
        ({"picture": "p1", "changes": {"turn": 1e9}}, "turn: expected a number from -360 to 360"),
        ({"picture": "p1", "changes": {"turn": float("nan")}}, "turn: expected a number"),
        ({"picture": "p1", "changes": {"shift": [1]}}, "shift: expected 2 whole numbers"),
        ({"picture": "p1", "changes": {"shift": [1, 10**9]}}, "shift: expected 2 whole numbers"),
        ({"picture": "p1", "changes": {"covered": [[0, 0, 1, 1]] * 17}}, "covered: expected a list of 16 at most"),
        ({"picture": "p1", "changes": {"covered": [[0, 0, 1, True]]}}, "covered: expected 4 whole numbers"),
        ({"picture": "p1", "changes": {"off": {"conv1": [6]}}}, "conv1: expected channels from 0 to 5, got 6"),
        ({"picture": "p1", "changes": {"off": {"conv1": 6}}}, "off conv1: expected a list"),
        ({"picture": "p1", "changes": {"towers_off": [2]}}, "tower 2: expected one of 2"),
        ({"picture": "p1", "changes": {"exchange_off": ["conv1"]}}, "conv1: the towers exchange nothing before it"),
    ],
)  # fmt: skip
def test_wrong_questions(viewer, trained, asked, told):
    name = bring(viewer, trained.data.val.name(0))
    asked = asked | ({"picture": name} if "picture" in asked else {})
    with pytest.raises((ValueError, KeyError)) as raised:
        viewer.answer(asked)
    assert told in str(raised.value.args[0])


def test_pictures_are_forgotten_and_decoded_with_care(viewer):
    names = [viewer.images.add(Picture(np.zeros((72, 72, 3), np.uint8))) for _ in range(65)]
    with pytest.raises(UnknownPictureError):
        viewer.images[names[0]]
    assert viewer.images[names[1]] is not None
    file = io.BytesIO()
    Image.new("RGB", (3, 3)).save(file, "GIF")
    for wrong in (b"", b"no picture", file.getvalue()):
        with pytest.raises(DataError, match="the picture: "):
            viewer.images.decode(wrong)


def test_a_network_of_arrays_is_for_no_pictures(fresh):
    trained = fresh()
    trained.settings["dtype"] = "float32"
    try:
        with pytest.raises(DataError, match="can be asked about no pictures"):
            Viewer(trained, "arrays", "finished")
    finally:
        del trained.settings["dtype"]
