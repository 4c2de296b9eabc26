"""The frame of a job: what a run does around the steps that its page takes, and what it leaves behind."""

import json
import re
import shutil
import signal
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy

from tinynet import SGD, CheckpointError, SoftmaxCrossEntropy
from tinynet.backend import to_host
from tinynet.data.sets.synthetic import make_dataset
from tinynet.files import commit_folder
from tinynet.training import (
    EpochState,
    NonFiniteError,
    Progress,
    Run,
    RunSettings,
    Stopped,
    evaluate,
    load_trained,
    parse_options,
    read_log,
    setting,
    train_epoch,
)


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    lr: float = setting(0.01, least=0)
    pooling: str = setting("average", choices=("average", "max"))


PRESET = Settings(resize=32, crop=28, batch_size=16, epochs=3)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("run") / "drawn"
    return make_dataset(root, size=32, classes=3, train_per_class=12, val_per_class=8)


@pytest.fixture
def job(images, tmp_path, monkeypatch):
    """job(*options, stop=N, job=, model=): a page of the smallest kind; a signal comes after the N-th batch."""
    monkeypatch.chdir(tmp_path)

    def page(*options, stop=None, name="tiny", model="lenet", **arguments):
        typed = parse_options("", {"always": PRESET}, ["--data", str(images), *map(str, options)])
        with Run.open(typed, name) as run:
            s = run.settle(PRESET)
            data = run.open_data()
            if model == "lenet":
                arguments = {"in_channels": 3, "input_size": s.crop, "pooling": s.pooling} | arguments
            net = run.build(model, num_classes=len(data.classes), **arguments)
            loss, optimizer = SoftmaxCrossEntropy(), SGD(net, s.lr)
            run.begin(net, optimizer)
            batches = run.batches(colour=0.0, scale=None)
            left = stop

            def count(progress, state: EpochState) -> None:
                nonlocal left
                left = left - 1 if left is not None else None
                if left == 0:
                    run.stop.received = signal.SIGTERM

            monkeypatch.setattr(Progress, "__call__", count)
            for epoch in run.epochs(s.epochs):
                trained = train_epoch(net, loss, optimizer, batches.train, batches.prepare, epoch)
                epoch.end(trained, evaluate(net, batches.val, batches.prepare, epoch))
            run.finish()
            run.tell(batches.val, evaluate(net, batches.val, batches.prepare, run.watch(batches.val)))
            run.done()
            return SimpleNamespace(run=run, net=net, optimizer=optimizer)

    return page


def arrays(folder) -> dict:
    """Weights and velocities of the last checkpoint."""
    newest = max((folder / "checkpoints").glob("step-*"))
    files = [safetensors.numpy.load_file(newest / f"{name}.safetensors") for name in ("weights", "velocity")]
    return {(kind, name): array for kind, file in enumerate(files) for name, array in file.items()}


def test_what_a_run_leaves_behind(job, tmp_path, images, capsys):
    done = job("--epochs", 2, "--pooling", "max")
    folder = tmp_path / "runs" / "tiny-drawn-1"
    assert done.run.path.resolve() == folder
    told = json.loads((folder / "run.json").read_text())
    assert (told["job"], told["model"], told["pooling"], told["epochs"]) == ("tiny", "lenet", "max", 2)
    assert told["network"] == {"num_classes": 3, "in_channels": 3, "input_size": 28, "pooling": "max"}
    assert [record["event"] for record in read_log(folder / "log.jsonl")] == ["start", "epoch", "epoch", "test"]
    assert done.run.errors == [record["validation"]["top1_error"] for record in done.run.history]
    found = load_trained(folder)
    assert found.settings == told
    for name, parameter in done.net.params.items():
        assert to_host(parameter).tobytes() == to_host(found.net.params[name]).tobytes()
    printed = capsys.readouterr().out
    assert "epoch  2/2  train: loss" in printed and "In runs/tiny-drawn-1: checkpoints, final, log.jsonl" in printed


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5, 7])  # an epoch has three batches, its validation two
def test_a_run_that_is_stopped_anywhere_goes_on_to_the_same_end(job, tmp_path, stop):
    job("--output-dir", "whole")
    with pytest.raises(Stopped):
        job("--output-dir", "parts", stop=stop)
    job("--resume", "parts")
    whole, parts = arrays(tmp_path / "whole"), arrays(tmp_path / "parts")
    assert whole.keys() == parts.keys() and len(whole) == 20
    assert all(whole[name].tobytes() == parts[name].tobytes() for name in whole)
    log = read_log(tmp_path / "parts" / "log.jsonl")
    assert [record["epoch"] for record in log if record["event"] == "epoch"] == [1, 2, 3]


