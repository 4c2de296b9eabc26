"""Lists of pictures and labels as Caffe's: what lines may be, what classes are called, what leads out of the folder."""

import os
import re

import numpy as np
import pytest
from disk import contents, image_bytes, write, write_class_folders

from tinynet.data import DataError, open_dataset
from tinynet.data.labels import training_list
from tinynet.data.labels.training_list import refuse_other_numbers


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    for name in ("a.jpg", "b c.jpg", "deep/er/d.png", "deep/e.jpg"):
        write(root / "pictures" / name, image_bytes(name))
    write(root / "train.txt", "pictures/b c.jpg 1\npictures/deep/er/d.png\t0\r\n\n  pictures/a.jpg   2 \n")
    write(root / "val.txt", "pictures/deep/e.jpg 2\npictures/a.jpg 0")
    return root


def raises(*parts):
    return pytest.raises(DataError, match="(?s)" + ".*".join(map(re.escape, parts)))


def test_the_lists_order(root):
    calls = []
    data = open_dataset(root, lambda *call: calls.append(call))
    assert data.classes == data.names == data.val.classes == ("0", "1", "2") and data.root == root
    assert data.train.labels.tolist() == [1, 0, 2] and data.train.labels.dtype == np.int64
    assert data.val.labels.tolist() == [2, 0]
    names = ["b c.jpg", "deep/er/d.png", "a.jpg"]
    assert [data.train.name(index) for index in range(3)] == [f"{root}/pictures/{name}" for name in names]
    assert len(set(contents(data.train) + contents(data.val))) == 4
    assert data.notes == (f"{root}: 1 of 3 classes have no validation image: 1",)
    assert calls == [(4, 4), (2, 2)]


def test_classes_by_name(root):
    write(root / "labels.txt", "a cat\n\ndog, small\nfox\n")
    data = open_dataset(root)
    assert data.classes == data.names == ("a cat", "dog, small", "fox")
    train = (root / "train.txt").read_text()
    write(root / "train.txt", train + "pictures/a.jpg 3\n")
    lines = "n2 x\nn00000003 crane, a machine\nn00000001 crane, a bird\nn00000002 tench, fish\n"
    write(root / "synset_words.txt", lines)
    data = open_dataset(root)
    assert data.classes == ("n2 x", "n00000003", "n00000001", "n00000002")
    assert data.names == ("n2 x", "crane, a machine", "crane, a bird", "tench")
    assert data.notes == (f"{root}: 2 of 4 classes have no validation image: n00000003, n00000002",)
    write(root / "train.txt", train)
    with raises(f"{root}: 1 of 4 classes have no training image: n00000002"):
        open_dataset(root)
    write(root / "synset_words.txt", "cat\ndog\n")
    with raises(f"{root}/train.txt: line 4: expected a label from 0 to 1 for 2 classes, found 2"):
        open_dataset(root)
    for text, found in (("", "none"), ("cat\ndog\ncat\n", "several of cat")):
        write(root / "synset_words.txt", text)
        with raises(f"{root}/synset_words.txt: expected a class per line, each of another name, found {found}"):
            open_dataset(root)


@pytest.mark.parametrize(
    "line, message",
    [
        ("pictures/a.jpg", "expected a picture's path and its label, found pictures/a.jpg"),
        ("pictures/a.jpg cat", "expected a label that is a number behind the path, found cat"),
        ("pictures/b c.jpg", "expected a label that is a number behind the path, found c.jpg"),
        ("pictures/a.jpg 1.0", "expected a label that is a number behind the path, found 1.0"),
        ("pictures/a.jpg " + "1" * 30, "expected a label that is a number behind the path, found 1111"),
        ("pictures/a.jpg -1", "expected a label from 0 on, found -1"),
        ("pictures/no.jpg 0", "the picture pictures/no.jpg cannot be found: No such file or directory"),
        ("pictures/a.jpg/b 0", "the picture pictures/a.jpg/b cannot be found: Not a directory"),
        ("pictures/a\0b.jpg 0", "cannot be found: "),
        (f"{'x' * 3000} 0", "cannot be found: File name too long"),
        ("pictures 0", "expected a picture, found pictures, which is no file"),
        ("/etc/passwd 0", "found /etc/passwd, which leads out of it"),
        ("../out.jpg 0", "found ../out.jpg, which leads out of it"),
        ("pictures/../pictures/a.jpg 0", "which leads out of it"),
        ("link.jpg 0", "found link.jpg, a link that leads out of it"),
        ("folder/out.jpg 0", "found folder/out.jpg, a link that leads out of it"),
        ("brother/out.jpg 0", "found brother/out.jpg, a link that leads out of it"),
        ("round 0", "the picture round cannot be found: "),
        ("gone.jpg 0", "the picture gone.jpg cannot be found: No such file or directory"),
    ],
)
@pytest.mark.parametrize("file", ["train.txt", "val.txt"])
def test_lines_that_cannot_be(root, line, message, file):
    for folder in ("", "root2"):
        write(root.parent / folder / "out.jpg", image_bytes("out"))
    (root / "link.jpg").symlink_to("../out.jpg")
    (root / "gone.jpg").symlink_to("nowhere")
    (root / "round").symlink_to("round")
    (root / "folder").symlink_to(root.parent, target_is_directory=True)
    (root / "brother").symlink_to("../root2", target_is_directory=True)  # whose name begins as the root's
    write(root / file, f"pictures/a.jpg 0\n\n{line}\n")
    with raises(f"{root}/{file}: line 3: ", message):
        open_dataset(root)


