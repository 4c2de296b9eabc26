"""Runs on data that lies in memory: they go on, are looked into, and say early what cannot be."""

from dataclasses import dataclass

import numpy as np
import pytest

from tinynet import SGD, SoftmaxCrossEntropy
from tinynet.backend import to_host
from tinynet.data import ArrayDataset, DataError
from tinynet.inspection.pictures import draw_pictures
from tinynet.training import (
    Run,
    RunSettings,
    evaluate,
    evaluate_networks,
    load_trained,
    parse_options,
    setting,
    train_epoch,
)


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    lr: float = setting(0.01, least=0)


PRESET = Settings(resize=32, crop=28, batch_size=16, epochs=3)


def arrays_of(count: int, channels: int = 1, dtype: str = "uint8", size: int = 32) -> ArrayDataset:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (count, size, size, channels)).astype(dtype)
    x = x if dtype == "uint8" else x / 255
    y = np.arange(count) % 3
    return ArrayDataset(x, y, x[:9], y[:9], layout="NHWC")


def in_memory(data, *options, resume=None, **batches):
    """A run on arrays, of one epoch."""
    folder = ["--resume", resume] if resume else ["--output-dir", "a"]
    typed = parse_options("", {"always": PRESET}, list(map(str, [*folder, *options])))
    with Run.open(typed, "arrays") as run:
        s = run.settle(PRESET)
        run.use_data(data)
        net = run.build("lenet", num_classes=3, in_channels=data.channels, input_size=s.crop)
        loss, optimizer = SoftmaxCrossEntropy(), SGD(net, s.lr)
        run.begin(net, optimizer)
        images = run.batches(**{"colour": 0.0, "scale": None} | batches)
        for epoch in run.epochs(s.epochs):
            trained = train_epoch(net, loss, optimizer, images.train, images.prepare, epoch)
            epoch.end(trained, evaluate(net, images.val, images.prepare, epoch))
        run.finish()
        return images


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (3, "float32"), (4, "float64")])
def test_a_run_on_arrays_goes_on_and_is_looked_into(tmp_path, monkeypatch, channels, dtype):
    monkeypatch.chdir(tmp_path)
    data = arrays_of(30, channels, dtype)
    in_memory(data, "--epochs", 1)
    in_memory(data, "--epochs", 2, resume="a")
    found = load_trained("a")
    assert (found.channels, found.settings["data"], found.settings["drawn"]) == (channels, "", False)
    result = evaluate_networks([found], data.val, "middle")
    assert result.images == 9
    other = arrays_of(9, channels, "float32" if dtype == "uint8" else "uint8")
    with pytest.raises(DataError, match="was trained on images of"):
        evaluate_networks([found], other.val, "middle")
    with pytest.raises(DataError, match="the run's images lay in memory; say with --data what to take"):
        typed = parse_options("", {"always": PRESET}, ["--resume", "a"])
        with Run.open(typed, "arrays") as run:
            run.settle(PRESET)
            run.open_data()
    pytest.importorskip("matplotlib")
    assert "neighbours.png" in list(draw_pictures("a", data, images=2))[-1]
    assert list(draw_pictures("a"))[-1].startswith("No more pictures: ")


def test_the_mean_is_subtracted_or_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = arrays_of(30, 3)
    none = in_memory(data, "--epochs", 1, mean=False, scale=1.0)
    assert none.statistics.images == 0 and not none.statistics.mean_image.any()
    (batch, *_) = none.val.epoch()
    np.testing.assert_array_equal(to_host(none.prepare(batch)), batch.images.astype(np.float32))
    scaled = in_memory(data, "--epochs", 1, "--output-dir", "b", mean=False, colour=0.1)
    assert not scaled.statistics.mean_image.any() and scaled.statistics.deviations.all()
    (batch, *_) = scaled.train.epoch(0)
    assert batch.shifts.any()


@pytest.mark.parametrize(
    ("data", "options", "batches", "message"),
    [
        ((30, 1), [], {"colour": 0.1}, "colour noise is for 3 channels, the images have 1: use colour=0"),
        ((30, 1), [], {"padding": -1}, "expected padding from 0 to 32"),
        ((30, 1), [], {"padding": 10**6}, "expected padding from 0 to 32"),
        ((30, 1, "float32"), ["--resize", 40], {}, "x_train: expected images of 40 x 40 pixels, found 32 x 32"),
        ((30, 1), ["--channels", 3], {}, "arrays: has images of 1 channel, asked for 3"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_measured(tmp_path, monkeypatch, data, options, batches, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tinynet.training.run.measured", None)
    with pytest.raises((DataError, ValueError), match=message):
        in_memory(arrays_of(*data), *options, **batches)
    assert not list(tmp_path.rglob("checkpoints"))
