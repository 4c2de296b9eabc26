"""What a run tells of its results: the line of an epoch, the errors of a test, and tests of what was trained before."""

import argparse
import functools
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tinynet.data import Dataset, view_count
from tinynet.files import check_output, shown
from tinynet.training.evaluation import Evaluation, evaluate_networks
from tinynet.training.loop import EpochState
from tinynet.training.metrics import write_class_table
from tinynet.training.progress import Counter, Progress, duration
from tinynet.training.settings import RunSettings
from tinynet.training.trained import Trained, images_at_once, load_trained


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
    if not getattr(settings, "init", "he").startswith("he"):
        helps = "another start, --init he-conv1, and for few pictures all of --preset small"
    return (
        f"The loss stands still: {losses[-1]:.3f} after {steps:,} steps, and knowing no more than each class's share "
        f"gives {entropy:.3f}. If it stays there, what helps is {helps}: README.md, When the loss stands still"
    )


def errors_line(
    views: str, result: EpochState | Evaluation, classes: int, networks: int = 1, skipped: int = 0
) -> str:
    named = {"middle": "middle crop", "ten": "ten views", "dense": "dense"}
    name = named[views] if views in named else f"{view_count(views)} views ({views})"
    several = f"mean of {networks} networks, " if networks > 1 else ""
    unread = f", without {skipped:,} that cannot be read" if skipped else ""
    top5 = f", top-5 error {result.top5_error:.2f} %" if classes > 5 else ""
    return f"Validation, {several}{name}: top-1 error {result.top1_error:.2f} %{top5}{unread}"


def tested(
    paths: Sequence[str | Path], views: Sequence[str] = ("middle", "ten"), data: str | Path | None = None,
    val_share: float | None = None, workers: int = 2, max_bad: float = 0.01,
    load: Callable[[str | Path], Trained] = load_trained, scales: Sequence[int] = (),
) -> tuple[Dataset, dict[str, Evaluation]]:  # fmt: skip
    """The errors of one network, or of the mean of several, in each of the views, on the validation images of a data
    set: `data`, or what the first was trained on; and that data set.
    load: reads what a path names. scales: of dense views, see Trained.asked.
    """
    sizes = [images_at_once(one) for one in views]
    first = load(paths[0])
    opened = first.open_data(data or first.data(), Counter("listing"), val_share)
    for note in opened.notes:
        warn(note)
    split, classes = opened.val, len(opened.classes)
    paths = [load(path).for_split(split).path for path in paths]  # what does not fit is found out now
    print(f"{shown(opened.root)}: {len(split):,} validation images of {classes} classes")
    print("Evaluating", *map(shown, paths), sep="\n  ")
    results = {}
    for one, batch_size in zip(views, sizes, strict=True):
        passes = len(paths) * (max(1, len(scales)) if one == "dense" else 1)
        with Progress(one, passes * math.ceil(len(split) / batch_size), classes=classes) as progress:
            networks = map(load, paths)
            result = evaluate_networks(networks, split, one, batch_size, workers, progress, scales, max_bad=max_bad)
        print(errors_line(one, result, classes, result.networks, result.skipped))
        results[one] = result
    return opened, results


def warn(message: str) -> None:
    print(f"warning: {shown(message)}", file=sys.stderr)


def report_errors(typed: argparse.Namespace, max_bad: float = 0.01) -> None:
    """The job of --test-only: see `tested`; and errors class by class, as a table. typed: see parse_options."""
    paths = typed.weights or [typed.output_dir if typed.resume is True else typed.resume]
    check_output("--class-table", typed.class_table)
    share, max_bad = getattr(typed, "val_share", None), getattr(typed, "max_bad", max_bad)
    load = functools.partial(load_trained, model=typed.model, report=warn)
    _, results = tested(paths, typed.views, typed.data, share, typed.workers, max_bad, load)
    if typed.class_table:
        views = typed.views[-1]
        write_class_table(typed.class_table, results[views].classes)
        print(f"Errors of each class ({views}): {shown(typed.class_table)}")
