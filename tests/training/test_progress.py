"""What a run shows on a terminal, in a notebook, and where there is neither."""

import io
import sys
from types import ModuleType, SimpleNamespace

import pytest
import tqdm

from tinynet.training import Counter, EpochState, Progress, progress


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def opened(monkeypatch) -> Terminal:
    """A terminal, where bars are drawn."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)
    return terminal


def line(bar: tqdm.tqdm) -> str:
    """The bar in 80 columns."""
    return bar.format_meter(**bar.format_dict | {"ncols": 80})


def state(batches: int) -> EpochState:
    """After some batches of 128 images in 1,000 seconds each, with top-1 errors of 75 % and top-5 errors of 50 %."""
    images = 128 * batches
    sums = {"loss_sum": 6.9 * images, "top1_misses": images * 3 // 4, "top5_misses": images // 2}
    return EpochState(images, **sums, batches=batches, before=1000.0 * batches, started=0.0, ended=0.0)


def test_a_count_shows_lines_with_the_time_left(monkeypatch, capsys):
    now = iter([0.0, 61.0, 70.0, 125.0, 190.0])  # at each count
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    counter = Counter("measuring")
    for done in (100, 1000, 1200, 2000, 4000):
        counter(done, 4000)
    counter.close()
    assert capsys.readouterr().out.splitlines() == [
        "measuring: 1,000 of 4,000, 3 min 03 s left",
        "measuring: 2,000 of 4,000, 2 min 05 s left",
    ]


def test_a_pass_shows_lines_with_the_time_left_first(monkeypatch, capsys):
    now = iter([0.0, 61.0, 61.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    with Progress("epoch 1/3", 10, lr=0.01, epochs_after=2) as report:
        report(state(1))
    assert capsys.readouterr().out == (
        "epoch 1/3: batch 1/10, 8 h 03 min left, loss 6.900, top-1 75.0 %, top-5 50.0 %, 0 images/s, waiting 0 %,"
        " lr 0.01\n"
    )


def test_a_bar_of_80_columns_shows_the_time_left(monkeypatch):
    terminal = opened(monkeypatch)
    with Progress("epoch 12/90 validation", 100, lr=0.01, epochs_after=78) as report:
        for batches in range(1, 51):
            report(state(batches))
        left = "90 d 20 h left, loss 6.900"
        assert line(report._bar) == f"epoch 12/90 validation  50 %|█████     | {left}, top-1 75.0 %"[:80]
    assert terminal.getvalue().startswith("\repoch 12/90 validation   0 %|          | ")


def test_a_count_is_a_bar_too(monkeypatch):
    opened(monkeypatch)
    now = iter([0.0, 60.0, 120.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    counter = Counter("{measuring}")
    counter(1000, 4000)
    counter(2000, 4000)
    assert line(counter._bar) == "{measuring}  50 %|█████     | 1 min 00 s left, 2,000 of 4,000"
    counter(4000, 4000)
    assert counter._bar is None


@pytest.mark.parametrize(("classes", "shown"), [(2, False), (5, False), (6, True), (None, True)])
def test_top5_errors_are_shown_of_more_than_five_classes(classes, shown):
    with Progress("epoch 1/3", 10, classes=classes) as report:
        assert ("top-5 50.0 %" in report._describe(state(1))) == shown


# ---- notebooks ----


def in_a_notebook(monkeypatch: pytest.MonkeyPatch, module: ModuleType | None) -> None:
    """As if this process were a notebook's kernel, where tqdm.auto is `module`."""
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "tqdm.auto", module)


def test_in_a_notebook_the_bar_is_a_notebooks(monkeypatch):
    class Widget(tqdm.tqdm):
        def __init__(self, **options):
            super().__init__(file=io.StringIO(), **options)

        def display(self, *arguments, **options):
            layout = self.bar_format.replace("{bar}", "<bar/>")  # as tqdm.notebook does
            self.shown = self.format_meter(**self.format_dict | {"bar_format": layout})

    module = ModuleType("tqdm.auto")
    module.tqdm = Widget
    in_a_notebook(monkeypatch, module)
    with Progress("epoch 1/3", 10) as report:
        assert isinstance(report._bar, Widget)
        report(state(5))
        report._bar.refresh()
        assert report._bar.shown.startswith("epoch 1/3  50 %|<bar/>| 1 h 23 min left, loss 6.900, top-1 75.0 %")
    counter = Counter("measuring")
    counter(1, 10)
    assert isinstance(counter._bar, Widget)
    counter.close()


@pytest.mark.filterwarnings("error")
def test_in_a_notebook_without_widgets_the_bar_is_text(monkeypatch):
    terminal = opened(monkeypatch)
    monkeypatch.setattr(terminal, "isatty", lambda: False)
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", ModuleType("ipykernel.zmqshell"))
    for name in ("ipywidgets", "IPython.display", "IPython.html"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("tqdm.notebook", "tqdm.autonotebook"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    in_a_notebook(monkeypatch, None)
    monkeypatch.delitem(sys.modules, "tqdm.auto")
    with Progress("epoch 1/3", 4) as report:
        report(state(2))
        assert line(report._bar).startswith("epoch 1/3  50 %|█████     | 33 min 20 s left, loss 6.900")
    assert terminal.getvalue().startswith("\repoch 1/3   0 %|          | ")


def test_a_terminals_ipython_is_no_notebook(monkeypatch):
    shell = SimpleNamespace(config={})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert not progress._in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert not progress._in_notebook()
