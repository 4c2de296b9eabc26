"""A guard for tests in which devices wait for each other: who waits for ever fails, and does not stop the suite."""

import threading

import pytest

from tinynet.parallel.devices import Meeting


@pytest.fixture
def within(monkeypatch):
    """within(task): task()'s result or error, from a thread that is given up when it waits for ever: for minutes, where
    the slowest machine needs a second.
    """
    meetings = []
    original = Meeting.__init__

    def watched(self, size):
        original(self, size)
        meetings.append(self)

    monkeypatch.setattr(Meeting, "__init__", watched)

    def run(task, seconds: float = 300):
        outcome = {}

        def guarded():
            try:
                outcome["result"] = task()
            except BaseException as error:
                outcome["error"] = error

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            for meeting in meetings:  # or the interpreter would wait for those threads at its end
                meeting._barrier.abort()
            pytest.fail(f"somebody still waits after {seconds} s")
        if "error" in outcome:
            raise outcome["error"]
        return outcome["result"]

    return run
