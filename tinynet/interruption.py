"""What comes from outside while a run goes on: Ctrl-C, SIGTERM and SIGHUP, as wishes that are granted at the end of a
step, and the end of whoever reads what is printed.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any


class Stopped(Exception):
    """A run was asked to stop, and did. signal: by which signal; exit_code: 128 and its number, as shells have it."""

    def __init__(self, received: signal.Signals):
        super().__init__(f"stopped by {received.name}")
        self.signal, self.exit_code = received, 128 + received


class StopSignals:
    """Within this context Ctrl-C, SIGTERM and SIGHUP (a closed terminal) only set `received`. A second Ctrl-C or
    SIGTERM ends the process at once; a second SIGHUP does not, since shell and system send one each. Works in the main
    thread, as Python's signals do.
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def check(self) -> None:
        """Stopped, if a signal has come."""
        if self.received is not None:
            raise Stopped(self.received)

    def _handle(self, number: int, frame) -> None:
        self.received = signal.Signals(number)
        for one in self._before:
            signal.signal(one, signal.SIG_DFL if one in (signal.SIGINT, signal.SIGTERM) else signal.SIG_IGN)
        text = f"\n{self.received.name}: finishing this step and saving; once more to exit at once\n"
        with contextlib.suppress(OSError):  # the same signal may have ended who reads it
            os.write(2, text.encode())  # not print: the signal may have come in the middle of one

    def __enter__(self) -> "StopSignals":
        names = "SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"  # SIGBREAK: Ctrl-Break and a closed window, on Windows
        signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
        ignored = [one for one in signals if signal.getsignal(one) is signal.SIG_IGN and one != signal.SIGINT]
        self._before = {one: signal.signal(one, self._handle) for one in signals if one not in ignored}  # nohup's stays
        return self

    def __exit__(self, *exception) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)


class _Lasting:
    """A text stream that goes nowhere once it cannot be written: its terminal is closed, its `tee` has ended. What its
    encoding has no character for is escaped.
    """

    def __init__(self, stream):
        self._stream = stream

    def write(self, text: str) -> int:
        with self._or_nowhere():
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:
                self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        return len(text)

    def flush(self) -> None:
        with self._or_nowhere():
            self._stream.flush()

    @contextlib.contextmanager
    def _or_nowhere(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # what is still in its buffer goes there, too
            os.close(nowhere)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """Within this context, nobody has to read what is printed: a run of days does not end with its terminal. Nor does
    it end with a name that the terminal cannot show.
    """
    with contextlib.ExitStack() as stack:
        redirections = (contextlib.redirect_stdout, sys.stdout), (contextlib.redirect_stderr, sys.stderr)
        for redirect, stream in redirections:
            if stream is not None:  # as it is where it was closed from the start
                stack.enter_context(redirect(_Lasting(stream)))
        yield
