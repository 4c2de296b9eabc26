"""What a run shows while it works: a bar on a terminal, plain lines elsewhere."""

import sys
import time

from tqdm import tqdm

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


class Counter:
    """A bar for a count of things, as the callback counter(done, total); where there is no terminal, lines."""

    def __init__(self, title: str):
        self._title, self._bar = title, None

    def __call__(self, done: int, total: int) -> None:
        if self._bar is None:  # the first call, or another stage after one that was finished
            hidden = not sys.stderr.isatty()
            self._bar = tqdm(desc=self._title, total=total, leave=False, dynamic_ncols=True, disable=hidden)
            self._began = self._last_line = time.perf_counter()
        self._bar.update(done - self._bar.n)
        if done == total:
            self.close()
        elif self._bar.disable and time.perf_counter() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.perf_counter()
            left = (self._last_line - self._began) / max(1, done) * (total - done)
            print(f"{self._title}: {done:,} of {total:,}, {duration(left)} left", flush=True)

    def close(self) -> None:
        """Takes the bar away; needed only when the count ends before its total."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Progress:
    """The bar of one pass over the data: report(state) after each batch; a context manager.

    lr: shown when given. epochs_after: full epochs still to come, for the time left of the whole run.
    """

    def __init__(self, title: str, batches: int, lr: float | None = None, epochs_after: int = 0):
        self._title, self._batches, self._lr, self._epochs_after = title, batches, lr, epochs_after
        self._bar = tqdm(total=batches, desc=title, leave=False, dynamic_ncols=True) if sys.stderr.isatty() else None
        self._last_line = time.perf_counter()

    def __call__(self, state: EpochState) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(self._describe(state), refresh=False)
            self._bar.update(state.batches - self._bar.n)
        elif time.perf_counter() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.perf_counter()
            print(f"{self._title}: batch {state.batches}/{self._batches}, {self._describe(state)}", flush=True)

    def _describe(self, state: EpochState) -> str:
        per_batch = state.seconds / max(1, state.batches)
        left = per_batch * (self._batches - state.batches + self._epochs_after * self._batches)
        parts = [f"loss {state.loss:.3f}, top-1 {state.top1_error:.1f} %, top-5 {state.top5_error:.1f} %"]
        parts += [f"{state.images_per_second:.0f} images/s, waiting {100 * state.waiting_share:.0f} %"]
        parts += [f"lr {self._lr:g}"] if self._lr is not None else []
        return ", ".join([*parts, f"{duration(left)} left"])

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception) -> None:
        if self._bar is not None:
            self._bar.close()
