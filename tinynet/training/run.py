"""A run of a job, from what the user typed to what it leaves behind; the page iterates over it.

A Run never calls forward, backward or step, and it draws no pictures. What is in its folder is known to folder.py.
"""

import argparse
import contextlib
import dataclasses
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinynet import models
from tinynet.data import DataError, Dataset, Loader, Statistics, open_dataset
from tinynet.data.sets.synthetic import drawn_folder, make_dataset
from tinynet.files import shown
from tinynet.network import Sequential
from tinynet.optimizers import SGD
from tinynet.training.batches import Batches, make_batches, measured
from tinynet.training.checkpoint import Checkpoint
from tinynet.training.epochs import RunEpoch
from tinynet.training.folder import RunFolder
from tinynet.training.interruption import StopSignals
from tinynet.training.log import parameter_sizes
from tinynet.training.loop import EpochState, NonFiniteError
from tinynet.training.progress import Counter, Progress, duration
from tinynet.training.report import epoch_line, errors_line, open_noted
from tinynet.training.settings import RunSettings, S, check_kept, settle, typed_settings

# What a run's settings have beside those of its job.
BESIDE = {"job", "model", "network", "scale", "classes", "names", "data", "data_set", "drawn"}

FROM = {"settings": "settle", "data": "open_data", "_model": "build", "images": "batches"}
FROM |= dict.fromkeys(("net", "optimizer", "stop", "folder"), "begin")


