"""Pictures: learning curves, the kernels of the first layer, images with a network's guesses, nearest images.

How each is drawn; pictures.py draws them of a run. They need matplotlib: pip install 'tinynet[plots]'. Each
raises ImportError where that is missing, and OSError where the picture cannot be drawn or written.
"""

import bisect
import contextlib
import itertools
import math
import os
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tinynet.backend import Array, to_host
from tinynet.files import shown, written_whole

DPI = 120
RIGHT, WRONG = "#f29a8e", "#a9c8e6"  # bars under black text
IMAGE, LABEL, BAR, GAP = 1.9, 0.3, 0.21, 0.18  # inches of a page: an image's side, a label's, a bar's height, between


def check_matplotlib() -> None:
    """Imports matplotlib. ImportError that says what to install where it is missing, or what is wrong with it.

    MPLBACKEND is kept from the import, which fails where it names what is not there: a notebook's backend, often.
    """
    backend = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib.backends.backend_agg
        import matplotlib.figure
        import matplotlib.style
    except ImportError as error:
        raise ImportError(f"pictures need matplotlib: pip install 'tinynet[plots]' ({error})") from error
    except Exception as error:  # a damaged file of settings, say
        raise ImportError(f"pictures need matplotlib, which cannot be imported: {shown(error)}") from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend  # for the user's own windows, should there be any


