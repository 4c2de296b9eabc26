"""Opening data sets in ImageNet's folder layout: which files and folders count, and what the errors say."""

import re

import numpy as np
import pytest
from PIL import Image

from tinynet.data import DataError, FolderSplit, open_dataset


def write_image(path, colour="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path, "PNG")


@pytest.fixture
def root(tmp_path):
    for split in ("train", "val"):
        for name in ("dog", "cat"):
            write_image(tmp_path / split / name / "1.png")
    return tmp_path


def test_classes_are_sorted_and_labels_are_their_positions(root):
    write_image(root / "train" / "ant" / "b.jpg")
    write_image(root / "train" / "ant" / "a.jpg")
    data = open_dataset(str(root))
    assert data.root == root and data.classes == data.train.classes == data.val.classes == (
        "ant",
        "cat",
        "dog",
    )
    assert data.train.labels.tolist() == [0, 0, 1, 2] and data.train.labels.dtype == np.int64
    assert [data.train.name(i).removeprefix(str(root / "train")) for i in range(4)] == [
        "/ant/a.jpg",
        "/ant/b.jpg",
        "/cat/1.png",
        "/dog/1.png",
    ]
    assert data.val.labels.tolist() == [1, 2]  # a class may be missing from the validation set
    assert data.train.name(2) == str(root / "train" / "cat" / "1.png")
    assert len(data.train) == 4


def test_load_decodes_and_cuts(root):
    image = np.arange(10 * 14 * 3, dtype=np.uint8).reshape(10, 14, 3)
    Image.fromarray(image).save(root / "train" / "cat" / "0.png")
    np.testing.assert_array_equal(open_dataset(root).train.load(0, 10), image[:, 2:12])


def test_suffixes_hidden_and_stray_files(root):
    folder = root / "train" / "cat"
    for name in ("2.JPEG", "3.jpg", "4.jpeg", "5.PNG", "6.Jpg"):
        write_image(folder / name)
    for name in (".DS_Store", "._2.jpg", "notes.txt", "7.gif", "8.jpg.part"):
        (folder / name).write_bytes(b"x")
    (folder / "folder.jpg").mkdir()
    (root / "train" / "list.txt").write_text("x")
    write_image(root / "train" / ".hidden" / "1.jpg")
    data = open_dataset(root)
    assert [data.train.name(i).rsplit("/", 1)[1] for i in range(6)] == [
        "1.png",
        "2.JPEG",
        "3.jpg",
        "4.jpeg",
        "5.PNG",
        "6.Jpg",
    ]
    assert data.classes == ("cat", "dog")


@pytest.mark.parametrize("name", ["valid", "validation"])
def test_other_names_of_the_validation_folder(root, name):
    (root / "val").rename(root / name)
    assert len(open_dataset(root).val) == 2


def raises(message):
    return pytest.raises(DataError, match=re.escape(message))


def test_errors_about_folders(tmp_path, root):
    with raises("nowhere: looked for a folder, found nothing of that name"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with raises("file: looked for a folder, found a file"):
        open_dataset(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with raises("found an empty folder"):
        open_dataset(tmp_path / "empty")
    for half in ("train", "val"):
        with raises(f"{half}: no training or validation images found. Looked here and in ILSVRC/Data/CLS-LOC"):
            open_dataset(root / half)
        with raises("found cat/, dog/\nThis looks like one half of a data set: try the folder above it"):
            open_dataset(root / half)
    (root / "val").rename(root / "other")
    with raises("no validation images found (training images were found)"):
        open_dataset(root)
    with raises("  validation: val/<class>/*.JPEG (or valid/, validation/, at last test/)"):
        open_dataset(root)
    with raises("found empty/, file, other/, train/"):
        open_dataset(root)
    (root / "other").rename(root / "val")
    (root / "train").rename(root / "training")
    with raises("no training images found (validation images were found)"):
        open_dataset(root)
    with raises("found empty/, file, training/, val/"):
        open_dataset(root)


def test_errors_about_folders_that_cannot_be_read(root, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("os.scandir", refuse)
    with raises("train: cannot be listed: [Errno 13] Permission denied"):
        open_dataset(root)


def test_an_interrupted_unpacking_is_no_smaller_data_set(root):
    (root / "train" / "n01440764.tar").write_bytes(b"x")
    with raises("train: 2 class folders and 1 archives of further classes: unpack these too"):
        open_dataset(root)
    write_image(root / "train" / "n01440764" / "1.png")
    assert open_dataset(root).classes == ("cat", "dog", "n01440764")  # an archive that was unpacked does no harm
    write_image(root / "val" / "ILSVRC2012_val_00000001.JPEG")
    with raises("val: 2 class folders and 1 validation images beside them"):
        open_dataset(root)


def test_errors_about_classes(root):
    (root / "train" / "bee").mkdir()
    (root / "train" / "eel").mkdir()
    (root / "train" / "eel" / "notes.txt").write_text("x")
    with raises("train: 2 of 4 classes have no image (.jpeg, .jpg, .jpe, .jfif, .png): bee, eel"):
        open_dataset(root)
    (root / "train" / "bee").rmdir()
    write_image(root / "train" / "eel" / "1.jpg")
    for number in range(10):
        write_image(root / "val" / f"x{number}" / "1.jpg")
    with raises(
        "10 of 12 classes are not among the 3 of the training set: x0, x1, x2, x3, x4, x5, x6, x7 and 2 more"
    ):
        open_dataset(root)


def test_images_without_class_folders(root):
    write_image(root / "flat" / "1.jpg")
    with raises("flat: looked for a folder per class, found 1.jpg"):
        FolderSplit(root / "flat")


def test_an_unreadable_image_is_named(root):
    (root / "train" / "cat" / "0.jpg").write_bytes(b"not an image")
    with raises("cat/0.jpg: expected a JPEG or PNG image"):
        open_dataset(root).train.load(0, 8)


def test_links_that_lead_round_in_circles(root):
    """One is an image that cannot be read, by its name; the others are nothing. The data set is read all the same."""
    for link in ("train/cat/a.jpg", "train/cat/a.foo", "train/loop", "val/loop", "loop-train-0.tar", "train/b.jpg"):
        (root / link).symlink_to((root / link).name)
    data = open_dataset(root)
    assert data.classes == ("cat", "dog") and len(data.train) == 3
    assert data.train.load(0, 8).shape == (8, 8, 3)
    with raises(f"{root / 'train' / 'cat' / 'a.jpg'}: cannot be read: "):
        data.train.load(1, 8)
    assert f"{root / 'train'}: 1 file left out, no JPEG or PNG by name: 1 .foo" in data.notes
    with raises("found b.jpg, cat/, dog/, loop"):
        open_dataset(root / "train")
