"""The synthetic data set: the same bytes every time, cached safely, and not to be told apart by colour."""

import json

import numpy as np
import pytest

from tinynet.data import DataError, make_dataset, open_dataset
from tinynet.data.sets.synthetic import FIGURES, MARKER

SMALL = {"size": 24, "classes": 3, "train_per_class": 3, "val_per_class": 2}


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def test_layout_and_determinism(tmp_path):
    root = make_dataset(tmp_path / "a", **SMALL)
    files = contents(root)
    names = list(FIGURES)[:3]
    assert set(files) == {MARKER} | {
        f"{split}/{name}/{number:04d}.jpg"
        for split, count in (("train", 3), ("val", 2))
        for name in names
        for number in range(1, count + 1)
    }
    assert contents(make_dataset(tmp_path / "deeper" / "b", **SMALL)) == files
    images = [content for name, content in files.items() if name != MARKER]
    assert len(set(images)) == len(images)  # no two alike, in training and validation together
    other = contents(make_dataset(tmp_path / "c", **SMALL, seed=1))
    assert all(other[name] != files[name] for name in files)
    data = open_dataset(root)
    assert data.classes == tuple(sorted(names)) and len(data.train) == 9 and len(data.val) == 6
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []  # nothing left over


def test_a_complete_one_is_reused_and_a_damaged_or_other_one_is_drawn_again(tmp_path):
    root = tmp_path / "set"
    calls = []

    def make(**options):
        calls.clear()
        make_dataset(root, **(SMALL | options), progress=lambda done, total: calls.append((done, total)))

    make()
    assert calls == [(done, 15) for done in range(1, 16)]
    files = contents(root)
    make()
    assert calls == [] and contents(root) == files

    next(root.glob("val/*/0001.jpg")).unlink()
    make()
    assert len(calls) == 15 and contents(root) == files

    (root / MARKER).write_text("{half a mark")
    make()
    assert len(calls) == 15 and contents(root) == files

    make(train_per_class=4)
    assert len(calls) == 18 and len(list(root.glob("train/*/*.jpg"))) == 12
    assert json.loads((root / MARKER).read_text())["counts"] == {"train": 4, "val": 2}


def test_an_interruption_leaves_what_was_there(tmp_path):
    def interrupt(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_dataset(tmp_path / "set", **SMALL, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    files = contents(make_dataset(tmp_path / "set", **SMALL))
    with pytest.raises(KeyboardInterrupt):
        make_dataset(tmp_path / "set", **SMALL, seed=1, progress=interrupt)
    assert contents(tmp_path / "set") == files


def test_what_is_not_a_synthetic_data_set_is_never_replaced(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    make_dataset(root, **SMALL)  # an empty folder is fine
    (root / MARKER).unlink()
    files = contents(root)
    with pytest.raises(DataError, match=r"photos: .*synthetic\.json"):
        make_dataset(root, **SMALL)
    assert contents(root) == files
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="file: looked for"):
        make_dataset(tmp_path / "file", **SMALL)


@pytest.mark.parametrize("wrong", [{"classes": 1}, {"classes": 13}, {"val_per_class": 0}, {"size": 8}])
def test_wrong_options(tmp_path, wrong):
    with pytest.raises(ValueError, match="expected 2 to 12 classes"):
        make_dataset(tmp_path / "set", **(SMALL | wrong))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """All classes, small: training and validation images (N, 32, 32, 3) and labels."""
    root = make_dataset(
        tmp_path_factory.mktemp("synthetic") / "set", size=32, train_per_class=80, val_per_class=40
    )
    data = open_dataset(root)
    return [
        (np.stack([split.load(index, 32) for index in range(len(split))]), split.labels)
        for split in (data.train, data.val)
    ]


def accuracy(train, labels, val, val_labels):
    """Validation accuracy of ridge regression on the classes, the best of several strengths."""
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-9
    train, val = (np.c_[(x - mean) / deviation, np.ones(len(x))] for x in (train, val))
    targets = np.eye(labels.max() + 1)[labels]
    return max(
        (
            (
                val @ np.linalg.solve(train.T @ train + ridge * np.eye(train.shape[1]), train.T @ targets)
            ).argmax(1)
            == val_labels
        ).mean()
        for ridge in (1.0, 30.0, 1000.0)
    )


def test_colour_alone_hardly_tells_the_classes_apart(drawn):
    (train, labels), (val, val_labels) = drawn
    chance = 1 / 12

    def histograms(images):
        bins = images // 16  # (N, H, W, 3), 16 bins
        return np.stack([(bins == value).mean(axis=(1, 2)) for value in range(16)], axis=-1).reshape(
            len(images), -1
        )

    def moments(images):
        return np.concatenate([images.mean(axis=(1, 2)), images.std(axis=(1, 2))], axis=1)  # (N, 6)

    for features in (histograms, moments):
        assert accuracy(features(train), labels, features(val), val_labels) < 2.5 * chance
    centroids = np.stack([moments(train[labels == label]).mean(axis=0) for label in range(12)])
    nearest = np.linalg.norm(moments(val)[:, None] - centroids, axis=2).argmin(axis=1)
    assert (nearest == val_labels).mean() < 2.5 * chance


def test_every_figure_shows_on_its_image(drawn):
    (images, labels), _ = drawn
    middle = images[:, 8:24, 8:24].astype(float)
    edge = np.concatenate(
        [images[:, :2].reshape(len(images), -1, 3), images[:, -2:].reshape(len(images), -1, 3)], axis=1
    )
    contrast = np.abs(middle - edge.mean(axis=1)[:, None, None]).max(axis=3).max(axis=(1, 2))
    for label in range(12):
        assert (contrast[labels == label] > 35).mean() > 0.95
