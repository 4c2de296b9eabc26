"""The prepared cache as training sees it: the folder's batches and statistics, and no damage that passes in silence."""

import io
import json
import pickle
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tinynet.data import DataError, Loader, make_dataset, measure, open_dataset
from tinynet.data.caching.writer import write_cache
from tinynet.data.names import PackedNames
from tinynet.data.stores import cache as cache_format
from tinynet.data.stores.cache import npy_header

SIZE, CROP = 24, 19
BAD = {"train": [5, 9], "val": [4]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """44 training and 12 validation images, three of them broken."""
    root = tmp_path_factory.mktemp("cache") / "drawn"
    make_dataset(root, size=30, classes=4, train_per_class=11, val_per_class=3)
    data = open_dataset(root)
    for name, indices in BAD.items():
        for index in indices:
            with open(getattr(data, name).name(index), "r+b") as file:
                file.truncate(300)
    return root


@pytest.fixture(scope="module")
def written(folder):
    """A cache of several files of pixels."""
    out = folder.parent / "written"
    write_cache(folder, out, SIZE, max_bad=0.1, report=lambda line: None, images_per_file=16, images_per_chunk=8)
    return out


@pytest.fixture
def cache(written, tmp_path):
    """A copy, to be damaged."""
    return shutil.copytree(written, tmp_path / "cache")


def assert_same_batches(one, other):
    for first, second in zip(one, other, strict=True):
        for name in ("images", "labels", "indices", "shifts"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name), strict=True)


def raises(message):
    return pytest.raises(DataError, match=re.escape(message))


def test_what_lies_there_is_readable_without_tinynet(folder, written):
    data = open_dataset(folder)
    assert sorted(path.name for path in written.iterdir()) == [
        "bad.jsonl", "cache.json", "statistics.npz",
        "train-000.npy", "train-001.npy", "train-002.npy", "train.npz", "val-000.npy", "val.npz",
    ]  # fmt: skip
    pixels = np.concatenate([np.load(written / f"train-00{number}.npy", mmap_mode="r") for number in range(3)])
    assert pixels.shape == (44, SIZE, SIZE, 3) and pixels.dtype == np.uint8
    for index in range(44):
        expected = 0 if index in BAD["train"] else data.train.load(index, SIZE)
        np.testing.assert_array_equal(pixels[index], expected)
    with np.load(written / "train.npz") as file:
        np.testing.assert_array_equal(file["labels"], data.train.labels, strict=True)
        assert [name.decode() for name in file["names"]] == [data.train.name(index) for index in range(44)]
        assert file["checksums"].dtype == np.uint32
    bad = [json.loads(line) for line in (written / "bad.jsonl").read_text().splitlines()]
    assert [(record["split"], record["index"]) for record in bad] == [("train", 5), ("train", 9), ("val", 4)]
    assert bad[0]["name"] == data.train.name(5) and "cannot be decoded" in bad[0]["reason"]
    assert len({path.stat().st_mode for path in written.iterdir()}) == 1  # who may read one may read all


def test_one_long_name_does_not_make_all_names_wide(folder, tmp_path, monkeypatch):
    names = PackedNames(["a"] * 1000 + ["b" * 40_000])
    arrays = cache_format.arrays_of_names(names)
    assert list(arrays) == ["names_text", "names_starts"] and sum(array.nbytes for array in arrays.values()) < 50_000
    (fixed,) = cache_format.arrays_of_names(PackedNames(["a", "", "bc"])).values()
    assert fixed.tolist() == [b"a", b"", b"bc"] and fixed.dtype == "S2"

    monkeypatch.setattr(cache_format, "ROOM", -(1 << 24))  # as if one of these were long
    data, out = open_dataset(folder), tmp_path / "out"
    write_cache(folder, out, SIZE, max_bad=0.1, report=lambda line: None)
    with np.load(out / "val.npz") as file:
        arrays = dict(file)
    assert sorted(arrays) == ["checksums", "labels", "names_starts", "names_text"]
    cached = open_dataset(out)
    assert [cached.val.name(index) for index in range(12)] == [data.val.name(index) for index in range(12)]
    assert cached.fingerprint == data.fingerprint
    for wrong in ([0, 1], [0] * 13, list(range(13, -1, -1))):
        np.savez(out / "val.npz", **arrays | {"names_starts": np.array(wrong)})
        with raises(f"{out / 'val.npz'}: expected names of 12 images"):
            pickle.loads(pickle.dumps(cached.val)).name(0)


