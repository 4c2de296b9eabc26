"""Prepared caches with bits flipped, and with content that no cache has been written with: never read wrongly."""

import json
import os
import re
import shutil

import numpy as np
import pytest

from tinynet.data import DataError, make_dataset, open_dataset
from tinynet.data.caching.writer import write_cache

SIZE = 24


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """44 training and 12 validation images, one of which is broken."""
    root = tmp_path_factory.mktemp("cache") / "drawn"
    make_dataset(root, size=30, classes=4, train_per_class=11, val_per_class=3)
    with open(open_dataset(root).val.name(4), "r+b") as file:
        file.truncate(300)
    write_cache(root, root.parent / "written", SIZE, max_bad=0.1, report=lambda line: None)
    return root.parent / "written"


@pytest.fixture
def cache(written, tmp_path):
    """A copy, to be damaged."""
    return shutil.copytree(written, tmp_path / "cache")


def raises(message):
    return pytest.raises(DataError, match=re.escape(message))


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


def made_earlier(cache, **changes):
    """As tinynet 0.1 left it: without a checksum and digests."""
    found = json.loads((cache / "cache.json").read_text())
    found = {name: value for name, value in found.items() if name not in ("checksum", "digests")} | changes
    (cache / "cache.json").write_text(json.dumps(found))
    return cache


@pytest.mark.parametrize("name", ["cache.json", "bad.jsonl", "statistics.npz", "val.npz", "val-000.npy"])
def test_no_flipped_bit_is_overlooked(cache, name):
    """In what is read when the cache is opened; of a larger file, at its ends and at steps between."""
    path = cache / name
    length = 128 if name.endswith(".npy") else path.stat().st_size
    edges = {*range(min(length, 160)), *range(max(0, length - 160), length)}
    for position in sorted(edges | {*range(0, length, 41)}):
        flip(path, position)
        with raises(f"{path}: "):
            open_dataset(cache)
        flip(path, position)
    open_dataset(cache)


@pytest.mark.parametrize("name", ["cache.json", "bad.jsonl", "statistics.npz", "val.npz"])
def test_a_flipped_bit_in_a_cache_from_before_brings_a_data_error_or_nothing(cache, name):
    made_earlier(cache)
    content = bytearray((cache / name).read_bytes())
    for position in range(0, len(content), max(1, len(content) // 200)):
        for bit in (1, 64):
            content[position] ^= bit
            (cache / name).write_bytes(content)
            try:
                data = open_dataset(cache)
                data.val.name(0), data.val.load(0, SIZE)
            except DataError as error:
                assert str(cache) in str(error)
            content[position] ^= bit


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 0}, {"size": 10**9}, {"size": True}, {"size": "24"}, {"images_per_file": 0}, {"images": [44, 12]},
        {"images": {"train": 44}}, {"images": {"train": 44, "val": -1}}, {"images": {"train": 10**18, "val": 12}},
        {"images_per_file": 7}, {"classes": "abcd"}, {"classes": [1, 2, 3, 4]}, {"names": ["a"]}, {"bad": 3},
        {"classes": ["a"], "names": ["a"]}, {"bad": {"train": 2, "val": None}}, {"digests": {}}, {"checksum": "0"},
    ],
)  # fmt: skip
def test_a_description_that_cannot_be(cache, changes):
    made_earlier(cache, **changes)
    with raises(f"{cache}"):
        open_dataset(cache)


def replaced(path, name, array, packed=False):
    with np.load(path) as file:
        arrays = dict(file) | {name: array}
    (np.savez_compressed if packed else np.savez)(path, **arrays)


def test_columns_that_cannot_be(cache):
    made_earlier(cache)
    labels, path = open_dataset(cache).val.labels, cache / "val.npz"
    for wrong in (labels + 4, labels - 1, labels.astype(np.int32), labels[:, None], labels[:-1], np.array(3)):
        replaced(path, "labels", wrong)
        with raises(f"{path}: "):
            open_dataset(cache)
    replaced(path, "labels", labels)
    replaced(path, "names", np.zeros((12, 2), np.int8))
    with raises(f"{path}: expected names of 12 images"):
        open_dataset(cache).val.name(0)
    for name, array in (("mean_image", np.zeros((3, 2, 2))), ("deviations", np.full(3, np.nan)), ("images", [])):
        shutil.copy(cache / "statistics.npz", cache / "aside")
        replaced(cache / "statistics.npz", f"statistics.{name}", np.array(array))
        with raises("statistics.npz: expected statistics of images of 24 x 24"):
            open_dataset(cache)
        (cache / "aside").rename(cache / "statistics.npz")
    replaced(path, "names", np.zeros(10**7, np.int8), packed=True)
    with raises(f"{path}: not readable as a part of a prepared cache: compressed"):
        open_dataset(cache)


@pytest.mark.parametrize("text", ["[" * 5000, '{"split": "val", "index": 99, "reason": "x"}', '{"split": ["val"]}'])
def test_records_of_bad_images_that_cannot_be(cache, text):
    made_earlier(cache)
    (cache / "bad.jsonl").write_text(text + "\n")
    with raises(f"{cache / 'bad.jsonl'}: not readable as a list of bad images"):
        open_dataset(cache)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among the files here")
def test_pipes_in_place_of_files(cache, written):
    for path in sorted(written.iterdir()):
        if path.name == "train-000.npy" or path.suffix != ".npy":
            (cache / path.name).unlink()
            os.mkfifo(cache / path.name)
            if path.name == "cache.json":
                (cache / "journal.jsonl").touch()
            with raises(f"{cache / path.name}: expected a file, found a pipe"):
                open_dataset(cache)
            (cache / path.name).unlink()
            shutil.copy(path, cache)


def test_labels_that_may_be_wrong_are_told_of(cache):
    """A cache from before that was prepared of webdataset's archives, where images of one key took one label."""
    for shard, key, note in (("x-val-0", "img", True), ("x-val-0", "img{}", False), ("n01440764", "img", False)):
        names = [f"/data/{shard}.tar/{key.format(number)}.{number}.jpg".encode() for number in range(12)]
        replaced(cache / "val.npz", "names", np.array(names))
        notes = open_dataset(made_earlier(cache)).notes
        assert notes == ((f"{cache}: all images of one key, /data/{shard}.tar/img, have one label here, which may be "
                          "wrong: prepare it again",) if note else ())  # fmt: skip