def test_links_inside_are_followed(root):
    (root / "more").symlink_to("pictures/deep", target_is_directory=True)
    (root / "f.jpg").symlink_to("pictures/a.jpg")
    write(root / "train.txt", "more/e.jpg 0\nf.jpg 1\n./pictures/a.jpg 1\n")
    write(root / "val.txt", "more/er/d.png 1\n")
    linked = root.parent / "linked"
    linked.symlink_to(root, target_is_directory=True)
    for folder in (root, linked):
        assert len(contents(open_dataset(folder).train)) == 3


def test_what_is_no_file(root):
    os.mkfifo(root / "pipe.jpg")
    write(root / "val.txt", "pipe.jpg 0\n")
    with raises("val.txt: line 1: expected a picture, found pipe.jpg, which is no file"):
        open_dataset(root)


def test_labels_of_another_range(root):
    write(root / "train.txt", "pictures/a.jpg 1\npictures/b c.jpg 100000000000000\n")
    with raises("train.txt: 99999999999999 of 100000000000001 classes have no training image: 0, 2, 3, 4, 5, 6, 7"):
        open_dataset(root)
    write(root / "train.txt", "pictures/a.jpg 0\npictures/b c.jpg 1\n")
    with raises("val.txt: line 1: expected a label from 0 to 1 for 2 classes, found 2"):
        open_dataset(root)


def test_a_list_of_nothing(root):
    write(root / "val.txt", "\n \n")
    with raises(f"{root}/val.txt: expected lines of a picture's path and its label, found none"):
        open_dataset(root)


def test_names_that_are_not_utf_8(root):
    name = os.fsdecode(b"caf\xe9 \x1d.png")
    try:
        write(root / name, image_bytes("x"))
    except OSError:
        pytest.skip("this file system takes no such names")
    write(root / "val.txt", os.fsencode(name) + b" 0\n")
    data = open_dataset(root)
    assert data.val.name(0) == f"{root}/{name}" and data.val.load(0, 8).shape == (8, 8, 3)


def test_lists_count_only_where_no_training_images_are_found(root):
    write_class_folders(root / "train", {name: {"1.png": image_bytes(name)} for name in ("cat", "dog")})
    assert open_dataset(root).classes == ("0", "1", "2")  # no validation images but those of the list
    write(root / "val" / "a.png", image_bytes("a"))
    write(root / "train.txt", "cat/1.png 0\n")
    write(root / "val.txt", "a.png 1\n")
    data = open_dataset(root)
    assert data.classes == ("cat", "dog") and data.val.labels.tolist() == [1]


def test_one_list_is_none(root):
    (root / "val.txt").unlink()
    with raises("no training or validation images found", "  or both: train.txt and val.txt: lists as Caffe's"):
        open_dataset(root)


def test_lists_of_flat_folders(root):
    """Whose val/ and val.txt alone would be a validation set."""
    write(root / "train" / "1.png", image_bytes("1"))
    write(root / "val" / "2.png", image_bytes("2"))
    write(root / "train.txt", "train/1.png 0\n")
    write(root / "val.txt", "val/2.png 0\n")
    assert open_dataset(root).val.name(0) == f"{root}/val/2.png"


@pytest.fixture
def sorted_root(tmp_path):
    """Class folders for training, and none for validation."""
    for name in ("cat", "dog"):
        for number in range(2):
            write(tmp_path / "train" / name / f"{number}.png", image_bytes(f"{name} {number}"))
    return tmp_path