def test_a_cache_opens_as_a_data_set_with_its_statistics(folder, written):
    data, cached = open_dataset(folder), open_dataset(written)
    assert cached.root == written and cached.classes == cached.train.classes == cached.val.classes == data.classes
    assert cached.names == data.names and len(cached.train) == 44 and len(cached.val) == 12
    for split in ("train", "val"):
        one, other = getattr(data, split), getattr(cached, split)
        np.testing.assert_array_equal(one.labels, other.labels, strict=True)
        assert [one.name(index) for index in range(len(one))] == [other.name(index) for index in range(len(one))]
    measured = measure(data.train, SIZE, max_bad=0.1, on_bad=lambda name, reason: None).to_arrays()
    for name, array in cached.statistics.to_arrays().items():
        np.testing.assert_array_equal(array, measured[name], strict=True)
    assert data.statistics is None and cached.statistics.images == 42


@pytest.mark.parametrize("views", ["random", "middle", "ten"])
@pytest.mark.parametrize("workers", [0, 3])
def test_batches_are_the_folders(folder, written, views, workers):
    common = {"batch_size": 8, "size": SIZE, "crop": CROP, "views": views, "seed": 3, "workers": workers}
    common |= {"max_bad": 0.1, "on_bad": lambda name, reason: None}
    data, cached = open_dataset(folder), open_dataset(written)
    for name in ("train", "val"):
        one, other = (
            Loader(getattr(split, name), statistics=cached.statistics, **common).epoch(1) for split in (data, cached)
        )
        one, other = list(one), list(other)
        assert sum(len(batch.labels) for batch in one) == {"train": 42, "val": 11}[name]
        assert_same_batches(one, other)


def test_a_bad_image_is_bad_for_the_same_reason(folder, written):
    for split, index in (("train", 5), ("val", 4)):
        messages = []
        for data in (open_dataset(folder), open_dataset(written)):
            with pytest.raises(DataError) as error:
                getattr(data, split).load(index, SIZE)
            messages.append(str(error.value))
        assert messages[0] == messages[1]


def test_an_image_cannot_be_written_to(written):
    image = open_dataset(written).train.load(0, SIZE)
    assert image.shape == (SIZE, SIZE, 3) and image.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0, 0] = 1
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        image.flags.writeable = True


def test_another_size_is_refused(written):
    with pytest.raises(ValueError, match=r"24 x 24, not 32 x 32: use --resize 24, or prepare another .* --size 32"):
        open_dataset(written).train.load(0, 32)


def test_a_split_is_pickled_and_read_by_many_threads(written):
    split = open_dataset(written).train
    good = [index for index in range(44) if index not in BAD["train"]]
    expected = [split.load(index, SIZE) for index in good]
    again = pickle.loads(pickle.dumps(split))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for image, index in zip(pool.map(lambda index: again.load(index, SIZE), good), good, strict=True):
                np.testing.assert_array_equal(image, expected[good.index(index)])
    assert again.name(7) == split.name(7)


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


def test_a_flipped_bit_in_an_image_is_an_error_that_names_it(folder, cache):
    flip(cache / "train-001.npy", -(SIZE * SIZE * 3) * 15 - 700)  # the last bytes of the file's first image
    data = open_dataset(cache)
    with raises(f"{data.train.name(16)}: damaged in the cache: image 0 of {cache / 'train-001.npy'}"):
        data.train.load(16, SIZE)
    data.train.load(15, SIZE), data.train.load(17, SIZE)


def test_a_bit_flipped_later_is_noticed_too(cache):
    split = open_dataset(cache).train
    split.load(3, SIZE)
    flip(cache / "train-000.npy", 128 + 3 * SIZE * SIZE * 3)
    with raises("damaged in the cache: image 3"):
        split.load(3, SIZE)


