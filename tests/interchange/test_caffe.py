"""Caffe's files, of both forms: the network that was written is read, with red first."""

import numpy as np
import pytest
from inputs import relative_difference
from interchange import caffemodels
from interchange.chains import forward

from tinynet import (
    AvgPool2d,
    CheckpointError,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
    Tanh,
    initializers,
    models,
)
from tinynet.backend import to_device
from tinynet.interchange import read_caffe, read_mean, write_caffe
from tinynet.interchange.caffe import read_caffe_net
from tinynet.interchange.caffe_schema import messages


def small(channels: int = 3) -> Sequential:
    """What AlexNet and CaffeNet are made of, for images of 28 pixels."""
    net = Sequential(
        [
            ("conv1", Conv2d(channels, 4, 5, stride=2)),
            ("relu1", ReLU()),
            ("norm1", LocalResponseNorm(3, 0.5, 0.75, 1.0, average=True)),
            ("pool1", MaxPool2d(3, stride=2, ceil_mode=True)),
            ("conv2", Conv2d(4, 6, 3, padding=1, groups=2)),
            ("relu2", ReLU()),
            ("norm2", LocalResponseNorm(3, 0.5, 0.75, 1.0, average=True, within_channel=True)),
            ("pool2", AvgPool2d(3, stride=2, padding=1, ceil_mode=True)),
            ("flatten", Flatten()),
            ("fc3", Linear(96, 7)),
            ("tanh3", Tanh()),
            ("drop3", Dropout(0.25)),
            ("fc4", Linear(7, 5, bias=False)),
        ]
    )
    initializers.initialize(net, 1)
    for _, layer, key in net.parameters():
        if key == "bias":
            layer.params[key] = to_device(np.random.default_rng(2).standard_normal(layer.params[key].shape).astype("f"))
    return net


def images(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, channels, 28, 28)).astype(np.float32)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("old", [False, True])
def test_what_caffe_writes_is_read(tmp_path, old, channels):
    net = small(channels)
    again, shape = read_caffe_net(caffemodels.write(tmp_path / "net.caffemodel", net, old))
    assert repr(again).replace("(inplace)", "()") == repr(net).replace("(inplace)", "()")
    assert relative_difference(forward(again, images(channels)), forward(net, images(channels))) < 1e-6
    assert shape == (channels, 28, 28)
    assert read_caffe_net(caffemodels.write(tmp_path / "net.caffemodel", net, old, crop=27))[1] == (channels, 27, 27)


def test_inner_products_flatten_by_themselves(tmp_path):
    message = caffemodels.message_of(small(), old=False)
    [place] = [place for place, layer in enumerate(message.layer) if layer.type == "Flatten"]
    message.layer[place + 1].bottom[0] = message.layer[place].bottom[0]
    del message.layer[place]
    (tmp_path / "net.caffemodel").write_bytes(message.SerializeToString())
    assert (
        relative_difference(forward(read_caffe(tmp_path / "net.caffemodel"), images()), forward(small(), images()))
        < 1e-6
    )


@pytest.mark.parametrize("channels", [3, 1])
def test_what_is_written_is_read_again(tmp_path, channels):
    net = small(channels)
    write_caffe(net, tmp_path / "net.caffemodel", (channels, 28, 28))
    again, shape = read_caffe_net(tmp_path / "net.caffemodel")
    assert shape == (channels, 28, 28) and list(again.layers) == list(net.layers)
    assert relative_difference(forward(again, images(channels)), forward(net, images(channels))) < 1e-6


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (MaxPool2d(3, 2), "odd: Caffe rounds the size of pools up"),
        (MaxPool2d(3, 2, ((0, 1), (1, 0))), "odd: Caffe rounds the size of pools up, and pads both sides alike"),
        (AvgPool2d(3, 2, 1, True, count_include_pad=False), "odd: Caffe's means count the padding"),
        (Conv2d(4, 4, 3, padding=((0, 1), (1, 0))), "odd: Caffe pads both sides alike"),
        (LocalResponseNorm(3, groups=2), "odd: Caffe normalises over all channels"),
        (LocalResponseNorm(4), "odd: Caffe's windows have an odd size"),
        (Dropout(0.5, scale="test"), "odd: Caffe's dropout scales in training"),
    ],
)
def test_layers_that_caffe_has_not_are_named(tmp_path, layer, message):
    with pytest.raises(CheckpointError, match=message):
        write_caffe(Sequential([("relu", ReLU()), ("odd", layer)]), tmp_path / "net.caffemodel", (4, 6, 6))
    assert not (tmp_path / "net.caffemodel").exists()


