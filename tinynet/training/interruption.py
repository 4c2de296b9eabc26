"""Ctrl-C and SIGTERM, as a wish that a run grants at the end of a step."""

import signal
import sys


class Stopped(Exception):
    """A run was asked to stop, and did. signal: by which signal; exit_code: 128 and its number, as shells have it."""

    def __init__(self, received: signal.Signals):
        super().__init__(f"stopped by {received.name}")
        self.signal, self.exit_code = received, 128 + received


class StopSignals:
    """Within this context Ctrl-C and SIGTERM only set `received`. A second one ends the process at once.

    Works in the main thread, as Python's signals do.
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def check(self) -> None:
        """Stopped, if a signal has come."""
        if self.received is not None:
            raise Stopped(self.received)

    def _handle(self, number: int, frame) -> None:
        self.received = signal.Signals(number)
        for one in self._before:
            signal.signal(one, signal.SIG_DFL)
        print(f"\n{self.received.name}: finishing this step and saving; once more to exit at once", file=sys.stderr)

    def __enter__(self) -> "StopSignals":
        self._before = {one: signal.signal(one, self._handle) for one in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)