def made_earlier(cache, **changes):
    """As tinynet 0.1 left it: without a checksum and digests."""
    found = json.loads((cache / "cache.json").read_text())
    found = {name: value for name, value in found.items() if name not in ("checksum", "digests")} | changes
    (cache / "cache.json").write_text(json.dumps(found))
    return cache


def test_a_cache_from_before_there_were_checksums_is_read(cache, written):
    data = open_dataset(made_earlier(cache))
    assert data.notes == () and data.fingerprint == open_dataset(written).fingerprint
    np.testing.assert_array_equal(data.train.load(3, SIZE), open_dataset(written).train.load(3, SIZE))


@pytest.mark.parametrize("earlier", [False, True])
def test_a_flipped_bit_in_labels_or_checksums(cache, earlier):
    with np.load(cache / "train.npz") as index:
        labels, checksums = index["labels"].tobytes(), index["checksums"].tobytes()
    mean = open_dataset(cache).statistics.mean_image.tobytes()
    if earlier:
        made_earlier(cache)
    found = "not readable as a part of a prepared cache: Bad CRC-32" if earlier else "damaged, its checksum is not the"
    for name, array in (("train", labels), ("train", checksums), ("statistics", mean)):
        path = cache / f"{name}.npz"
        position = path.read_bytes().index(array) + 11
        flip(path, position)
        with raises(f"{path}: {found}"):
            open_dataset(cache)
        flip(path, position)
    open_dataset(cache)


def test_what_npy_header_writes_is_numpys(tmp_path):
    for shape in ((1, 1), (44, 24), (65536, 256), (10**6, 10**4)):
        images, size = shape
        file = io.BytesIO()
        written = {"descr": "|u1", "fortran_order": False, "shape": (images, size, size, 3)}
        np.lib.format.write_array_header_1_0(file, written)
        assert npy_header(images, size) == file.getvalue()


def test_truncated_missing_and_other_files(cache, written):
    path = cache / "train-002.npy"
    content = path.read_bytes()
    for damaged in (content[:-1], content[:40], b"", content + b"x"):
        path.write_bytes(damaged)
        with raises(f"{path}: expected"):
            open_dataset(cache)
    np.save(path, np.zeros((12, SIZE, SIZE, 3), np.float32))
    with raises(f"{path}: expected the header of a NumPy file, uint8 (12, 24, 24, 3), found another"):
        open_dataset(cache)
    path.write_bytes(content)
    for name in sorted(path.name for path in written.iterdir() if path.name != "cache.json"):
        (cache / name).rename(cache / "aside")
        with raises(f"{cache / name}: "):
            open_dataset(cache)
        (cache / name).write_bytes(b"x")
        with raises(f"{cache / name}: "):
            open_dataset(cache)
        (cache / "aside").rename(cache / name)
    open_dataset(cache)
    made_earlier(cache)
    (cache / "bad.jsonl").write_text("")
    with raises("bad.jsonl: expected {'train': 2, 'val': 1} images, found {'train': 0, 'val': 0}"):
        open_dataset(cache)


def test_a_file_that_shrinks_while_it_is_used(cache):
    split = open_dataset(cache).train
    with open(cache / "train-000.npy", "r+b") as file:
        file.truncate(1000)
    with raises("damaged in the cache: image 7"):
        split.load(7, SIZE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "a prepared cache of version 2; this tinynet reads version 1: prepare it again"),
        ({"format": "other"}, "expected the description of a prepared cache, found other content"),
        ({"further": 1}, "expected the description of a prepared cache, found other content"),
    ],
)
def test_other_manifests(cache, change, message):
    path = cache / "cache.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with raises(f"{path}: {message}"):
        open_dataset(cache)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"format": "tinynet cache"}'])
def test_manifests_that_are_none(cache, content):
    (cache / "cache.json").write_bytes(content)
    with raises(f"{cache / 'cache.json'}: expected"):
        open_dataset(cache)


def test_an_unfinished_cache_says_how_to_go_on(cache):
    (cache / "cache.json").rename(cache / "journal.jsonl")
    with raises("not a finished cache: the command that began it, python -m tinynet prepare, goes on with it"):
        open_dataset(cache)