def test_a_run_computes_nothing(images, tmp_path, monkeypatch):
    """Neither forward, nor backward, nor step: what the page reports is all there is."""
    monkeypatch.chdir(tmp_path)
    typed = parse_options("", {"always": PRESET}, ["--data", str(images)])
    with Run.open(typed, "idle") as run:
        s = run.settle(PRESET)
        run.open_data()
        net = run.build("lenet", num_classes=3, in_channels=3, input_size=s.crop)
        optimizer = SGD(net, s.lr)
        run.begin(net, optimizer)
        before = {name: to_host(parameter).copy() for name, parameter in net.params.items()}
        for owner, names in ((net, ("forward", "backward")), (optimizer, ("step",))):
            for name in names:
                monkeypatch.setattr(owner, name, None)
        run.batches(colour=0.0)
        result = EpochState(images=4, loss_sum=8.0, top1_misses=1, top5_misses=0, batches=3)
        for epoch in run.epochs(s.epochs):
            epoch(epoch.state)
            epoch.end(result, result)
        run.finish()
    assert run.errors == [25.0] * 3 and (run.path / "final" / "weights.safetensors").exists()
    assert all((to_host(net.params[name]) == before[name]).all() for name in before)


def test_an_epoch_has_to_be_ended(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = parse_options("", {"always": PRESET}, ["--data", str(images)])
    with pytest.raises(RuntimeError, match=r"expected epoch\.end"), Run.open(typed, "idle") as run:
        s = run.settle(PRESET)
        run.open_data()
        net = run.build("lenet", num_classes=3, in_channels=3, input_size=s.crop)
        with pytest.raises(AttributeError, match="begin has to be called first"):
            print(run.path)
        run.begin(net, SGD(net, s.lr))
        run.batches(colour=0.0)
        list(run.epochs(2))


def everything(folder) -> list:
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ([], {"name": "other"}, "a run of 'tiny', which other cannot go on with"),
        (["--pooling", "max"], {}, "--pooling max: the checkpoint was made with average; --override takes"),
        ([], {"model": "vgg", "depth": 11, "input_size": 32, "width": 0.02}, "has the weights of 'lenet', not of vgg"),
        (["--override", "--crop", 32], {}, r"--override cannot change: --crop 32 \(made with 28\)"),
    ],
)
def test_a_folder_of_another_run_is_told_and_left_as_it_is(job, tmp_path, options, arguments, message):
    job("--output-dir", "a", "--epochs", 1)
    before = everything(tmp_path)
    with pytest.raises((CheckpointError, ValueError), match=message):
        job("--resume", "a", "--epochs", 2, *options, **arguments)
    assert [path for path, _ in everything(tmp_path)] == [path for path, _ in before]
    job("--resume", "a", "--epochs", 2)


def test_settings_that_the_job_does_not_know_are_told(job, tmp_path):
    job("--output-dir", "a", "--epochs", 1)
    checkpoint = max((tmp_path / "a" / "checkpoints").glob("step-*"))
    state = json.loads((checkpoint / "state.json").read_text())
    state["settings"]["warmup"] = 5

    def write(folder) -> None:
        for name in ("weights", "velocity", "statistics"):
            shutil.copy(checkpoint / f"{name}.safetensors", folder)
        (folder / "state.json").write_text(json.dumps(state))

    commit_folder(checkpoint, write)
    with pytest.raises(CheckpointError, match="has settings that this job does not know: warmup"):
        job("--resume", checkpoint, "--epochs", 2)


@pytest.mark.parametrize(
    "options", [["--resume", "a", "--output-dir", "b"], ["--resume", "--output-dir", "b", "--batch-size", 0]]
)
def test_a_folder_that_is_not_there_yet_is_not_made_for_a_mistake(job, tmp_path, options):
    job("--output-dir", "a", "--epochs", 1)
    with pytest.raises((CheckpointError, ValueError), match=r"which other cannot go on with|--batch-size 0: expected"):
        job(*options, name="other")
    assert not (tmp_path / "b").exists()