def test_lists_of_pictures_in_class_folders(sorted_root):
    write(sorted_root / "train.txt", "\ntrain/dog/0.png 0\ntrain/cat/0.png 1\n")
    write(sorted_root / "val.txt", "train/cat/1.png 1\ntrain/dog/1.png 0\n")
    data = open_dataset(sorted_root)
    assert data.classes == ("0", "1") and data.train.labels.tolist() == [0, 1] and data.val.labels.tolist() == [1, 0]
    assert data.train.name(0) == f"{sorted_root}/train/dog/0.png" and data.notes == ()
    with raises("val_share=0.2 would cut a validation set from the training images, and there is one"):
        open_dataset(sorted_root, val_share=0.2)
    assert open_dataset(sorted_root, val_share=0.2, asked=False).fingerprint == data.fingerprint
    write(sorted_root / "test" / "cat" / "0.png", image_bytes("test"))
    assert open_dataset(sorted_root).classes == ("cat", "dog")


@pytest.mark.parametrize(
    "train, val", [("dog/0.png 1", "train/cat/1.png 0"), ("train/dog/0.png 1", "a.png 0"), ("", "")]
)
def test_lists_of_other_pictures_are_no_validation_set(sorted_root, train, val):
    write(sorted_root / "train.txt", train)
    write(sorted_root / "val.txt", val)
    with raises("no validation images found"):
        open_dataset(sorted_root)


def write_flat_lists(root, train, val="a.png 1\nb.png 0\n"):
    for name in ("a", "b"):
        write(root / "val" / f"{name}.png", image_bytes(name))
    write(root / "val.txt", val)
    write(root / "train.txt", train)


@pytest.mark.parametrize("begin", ["", "train/", "/data/set/train/", "./"])
def test_a_training_list_of_another_order_than_the_folders(sorted_root, begin):
    write_flat_lists(sorted_root, f"{begin}cat/0.png\t1\r\n{begin}dog/0.png 0\n")
    with raises(f"{sorted_root}/train.txt: line 1 gives the class cat the number 1, and its place among", "is 0: "):
        open_dataset(sorted_root)
    write_flat_lists(sorted_root, f"\ufeff{begin}cat/0.png 0\n\n{begin}dog/0.png 2\n")
    with raises(f"{sorted_root}/train.txt: line 3 gives the class dog the number 2, and its place among", "is 1: "):
        open_dataset(sorted_root)


@pytest.mark.parametrize(
    "train",
    [
        "train/cat/0.png 0\ntrain/cat/1.png 0\ntrain/dog/0.png 1\n",
        "a picture of a cat 1\ncat 1\neel/0.png 0\ntrain/cat/deeper/0.png 1\n",
        "train/cat/0.png cat\ntrain/dog/0.png\ntrain/cat/0.png 1.5",
        "",
    ],
)
def test_training_lists_that_are_no_contradiction(sorted_root, train):
    write_flat_lists(sorted_root, train)
    data = open_dataset(sorted_root)
    assert [data.val.name(index)[-5:] for index in range(2)] == ["b.png", "a.png"]  # a cat, a dog


def test_a_training_list_beside_names_of_classes(sorted_root):
    write_flat_lists(sorted_root, "train/cat/0.png 1\n", "a.png dog\nb.png cat\n")
    data = open_dataset(sorted_root)
    assert [data.val.name(index)[-5:] for index in range(2)] == ["b.png", "a.png"]  # a cat, a dog


def test_a_training_list_of_folders_that_are_numbers(tmp_path):
    for name in ("1", "2", "10"):
        write(tmp_path / "train" / name / "0.png", image_bytes(name))
    write_flat_lists(tmp_path, "1/0.png 1\n2/0.png 2\n10/0.png 10\n", "a.png 10\nb.png 2\n")
    assert open_dataset(tmp_path).val.labels.tolist() == [1, 2]  # by their names
    write_flat_lists(tmp_path, "1/0.png 0\n2/0.png 1\n10/0.png 2\n", "a.png 0\nb.png 0\n")
    with raises("line 2 gives the class 2 the number 1, and its place among the folders is 2"):
        open_dataset(tmp_path)


def test_a_long_training_list_is_looked_at_line_by_line(tmp_path, monkeypatch):
    classes = [f"n{number:08}" for number in range(1000)]
    line = "n{0:08}/n{0:08}_{1}.JPEG {0}\n"
    lines = [line.format(number, 10_000 + i) for number in range(1000) for i in range(100)]
    write(tmp_path / "train.txt", "".join(lines))
    refuse_other_numbers(tmp_path / "val.txt", tuple(classes))
    with open(tmp_path / "train.txt", "a") as file:
        file.write("n00000007/x.JPEG 8\n")
    with raises("line 100001 gives the class n00000007 the number 8, and its place among the folders is 7"):
        refuse_other_numbers(tmp_path / "val.txt", tuple(classes))
    monkeypatch.setattr(training_list, "LONGEST_LIST", 1000)
    refuse_other_numbers(tmp_path / "val.txt", tuple(classes))
