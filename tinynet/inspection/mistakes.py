"""Where a trained network is wrong: which classes it takes for which, and the images that it is surest of and wrong."""

import csv
from pathlib import Path

from tinynet.data import Split
from tinynet.files import shown, written_whole
from tinynet.inspection import plots
from tinynet.training import Evaluation, Trained


def write_confusions(result: Evaluation, path: str | Path) -> None:
    """A table as CSV in UTF-8: a row for each class, and how many of its images got each class as their answer."""
    with written_whole(Path(path)) as partial, open(partial, "x", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["class", *(shown(one.label) for one in result.classes)])
        for one, counts in zip(result.classes, result.confusions().tolist(), strict=True):
            writer.writerow([shown(one.label), *counts])


def draw_confusions(result: Evaluation, path: str | Path) -> None:
    """The same as a picture."""
    plots.confusions(result.confusions(), [one.name for one in result.classes], path)


def draw_worst(trained: Trained, result: Evaluation, split: Split, count: int, path: str | Path) -> str:
    """A page of the images of `split` that got a wrong answer with the highest probability, each with its best
    guesses; returns a sentence that says where.
    """
    found = result.surest_mistakes(count)
    if not len(found.labels):
        return f"Nothing is wrong: {shown(path)} was not drawn"
    size, names = trained.settings["resize"], trained.settings["names"]
    images = [split.load(index, size) for index in found.indices.tolist()]
    title = f"{len(images)} of {result.images:,} images that got a wrong answer, the surest ones first; the right "
    plots.guesses(images, found.labels, found.probabilities, names, path, title + "class below each, and in red")
    return f"The {len(images)} surest mistakes: {shown(path)}"
