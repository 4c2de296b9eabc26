"""What a run shows while it works: a bar on a terminal and in a notebook, plain lines elsewhere."""

import sys
import time
import warnings
from importlib import import_module

import tqdm

from tinynet.training.loop import EpochState

SECONDS_BETWEEN_LINES = 60.0  # where there is no terminal for a bar


def duration(seconds: float) -> str:
    """12 s, 3 min 05 s, 7 h 20 min, 2 d 03 h."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"
    return f"{seconds // 86400} d {seconds % 86400 // 3600:02} h"


def _bar(title: str, total: int) -> tqdm.tqdm | None:
    """A bar whose description stands behind it, where the end of a line that is too long is cut; None where no bar
    could be drawn again and again.
    """
    kind: type[tqdm.tqdm] = tqdm.tqdm
    if _in_notebook():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that ipywidgets is missing: the bar is one of characters then
            kind = import_module("tqdm.auto").tqdm
    elif sys.stderr is None or not sys.stderr.isatty():
        return None
    bar = "{bar:10}" if kind.display is tqdm.tqdm.display else "{bar}"  # which a notebook's display replaces
    title = title.replace("{", "{{").replace("}", "}}")
    layout = f"{title} {{percentage:3.0f}} %|{bar}| {{desc}}"
    return kind(total=total, bar_format=layout, leave=False, dynamic_ncols=True)


def _in_notebook() -> bool:
    """Whether this process is a notebook's kernel, whose outputs are no terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config


class Counter:
    """A bar for a count of things, as the callback counter(done, total); where there is none, lines."""

    def __init__(self, title: str):
        self._title, self._counting = title, False
        self._bar: tqdm.tqdm | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        if not self._counting:  # the first call, or another stage after one that was finished
            self._bar, self._counting = _bar(self._title, total), True
            self._began = self._last_line = now
        left = f"{duration((now - self._began) / max(1, done) * (total - done))} left"
        if self._bar is not None:
            self._bar.set_description_str(f"{left}, {done:,} of {total:,}", refresh=False)
            self._bar.update(done - self._bar.n)
        elif done < total and now - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = now
            print(f"{self._title}: {done:,} of {total:,}, {left}", flush=True)
        if done == total:
            self.close()

    def close(self) -> None:
        """Takes the bar away; needed only when the count ends before its total."""
        if self._bar is not None:
            self._bar.close()
        self._bar, self._counting = None, False


class Progress:
    """The bar of one pass over the data: report(state) after each batch. It goes with the last batch, or by `close`; a
    context manager.

    lr: shown when given, and may change. epochs_after: full epochs still to come, for the time left of the whole run.
    classes: how many there are; top-5 errors are not shown of five or fewer.
    """

    def __init__(
        self, title: str, batches: int, lr: float | None = None, epochs_after: int = 0, *, classes: int | None = None
    ):
        self._title, self._batches, self.lr, self._epochs_after = title, batches, lr, epochs_after
        self._top5 = classes is None or classes > 5
        self._bar = _bar(title, batches)
        self._last_line = time.perf_counter()

    def __call__(self, state: EpochState) -> None:
        if self._bar is not None:
            self._bar.set_description_str(self._describe(state), refresh=False)
            self._bar.update(state.batches - self._bar.n)
        elif time.perf_counter() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.perf_counter()
            print(f"{self._title}: batch {state.batches}/{self._batches}, {self._describe(state)}", flush=True)
        if state.batches == self._batches:
            self.close()

    def _describe(self, state: EpochState) -> str:
        """What matters most comes first: a narrow terminal shows no more."""
        per_batch = state.seconds / max(1, state.batches)
        left = per_batch * (self._batches - state.batches + self._epochs_after * self._batches)
        parts = [f"{duration(left)} left, loss {state.loss:.3f}, top-1 {state.top1_error:.1f} %"]
        parts += [f"top-5 {state.top5_error:.1f} %"] if self._top5 else []
        parts += [f"{state.images_per_second:.0f} images/s, waiting {100 * state.waiting_share:.0f} %"]
        parts += [f"lr {self.lr:g}"] if self.lr is not None else []
        return ", ".join(parts)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """Takes the bar away, if it is still there."""
        if self._bar is not None:
            self._bar.close()
