"""Top-1 and top-5 errors, of batches, epochs and classes."""

import csv

import numpy as np
import pytest

from tinynet.backend import to_device
from tinynet.training.metrics import ClassErrors, Running, class_errors, ranks, write_class_table


def test_ranks_count_the_classes_before_the_right_one():
    scores = to_device(np.array([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2], [0.1, 0.7, 0.2]]))
    assert ranks(scores, np.array([1, 2, 0])).tolist() == [0, 1, 2]


def test_a_net_that_answers_nothing_is_right_by_chance_only():
    labels = np.arange(10)
    found = ranks(to_device(np.zeros((10, 10))), labels)
    assert (found == 0).mean() == 0.1 and (found < 5).mean() == 0.5


def test_running_means_weigh_images_not_batches():
    running = Running()
    running.add(1.0, np.array([0, 1, 7]))
    running.add(5.0, np.array([5]))
    assert running.images == 4
    assert running.loss == pytest.approx(2.0)
    assert running.top1_error == pytest.approx(75.0)
    assert running.top5_error == pytest.approx(50.0)


CLASSES = ("n01", "n02", "n03", "n04", "n05", "n06")
NAMES = ('lion, "king" of beasts', "Käfer", "owl", "dodo", "=1+1", "x\x1b[2J\n\udce9")


def table() -> list[ClassErrors]:
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    answers = np.array([0, 2, 1, 2, 1, 1, 0])
    found = np.array([0, 1, 7, 5, 0, 0, 4])  # ranks of the right class
    return class_errors(found, answers, labels, CLASSES, NAMES)


def test_errors_by_class():
    assert table() == [
        ClassErrors("n01", NAMES[0], 4, 75.0, 50.0, "owl", 2),
        ClassErrors("n02", "Käfer", 2, 0.0, 0.0, None, 0),
        ClassErrors("n03", "owl", 1, 100.0, 0.0, NAMES[0], 1),
        *(ClassErrors(label, name, 0, None, None, None, 0) for label, name in zip(CLASSES[3:], NAMES[3:], strict=True)),
    ]


def test_five_classes_or_fewer_have_no_top5_errors():
    labels = np.arange(5)
    few = class_errors(labels, np.zeros(5, int), labels, CLASSES[:5], NAMES[:5])
    assert [(row.top1_error, row.top5_error) for row in few] == [(0.0, None)] + [(100.0, None)] * 4
    many = class_errors(labels, np.zeros(5, int), labels, CLASSES, NAMES)
    assert [row.top5_error for row in many] == [0.0] * 5 + [None]


def test_the_table_of_classes_is_read_back_as_it_was(tmp_path):
    write_class_table(tmp_path / "classes.csv", table())
    with open(tmp_path / "classes.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["class", "name", "images", "top1_error", "top5_error", "most_frequent_wrong_answer", "times"],
        ["n01", 'lion, "king" of beasts', "4", "75.00", "50.00", "owl", "2"],
        ["n02", "Käfer", "2", "0.00", "0.00", "", "0"],
        ["n03", "owl", "1", "100.00", "0.00", 'lion, "king" of beasts', "1"],
        ["n04", "dodo", "0", "", "", "", "0"],
        ["n05", "=1+1", "0", "", "", "", "0"],
        ["n06", r"x\x1b[2J\n\xe9", "0", "", "", "", "0"],  # what does not print is escaped
    ]