class Run:
    """With Run.open(typed, job) as run: then, in this order, settle, open_data, build, begin, batches, epochs, finish.

    Nothing is written before `begin`. data_path: what the user typed, or where the run that goes on found its images;
    None where they are drawn. history: a record per finished epoch.
    """

    settings: RunSettings
    data: Dataset
    net: Any
    optimizer: SGD
    stop: StopSignals
    images: Batches
    folder: RunFolder

    if not TYPE_CHECKING:

        def __getattr__(self, name: str):
            if name in FROM:
                raise RuntimeError(f"Run: {name} is there from `{FROM[name]}` on, which has not been called yet")
            raise AttributeError(f"Run has no attribute {name!r}")

    def __init__(self, typed: argparse.Namespace, job: str, stack: contextlib.ExitStack):
        """See `open`; the stack is left with the run."""
        self.typed, self.job, self._stack = typed, job, stack
        self._started = time.perf_counter()
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", RuntimeWarning)  # values that are not finite are looked for, and named
        if typed.workers < 0:
            raise ValueError(f"--workers {typed.workers}: expected 0 or more")
        self._found: RunFolder | None = None  # the folder of the run that goes on
        self._checkpoint: Checkpoint | None = None
        self.data_path: str | None = typed.data
        if typed.resume is True:
            self._found = RunFolder(typed.output_dir)
            stack.callback(self._found.close)
            self._checkpoint = self._found.find()
        elif typed.resume:
            self._found, self._checkpoint = RunFolder.resume(typed.resume, typed.output_dir)
            stack.callback(self._found.close)
        if self._checkpoint:
            self._checkpoint.check_job(job)
            kept = self._checkpoint.settings
            if not typed.data and not kept["drawn"]:
                self.data_path = kept["data"]
                if not Path(kept["data"]).exists():
                    where = "the run's images were there; say with --data where they are"
                    raise DataError(f"{shown(kept['data'])}: {where}")
        self.history: list[dict] = []
        self.begun = 0  # steps before the epoch that goes on
        self._running: EpochState | None = None  # of an epoch that was interrupted
        self._epoch: RunEpoch | None = None
        self._known: tuple[Statistics, float] | None = None  # statistics and scale, of a run that goes on
        self._left_out: dict[str, dict[int, str]] = {}

    @classmethod
    @contextlib.contextmanager
    def open(cls, typed: argparse.Namespace, job: str) -> Iterator["Run"]:
        """A run of the job of this name, new or going on, as `parse_options` gives what the user typed.

        CheckpointError, LockedError or DataError when there is nothing to go on from. What ends the context early is
        in the run's log, and how to go on is said.
        """
        with contextlib.ExitStack() as stack:
            yield cls(typed, job, stack)

    def settle(self, preset: S) -> S:
        """The settings: what was typed, else what the checkpoint has kept, else the preset's. ValueError for one that
        may not change or cannot be, CheckpointError for a checkpoint of other settings.
        """
        kept = self._checkpoint.settings if self._checkpoint else None
        if self._checkpoint:
            check_kept(self._checkpoint.settings, type(preset), BESIDE, shown(self._checkpoint.path))
        typed = typed_settings(self.typed, type(preset))
        self.settings = settings = settle(preset, typed, kept, self.typed.override)
        return settings

    def open_data(self) -> Dataset:
        """The data set at data_path, or the drawn one."""
        if self.data_path:
            return self.use_data(open_noted(self.data_path))
        cache = drawn_folder()
        print(f"No --data given: using a SYNTHETIC data set, drawn by this program, in {shown(cache)}", flush=True)
        return self.use_data(open_dataset(make_dataset(cache, progress=Counter("drawing"))))

    def use_data(self, data: Dataset) -> Dataset:
        """The same for a data set that is open. DataError for one that a checkpoint does not go with."""
        root, size = shown(data.root), getattr(data.train, "size", self.settings.resize)
        train, val = len(data.train), len(data.val)
        print(f"{root}: {len(data.classes)} classes, {train:,} training and {val:,} validation images")
        if size != self.settings.resize:
            raise DataError(f"{root} was prepared at {size} x {size}: train with --resize {size}, or prepare it again")
        if self._checkpoint:
            self._checkpoint.check_data(data, self.typed.override)
        self.data = data
        return data

    def build(self, model: str, **arguments) -> Sequential:
        """models.build(model, **arguments), which is noted: so every command can rebuild it. CheckpointError, before
        much memory is taken, where the weights of a run that goes on have other shapes.
        """
        try:
            self._model = {"job": self.job, "model": model, "network": json.loads(json.dumps(arguments))}
        except (TypeError, ValueError) as error:
            raise TypeError(f"Run.build: expected arguments of {model} that JSON can hold: {error}") from error
        if self._checkpoint:
            return self._checkpoint.build(model, arguments)
        return models.build(model, **arguments)

    def begin(self, net, optimizer) -> None:
        """Takes the run's folder, and gives net and optimizer the values of the checkpoint. From here on Ctrl-C and
        SIGTERM are wishes, granted at the end of a step. FileExistsError when another run's results are there.
        """
        self.net, self.optimizer, checkpoint = net, optimizer, self._checkpoint
        if checkpoint:
            checkpoint.restore(net, optimizer)
        if self._found is None:
            folder, name = self.typed.output_dir, self.data.root.resolve().name[:50]
            self._found = RunFolder(folder) if folder else RunFolder.new(f"runs/{self.job}-{name}")
            self._stack.callback(self._found.close)
        self.folder = self._found
        s, self._record = self.settings, self._kept()
        self.folder.start(checkpoint, s.keep, s.checkpoint_minutes, s.checkpoint_steps, s.tensorboard)
        self._stack.enter_context(self.folder.logged())
        self.stop = self._stack.enter_context(StopSignals())
        self._stack.enter_context(self._explained())
        if checkpoint:
            self._go_on_from(checkpoint)
        self._checkpoint = None  # its arrays are as large as the net's

    def _go_on_from(self, checkpoint: Checkpoint) -> None:
        """Where the run stands. What was counted or measured with other settings or images counts no more."""
        same = {name for name, value in self._record.items() if checkpoint.settings.get(name) == value}
        self.history, self.begun = checkpoint.history, checkpoint.step
        if checkpoint.running and {"batch_size", "data_set"} <= same:  # else its epoch begins again
            self._running = EpochState(**checkpoint.running)
            self.begun -= self._running.batches
        if {"resize", "measure_images"} <= same:
            self._known = checkpoint.statistics, checkpoint.settings["scale"]
        if "data_set" in same:
            self._left_out = checkpoint.left_out
        done = f"step {checkpoint.step:,}, {len(self.history)} of {self.settings.epochs} epochs done"
        print(f"Going on from {shown(checkpoint.path)}: {done}")

    def _kept(self) -> dict:
        """The run's settings, as checkpoints and the final weights keep them; the scale comes with the batches."""
        data = self.data
        about: dict[str, Any] = {"classes": list(data.classes), "names": list(data.names)}
        about |= {"data": str(data.root.resolve()), "data_set": data.fingerprint, "drawn": not self.data_path}
        return dataclasses.asdict(self.settings) | about | self._model

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except NonFiniteError as error:
            explained = self._epoch.explained(error) if self._epoch else error
            if explained is error:
                raise
            raise explained from error
        finally:
            if self._epoch:
                self._epoch.close()

    def batches(self, colour: float = 0.1, scale: float | None = 1.0) -> Batches:
        """The loaders, after the mean image has been measured, unless it is known.

        colour: the strength of the colour noise. scale: what pixels are multiplied by; None: 1 / their deviation.
        """
        s, workers = self.settings, self.typed.workers

        def on_bad(name: str, reason: str) -> None:
            self.folder.bad_image(name, reason)

        if self._known:
            statistics, scale = self._known
        else:
            statistics = measured(self.data, s, workers, self.stop.check, on_bad)
            scale = 1 / max(statistics.pixel_deviation, 1.0) if scale is None else scale
        self._record["scale"] = scale
        self.folder.describe(self._record)
        self.images = make_batches(self.data, s, workers, statistics, scale, colour, self.net, on_bad, self._left_out)
        return self.images

    def epochs(self, last: int) -> Iterator[RunEpoch]:
        """The epochs that are left of `last`, each to be ended by `end`. An interrupted one goes on where it was."""
        if len(self.history) < last:
            self.folder.unfinish()
        if not self.history and self._running is None:
            self.save(epoch=0)  # a full disk is told of at once, and the images need not be measured again
        for number in range(len(self.history), last):
            self._epoch, self._running = RunEpoch(self, number, last, self._running), None
            yield self._epoch
            if not self._epoch.ended:
                raise RuntimeError("Run.epochs: expected epoch.end(trained, tested) before the next epoch")
        self._epoch = None

    @property
    def path(self) -> Path:
        """The run's folder; another one after the first was moved or deleted."""
        return self.folder.path

    @property
    def errors(self) -> list[float]:
        """The validation's top-1 error of each epoch so far, in percent."""
        return [record["validation"]["top1_error"] for record in self.history]

    # ---- what a RunEpoch asks for ----

    def save(self, epoch: int, running: EpochState | None = None) -> None:
        """A checkpoint at the start of this epoch, or in it."""
        step, counts = (self.begun + running.batches, running.counts()) if running else (self.begun, {})
        state = {"settings": self._record, "history": self.history, "step": step, "epoch": epoch, "running": counts}
        self.folder.save(self.net, self.optimizer, self.images.statistics, state | {"left_out": self.images.left_out})

    def leave(self) -> None:
        """Ends a run that was asked to stop; CheckpointError where it could not be saved."""
        if self.folder.unsaved:
            raise self.folder.unsaved
        self.stop.check()

    def end_epoch(self, epoch: RunEpoch, trained: EpochState, tested: EpochState) -> None:
        images, lr = self.images, self.optimizer.lr
        print(epoch_line(epoch.title, lr, trained, tested, len(self.data.classes)), flush=True)
        self.begun += len(images.train)
        record = {"epoch": epoch.number + 1, "step": self.begun, "lr": lr, "train": trained.record()}
        record |= {"validation": tested.record(), "left_out": sum(map(len, images.left_out.values()))}
        record |= {"images_per_second": trained.images_per_second, "waiting_share": trained.waiting_share}
        self.history.append(record)
        self.folder.log("epoch", **record, parameters=parameter_sizes(self.net, self.optimizer))
        asked = self.stop.received
        self.save(epoch.number + 1)
        if asked:
            self.leave()

    # ---- the end ----

    def finish(self) -> None:
        """Writes the final weights, with what is needed to use them: `final` in the run's folder."""
        self.folder.finish(self.net, self.images.statistics, self._record)

    def watch(self, loader: Loader) -> Callable[[EpochState], None]:
        """For an evaluation after the last epoch: shows how far it is, and lets signals end it."""
        progress = Progress(loader.views, len(loader), classes=len(self.data.classes))
        self._stack.callback(progress.close)

        def report(state: EpochState) -> None:
            progress(state)
            self.stop.check()

        return report

    def tested(self, loader: Loader, result: EpochState) -> None:
        """A line and a record of a test of the final weights."""
        print(errors_line(loader.views, result, len(self.data.classes), skipped=len(loader.bad)))
        about = {"step": self.begun, "views": loader.views, "left_out": len(loader.bad)}
        self.folder.log("test", **about, **result.record())
        if self.folder.keep_folder():  # it was moved or deleted meanwhile
            self.finish()

    def done(self) -> None:
        """The last word: how long it took, and what is where."""
        made = shown(", ".join(self.folder.contents()))
        print(f"\nDone in {duration(time.perf_counter() - self._started)}. In {shown(self.path)}: {made}")
