"""The paper's experiments on tiny data: each trains what it says, goes on, and shows what it found."""

import json
import re
import runpy
import signal
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
from cifar_files import write_cifar10
from examples.main_job import EMULATED, EXAMPLES, command, run_page

pytest.importorskip("matplotlib")
PAGE = "paper_experiments.py"
slow = pytest.mark.skipif(bool(EMULATED), reason="many runs, each of which starts slowly on emulated GPUs")


def results(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def check_left_behind(folder) -> str:
    """The table's text, of a folder that has all three."""
    assert (folder / "figure.png").read_bytes()[:4] == b"\x89PNG" and (folder / "results.jsonl").exists()
    return (folder / "table.md").read_text(encoding="utf-8")


def test_quick_over_seeds_and_going_on(tmp_path):
    write_cifar10(tmp_path / "cifar", count=20)
    options = ["cifar10-quick", "--data", "cifar", "--epochs", 2, "--output-dir", "out"]
    result = run_page(PAGE, tmp_path, *options, "--seeds", 3)
    assert result.returncode == 0, result.stderr
    assert "cifar10-quick: 1 trials, 0 done, 1 to train" in result.stdout
    again = run_page(PAGE, tmp_path, *options, "--seeds", 3)
    assert again.returncode == 1 and "error: out: holds results: --resume goes on" in again.stderr
    more = run_page(PAGE, tmp_path, *options, "--seeds", 3, 4, "--resume")
    assert more.returncode == 0 and "2 trials, 1 done, 1 to train" in more.stdout, more.stderr
    found = results(tmp_path / "out")
    assert [(one["variant"], one["seed"], one["model"]) for one in found] == [
        ("quick", 3, "cifar10_quick"),
        ("quick", 4, "cifar10_quick"),
    ]
    assert all(one["images"] == 100 and len(one["train"]) == len(one["validation"]) == 2 for one in found)
    settings = {"epochs": 2, "batch_size": 100, "lr": 0.001, "weight_decay": 0.004}
    assert all(settings.items() <= one["settings"].items() for one in found)
    assert found[0]["validation_loss"] != found[1]["validation_loss"]
    mean = sum(one["error"] for one in found) / 2
    assert f"| {mean:.1f} ± " in check_left_behind(tmp_path / "out")
    other = run_page(PAGE, tmp_path, *options, "--seeds", 3, "--resume", "--epochs", 3)
    assert other.returncode == 1 and "is of other settings" in other.stderr and "Traceback" not in other.stderr


@slow
def test_figure1_tells_the_ratio_of_the_fastest(tmp_path):
    """What would take hours, that a net reaches 25 %, is written into the results between two calls."""
    write_cifar10(tmp_path / "cifar", count=10)
    options = ["figure1", "--data", "cifar", "--seeds", 0, "--output-dir", "out", "--epochs", 1]
    result = run_page(PAGE, tmp_path, *options)
    assert result.returncode == 0, result.stderr
    found = results(tmp_path / "out")
    rates = {name: [one["settings"]["lr"] for one in found if one["network"]["activation"] == name]
             for name in ("relu", "tanh")}  # fmt: skip
    assert rates == {"relu": [0.0005, 0.001, 0.002, 0.004], "tanh": [0.001, 0.002, 0.004, 0.008, 0.016]}
    assert all(one["network"]["lrn"] is False and one["settings"]["weight_decay"] == 0 for one in found)
    assert "0 of 1 runs do" in check_left_behind(tmp_path / "out")
    reached = {"relu, rate 0.002": [50.0, 20.0], "relu, rate 0.004": [50.0, 40.0, 24.0]}
    reached |= {"tanh, rate 0.008": [90.0] * 8 + [20.0]}
    for one in found:
        one["train"] = reached.get(one["variant"], [90.0, 80.0])
        name = f"{re.sub(r'[^a-z0-9.]+', '-', one['variant'])}-seed0"
        (tmp_path / "out" / name / "result.json").write_text(json.dumps(one))
    assert run_page(PAGE, tmp_path, *options, "--resume").returncode == 0
    table = check_left_behind(tmp_path / "out")
    assert "| relu, rate 0.002 | 1 | 1.8 |" in table and "| relu, rate 0.004 | 1 | 2.9 |" in table
    assert "| tanh, rate 0.008 | 1 | 8.9 |" in table  # 8 + 65 / 70
    assert "| tanh : ReLU, each at its fastest |  | 4.9 : 1 |  |" in table  # 8.929 / 1.833


@slow
def test_full_and_what_is_left_out_of_it(tmp_path):
    write_cifar10(tmp_path / "cifar", count=10)
    options = ["cifar10-full", "--data", "cifar", "--seeds", 0, "--epochs", 1, "--output-dir", "out"]
    result = run_page(PAGE, tmp_path, *options)
    assert result.returncode == 0, result.stderr
    assert [one["network"] for one in results(tmp_path / "out")] == [{}, {"lrn": False}, {"pool": 2}]
    row = r"^\| without LRN \| 1 \| [\d.]+ \([+-][\d.]+, one seed\) \|"
    assert re.search(row, check_left_behind(tmp_path / "out"), re.M)


@slow
def test_ingredients_and_towers(data, tmp_path):
    options = ["--data", data, "--epochs", 1, "--seeds", 0]
    some = ["--only", "all-parts", "no-crops", "no-dropout", "half"]
    result = run_page(PAGE, tmp_path, "ingredients", *options, *some, "--output-dir", "a")
    assert result.returncode == 0, result.stderr
    found = {one["variant"]: one for one in results(tmp_path / "a")}
    assert list(found) == ["all parts", "no crops or mirrors", "no dropout", "one tower, half the kernels"]
    whole, still = found["all parts"]["settings"], found["no crops or mirrors"]["settings"]
    assert {name for name in whole if whole[name] != still[name]} == {"offsets", "mirror"}  # one thing at a time
    assert found["no dropout"]["network"] == found["all parts"]["network"] | {"dropout": 0.0}
    assert "1 net averaged, middle crops" in result.stdout
    check_left_behind(tmp_path / "a")
    without = run_page(PAGE, tmp_path, "ingredients", *options, "--only", "sees-everything", "--output-dir", "c")
    assert without.returncode == 0, without.stderr  # of the base there is none yet: nothing to compare with
    row = r"^\| one tower that sees everything \| 1 \| [\d.]+ \| [\d.]+ \|"
    assert re.search(row, check_left_behind(tmp_path / "c"), re.M)
    result = run_page(PAGE, tmp_path, "towers", *options, "--output-dir", "b")
    assert result.returncode == 0, result.stderr
    row = r"^\| 0 \| 0, 0 \| -, - \| 1\.000 \| 0\.6\d, 0\.6\d \| [01]\.\d{3} \|"  # in an epoch no kernel forms
    assert re.search(row, check_left_behind(tmp_path / "b"), re.M)


def test_a_net_that_diverges_counts_as_one_that_guesses(tmp_path, capsys):
    write_cifar10(tmp_path / "cifar", count=20)
    page = runpy.run_path(str(EXAMPLES / PAGE))
    settings = replace(page["QUICK"], lr=1e9, batch_size=10)
    args = SimpleNamespace(data=str(tmp_path / "cifar"), workers=0)
    result = page["train"](args, page["Trial"]("wild", "cifar10_quick", settings), tmp_path / "out" / "wild-seed0")
    assert result["diverged"] and result["error"] == result["train_error"] == 90.0
    assert result["train"] == [] and "It counts as a net that guesses." in capsys.readouterr().out
    study = page["Study"]("quick", tmp_path / "study", lambda trial, folder: result, [0])
    compared = study.results([page["Trial"]("wild", "cifar10_quick", settings)])
    page["compare"](study, compared, "quick", {"test error": "error"})
    assert "| wild (1 diverged) | 1 | 90.0 | 0 s |" in capsys.readouterr().out


def test_mistakes(tmp_path):
    write_cifar10(tmp_path / "cifar", count=10)
    for options, message in (
        (["figure2", "--data", "cifar"], "invalid choice: 'figure2'"),
        (["figure1"], "the following arguments are required: --data"),
        (["figure1", "--data", "nowhere"], "error: nowhere"),
        (["cifar10-quick", "--data", "cifar", "--only", "full"], "--only full: expected words of quick-seed0, "),
        (["cifar10-quick", "--data", "cifar", "--epochs", 0], "--epochs 0: expected 1 or more"),
    ):
        wrong = run_page(PAGE, tmp_path, *options)
        assert wrong.returncode and message in wrong.stderr and "Traceback" not in wrong.stderr, wrong.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGTERM"), reason="no signals")
@slow
def test_one_that_is_told_to_stop_goes_on_where_it_was(tmp_path):
    write_cifar10(tmp_path / "cifar", count=40)
    options = ["cifar10-quick", "--data", "cifar", "--epochs", 5, "--seeds", 0]
    words = [*command()[:-1], EXAMPLES / PAGE, *options, "--output-dir", "out"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(list(map(str, words)), cwd=tmp_path, **pipes) as process:
        for line in process.stdout:
            if line.startswith(b"epoch  1/5"):
                process.terminate()
        code = process.wait()
    assert code in (143, 0)  # 0 where it was done before the signal came
    on = run_page(PAGE, tmp_path, *options, "--output-dir", "out", "--resume")
    assert on.returncode == 0, on.stderr
    assert code == 0 or "Going on from" in on.stdout
    whole = run_page(PAGE, tmp_path, *options, "--output-dir", "whole")
    assert whole.returncode == 0
    keys = ("train", "validation", "train_loss", "validation_loss", "error", "train_error")
    (one,), (other,) = results(tmp_path / "out"), results(tmp_path / "whole")
    assert [one[key] for key in keys] == [other[key] for key in keys]
