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


HOST = os.environ | {"TINYNET_BACKEND": "numpy"}
SLEEP = """
import signal, time
from tinynet.training import StopSignals
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # where the tests run under nohup, it is ignored
with StopSignals():
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(number):
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", SLEEP], env=HOST, stdout=pipe, stderr=pipe, text=True)
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


def test_a_closed_terminal_may_hang_up_twice():
    """The shell sends SIGHUP, and so does the system when the shell ends."""
    code = SLEEP.replace("sleep(60)", "sleep(0.5); print('through')")
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], env=HOST, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout.readline() == "ready\n"
    for _ in range(2):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
    stdout, stderr = process.communicate(timeout=30)
    assert stdout == "through\n" and process.returncode == 0 and stderr.count("finishing this step") == 1


def test_nohup_stays():
    code = SLEEP.replace("SIG_DFL", "SIG_IGN").replace("sleep(60)", "sleep(0.5); print('through')")
    process = subprocess.Popen([sys.executable, "-c", code], env=HOST, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=30)[0] == "through\n" and process.returncode == 0


def test_output_that_nobody_reads_ends_nothing(tmp_path):
    code = "from tinynet.training import lasting_output\nimport sys\n"
    code += "with lasting_output():\n    input()\n    for _ in range(3): print('x' * 100000, flush=True)\n"
    code += "    print('y', file=sys.stderr)\n    open(sys.argv[1], 'w').write('still there')\n"
    file, pipe = tmp_path / "file", subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code, file], env=HOST, stdin=pipe, stdout=pipe, stderr=pipe)
    process.stdout.close()
    process.stderr.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.wait(30) == 0
    assert file.read_text() == "still there"


def test_a_signal_that_also_ends_the_reader_of_the_output(tmp_path):
    """Ctrl-C under `2>&1 | tee log` goes to both: the wish is granted, although nobody hears that it was heard."""
    code = SLEEP.replace("time.sleep(60)", "time.sleep(2)\n    open(sys.argv[1], 'w').write('saved')")
    code = code.replace("import signal", "import sys, signal")
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "file"], env=HOST, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGINT)
    process.wait(30)
    assert (tmp_path / "file").read_text() == "saved"


def test_output_that_is_closed_from_the_start_ends_nothing():
    code = "import sys\nfrom tinynet.training import lasting_output\n"
    code += "sys.stdout = None\nwith lasting_output():\n    print('x')\nsys.exit(7)"
    assert subprocess.run([sys.executable, "-c", code], env=HOST).returncode == 7