def test_models_are_written(tmp_path):
    for net, shape in (
        (models.lenet(variant="caffe"), (1, 28, 28)),
        (models.vgg(11, 5, 32, width=0.05), (3, 32, 32)),
        (models.cifar10_full(), (3, 32, 32)),
    ):
        initializers.initialize(net, 1)
        write_caffe(net, tmp_path / "net.caffemodel", shape)
        x = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
        assert relative_difference(forward(read_caffe(tmp_path / "net.caffemodel"), x), forward(net, x)) < 1e-5


def change(message, how: str) -> None:
    layers = {layer.name: layer for layer in message.layer}
    if how == "a type":
        layers["tanh3"].type = "PReLU"
    elif how == "two ways":
        layers["relu2"].bottom.append("conv1")
    elif how == "another bottom":
        layers["conv2"].bottom[0] = "data"
    elif how == "holes":
        layers["conv2"].convolution_param.dilation.append(2)
    elif how == "shape":
        layers["conv2"].blobs[0].shape.dim[0] = 7
    elif how == "a huge shape":
        layers["conv2"].blobs[0].shape.dim[0] = 1 << 40
    elif how == "no weights":
        del layers["fc3"].blobs[:]
    elif how == "NaN":
        layers["fc3"].blobs[1].data[0] = np.nan
    elif how == "kernel":
        layers["conv2"].convolution_param.kernel_h = 5
    elif how == "groups":
        layers["conv2"].convolution_param.group = 5
    elif how == "stochastic":
        layers["pool1"].pooling_param.pool = 2


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("a type", "PReLU tanh3: tinynet has no such layer"),
        ("two ways", "ReLU relu2: takes conv2, conv1 behind conv2, so this is no chain"),
        ("another bottom", "Convolution conv2: takes data behind pool1"),
        ("holes", "Convolution conv2: windows with holes"),
        ("shape", r"Convolution conv2: has 108 values, and the shape .7, 2, 3, 3."),
        ("a huge shape", "Convolution conv2: has 108 values, and the shape"),
        ("no weights", "InnerProduct fc3: has 0 arrays of weights, expected 2"),
        ("NaN", "InnerProduct fc3: its weights are not finite"),
        ("kernel", "Convolution conv2: weights of"),
        ("groups", "groups must divide the channels"),
        ("stochastic", "Pooling pool1: pools over all of the image, or neither"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, how, message):
    made = caffemodels.message_of(small(), old=False)
    change(made, how)
    path = tmp_path / "net.caffemodel"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(CheckpointError, match=message) as raised:
        read_caffe(path)
    assert str(path) in str(raised.value) and len(str(raised.value).splitlines()) == 1


def test_files_that_are_none(tmp_path):
    path = tmp_path / "net.caffemodel"
    for content in (b"", b"\xff" * 100, b"text, and no network"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"has no layer with weights|not a readable file of Caffe's"):
            read_caffe(path)
    with pytest.raises(CheckpointError, match="not a readable file"):
        read_caffe(tmp_path / "nowhere.caffemodel")


def test_mean_images(tmp_path):
    mean = np.random.default_rng(0).random((3, 4, 4)).astype(np.float32)
    blob = messages()["BlobProto"](num=1, channels=3, height=4, width=4, data=mean.ravel().tolist())
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    np.save(tmp_path / "mean.npy", mean.astype(np.float64))
    for name in ("mean.binaryproto", "mean.npy"):
        assert (read_mean(tmp_path / name) == mean[::-1]).all()
    np.save(tmp_path / "flat.npy", mean[0])
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    for name in ("flat.npy", "objects.npy", "nowhere.npy"):
        with pytest.raises(CheckpointError, match="mean image"):
            read_mean(tmp_path / name)
