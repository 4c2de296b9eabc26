"""A classifier as convolutions alone: the same scores on its own size, and maps of them on larger images."""

import numpy as np
import pytest
from inputs import batch_last, normal, relative_difference

from tinynet import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, Tanh, initializers, models
from tinynet.backend import to_device, to_host
from tinynet.training import evaluate_networks, load_trained
from tinynet.training.evaluation import mean_softmax

NETS = {
    "alexnet": ({"num_classes": 5, "width": 0.06, "input_size": 83}, (3, 83, 83)),
    "alexnet_torchvision": ({"num_classes": 5, "width": 0.06, "input_size": 95}, (3, 95, 95)),
    "vgg": ({"depth": 11, "num_classes": 5, "width": 0.05, "input_size": 64}, (3, 64, 64)),
    "lenet": ({}, (1, 28, 28)),
    "cifar10_full": ({}, (3, 32, 32)),
}


def scores(net, x: np.ndarray) -> np.ndarray:
    return to_host(net.forward(batch_last(to_device(x)))).copy()


@pytest.mark.parametrize("name", NETS)
def test_the_same_scores_on_the_training_size(name):
    arguments, shape = NETS[name]
    net = models.build(name, **arguments)
    initializers.initialize(net, 1)
    x = normal(2, 3, *shape).astype("float32")
    dense = models.convolutional(net, shape)
    found = scores(dense, x)
    assert found.shape[2:] == (1, 1) and relative_difference(found[:, :, 0, 0], scores(net, x)) < 1e-5
    larger = tuple(size + 64 for size in shape[1:])
    assert min(dense.output_shape((shape[0], *larger))[1:]) > 1
    assert [layer for layer in net.layers if layer != "flatten"] == list(dense.layers)


def unpadded() -> Sequential:
    """2 x 11 x 11 to 4 scores, strides of 2 x 2 and no padding."""
    layers = [("conv1", Conv2d(2, 3, 3, stride=2)), ("relu1", ReLU(inplace=True)), ("pool1", MaxPool2d(3, stride=2))]
    layers += [("flatten", Flatten()), ("fc2", Linear(12, 6)), ("tanh2", Tanh()), ("fc3", Linear(6, 4))]
    net = Sequential(layers)
    initializers.initialize(net, 1)
    return net.astype("float64")


def test_a_map_without_padding_has_the_scores_of_the_crops():
    net = unpadded()
    x = normal(1, 2, 2, 23, 19)
    found = scores(models.convolutional(net, (2, 11, 11)), x)
    assert found.shape == (2, 4, 4, 3)
    for row, column in np.ndindex(4, 3):
        crop = x[:, :, 4 * row : 4 * row + 11, 4 * column : 4 * column + 11]
        assert relative_difference(found[:, :, row, column], scores(net, crop)) < 1e-12


def test_weights_are_copies():
    net = unpadded()
    dense, before = models.convolutional(net, (2, 11, 11)), scores(net, normal(1, 1, 2, 11, 11))
    for array in dense.params.values():
        array[...] = 0
    assert (scores(net, normal(1, 1, 2, 11, 11)) == before).all()


def test_pytorch_computes_the_same_map():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = models.vgg(11, num_classes=5, input_size=64, width=0.05)
    initializers.initialize(net, 1)
    dense = models.convolutional(net, (3, 64, 64))
    modules = []
    for layer in dense:
        if isinstance(layer, Conv2d):
            theirs = torch.nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding)
            theirs.weight.data = torch.from_numpy(to_host(layer.params["weight"]).copy())
            theirs.bias.data = torch.from_numpy(to_host(layer.params["bias"]).copy())
            modules.append(theirs)
        elif isinstance(layer, MaxPool2d):
            modules.append(torch.nn.MaxPool2d(2))
        elif isinstance(layer, ReLU):
            modules.append(torch.nn.ReLU())
    x = normal(1, 2, 3, 128, 160).astype("float32")
    with torch.no_grad():
        expected = torch.nn.Sequential(*modules)(torch.from_numpy(x)).numpy()
    found = scores(dense, x)
    assert found.shape == expected.shape == (2, 5, 3, 4) and relative_difference(found, expected) < 1e-5


