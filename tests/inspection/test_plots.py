"""The pictures: that they are made, and that what they show is there."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinynet.inspection import plots

figure_module = pytest.importorskip("matplotlib.figure")
backend_agg = pytest.importorskip("matplotlib.backends.backend_agg")
PIPES = [os.mkfifo] if hasattr(os, "mkfifo") else []


@pytest.fixture
def figures(monkeypatch) -> list:
    """The figures that were saved, in order."""
    saved, save = [], figure_module.Figure.savefig

    def keep(figure, *arguments, **options):
        save(figure, *arguments, **options)
        saved.append(figure)

    monkeypatch.setattr(figure_module.Figure, "savefig", keep)
    return saved


def record(epoch: int, lr: float, top5: float = 0.0) -> dict:
    return {
        "epoch": epoch,
        "lr": lr,
        "train": {"loss": 2.0 / epoch, "top1_error": 90 / epoch, "top5_error": top5 / epoch},
        "validation": {"loss": 2.1 / epoch, "top1_error": 91 / epoch, "top5_error": top5 / epoch},
    }


def test_learning_curves(tmp_path):
    plots.learning_curves([record(1, 0.1), record(2, 0.1), record(3, 0.01)], tmp_path / "curves.png", "a title")
    image = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).astype(int)
    blue = (np.abs(image - [31, 119, 180]).sum(axis=2) < 30).sum()
    orange = (np.abs(image - [255, 127, 14]).sum(axis=2) < 30).sum()
    assert blue > 200 and orange > 200
    plots.learning_curves([record(1, 0.1)], tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000


def test_filters_show_every_kernel_in_its_colours(tmp_path):
    weight = np.zeros((5, 3, 11, 11), np.float32)
    for kernel, colour in enumerate([(1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, -1), (0, 0, 0)]):
        weight[kernel] = np.array(colour)[:, None, None]
    plots.filters(weight, tmp_path / "filters.png", columns=3)
    image = np.asarray(Image.open(tmp_path / "filters.png").convert("RGB")).astype(int)
    for colour in [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (127, 127, 127)]:
        share = (np.abs(image - colour).sum(axis=2) < 12).mean()
        assert 0.08 < share < 0.2, colour


def test_curves_have_top5_errors_where_there_are_any(figures, tmp_path):
    plots.learning_curves([record(1, 0.1)], tmp_path / "few.png")
    plots.learning_curves([record(1, 0.1, 50.0), record(2, 0.1, 50.0)], tmp_path / "many.png")
    few, many = (figure.axes[1].get_legend_handles_labels()[1] for figure in figures)
    assert few == ["train, top-1", "validation, top-1"]
    assert many == ["train, top-1", "train, top-5", "validation, top-1", "validation, top-5"]
    lines = {line.get_label(): line.get_ydata().tolist() for line in figures[1].axes[1].lines}
    assert lines["train, top-1"] == [90, 45] and lines["validation, top-5"] == [50, 25]


def test_a_single_epochs_points_lie_inside_the_frame(figures, tmp_path):
    plots.learning_curves([record(1, 0.1)], tmp_path / "one.png")
    for axis in figures[0].axes:
        bottom, top = axis.get_ylim()
        values = [value for line in axis.lines for value in line.get_ydata()]
        assert bottom == 0 and max(values) < 0.98 * top
        ticks = [tick for tick in axis.get_xticks() if axis.get_xlim()[0] <= tick <= axis.get_xlim()[1]]
        assert ticks == [1]


def test_filters_of_two_towers_and_of_gray_images(figures, tmp_path):
    weight = np.zeros((96, 3, 11, 11), np.float32)
    weight[0, 0], weight[95, 2] = 1, 1
    plots.filters(weight, tmp_path / "towers.png", towers=2)
    above, below = (axis.images[0].get_array() for axis in figures[0].axes)
    assert above.shape == below.shape == (3 * 12 + 1, 16 * 12 + 1, 3)  # 48 kernels each, in three rows of sixteen
    assert above[1, 1].tolist() == [1, 0.5, 0.5] and below[-2, -2].tolist() == [0.5, 0.5, 1]
    assert [axis.get_title() for axis in figures[0].axes] == ["conv1, tower 0", "conv1, tower 1"]

    gray = np.linspace(-1, 1, 50, dtype=np.float32).reshape(2, 1, 5, 5)
    plots.filters(gray, tmp_path / "gray.png")
    (sheet,) = (axis.images[0].get_array() for axis in figures[1].axes)
    assert sheet[1, 1].tolist() == [0, 0, 0] and sheet[5, 11].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match=r"expected kernels of 3 colours or 1.*\(2, 4, 5, 5\)"):
        plots.filters(np.zeros((2, 4, 5, 5)), tmp_path / "four.png")


# ---- pages of images ----


def texts(axis) -> list[str]:
    return [text.get_text() for text in axis.texts]


def test_the_page_of_guesses_shows_the_five_best_and_marks_the_right_one(figures, tmp_path):
    images = [np.full((20, 20, 3), shade, np.uint8) for shade in (10, 200)]
    probabilities = np.array([[0.5, 0.1, 0.2, 0.05, 0.12, 0.03], [0.0, 0.0, 0.0, 0.0, 0.25, 0.75]])
    names = ["ant", "bee", "cat", "dog", "eel", "fox"]
    plots.guesses(images, [2, 0], probabilities, names, tmp_path / "page.png", "a title of $5 & more")
    first_image, first_bars, second_image, second_bars = figures[0].axes
    assert (first_image.images[0].get_array() == 10).all() and texts(first_image) == ["cat"]
    assert (second_image.images[0].get_array() == 200).all() and texts(second_image) == ["ant"]
    assert texts(first_bars)[::2] == ["ant", "cat", "eel", "bee", "dog"]
    assert texts(first_bars)[1::2] == ["50 %", "20 %", "12 %", "10 %", "5 %"]
    assert [bar.get_width() for bar in first_bars.patches] == [0.5, 0.2, 0.12, 0.1, 0.05]
    red, blue = (tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)) for colour in (plots.RIGHT, plots.WRONG))
    assert [bar.get_facecolor()[:3] for bar in first_bars.patches] == [blue, red, blue, blue, blue]
    assert texts(second_bars)[::2] == ["fox", "eel", "ant", "bee", "cat"]  # of equal ones the first
    assert [text.get_text() for text in figures[0].texts] == ["a title of $5 & more"]


@pytest.mark.parametrize("classes", [2, 4, 5, 1000])
def test_the_page_has_as_many_bars_as_there_are_classes(figures, tmp_path, classes):
    probabilities = np.full((1, classes), 1 / classes)
    names = [f"class {number}" for number in range(classes)]
    plots.guesses([np.zeros((9, 9, 3), np.uint8)], [1], probabilities, names, tmp_path / "page.png", "a title")
    assert len(figures[0].axes[1].patches) == min(5, classes)


@pytest.mark.parametrize("count", [1, 3, 8, 17])
def test_nothing_on_a_page_overlaps_or_is_cut(figures, tmp_path, count):
    names = ["black-footed ferret, ferret, Mustela nigripes", "W" * 200, "tick_\n$marks$ {of} all ^ kinds", "ox", "yak"]
    probabilities = np.tile([0.96, 0.01, 0.01, 0.01, 0.01], (count, 1))
    images = [np.zeros((9, 9, 3), np.uint8)] * count
    title = "a run with a long name, finished: validation images chosen by seed 0, " * 2
    plots.guesses(images, [index % 5 for index in range(count)], probabilities, names, tmp_path / "page.png", title)
    (figure,) = figures
    renderer = backend_agg.FigureCanvasAgg(figure).get_renderer()
    parts = [*figure.axes, *figure.texts, *(axis.texts[0] for axis in figure.axes[::2])]
    boxes = [part.get_window_extent(renderer) for part in parts]
    page = figure.bbox
    for index, box in enumerate(boxes):
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
        assert not any(box.overlaps(other) for other in boxes[:index])
    for bars in figure.axes[1::2]:
        for name, percent in zip(bars.texts[::2], bars.texts[1::2], strict=True):
            name_box, percent_box = name.get_window_extent(renderer), percent.get_window_extent(renderer)
            assert name_box.x1 <= percent_box.x0 and percent_box.x1 <= bars.get_window_extent(renderer).x1 + 1
    assert texts(figure.axes[1])[0].startswith("black-footed ferret") and texts(figure.axes[1])[0].endswith("…")
    assert "tick_ $marks$ {of}" in "".join(texts(figure.axes[1]))


def test_neighbours_stand_in_the_row_of_their_image(figures, tmp_path):
    def picture(shade: int) -> np.ndarray:
        return np.full((9, 9, 3), shade, np.uint8)

    nearest = [[picture(11), picture(12)], [picture(21), picture(22)]]
    labels = [["a", "b"], ["c", "d"]]
    plots.neighbours([picture(10), picture(20)], ["x", "y"], nearest, labels, tmp_path / "page.png", "title")
    axes = figures[0].axes
    assert [int(axis.images[0].get_array()[0, 0, 0]) for axis in axes] == [10, 11, 12, 20, 21, 22]
    assert [texts(axis)[0] for axis in axes] == ["x", "a", "b", "y", "c", "d"]
    places = [axis.get_position() for axis in axes]
    assert places[0].y0 == places[2].y0 > places[3].y1
    assert places[1].x0 - places[0].x1 > 1.5 * (places[2].x0 - places[1].x1)  # the gap after the image itself


# ---- names and settings that are not the program's ----

def test_any_name_can_be_drawn(figures, tmp_path):
    name, there = "\x1b[2J\udce9\u202e$", r"\x1b[2J\xe9\u202e$"  # a terminal's, not UTF-8, a turn of direction
    image = np.zeros((9, 9, 3), np.uint8)
    plots.learning_curves([record(1, 0.1)], tmp_path / "curves.png", name)
    plots.guesses([image], [1], np.full((1, 2), 0.5), ["ant", name], tmp_path / "guesses.png", name)
    plots.neighbours([image], [name], [[image]], [[name]], tmp_path / "neighbours.png", name)
    curves, guesses, neighbours = figures
    assert [page.texts[0].get_text() for page in (guesses, neighbours)] == [curves.get_suptitle(), there] == [there] * 2
    assert texts(guesses.axes[0]) == [there] and texts(guesses.axes[1])[2] == there
    assert [texts(axis) for axis in neighbours.axes] == [[there], [there]]


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "no such one", "", "svg", "tkagg"])
def test_the_environments_backend_is_not_needed(tmp_path, backend):
    """In a process of its own, since matplotlib reads it when it is imported."""
    program = (
        "import os, sys; from tinynet.inspection import plots; assert 'matplotlib' not in sys.modules\n"
        "plots.learning_curves([{'epoch': 1, 'lr': 1, 'train': {'loss': 1}, 'validation': {'loss': 1}}], sys.argv[1])\n"
        "from matplotlib import rcParams; print([os.environ['MPLBACKEND'], rcParams['backend']])"
    )
    environment = os.environ | {"MPLBACKEND": backend, "TINYNET_BACKEND": "numpy"}
    command = [sys.executable, "-c", program, str(tmp_path / "curves.png")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"['{backend}', '{backend if backend in ('svg', 'tkagg') else ''}")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"


def test_a_users_settings_neither_matter_nor_change(figures, tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    plots.filters(np.ones((2, 3, 5, 5)), tmp_path / "before.png")
    changed = {"text.usetex": True, "savefig.format": "svg", "font.size": 70, "figure.facecolor": "black"}
    with matplotlib.rc_context(changed):
        before = dict(matplotlib.rcParams)
        plots.filters(np.ones((2, 3, 5, 5)), tmp_path / "after.png")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "before.png").read_bytes() == (tmp_path / "after.png").read_bytes()


@pytest.mark.parametrize("make", [lambda path: path.write_text("old"), lambda path: path.symlink_to("victim"), *PIPES])
def test_a_picture_takes_the_place_of_what_has_its_name(tmp_path, monkeypatch, make):
    """As a whole: nothing is written through a link or into a pipe, and what fails leaves all as it was."""
    (tmp_path / "victim").write_text("precious")
    path = tmp_path / "curves.png"
    make(path)
    before = os.lstat(path)

    def fail(figure, file, **options):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(figure_module.Figure, "savefig", fail)
        with pytest.raises(OSError, match=r"No space left on device: .*curves\.png"):
            plots.learning_curves([record(1, 0.1)], path)
    assert os.lstat(path) == before and len(list(tmp_path.iterdir())) == 2
    plots.learning_curves([record(1, 0.1)], path)
    assert not path.is_symlink() and path.read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "victim").read_text() == "precious" and len(list(tmp_path.iterdir())) == 2


def test_what_goes_wrong_in_matplotlib_is_an_os_error(tmp_path, monkeypatch):
    def fail(figure, *arguments, **options):
        raise UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed")

    with pytest.raises(ValueError, match="expected one epoch or more"):
        plots.learning_curves([], tmp_path / "curves.png")
    with pytest.raises(OSError, match=r"No such file or directory: .*nowhere/curves\.png"):
        plots.learning_curves([record(1, 0.1)], tmp_path / "nowhere" / "curves.png")
    monkeypatch.setattr(figure_module.Figure, "savefig", fail)
    with pytest.raises(OSError, match=r"curves\.png: cannot be drawn: .*surrogates not allowed"):
        plots.learning_curves([record(1, 0.1)], tmp_path / "curves.png")


def test_a_broken_matplotlib_is_an_import_error(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe")
    program = (
        "import sys; from tinynet.inspection import plots\n"
        "try: plots.check_matplotlib()\n"
        "except ImportError as error: print(error)"
    )
    environment = os.environ | {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "TINYNET_BACKEND": "numpy"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.startswith("pictures need matplotlib, which cannot be imported: ")


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'tinynet\[plots\]'"):
        plots.filters(np.zeros((2, 3, 5, 5)), tmp_path / "filters.png")
