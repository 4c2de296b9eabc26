"""A run under way, as the page sees it: its log and its checkpoints as they come, and nothing that disturbs it."""

import shutil
import socket
import threading
import time
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


@pytest.fixture
def watched(checkpoint, tmp_path):
    """The folder of a run with one checkpoint, its viewer, and the server of both."""
    run = tmp_path / "run"
    checkpoint(10, 0)
    trained = load_trained(run)
    viewer = opened(Viewer(trained, "run", "step 10"))
    return run, viewer, Served(Server(viewer, WatchedRun(run, trained), "127.0.0.1"))


def files_of(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_curves_and_weights_as_they_come(checkpoint, watched):
    run, _, served = watched
    write_log(run, 1)
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

    stop = {"event": "stop", "time": "2026-01-01T00:00:00+0000", "reason": "stopped by SIGTERM"}
    append_json_line(run / "log.jsonl", stop)
    told = served.get("/api/run")
    assert (told["ended"], told["reason"], told["last"]) == (True, "stopped by SIGTERM", stop["time"])


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
    assert state == "step 20" and found.path.parent == newer and watched.newer()[1] == "step 20"
    watched.take(found)
    assert watched.newer() is None
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


def test_newer_weights_are_taken_though_the_asker_has_left(checkpoint, watched, monkeypatch):
    _, viewer, served = watched
    checkpoint(20, 1)
    begun, going_on, kernels = threading.Event(), threading.Event(), viewer.kernels

    def slow():
        begun.set()
        assert going_on.wait(120)
        return kernels()

    monkeypatch.setattr(viewer, "kernels", slow)
    waiting = threading.Thread(target=served.get, args=("/api/kernels",))
    waiting.start()
    assert begun.wait(120)
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(b"GET /api/run HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.5)  # it waits for the network; where it does not yet, the test is easier
    going_on.set()
    waiting.join()
    assert (served.get("/api/run")["state"], viewer.version) == ("step 20", 1)
    assert served.get("/api/run")["version"] == 1


def test_another_network_in_the_run_s_folder_is_told_of_once(watched, data):
    run, viewer, served = watched
    settings = settings_of(data, SIZE, CROP, width=0.125)
    write_weights(run / "checkpoints" / "step-000000020", models.alexnet(**settings["network"]),
                  measure(data.train, SIZE, workers=1), settings)  # fmt: skip
    found = served.request("GET", "/api/run")
    assert found.status == 400 and b"another network is there now" in found.body
    assert served.get("/api/run")["state"] == "step 10" and viewer.version == 0
    picture = viewer.images.add(viewer.images.sample("validation", 0))
    assert served.post("/api/answer", {"picture": picture})["guesses"]