@pytest.mark.parametrize(
    "net",
    [
        Sequential([("conv1", Conv2d(2, 3, 3))]),
        Sequential([("fc1", Linear(8, 3))]),
    ],
)
def test_networks_that_are_none(net):
    shape = (8,) if "fc1" in net.layers else (2, 5, 5)
    with pytest.raises(ValueError, match=r"expected (a Flatten|a network with linear layers)"):
        models.convolutional(net, shape)


def test_dense_answers_are_means_over_places_and_scales(trained):
    data, one = trained.data, load_trained(trained.path)
    dense = models.convolutional(one.net, (3, 67, 67))
    expected = []
    for scale in (72, 131):
        colour = one.statistics.mean_image.mean(axis=(1, 2))[:, None, None]
        images = [data.val.load_whole(index, scale).transpose(2, 0, 1) for index in range(len(data.val))]
        found = [scores(dense, ((image - colour) * one.settings["scale"]).astype(np.float32)[None]) for image in images]
        assert found[0].shape[2:] >= ((1, 1) if scale == 72 else (3, 3))
        expected.append(np.concatenate([mean_softmax(logits, 1) for logits in found]))
    result = evaluate_networks([one], data.val, "dense", scales=(72, 131))
    mean = (expected[0] + expected[1]) / 2
    np.testing.assert_allclose(result.predictions.probabilities, mean, atol=1e-5)
    assert result.networks == 1
    with pytest.raises(ValueError, match=r"--scales 60: .* takes images of 67 pixels or more"):
        evaluate_networks([one], data.val, "dense", scales=(60,))


def test_the_commands_take_dense_views(ask, trained, folder):
    image = min(folder.glob("val/*/*.jpg"))
    code, out, err = ask("test", trained.path, "--views", "middle", "dense", "--scales", "72,131")
    assert (code, err) == (0, "") and "Validation, dense: top-1 error" in out
    code, _, err = ask("predict", trained.path, image, "--views", "dense")
    assert (code, err) == (0, "")
    for words, message in (
        (["--views", "dense", "--scales", "60"], "takes images of 67 pixels or more"),
        (["--views", "dense", "--scales", "big"], "--scales big: expected sizes in pixels, such as 256,384"),
        (["--scales", "72"], "--scales 72: is for --views dense"),
    ):
        code, _, err = ask("predict", trained.path, image, *words)
        assert code == 1 and message in err


def test_whole_pictures(tmp_path):
    from PIL import Image

    from tinynet.data.batches.whole import WholeLoader
    from tinynet.data.images.crops import shorter_side_crop
    from tinynet.data.stores.files import image_files

    wide = Image.fromarray(np.arange(60 * 90 * 3, dtype=np.uint32).reshape(60, 90, 3).astype(np.uint8))
    wide.save(tmp_path / "wide.png")
    Image.new("RGB", (2000, 10)).save(tmp_path / "long.png")
    (tmp_path / "bad.png").write_bytes(b"none")
    paths = [str(tmp_path / name) for name in ("wide.png", "bad.png", "long.png", "wide.png")]
    split = image_files(paths, ("a", "b"))
    for workers in (0, 2):
        loader = WholeLoader(split, 60, workers, max_bad=1.0, on_bad=lambda name, reason: None)
        batches = list(loader.epoch())
        assert [batch.images.shape for batch in batches] == [
            (1, 3, 60, 90),
            (0, 1, 1, 1),
            (1, 3, 60, 240),
            (1, 3, 60, 90),
        ]
        assert (batches[0].images[0].transpose(1, 2, 0) == np.asarray(wide)).all()
        assert list(loader.bad) == [1] and [batch.indices.tolist() for batch in batches] == [[0], [], [2], [3]]
    half = split.load_whole(0, 30)
    assert half.shape == (30, 45, 3)
    assert abs(half[:, 8:38].astype(int) - shorter_side_crop(wide, 30)).max() < 130  # half a pixel to the side
