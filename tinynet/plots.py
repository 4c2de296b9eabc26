"""Pictures of a run: learning curves and the kernels of the first layer.

They need matplotlib: pip install 'tinynet[plots]'. Figures are made without pyplot, so that a user's settings stay.
"""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinynet.backend import to_host


def learning_curves(history: Sequence[dict], path: str | Path, title: str = "") -> None:
    """Loss and errors per epoch, training and validation, as a PNG. history: the records of a run's log."""
    figure = _figure(10, 4)
    axes = figure.subplots(1, 2)
    epochs = [record["epoch"] for record in history]
    for axis, quantity, label in zip(axes, ("loss", "top1_error"), ("loss", "top-1 error (%)"), strict=True):
        for part, colour in (("train", "tab:blue"), ("validation", "tab:orange")):
            values = [record[part][quantity] for record in history]
            axis.plot(epochs, values, color=colour, marker="." if len(epochs) < 60 else None, label=part)
        for previous, record in itertools.pairwise(history):
            if record["lr"] != previous["lr"]:
                axis.axvline(record["epoch"] - 0.5, color="0.7", linestyle=":", linewidth=1)
        axis.set(xlabel="epoch", ylabel=label, ylim=(0, None))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    if any(record["lr"] != history[0]["lr"] for record in history):
        axes[0].plot([], [], color="0.7", linestyle=":", linewidth=1, label="learning rate divided")
    axes[0].legend()
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=120)


def filters(weight, path: str | Path, towers: int = 1, columns: int = 8) -> None:
    """The kernels of a first layer, weight (K, 3, kh, kw), as a PNG, the towers side by side (figure 3 of the paper).

    Each kernel is scaled by its own largest absolute value: grey is zero.
    """
    kernels = to_host(weight).astype(np.float64).transpose(0, 2, 3, 1)  # (K, kh, kw, 3)
    sheets = [_sheet(part, columns) for part in np.array_split(kernels, towers)]
    height, width, _ = sheets[0].shape
    figure = _figure(5 * towers, 5 * height / width + 0.4)
    for tower, (axis, sheet) in enumerate(zip(np.atleast_1d(figure.subplots(1, towers)), sheets, strict=True)):
        axis.imshow(sheet, interpolation="nearest")
        axis.set_axis_off()
        axis.set_title(f"conv1, tower {tower}" if towers > 1 else "conv1")
    figure.savefig(path, dpi=120)


def _sheet(kernels: np.ndarray, columns: int) -> np.ndarray:
    """Kernels (K, kh, kw, 3) in rows of `columns` on white, with lines of one pixel between them."""
    count, height, width, _ = kernels.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    sheet = np.ones((rows * (height + 1) + 1, columns * (width + 1) + 1, 3))
    for index, kernel in enumerate(kernels):
        top, left = (index // columns) * (height + 1) + 1, (index % columns) * (width + 1) + 1
        sheet[top : top + height, left : left + width] = 0.5 + 0.5 * kernel / max(np.abs(kernel).max(), 1e-12)
    return sheet


def _figure(width: float, height: float):
    """An empty figure of this size in inches; ImportError without matplotlib."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