def test_damaged_checkpoints_are_in_the_log_of_a_run_that_goes_on_elsewhere(job, tmp_path, capsys):
    job("--output-dir", "a", "--epochs", 2)
    newest = max((tmp_path / "a" / "checkpoints").glob("step-*"))
    (newest / "weights.safetensors").write_bytes(b"")
    job("--resume", "a", "--output-dir", "b", "--epochs", 2)
    (resumed,) = (record for record in read_log(tmp_path / "b" / "log.jsonl") if record["event"] == "resume")
    assert len(resumed["damaged"]) == 1 and newest.name in resumed["damaged"][0]
    assert capsys.readouterr().err.count("Falling back to the checkpoint before it") == 1


def test_a_page_that_only_trains_says_so(job, tmp_path):
    job("--output-dir", "a", "--epochs", 1)
    with pytest.raises(ValueError, match="--test-only: this page does nothing but train"):
        job("--test-only", "--weights", "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_steps_out_of_order_are_told_before_anything_happens(images, job, tmp_path):
    job("--output-dir", "a", "--epochs", 1)
    typed = parse_options("", {"always": PRESET}, ["--resume", "a"])
    with Run.open(typed, "tiny") as run:
        with pytest.raises(AttributeError, match=r"^Run\.data: open_data has to be called first$"):
            run.settle({"paper": PRESET})
        s = run.settle(PRESET)
        run.open_data()
        with pytest.raises(RuntimeError, match="expected to be called once, after build"):
            run.begin(None, None)
        net = run.build("lenet", num_classes=3, in_channels=3, input_size=s.crop)
        run.begin(net, SGD(net, s.lr))
        with pytest.raises(RuntimeError, match="expected to be called once, after build"):
            run.begin(net, SGD(net, s.lr))
        with pytest.raises(AttributeError, match=r"^Run\.images: batches has to be called first$"):
            next(run.epochs(s.epochs + 1))
        assert (tmp_path / "a" / "final").is_dir() and not hasattr(run, "imges")
        run.batches(colour=0)
        epoch = next(run.epochs(s.epochs + 1))
        result = EpochState(images=4, batches=3)
        epoch.end(result, result)
        with pytest.raises(RuntimeError, match="it has been ended before"):
            epoch.end(result, result)


@dataclass(frozen=True, kw_only=True)
class Taken(RunSettings):
    scale: float = setting(0.5)


def test_a_setting_may_not_have_a_name_under_which_a_run_keeps_something_else(images):
    preset = Taken(resize=32, crop=28, batch_size=16, epochs=1)
    typed = parse_options("", {"always": preset}, ["--data", str(images)])
    with Run.open(typed, "tiny") as run, pytest.raises(TypeError, match="Taken: a run keeps something else as scale"):
        run.settle(preset)


def test_a_setting_that_decides_on_the_preset(images):
    for options, kept, expected in (
        ([], None, "average"), (["--pooling", "max"], None, "max"), ([], {"pooling": "max"}, "max"),
        (["--pooling", "average"], {"pooling": "max"}, "average"), ([], {"pooling": []}, "average"),
    ):  # fmt: skip
        typed = parse_options("", {"always": PRESET}, ["--data", str(images), *options])
        with Run.open(typed, "tiny") as run:
            run._checkpoint = kept and SimpleNamespace(settings=kept)
            assert run.typed_or_kept("pooling", "average") == expected


def test_arguments_that_no_file_can_hold_are_told(job, tmp_path):
    with pytest.raises(TypeError, match="expected arguments of lenet that JSON can hold"):
        job(seed=np.int64(3))
    assert list(tmp_path.iterdir()) == []


def test_a_validation_that_is_not_finite_says_after_which_step(job, tmp_path):
    place = "after step 0 (epoch 1, learning rate 1e+39): evaluation, batch 1 of 1"
    with pytest.raises(NonFiniteError, match=f"^{re.escape(place)}"):
        job("--lr", 1e39, "--output-dir", "a", "--batch-size", 36)
    assert read_log(tmp_path / "a" / "log.jsonl")[-1]["reason"].startswith(place)
