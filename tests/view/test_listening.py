"""The command: where it listens, what it says, what it refuses, and how it ends."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from systems import posix
from view.conftest import Served, opened
from view.test_server import jpeg

from tinynet import commands
from tinynet.commands import view
from tinynet.training import load_trained
from tinynet.view import server
from tinynet.view.images import Picture
from tinynet.view.server import Server, listen
from tinynet.view.viewer import Viewer


def test_a_used_port_is_left_alone():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with listen("127.0.0.1", port) as second:
            assert port < second.getsockname()[1] < port + 20
    with pytest.raises(OSError, match="cannot listen there"):
        listen("192.0.2.1", 8000)  # an address that is kept for examples
    with pytest.raises(OSError, match="all ports from 65535 to 65535 are used"), listen("127.0.0.1", 65535):
        listen("127.0.0.1", 65535)
    with listen("localhost", 0) as found:
        assert found.getsockname()[1] > 0


def test_a_host_that_nobody_knows(monkeypatch):
    def unknown(*arguments, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match="--host nohost: no such name"):
        listen("nohost", 8000)


def started(folder, interrupt: str, *words) -> subprocess.Popen:
    """The command, to which Ctrl-C means this at its start: SIG_DFL, or SIG_IGN as in the background of a script."""
    environment = os.environ | {"TINYNET_BACKEND": "numpy", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    begin = f"import os, signal, sys\nsignal.signal(signal.SIGINT, signal.{interrupt})\n"
    begin += "os.execv(sys.executable, sys.argv[1:])"
    command = [sys.executable, "-c", begin, sys.executable, "-m", "tinynet", "view", *words]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@posix
@pytest.mark.parametrize("interrupt", ["SIG_DFL", "SIG_IGN"])
def test_the_command_says_where_it_is_and_ends_with_ctrl_c(tmp_path, interrupt):
    with listen("127.0.0.1", 0) as used:
        port = used.getsockname()[1]
        process = started(tmp_path, interrupt, "lenet", "--port", str(port))
        told = process.stdout.readline()
        assert told.startswith(f"Port {port} is used: this is ")
        address = process.stdout.readline().split()[0]
        with socket.create_connection(("127.0.0.1", int(address.rstrip("/").rpartition(":")[2]))) as connection:
            connection.sendall(b"GET /api/network HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"  # and it stays open
            head = b"POST /api/picture HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400\r\n\r\nhalf of it"
            connection.sendall(head)  # and waits for more
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)
    assert process.returncode == 130 and out == "" and err.split() in ([], ["Interrupted."]), err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["alexnt"], "did you mean alexnet?"),
        (["lenet", "--port", "70000"], "--port 70000: expected 0 to 65535"),
        (["lenet", "--host", "192.0.2.1"], "192.0.2.1, port 8000: cannot listen there"),
        (["lenet", "--preprocessing", "nonsense"], "--preprocessing: is for a run or a file, and lenet is a model"),
        (["lenet", "--input", "1", "28", "32"], "takes images of 28 x 32"),
        (["lenet", "--set", "widht=2"], "lenet: takes "),
        (["lenet", "--data", "here"], "--data: is for a run or a file, and lenet is a model"),
        (["lenet", "--best"], "--best: is for a run or a file, and lenet is a model"),
    ],
)
def test_what_cannot_be_viewed(ask, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    code, _, err = ask("view", *words)
    assert code == 1 and told in err, err


def test_a_run_that_is_viewed_with_the_wrong_data(ask, trained):
    code, _, err = ask("view", trained.path, "--port", "0", "--data", "nowhere")
    assert code == 1 and "--data nowhere: no such file or folder" in err
    code, _, err = ask("view", trained.path, "--port", "0", "--set", "width=1")
    assert code == 1 and "has its own arguments" in err


def test_other_machines_are_let_in_only_with_a_word(viewer, monkeypatch, capsys, trained):
    monkeypatch.setattr(server, "serve", lambda server, listening: listening.close())
    commands.main(["view", str(trained.path), "--host", "0.0.0.0", "--port", "0"])
    told = capsys.readouterr().out
    assert "Everybody who can reach this machine" in told and "no password" in told and "http://localhost:" in told
    commands.main(["view", str(trained.path), "--port", "0"])
    assert "Everybody" not in capsys.readouterr().out


def test_untrained_models_answer_too(trained):
    for words in (["lenet"], ["vgg", "--set", "depth=11", "width=0.05", "input_size=64"], ["cifar10_quick"]):
        parser = argparse.ArgumentParser()
        view.add_arguments(parser)
        viewer, run = view._viewed(parser.parse_args(words))
        assert run is None and viewer.network()["state"] == "random weights"
        channels, size, _ = viewer.shape
        pixels = viewer.images.decode(jpeg(trained)).pixels
        assert pixels.shape[2] == channels and len(pixels) >= size
        told = viewer.answer({"picture": viewer.images.add(Picture(pixels))})
        assert 0 < told["guesses"][0]["probability"] <= 1
        assert told["guesses"][0]["name"].startswith("class ")


def test_a_server_that_ends_gives_up_what_waits(viewer):
    server = Server(viewer, None, "127.0.0.1")
    served = Served(server)
    assert served.get("/api/network")
    server.close()
    assert served.request("GET", "/api/kernels").status == 503


def test_why_there_are_no_pictures_is_told_without_a_path(trained, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    viewer = opened(Viewer(load_trained(trained.path), "small", "finished", data=str(empty)))
    problem = viewer.network()["data"]["problem"]
    assert problem and str(tmp_path) not in problem and str(empty) in capsys.readouterr().err
    served = Served(Server(viewer, None, "127.0.0.1"))
    found = served.request("POST", "/api/sample", b'{"split": "validation", "index": 0}')
    assert found.status == 400 and b"there are no validation images" in found.body
