"""python -m tinynet: what there is, each command's help, and what a typo is told."""

import os
import subprocess
import sys

import pytest

from tinynet import commands


def run(folder, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tinynet", *arguments]
    environment = os.environ | {"TINYNET_BACKEND": "numpy"}  # emulated GPUs are there in this process alone
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def test_without_a_command_it_shows_what_there_is(tmp_path):
    shown = run(tmp_path)
    assert shown.returncode == 0 and shown.stderr == "" and list(tmp_path.iterdir()) == []
    for name in commands.COMMANDS:
        assert f"\n    {name} " in shown.stdout


@pytest.mark.parametrize("arguments", [[], *([name, "--help"] for name in commands.COMMANDS)])
def test_help_starts_nothing(tmp_path, arguments):
    heavy = ["matplotlib", "pyarrow", "onnx", "scipy", "cupy"]
    heavy += ["tinynet.backend", "tinynet.layers"] if "train" not in arguments else []  # its options are its settings
    code = "import sys\nfrom tinynet import commands, console\ntry:\n    console.run(commands.main)\nfinally:\n"
    code += f"    assert not sys.modules.keys() & {set(heavy)}, sys.modules.keys() & {set(heavy)}\n"
    command = [sys.executable, "-c", code, *arguments]
    environment = os.environ | ({"TINYNET_BACKEND": "numpy"} if "train" in arguments else {})
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert result.returncode == 0 and result.stderr == "", result.stderr


def test_a_wrong_backend_is_one_sentence(tmp_path):
    command = [sys.executable, "-m", "tinynet", "plot", "nowhere"]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"TINYNET_BACKEND": "cuda"}
    )
    assert result.returncode == 1 and "error: TINYNET_BACKEND=cuda is unknown: choose one of" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_each_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        commands.main([name, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: python -m tinynet {name}" in shown and f"    python -m tinynet {name} " in shown  # an example


@pytest.mark.parametrize(("arguments", "code"), [(["plto"], 2), (["plot"], 2), (["plot", "nowhere"], 1)])
def test_mistakes_are_one_sentence(tmp_path, arguments, code):
    result = run(tmp_path, *arguments)
    assert result.returncode == code and "error: " in result.stderr and "Traceback" not in result.stderr