@contextlib.contextmanager
def drawing(path: str | Path, width: float, height: float, layout: str = "constrained") -> Iterator:
    """An empty figure of this size in inches, which is a PNG in the end, written as a whole.

    It is drawn by Agg and with matplotlib's own settings, whatever the user's are; and these stay as they are.
    """
    check_matplotlib()
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    try:
        with matplotlib.style.context("default"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # in the font: a box stands for it
            figure = Figure(figsize=(width, height), layout=layout)
            FigureCanvasAgg(figure)  # becomes the figure's canvas; pyplot, which would want a window, knows of neither
            yield figure
            with written_whole(Path(path)) as partial:
                figure.savefig(partial, dpi=DPI, format="png")
    except (ImportError, OSError):
        raise
    except Exception as error:  # nothing that goes wrong with a picture may end a finished run
        raise OSError(f"{shown(path)}: cannot be drawn: {shown(error) or type(error).__name__}") from error


def learning_curves(history: Sequence[dict], path: str | Path, title: str = "") -> None:
    """Loss and errors per epoch, training and validation, as a PNG. history: the records of a run's log.

    Top-5 errors are left out where there are none: with five classes or fewer. ValueError without an epoch.
    """
    if not history:
        raise ValueError("learning_curves: expected one epoch or more, got none")
    with drawing(path, 10, 4) as figure:
        _draw_curves(figure, history)
        if title:
            figure.suptitle(_line(title), parse_math=False)


def _draw_curves(figure, history: Sequence[dict]) -> None:
    axes = figure.subplots(1, 2)
    epochs = [record["epoch"] for record in history]
    marker = "." if len(epochs) < 60 else None
    for part, colour in (("train", "tab:blue"), ("validation", "tab:orange")):
        for axis, quantity, line, label in (
            (axes[0], "loss", "-", part),
            (axes[1], "top1_error", "-", f"{part}, top-1"),
            (axes[1], "top5_error", "--", f"{part}, top-5"),
        ):
            values = [record[part].get(quantity) for record in history]
            if quantity == "top5_error" and not any(values):
                continue
            values = [math.nan if value is None else value for value in values]
            axis.plot(epochs, values, line, color=colour, marker=marker, label=label)
    for axis, label in zip(axes, ("loss", "error (%)"), strict=True):
        for previous, record in itertools.pairwise(history):
            if record["lr"] != previous["lr"]:
                axis.axvline(record["epoch"] - 0.5, color="0.7", linestyle=":", linewidth=1)
        axis.set(xlabel="epoch", ylabel=label, xlim=(epochs[0] - 0.5, epochs[-1] + 0.5))
        axis.update_datalim([(epochs[0], 0)])  # or a single epoch's points would lie on the frame
        axis.autoscale_view()
        axis.set_ylim(bottom=0)
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axis.grid(alpha=0.3)
    if any(record["lr"] != history[0]["lr"] for record in history):
        axes[0].plot([], [], color="0.7", linestyle=":", linewidth=1, label="learning rate changed")
    for axis in axes:
        axis.legend(fontsize="small")


def filters(weight: Array, path: str | Path, towers: int = 1, columns: int = 16, name: str = "conv1") -> None:
    """The kernels of a first layer, weight (K, 3 or 1, kh, kw), as a PNG, tower under tower (figure 3 of the paper).

    Each kernel is scaled by its own largest absolute value: grey is zero, or not finite.
    """
    kernels = np.nan_to_num(to_host(weight).astype(np.float64), posinf=0, neginf=0)
    if kernels.shape[1] not in (1, 3):
        raise ValueError(f"filters: expected kernels of 3 colours or 1, (K, 3, kh, kw), got {kernels.shape}")
    kernels = np.broadcast_to(kernels, (len(kernels), 3, *kernels.shape[2:])).transpose(0, 2, 3, 1)  # (K, kh, kw, 3)
    sheets = [sheet(part, columns) for part in np.array_split(kernels, towers)]
    height, width, _ = sheets[0].shape
    inches = min(10, max(3, 0.6 * min(columns, len(kernels) // towers)))
    with drawing(path, inches, towers * (inches * height / width + 0.35)) as figure:
        for tower, (axis, part) in enumerate(zip(np.atleast_1d(figure.subplots(towers, 1)), sheets, strict=True)):
            axis.imshow(part, interpolation="nearest")
            axis.set_axis_off()
            axis.set_title(f"{name}, tower {tower}" if towers > 1 else name, fontsize="medium")


def sheet(kernels: np.ndarray, columns: int) -> np.ndarray:
    """Kernels (K, kh, kw, 3) in rows of `columns` on white, with lines of one pixel between them."""
    count, height, width, _ = kernels.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    sheet = np.ones((rows * (height + 1) + 1, columns * (width + 1) + 1, 3))
    for index, kernel in enumerate(kernels):
        top, left = (index // columns) * (height + 1) + 1, (index % columns) * (width + 1) + 1
        sheet[top : top + height, left : left + width] = 0.5 + 0.5 * kernel / max(np.abs(kernel).max(), 1e-12)
    return sheet


# ---- pages of images ----


def _as_picture(image: np.ndarray) -> np.ndarray:
    """(height, width, channels) of any kind as RGB: the first channel in gray where there are not three; floats from
    black, the smallest, to white, the largest.
    """
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = (255 * (image - low) / max(high - low, 1e-12)).astype(np.uint8)
    return image if image.shape[2] == 3 else np.repeat(image[..., :1], 3, axis=2)


def guesses(
    images: Sequence[np.ndarray],
    labels: Sequence[int] | np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
    path: str | Path,
    title: str = "",
) -> None:
    """A page of images, each with its true label and a bar per guess for the five best (figure 4 left of the paper).

    images: (height, width, 3) uint8; labels: the true classes; probabilities: (N, classes); names: of the classes. The
    bar of the true class has a colour of its own. Names that are too long end in an ellipsis.
    """
    bars = min(5, len(names))
    columns = min(len(images), max(4, math.ceil(math.sqrt(len(images)))))
    page = _Page(columns, math.ceil(len(images) / columns), IMAGE + LABEL + bars * BAR + GAP, title)
    with page.drawing(path):
        for position, (image, label, row) in enumerate(zip(images, labels, probabilities, strict=True)):
            left, top = page.place(position)
            page.image(image, left, top, names[label])
            best = np.argsort(-row, kind="stable")[:bars]
            _draw_bars(page.axes(left, top + IMAGE + LABEL, bars * BAR), row, best, label, names)


def _draw_bars(axis, row: np.ndarray, best: np.ndarray, label: int, names: Sequence[str]) -> None:
    """A bar for each of the best guesses, with the class's name on it and the probability beside it."""
    axis.barh(range(len(best)), row[best], 0.84, color=[RIGHT if guess == label else WRONG for guess in best])
    axis.set(xlim=(0, 1.27), ylim=(len(best) - 0.5, -0.5), xticks=[], yticks=[])
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    for line, guess in enumerate(best):
        name = _shortened(names[guess], 72 * 0.78 * IMAGE, 8)
        axis.text(0.02, line, name, fontsize=8, va="center_baseline", parse_math=False)
        axis.text(1.27, line, f"{100 * row[guess]:.0f} %", fontsize=7, color="0.3", ha="right", va="center_baseline")


def explanation(
    image: np.ndarray, panels: Sequence[tuple[str, np.ndarray, bool]], row: np.ndarray, label: int,
    names: Sequence[str], path: str | Path, title: str = "",
) -> None:  # fmt: skip
    """An image, what an answer about it rests on, and the best guesses, side by side.

    image: (height, width, channels). panels: the name of each measure; its picture, (height, width, 3) from 0 to 1, or
    a map of any size; and whether that is a map, laid over the image in colours: red is its largest value, blue its
    smallest. row: the probabilities (classes,); label: the class that is explained.
    """
    page = _Page(len(panels) + 2, 1, IMAGE + LABEL + GAP, title)
    with page.drawing(path):
        page.image(image, *page.place(0), "the picture")  # not the class: it may be one that is not there
        for position, (name, values, is_map) in enumerate(panels, start=1):
            left, top = page.place(position)
            page.image(image if is_map else (255 * values).astype(np.uint8), left, top, name)
            if is_map:
                axis = page.axes(left, top, IMAGE)
                edges = -0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5
                axis.imshow(values, cmap="jet", alpha=0.5, interpolation="bilinear", extent=edges)
                axis.set_axis_off()
        best = np.argsort(-row, kind="stable")[: min(5, len(names))]
        left, top = page.place(len(panels) + 1)
        _draw_bars(page.axes(left, top, len(best) * BAR), row, best, label, names)


def confusions(counts: np.ndarray, names: Sequence[str], path: str | Path) -> None:
    """How often each class, a row, was taken for each, a column, as shares of the row's images; with few classes the
    counts stand there too. counts: (classes, classes).
    """
    count = len(names)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side = max(4.0, min(16.0, 1.6 + 0.34 * count))
    with drawing(path, side + 0.6, side) as figure:
        axis = figure.subplots()
        shade = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        figure.colorbar(shade, shrink=0.7, label="share of the row's images")
        axis.set(xlabel="answer", ylabel="class")
        if count > 60:
            return
        short = [_shortened(name, 90, 8) for name in names]
        axis.set_xticks(range(count), short, rotation=90, fontsize=8, parse_math=False)
        axis.set_yticks(range(count), short, fontsize=8, parse_math=False)
        for row, column in np.argwhere(counts) if count <= 30 else ():
            colour = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=colour)


def neighbours(
    images: Sequence[np.ndarray],
    labels: Sequence[str],
    nearest: Sequence[Sequence[np.ndarray]],
    nearest_labels: Sequence[Sequence[str]],
    path: str | Path,
    title: str = "",
) -> None:
    """A row for each image: itself, and after a gap the images nearest to it (figure 4 right of the paper)."""
    page = _Page(1 + len(nearest[0]), len(images), IMAGE + LABEL, title, first_gap=0.3)
    with page.drawing(path):
        for row, (image, label, others, other_labels) in enumerate(
            zip(images, labels, nearest, nearest_labels, strict=True)
        ):
            pairs = zip([image, *others], [label, *other_labels], strict=True)
            for column, (picture, name) in enumerate(pairs):
                page.image(picture, *page.place(row * page.columns + column), name)


class _Page:
    """A figure measured in inches from its top left corner: a title, and below it cells in columns and rows."""

    def __init__(self, columns: int, rows: int, cell_height: float, title: str, first_gap: float = 0.0):
        self.columns, self._cell_height, self._first_gap = columns, cell_height, first_gap
        self.width = GAP + columns * (IMAGE + GAP) + first_gap
        self._title = textwrap.wrap(_line(title), max(20, int(12 * (self.width - 2 * GAP))))
        self._head = GAP + 0.2 * len(self._title) + 0.1 * bool(self._title)
        self.height = self._head + rows * cell_height

    @contextlib.contextmanager
    def drawing(self, path: str | Path) -> Iterator[None]:
        """Within this context the cells are filled; at its end the page is a file."""
        with drawing(path, self.width, self.height, layout="none") as self.figure:
            left, top = GAP / self.width, 1 - GAP / self.height
            text = "\n".join(self._title)
            self.figure.text(left, top, text, fontsize=9.5, va="top", linespacing=1.3, parse_math=False)
            yield

    def place(self, position: int) -> tuple[float, float]:
        """Left and top of a cell."""
        row, column = divmod(position, self.columns)
        return GAP + column * (IMAGE + GAP) + self._first_gap * (column > 0), self._head + row * self._cell_height

    def axes(self, left: float, top: float, height: float):
        """Axes of an image's width."""
        bottom = self.height - top - height
        return self.figure.add_axes((left / self.width, bottom / self.height, IMAGE / self.width, height / self.height))

    def image(self, image: np.ndarray, left: float, top: float, label: str) -> None:
        """An image with its label beneath."""
        axis = self.axes(left, top, IMAGE)
        axis.imshow(_as_picture(image))
        axis.set_axis_off()
        text = _shortened(label, 72 * IMAGE, 9, "bold")
        axis.text(
            0.5, -0.5 * LABEL / IMAGE, text, transform=axis.transAxes, fontsize=9, weight="bold", ha="center",
            va="center", parse_math=False,
        )  # fmt: skip


def _line(text: str) -> str:
    """The text, a name perhaps, as one line that fonts can show."""
    return shown(" ".join(text.split()))


def _shortened(text: str, width: float, size: float, weight: str = "normal") -> str:
    """The text as one line, or as much of it as fits into `width` points at this font size, with an ellipsis."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size, weight=weight)

    def points(text: str) -> float:
        return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]

    text = _line(text)
    if points(text) <= width:
        return text
    length = bisect.bisect(range(1, len(text)), width, key=lambda length: points(text[:length] + "…"))
    return text[:length].rstrip(" ,") + "…"
