"""The pages beside the main job, on tiny data sets: they run to the end, go on, test, and stay pages."""

import json
import re

import numpy as np
import pytest
import safetensors.numpy
from cifar_files import write_cifar10
from examples.main_job import EXAMPLES, run_page
from idx_files import write_idx

from tinynet.inspection.pictures import draw_pictures
from tinynet.training import load_trained, read_log


@pytest.mark.parametrize(
    ("name", "most"),
    [("lenet_mnist", 70), ("vgg_imagenet", 60), ("cifar10", 70), ("alexnet_imagenet", 130), ("finetune", 110),
     ("paper_experiments", 290)],
)
def test_each_is_a_page(name, most):
    lines = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= most and any(re.match(r" +for epoch in ", line) for line in lines)


def test_lenet_on_idx_files(tmp_path):
    write_idx(tmp_path / "digits", end=".gz", train=130, val=30)
    result = run_page("lenet_mnist.py", tmp_path, "--data", "digits", "--epochs", 2, "--out", "lenet.safetensors")
    assert result.returncode == 0, result.stderr
    lines = re.findall(r"^epoch  (\d)/2  train: loss ([0-9.]+), .*  test: .*  (\d+) steps", result.stdout, re.M)
    assert [(epoch, steps) for epoch, _, steps in lines] == [("1", "3"), ("2", "6")]
    assert sum(array.size for array in safetensors.numpy.load_file(tmp_path / "lenet.safetensors").values()) == 431_080
    again = run_page("lenet_mnist.py", tmp_path, "--data", "digits", "--epochs", 2)
    assert [loss for _, loss, _ in lines] == re.findall(r"train: loss ([0-9.]+),", again.stdout)
    for options, message in (
        (["--data", "nowhere"], "error: nowhere"),
        ([], "the following arguments are required"),
        (["--data", "digits", "--epochs", 0], "error: --epochs 0: expected 1 or more"),
        (["--data", "digits", "--out", "no/net"], "error: --out no/net: expected a file in a folder that is there"),
        (["--data", "nowhere", "--out", "digits"], "error: --out digits: expected a file in a folder that is there"),
    ):
        wrong = run_page("lenet_mnist.py", tmp_path, *options)
        assert wrong.returncode and message in wrong.stderr and "Traceback" not in wrong.stderr
        assert wrong.stdout == ""


def test_cifar10_on_binary_files(tmp_path):
    write_cifar10(tmp_path / "cifar", count=20)
    result = run_page("cifar10.py", tmp_path, "--data", "cifar", "--epochs", 1, "--output-dir", "quick")
    assert result.returncode == 0, result.stderr
    assert "145,578" in result.stdout and "10 classes, 100 training and 20 validation images" in result.stdout
    told = json.loads((tmp_path / "quick" / "run.json").read_text())
    assert (told["model"], told["lr_milestones"], told["mirror"], told["scale"]) == ("cifar10_quick", [8], False, 1.0)
    on = run_page("cifar10.py", tmp_path, "--resume", "quick", "--epochs", 2)
    assert on.returncode == 0 and "epoch  2/2" in on.stdout, on.stderr
    whole = run_page("cifar10.py", tmp_path, "--data", "cifar", "--epochs", 2, "--output-dir", "whole")
    assert whole.returncode == 0, whole.stderr
    one, other = (load_trained(tmp_path / name).net.params for name in ("quick", "whole"))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    tested = run_page("cifar10.py", tmp_path, "--test-only", "--weights", "quick", "--views", "middle")
    assert tested.returncode == 0 and "Validation, middle crop" in tested.stdout, tested.stderr
    other = run_page("cifar10.py", tmp_path, "--resume", "quick", "--net", "full")
    assert other.returncode == 1 and "--net full: the checkpoint was made with quick" in other.stderr
    other = run_page("alexnet_imagenet.py", tmp_path, "--resume", "quick")
    assert other.returncode == 1 and "a run of 'cifar10', which alexnet cannot go on with" in other.stderr


@pytest.mark.parametrize(("net", "epochs", "milestones"), [("full", 140, [120, 130]), ("vgg", 60, [30, 50])])
def test_each_net_of_cifar10_has_its_own_settings(tmp_path, net, epochs, milestones):
    write_cifar10(tmp_path / "cifar", count=10)
    result = run_page("cifar10.py", tmp_path, "--data", "cifar", "--net", net, "--output-dir", "a", "--epochs", 1)
    assert result.returncode == 0, result.stderr
    told = json.loads((tmp_path / "a" / "run.json").read_text())
    assert told["lr_milestones"] == milestones and told["mirror"] == (net == "vgg") and told["epochs"] == 1
    help_text = run_page("cifar10.py", tmp_path, "--help").stdout
    assert f"{epochs} with --net {net}" in " ".join(help_text.split())


def test_vgg_on_folders_and_on_digits(data, tmp_path):
    small = ["--depth", 11, "--width", 0.0625, "--resize", 36, "--crop", 32, "--epochs", 1, "--batch-size", 12]
    result = run_page("vgg_imagenet.py", tmp_path, "--data", data, *small, "--output-dir", "a", "--devices", 2)
    assert result.returncode == 0, result.stderr
    assert [record["event"] for record in read_log(tmp_path / "a" / "log.jsonl")] == ["start", "epoch", "test", "test"]
    write_idx(tmp_path / "digits", train=24, val=12)
    gray = run_page("vgg_imagenet.py", tmp_path, "--data", "digits", *small, "--output-dir", "b")
    assert gray.returncode == 0, gray.stderr
    assert load_trained(tmp_path / "b").channels == 1
    pytest.importorskip("matplotlib")
    assert "neighbours.png: the nearest" in list(draw_pictures(tmp_path / "b"))[-1]


def test_gray_pictures_and_an_unsplit_folder_through_a_page(data, tmp_path):
    small = ["--depth", 11, "--width", 0.0625, "--resize", 36, "--crop", 32, "--epochs", 1, "--batch-size", 12]
    whole = data / "train"
    options = ["--data", whole, *small, "--channels", 1, "--val-share", 0.3, "--output-dir", "a"]
    result = run_page("vgg_imagenet.py", tmp_path, *options)
    assert result.returncode == 0, result.stderr
    assert "there is no validation set, so " in result.stderr
    assert load_trained(tmp_path / "a").channels == 1
    counts = re.search(r"3 classes, (\d+) training and (\d+) validation images", result.stdout)
    tested = run_page("vgg_imagenet.py", tmp_path, "--test-only", "--weights", "a")
    assert tested.returncode == 0 and f"{counts[2]} validation images of 3 classes" in tested.stdout, tested.stderr
    for share in (0, 1):
        wrong = run_page("vgg_imagenet.py", tmp_path, "--data", whole, *small, "--val-share", share)
        assert wrong.returncode == 1 and f"error: --val-share {share}.0: expected " in wrong.stderr
    assert not (tmp_path / "runs").exists()
