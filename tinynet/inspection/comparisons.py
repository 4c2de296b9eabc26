"""Several runs beside one another: what differs between their errors, as tables and pictures; and how coloured the
kernels of a first layer are. Results are the records of training/study.py.
"""

import itertools
import math
import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinynet.backend import Array, to_host
from tinynet.inspection.plots import drawing, sheet
from tinynet.random import stream

# ---- numbers ----


@dataclass(frozen=True)
class Spread:
    """A figure over seeds: its mean and its standard deviation (n - 1), which one seed does not tell."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + f" ± {self.deviation:.1f}" * (len(self.values) > 1)


def variants(results: Iterable[Mapping]) -> dict[str, list[Mapping]]:
    """The results of each variant, in the order in which they come."""
    found: dict[str, list[Mapping]] = {}
    for result in results:
        found.setdefault(result["variant"], []).append(result)
    return found


def difference(variant: Spread, base: Spread) -> str:
    """Of the means, in points, and whether it is smaller than the spread: than the standard deviation of the difference
    between two single runs, the root of the sum of both variances. One that is larger is no proof yet.
    """
    points = variant.mean - base.mean
    spread = math.hypot(variant.deviation, base.deviation)
    if math.isnan(spread):
        return f"{points:+.1f}, one seed"
    return f"{points:+.1f}" + ", within the spread" * (abs(points) < spread)


def epochs_to(errors: Sequence[float], level: float) -> float | None:
    """After how many epochs the errors fall to the level, a straight line being drawn from epoch to epoch; None where
    they do not.
    """
    if not errors:
        return None
    if errors[0] <= level:
        return 1.0
    for epoch, (before, after) in enumerate(itertools.pairwise(errors), start=1):
        if after <= level:
            return epoch + (before - level) / (before - after)
    return None


def colourfulness(weight: Array) -> np.ndarray:
    """How coloured each kernel of (K, 3, kh, kw) is, (K,) float64 from 0 to 1: the share of its variance that lies
    between its colours. 0 is gray; 2/3 is an edge in one colour alone, or noise; 1 is a patch of one colour, or colours
    against each other.
    """
    kernels = _kernels(weight)
    kernels = kernels - kernels.mean(axis=(1, 2, 3), keepdims=True)
    between = kernels - kernels.mean(axis=1, keepdims=True)
    whole = (kernels**2).sum(axis=(1, 2, 3))
    return (between**2).sum(axis=(1, 2, 3)) / np.maximum(whole, 1e-300)


def smoothness(weight: Array) -> np.ndarray:
    """How the neighbouring weights of each kernel of (K, 3, kh, kw) correlate, (K,) float64: 0 for noise, and near 1
    for a kernel that has formed.
    """
    kernels = _kernels(weight)
    kernels = kernels - kernels.mean(axis=(2, 3), keepdims=True)
    products, squares = np.zeros(len(kernels)), np.zeros(len(kernels))
    for one, other in ((kernels[..., 1:], kernels[..., :-1]), (kernels[:, :, 1:], kernels[:, :, :-1])):
        products += (one * other).sum(axis=(1, 2, 3))
        squares += (one**2 + other**2).sum(axis=(1, 2, 3)) / 2
    return products / np.maximum(squares, 1e-300)


def _kernels(weight: Array) -> np.ndarray:
    kernels = to_host(weight).astype(np.float64)
    if kernels.ndim != 4 or kernels.shape[1] != 3:
        raise ValueError(f"expected kernels of 3 colours, (K, 3, kh, kw), got {kernels.shape}")
    return kernels


def chance_of_difference(first: np.ndarray, second: np.ndarray, draws: int = 10_000) -> float:
    """How often two parts of the same values, drawn at random, have means that differ by as much as these two: the p of
    a permutation test; 1 where one of them is empty.
    """
    if not (len(first) and len(second)):
        return 1.0
    values, generator = np.concatenate([first, second]), stream(0, "permutation test")
    seen = abs(first.mean() - second.mean())
    halves = generator.permuted(np.tile(values, (draws, 1)), axis=1)
    drawn = abs(halves[:, : len(first)].mean(axis=1) - halves[:, len(first) :].mean(axis=1))
    return float((np.count_nonzero(drawn >= seen - 1e-12) + 1) / (draws + 1))


# ---- pictures ----


@dataclass(frozen=True)
class Line:
    """A curve: its values from epoch 1 on; its colour is that of its group, and faint ones stand back."""

    label: str
    values: Sequence[float]
    group: int = 0
    dashed: bool = False
    faint: bool = False


COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")


def curves(path: Path, title: str, lines: Sequence[Line], ylabel: str, level: tuple[float, str] | None = None) -> None:
    """Errors in percent by epoch, as a PNG. level: a line across, with what it says. Of lines with the same label, the
    first is named.
    """
    lines = [line for line in lines if len(line.values)]  # one that diverged at once has none
    longest = max((len(line.values) for line in lines), default=1)
    top = max((max(line.values[min(1, len(line.values) - 1) :]) for line in lines), default=100)
    with drawing(path, 7.5, 4.5) as figure:
        axis, named = figure.subplots(), set()
        for line in lines:
            label = None if line.label in named else line.label
            named.add(line.label)
            style: dict = {"linestyle": "--" if line.dashed else "-", "color": COLOURS[line.group % len(COLOURS)]}
            style |= {"alpha": 0.35, "linewidth": 1} if line.faint else {"linewidth": 1.6}
            marker = "." if longest < 40 else None
            axis.plot(range(1, len(line.values) + 1), line.values, label=label, marker=marker, **style)
        if level is not None:
            axis.axhline(level[0], color="0.4", linestyle=":", linewidth=1)
            axis.annotate(
                level[1], (0.5, level[0]), (4, -3), textcoords="offset points", va="top", color="0.3", fontsize="small"
            )
        axis.set(xlabel="epoch", ylabel=ylabel, xlim=(0.5, longest + 0.5), ylim=(0, 1.05 * top))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        if lines:
            axis.legend(fontsize="small")
        _set_title(figure, title)


def points(path: Path, title: str, rows: Sequence[tuple[str, Sequence[tuple[str, Spread]]]], xlabel: str) -> None:
    """A row for each variant: a small mark for each seed, a large one for the mean, in a colour for each quantity; the
    first row, to which the others are compared, has lines down the page. As a PNG.
    """
    with drawing(path, 7.5, 1.5 + 0.42 * len(rows)) as figure:
        axis = figure.subplots()
        for row, (_, quantities) in enumerate(rows):
            for number, (quantity, spread) in enumerate(quantities):
                height, colour = row + 0.16 * (number - (len(quantities) - 1) / 2), COLOURS[number]
                axis.plot(spread.values, [height] * len(spread.values), "o", color=colour, alpha=0.4, markersize=4)
                axis.plot(spread.mean, height, "|", color=colour, markersize=11, markeredgewidth=2.5,
                          label=quantity if row == 0 else None)  # fmt: skip
                if row == 0:
                    axis.axvline(spread.mean, color=colour, alpha=0.35, linestyle=":", linewidth=1)
        axis.set_yticks(range(len(rows)), [name for name, _ in rows])
        axis.set(xlabel=xlabel, ylim=(len(rows) - 0.5, -0.5))
        axis.grid(axis="x", alpha=0.3)
        figure.legend(fontsize="small", loc="outside lower center", ncols=3)
        _set_title(figure, title)


def tower_kernels(
    path: Path, title: str, nets: Sequence[tuple[str, Array]], towers: int = 2, columns: int = 16
) -> None:
    """Kernels (K, 3, kh, kw) of several nets, a row for each and a column for each tower, the most coloured last. As a
    PNG.
    """
    rows = []
    for name, weight in nets:
        parts = np.array_split(_kernels(weight), towers)
        rows.append((name, [part[np.argsort(colourfulness(part), kind="stable")] for part in parts]))
    height, width, _ = sheet(rows[0][1][0].transpose(0, 2, 3, 1), columns).shape
    inches = 5.2
    with drawing(path, inches * towers, len(rows) * (inches * height / width + 0.3) + 0.4) as figure:
        axes = figure.subplots(len(rows), towers, squeeze=False)
        for (name, parts), line in zip(rows, axes, strict=True):
            for tower, (part, axis) in enumerate(zip(parts, line, strict=True)):
                axis.imshow(sheet(part.transpose(0, 2, 3, 1), columns), interpolation="nearest")
                axis.set_axis_off()
                axis.set_title(f"{name}, tower {tower}", fontsize="medium")
        _set_title(figure, title)


def _set_title(figure, title: str) -> None:
    """In lines that are no wider than the page."""
    figure.suptitle("\n".join(textwrap.wrap(title, 95)), fontsize="medium", parse_math=False)
