"""What a run tells of its results: the line of an epoch, the errors of a test, and tests of what was trained before."""

import argparse
import functools
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from tinynet.data import Dataset, view_count
from tinynet.files import shown
from tinynet.training.evaluation import Evaluation, evaluate_networks
from tinynet.training.loop import EpochState
from tinynet.training.metrics import write_class_table
from tinynet.training.progress import Counter, Progress, duration
from tinynet.training.settings import RunSettings
from tinynet.training.trained import Trained, load_trained


def epoch_line(title: str, lr: float, trained: EpochState, tested: EpochState, classes: int) -> str:
    top5 = f", top-5 {tested.top5_error:.1f} %" if classes > 5 else ""
    return (
        f"{title}  train: loss {trained.loss:.3f}, top-1 error {trained.top1_error:.1f} %"
        f"  validation: loss {tested.loss:.3f}, top-1 {tested.top1_error:.1f} %{top5}  lr {lr:g},"
        f" {trained.images_per_second:.0f} images/s, waiting for data {100 * trained.waiting_share:.0f} %,"
        f" {duration(trained.seconds + tested.seconds)}"
    )


def stands_still(losses: Sequence[float], steps: int, entropy: float, settings: RunSettings) -> str | None:
    """What to say, once, when the last of these epochs' mean training losses shows nothing learnt: it is no more than
    1 % below the entropy of the labels, which knowing each class's share alone would give. steps: so far.
    """
    *before, last = (loss >= 0.99 * entropy > 0 for loss in losses)
    if not last or any(before):
        return None
    helps = f"--lr {settings.lr / 5:g}" if hasattr(settings, "lr") else "another learning rate"
    if getattr(settings, "init", None) in ("paper", "caffe"):
        helps = "another start, --init he-conv1, and for few pictures all of --preset small"
    return (
        f"The loss stands still: {losses[-1]:.3f} after {steps:,} steps, and knowing no more than each class's share "
        f"gives {entropy:.3f}. If it stays there, what helps is {helps}: README.md, When the loss stands still"
    )


def errors_line(
    views: str, result: EpochState | Evaluation, classes: int, networks: int = 1, skipped: int = 0
) -> str:
    name = {"middle": "middle crop", "ten": "ten views"}.get(views, f"{view_count(views)} views ({views})")
    several = f"mean of {networks} networks, " if networks > 1 else ""
    unread = f", without {skipped:,} that cannot be read" if skipped else ""
    top5 = f", top-5 error {result.top5_error:.2f} %" if classes > 5 else ""
    return f"Validation, {several}{name}: top-1 error {result.top1_error:.2f} %{top5}{unread}"


def _data_of(typed: argparse.Namespace, trained: Trained) -> Dataset:
    """What was typed, else what the network was trained on, read as that was; what a user should know of it is said."""
    data = trained.open_data(typed.data or trained.data(), Counter("listing"), getattr(typed, "val_share", None))
    for note in data.notes:
        print(f"warning: {note}", file=sys.stderr)
    return data


def report_errors(typed: argparse.Namespace, max_bad: float = 0.01) -> None:
    """The job of --test-only: errors of one network, or of the mean of several, in each of the views; and class by
    class, as a table. typed: see parse_options.
    """
    paths = typed.weights or [typed.output_dir if typed.resume is True else typed.resume]
    load = functools.partial(load_trained, model=typed.model)
    images = [max(1, 128 // view_count(views)) for views in typed.views]  # at a time
    if typed.class_table and not Path(typed.class_table).absolute().parent.is_dir():
        raise ValueError(f"--class-table {shown(typed.class_table)}: no such folder")
    if typed.class_table and Path(typed.class_table).is_dir():
        raise ValueError(f"--class-table {shown(typed.class_table)}: expected a file, found a folder")
    data = _data_of(typed, load(paths[0]))
    paths = [load(path).for_split(data.val).path for path in paths]  # what does not fit is found out now
    print(f"{shown(data.root)}: {len(data.val):,} validation images of {len(data.classes)} classes")
    print("Evaluating", *map(shown, paths), sep="\n  ")
    bad = {"max_bad": getattr(typed, "max_bad", max_bad)}
    for views, batch_size in zip(typed.views, images, strict=True):
        with Progress(views, len(paths) * math.ceil(len(data.val) / batch_size), classes=len(data.classes)) as progress:
            result = evaluate_networks(map(load, paths), data.val, views, batch_size, typed.workers, progress, **bad)
        print(errors_line(views, result, len(data.classes), result.networks, result.skipped))
    if typed.class_table:
        write_class_table(typed.class_table, result.classes)
        print(f"Errors of each class ({views}): {shown(typed.class_table)}")
