"""Ctrl-C and SIGTERM: the first is a wish, the second ends the process."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from systems import posix

from tinynet.training import Stopped, StopSignals
from tinynet.training.sharing import agreed


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
ECHO = """
import signal, sys
from tinynet.training import StopSignals
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # where the tests run under nohup, it is ignored
with StopSignals():
    print("ready", flush=True)
    for line in sys.stdin:
        print(line, end="", flush=True)
"""


class Echo:
    """A process under StopSignals that repeats each line that it is sent."""

    def __init__(self, code: str = ECHO):
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", code]
        self.process = subprocess.Popen(command, env=HOST, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def lives(self) -> bool:
        print("still there", file=self.process.stdin, flush=True)
        return self.process.stdout.readline() == "still there\n"

    def __enter__(self) -> "Echo":
        return self

    def __exit__(self, *exception) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(number):
    with Echo() as echo:
        echo.process.send_signal(number)
        assert echo.process.stderr.readline() == "\n"
        assert "once more to exit at once" in echo.process.stderr.readline()
        assert echo.lives()
        echo.process.send_signal(number)
        assert echo.process.wait() == -number


@posix
def test_a_closed_terminal_may_hang_up_twice():
    """The shell sends SIGHUP, and so does the system when the shell ends."""
    with Echo() as echo:
        echo.process.send_signal(signal.SIGHUP)
        assert echo.process.stderr.readline() == "\n"
        assert "finishing this step" in echo.process.stderr.readline()
        echo.process.send_signal(signal.SIGHUP)
        assert echo.lives()
        _, stderr = echo.process.communicate()
        assert stderr == "" and echo.process.returncode == 0


@posix
def test_nohup_stays():
    with Echo(ECHO.replace("SIG_DFL", "SIG_IGN")) as echo:
        echo.process.send_signal(signal.SIGHUP)
        assert echo.lives()
        _, stderr = echo.process.communicate()
        assert stderr == "" and echo.process.returncode == 0


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
    assert process.wait() == 0
    assert file.read_text() == "still there"


@posix
def test_a_signal_that_also_ends_the_reader_of_the_output(tmp_path):
    """Ctrl-C under `2>&1 | tee log` goes to both: the wish is granted, although nobody hears that it was heard."""
    code = ECHO + f"\nopen({str(tmp_path / 'file')!r}, 'w').write('saved')"
    with Echo(code.replace('print(line, end="", flush=True)', "pass")) as echo:
        echo.process.stdout.close()
        echo.process.stderr.close()
        echo.process.send_signal(signal.SIGINT)
        echo.process.stdin.close()
        assert echo.process.wait() == 0
    assert (tmp_path / "file").read_text() == "saved"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_the_terminal_cannot_show_end_nothing(encoding):
    code = "from tinynet.training import lasting_output\nimport sys\n"
    code += "with lasting_output():\n    print('caf\\u00e9 \\u732b \\udce9', flush=True)\n    print('end')\n"
    environment = HOST | {"PYTHONIOENCODING": encoding}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert result.returncode == 0 and result.stdout.endswith(b"\\udce9\nend\n"), result
    assert result.stdout.decode(encoding).startswith("caf\\xe9" if encoding == "ascii" else "café")


def test_output_that_is_closed_from_the_start_ends_nothing():
    code = "import sys\nfrom tinynet.training import lasting_output\n"
    code += "sys.stdout = None\nwith lasting_output():\n    print('x')\nsys.exit(7)"
    assert subprocess.run([sys.executable, "-c", code], env=HOST).returncode == 7


def test_what_ranks_agree_on_is_what_they_told():
    """A signal that comes to one rank while they tell each other is for the next time: the others do not know of it."""
    stop = StopSignals()

    class World:
        def numbers(self, own):
            told = np.array([[0, 0], own], float)  # of rank 0, and of this one
            stop.received = signal.SIGTERM
            return told

    mesh = SimpleNamespace(world=World())
    assert agreed(mesh, stop) == (None, False)
    assert agreed(mesh, stop) == (signal.SIGTERM, False)


def test_a_signal_to_another_rank_is_for_all():
    stop = StopSignals()
    mesh = SimpleNamespace(world=SimpleNamespace(numbers=lambda own: np.array([[signal.SIGINT, 1], own], float)))
    assert agreed(mesh, stop) == (signal.SIGINT, True)
    assert stop.received == signal.SIGINT
