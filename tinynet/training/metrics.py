"""Top-1 and top-5 errors: of a batch, their running means over an epoch, and class by class."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinynet.backend import Array, device_of, on_device, to_device, to_host, xp
from tinynet.files import shown


def ranks(scores: Array, labels: np.ndarray) -> np.ndarray:
    """How many classes stand before the right one, (N,) int: 0 is a hit, under 5 a top-5 hit. scores: (N, classes).

    Of equal scores the class with the smaller number stands first, so that a net that gives every class the same
    score is not right about everything. The ranks alone come back to the host.
    """
    scores = on_device(scores, 0)
    with device_of(scores):
        labels = to_device(labels)
        own = scores[xp.arange(len(labels)), labels][:, None]  # (N, 1)
        earlier = xp.arange(scores.shape[1]) < labels[:, None]  # (N, classes)
        return to_host(((scores > own) | ((scores == own) & earlier)).sum(axis=1))


@dataclass
class Running:
    """Sums over the images seen so far; loss is the mean per image, errors are in percent."""

    images: int = 0
    loss_sum: float = 0.0
    top1_misses: int = 0
    top5_misses: int = 0

    def add(self, loss: float, ranks: np.ndarray) -> None:
        """Counts a batch with this mean loss and these ranks of the right class."""
        self.images += len(ranks)
        self.loss_sum += loss * len(ranks)
        self.top1_misses += int((ranks >= 1).sum())
        self.top5_misses += int((ranks >= 5).sum())

    def record(self) -> dict[str, float]:
        """What a log keeps of a pass over the data."""
        return {"loss": self.loss, "top1_error": self.top1_error, "top5_error": self.top5_error}

    @property
    def loss(self) -> float:
        return self.loss_sum / max(1, self.images)

    @property
    def top1_error(self) -> float:
        return 100 * self.top1_misses / max(1, self.images)

    @property
    def top5_error(self) -> float:
        return 100 * self.top5_misses / max(1, self.images)


@dataclass(frozen=True)
class ClassErrors:
    """One class's errors in percent, and the wrong answer that its images got most often, with how many got it.

    What there is not is None: errors without images, top-5 errors with five classes or fewer, a wrong answer without
    mistakes.
    """

    label: str
    name: str
    images: int
    top1_error: float | None
    top5_error: float | None
    wrong_answer: str | None
    times: int


def confusion_matrix(answers: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) int64: how many images of each class, a row, got each class as their answer, a column."""
    return np.bincount(labels * classes + answers, minlength=classes * classes).reshape(classes, classes)


def class_errors(
    ranks: np.ndarray, answers: np.ndarray, labels: np.ndarray, classes: Sequence[str], names: Sequence[str]
) -> list[ClassErrors]:
    """The errors of each class, in the order of the labels.

    ranks: of the right class, as `ranks` gives them; answers: the most probable class; labels: all (N,) integers.
    """
    count = len(classes)
    images = np.bincount(labels, minlength=count)
    top1 = np.bincount(labels[ranks >= 1], minlength=count)
    top5 = np.bincount(labels[ranks >= 5], minlength=count)
    confusions = confusion_matrix(answers, labels, count)
    np.fill_diagonal(confusions, 0)
    table = []
    for label in range(count):
        wrong = int(confusions[label].argmax())  # of equal ones the first
        times = int(confusions[label, wrong])
        top1_error, top5_error = (
            100 * int(misses[label]) / int(images[label]) if images[label] and count > least else None
            for misses, least in ((top1, 0), (top5, 5))
        )
        answer = names[wrong] if times else None
        table.append(
            ClassErrors(classes[label], names[label], int(images[label]), top1_error, top5_error, answer, times)
        )
    return table


def write_class_table(path: str | Path, table: Sequence[ClassErrors]) -> None:
    """The classes' errors as CSV in UTF-8, a row each, errors in percent; what there is not is left empty.

    Names are as they are, but for what does not print, which is escaped.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["class", "name", "images", "top1_error", "top5_error", "most_frequent_wrong_answer", "times"])
        for row in table:
            errors = ["" if error is None else f"{error:.2f}" for error in (row.top1_error, row.top5_error)]
            names = shown(row.label), shown(row.name)
            writer.writerow([*names, row.images, *errors, shown(row.wrong_answer or ""), row.times])
