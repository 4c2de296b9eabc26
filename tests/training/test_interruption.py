"""Ctrl-C and SIGTERM: the first is a wish, the second ends the process."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tinynet.training import Stopped, StopSignals


def test_a_signal_is_kept_until_it_is_asked_for():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as stop:
        stop.check()
        signal.raise_signal(signal.SIGTERM)
        assert stop.received == signal.SIGTERM
        with pytest.raises(Stopped, match="stopped by SIGTERM") as stopped:
            stop.check()
    assert stopped.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before


SLEEP = """
import time
from tinynet.training import StopSignals
with StopSignals():
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(number):
    pipe = subprocess.PIPE
    host = os.environ | {"TINYNET_BACKEND": "numpy"}
    process = subprocess.Popen([sys.executable, "-c", SLEEP], env=host, stdout=pipe, stderr=pipe, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stderr.readline() == "\n"
        assert "once more to exit at once" in process.stderr.readline()
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(10) == -number
    finally:
        process.kill()
        process.communicate()
