"""A run under way, as the page sees it: its log and its checkpoints as they come, and nothing that disturbs it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from run_on_disk import settings_of, write_log, write_weights
from view.conftest import CROP, SIZE, Served, opened

from tinynet import models
from tinynet.data import measure
from tinynet.training import append_json_line, load_trained
from tinynet.view.server import Server
from tinynet.view.viewer import Viewer
from tinynet.view.watched import WatchedRun


@pytest.fixture
def checkpoint(data, tmp_path):
    """checkpoint(step, seed) writes one into the run's folder."""
    statistics = measure(data.train, SIZE, workers=1)

    def write(step: int, seed: int) -> Path:
        settings = settings_of(data, SIZE, CROP, 1 / statistics.pixel_deviation, seed=seed)
        folder = tmp_path / "run" / "checkpoints" / f"step-{step:09}"
        return write_weights(folder, models.alexnet(**settings["network"]), statistics, settings)

    return write


def files_of(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_curves_and_weights_as_they_come(checkpoint, tmp_path):
    run = tmp_path / "run"
    checkpoint(10, 0)
    write_log(run, 1)
    trained = load_trained(run)
    viewer = opened(Viewer(trained, "run", "step 10"))
    served = Served(Server(viewer, WatchedRun(run, trained), "127.0.0.1"))
    before = files_of(run)
    told = served.get("/api/run")
    assert served.get("/api/network")["run"] and (told["state"], told["version"]) == ("step 10", 0)
    assert [(one["epoch"], one["train"]["top1_error"]) for one in told["epochs"]] == [(1, 90.0)]
    kernels = served.get("/api/kernels")
    assert files_of(run) == before  # nothing was written, nor locked

    checkpoint(20, 1)
    append_json_line(run / "log.jsonl", {"event": "epoch", "epoch": 2, "step": 20, "lr": 0.01} | results(45))
    told = served.get("/api/run")
    assert (told["state"], told["version"], told["ended"]) == ("step 20", 1, False)
    assert [one["train"]["top1_error"] for one in told["epochs"]] == [90, 45]
    assert served.get("/api/kernels") != kernels
    assert served.get("/api/guesses")["version"] == 1 and served.get("/api/run")["version"] == 1

    append_json_line(run / "log.jsonl", {"event": "stop", "reason": "stopped by SIGTERM"})
    told = served.get("/api/run")
    assert (told["ended"], told["reason"], told["last"]["event"]) == (True, "stopped by SIGTERM", "stop")


def results(error: float) -> dict:
    return {"train": {"loss": 1.0, "top1_error": error}, "validation": {"loss": 1.0, "top1_error": error}}


def test_a_checkpoint_that_cannot_be_read_yet_is_for_the_next_time(checkpoint, tmp_path):
    run, folder = tmp_path / "run", checkpoint(10, 0)
    trained = load_trained(run)
    watched = WatchedRun(run, trained)
    assert watched.newer() is None and watched.progress()["epochs"] == [] and not watched.has_log
    newer = checkpoint(20, 1)
    whole = (newer / "weights.safetensors").read_bytes()
    (newer / "weights.safetensors").write_bytes(whole[: len(whole) // 2])
    assert watched.newer() is None
    (newer / "weights.safetensors").write_bytes(whole)
    found, state = watched.newer()
    assert state == "step 20" and found.path.parent == newer and watched.newer() is None
    shutil.rmtree(newer)  # as runs do with old ones; and an older one is not taken in its place
    shutil.rmtree(folder)
    assert watched.newer() is None


def test_weights_that_were_chosen_stay(checkpoint, tmp_path):
    checkpoint(10, 0)
    run = tmp_path / "run"
    trained = load_trained(run)
    watched = WatchedRun(run, trained, follow=False)
    checkpoint(20, 1)
    assert watched.newer() is None


def test_a_finished_run_has_ended(checkpoint, tmp_path):
    run, folder = tmp_path / "run", checkpoint(10, 0)
    write_log(run, 2)
    watched = WatchedRun(run, load_trained(run))
    assert not watched.progress()["ended"]
    shutil.copytree(folder, run / "final")
    trained, state = watched.newer()
    assert state == "finished" and watched.progress()["ended"]
    weights = trained.net["conv1"].params["weight"]
    assert np.isfinite(np.array(weights.tolist())).all()
