"""A run of a job, from what the user typed to what it leaves behind; the page iterates over it.

A Run never calls forward, backward or step, and it draws no pictures. What is in its folder is known to folder.py.
"""

import argparse
import contextlib
import dataclasses
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinynet import models, parallel
from tinynet.data import Dataset, Loader, Statistics
from tinynet.data.dataset import dtype_of
from tinynet.errors import NonFiniteError
from tinynet.files import shown
from tinynet.interruption import Stopped, StopSignals
from tinynet.network import Sequential
from tinynet.optimizers import SGD
from tinynet.parallel import Mesh
from tinynet.training.batches import Batches, check_images, make_batches, measured, unit_scale
from tinynet.training.checkpoint import Checkpoint
from tinynet.training.epochs import RunEpoch
from tinynet.training.folder import RunFolder
from tinynet.training.loop import EpochState
from tinynet.training.presets import Fitted, chosen, lower_lr
from tinynet.training.progress import Progress, duration
from tinynet.training.report import errors_line
from tinynet.training.settings import RunSettings, S, check_kept, settled, typed_settings
from tinynet.training.sharing import NoFolder, agreed, mesh_of, shared_going_on, speaking
from tinynet.training.sources import open_images, tell_of_images

AFTER = {"settings": "settle", "data": "open_data", "images": "batches"}  # what each of these is known from
AFTER |= dict.fromkeys(("net", "optimizer", "stop", "folder", "path"), "begin")


class Run:
    """With Run.open(typed, job) as run: then, in this order, open_data, settle, build, begin, batches, epochs, finish.
    Settings that do not depend on the data can be settled before it.

    Nothing is written before `begin`. data_path: what the user typed, or where the run that goes on found its images;
    None where they are drawn. history: a record per finished epoch. mesh: MPI's ranks, which make the same calls.
    """

    settings: RunSettings
    data: Dataset
    net: Any
    optimizer: SGD
    stop: StopSignals
    folder: RunFolder | NoFolder
    images: Batches

    def __init__(self, typed: argparse.Namespace, job: str, stack: contextlib.ExitStack, mesh: Mesh | None = None):
        """See `open`; the stack is left with the run."""
        self.typed, self.job, self._stack, self.mesh = typed, job, stack, mesh
        self._started = time.perf_counter()
        if getattr(typed, "test_only", False):
            raise ValueError("--test-only: this page does nothing but train; report_errors(typed) is what it lacks")
        if typed.workers < 0:
            raise ValueError(f"--workers {typed.workers}: expected 0 or more")
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", RuntimeWarning)  # values that are not finite are looked for, and named
        self.data_path: str | None = typed.data
        self.history: list[dict] = []
        self.first_step = 0  # of the epoch that goes on
        self._model: dict | None = None
        self._running: EpochState | None = None  # of an epoch that was interrupted
        self._epoch: RunEpoch | None = None
        self._known: tuple[Statistics, float | Sequence[float]] | None = None  # and the scale, of a run that goes on
        self._left_out: dict[str, dict[int, str]] = {}
        self._drawn = False
        self.lower_lr: float | None = None  # to try where the loss overflows
        self._left = False  # on all ranks
        self._found, self._checkpoint, self._damaged = shared_going_on(mesh, typed, stack)
        if self._checkpoint:
            self._checkpoint.check_job(job)
            if not self._checkpoint.settings["drawn"]:
                self.data_path = self.data_path or self._checkpoint.settings["data"]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str):
            first = f": {AFTER[name]} has to be called first" if name in AFTER else ""
            raise AttributeError(f"Run.{name}{first}")

    @classmethod
    @contextlib.contextmanager
    def open(cls, typed: argparse.Namespace, job: str) -> Iterator["Run"]:
        """A run of the job of this name, new or going on, as `parse_options` gives what the user typed.

        CheckpointError, LockedError or DataError when there is nothing to go on from. What ends the context early is
        in the run's log, and how to go on is said.
        """
        mesh, run = mesh_of(typed), None
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(speaking(mesh))
                yield (run := cls(typed, job, stack, mesh))
        except Stopped:
            if mesh and run and run._left:  # a rank that ends would end the others, in mid-work
                mesh.world.barrier()
            raise

    def typed_or_kept(self, name: str, otherwise: Any) -> Any:
        """A setting that decides on the preset, before they are settled: what was typed, or is in the checkpoint and of
        the type of `otherwise`.
        """
        kept = self._checkpoint.settings.get(name) if self._checkpoint else None
        return getattr(self.typed, name, kept if type(kept) is type(otherwise) else otherwise)

    def settle(self, preset: S | Mapping[str, S | Fitted[S]]) -> S:
        """The settings: what was typed, else what the checkpoint has kept, else the preset's. ValueError for one that
        may not change or cannot be, CheckpointError for a checkpoint of other settings.

        preset: or several, by name, for a job with a setting called "preset": what was typed there, else the one that
        is usual for the data, which then have to be open; a new run says which, and by what rules.
        """
        first = next(iter(preset.values())) if isinstance(preset, Mapping) else preset
        kind = type(first.settings if isinstance(first, Fitted) else first)
        typed, kept = typed_settings(self.typed, kind), None
        if self._checkpoint:
            kept = self._checkpoint.settings
            check_kept(kept, kind, typed, shown(self._checkpoint.path))
        if isinstance(preset, Mapping):
            preset, lines = chosen(preset, self.data, self._drawn, typed, kept)
            if kept is None:
                print(*lines, sep="\n")
        settings = settled(preset, typed, kept, self.typed.override)
        self.lower_lr = lower_lr(settings, preset)
        if "data" in vars(self):
            check_images(self.data, settings)
        if self.mesh:
            self.mesh.agree("settings", dataclasses.asdict(settings))
        self.settings = settings
        return settings

    def open_data(self) -> Dataset:
        """The data set at data_path, or the drawn one. DataError where there is none, or not the run's."""
        data, self._drawn = open_images(self.typed, self.data_path, self._checkpoint, self.mesh)
        return self.use_data(data)

    def use_data(self, data: Dataset) -> Dataset:
        """The same for a data set that is open; what a user should know of it is said. DataError or ValueError for one
        that the settings or a checkpoint do not go with.
        """
        tell_of_images(data, self.mesh)
        if "settings" in vars(self):
            check_images(data, self.settings)
        if self._checkpoint:
            self._checkpoint.check_data(data, self.typed.override)
        self.data = data
        return data

    def build(self, model: str, /, **arguments) -> Sequential:
        """models.build(model, **arguments), which is noted: so every command can rebuild it. CheckpointError, before
        much memory is taken, where the weights of a run that goes on have other shapes.
        """
        try:
            arguments = json.loads(json.dumps(arguments))  # what builds it now is what will rebuild it
        except (TypeError, ValueError) as error:
            raise TypeError(f"Run.build: expected arguments of {model} that JSON can hold: {error}") from error
        self._model = {"job": self.job, "model": model, "network": arguments}
        if self._checkpoint:
            return self._checkpoint.build(model, arguments)
        return models.build(model, **arguments)

    def spread(self, net: Sequential, devices: int = 1):
        """The net on so many devices of this process, or on the ranks of --mesh; which of them is said."""
        if self.mesh:
            print(self.mesh)
            return parallel.spread(net, self.mesh)
        if devices != 1:
            print(f"On {devices} devices, each with its part of every layer")
        return net if devices == 1 else parallel.partition(net, devices)

    def begin(self, net, optimizer) -> None:
        """Takes the run's folder, and gives net and optimizer the values of the checkpoint. From here on Ctrl-C and
        SIGTERM are wishes, granted at the end of a step. FileExistsError when another run's results are there.
        """
        if self._model is None or "folder" in vars(self):
            raise RuntimeError("Run.begin: expected to be called once, after build")
        s, self._record = self.settings, self._kept(self._model)
        self.net, self.optimizer, checkpoint = net, optimizer, self._checkpoint
        if checkpoint:
            checkpoint.restore(net, optimizer)
        if self._found is None:
            folder, name = self.typed.output_dir, self.data.root.resolve().name[:50]
            self._found = RunFolder(folder) if folder else RunFolder.new(f"runs/{self.job}-{name}")
            self._stack.callback(self._found.close)
        self.folder = self._found
        for message in self._damaged:
            self.folder.pass_over(message)
        self.folder.start(checkpoint, s.keep, s.checkpoint_minutes, s.checkpoint_steps, s.tensorboard)
        self._stack.enter_context(self.folder.logged())
        self.stop = self._stack.enter_context(StopSignals())
        self._stack.enter_context(self._explained())
        if checkpoint:
            self._go_on_from(checkpoint)
        self._checkpoint = None  # its arrays are as large as the net's

    def _go_on_from(self, checkpoint: Checkpoint) -> None:
        """Where the run stands. What was counted or measured with other settings or images counts no more."""
        kept = {"dtype": "uint8"} | checkpoint.settings  # which those of before do not name
        same = {name for name, value in self._record.items() if kept.get(name) == value}
        self.history, self.first_step = checkpoint.history, checkpoint.step
        if checkpoint.running and {"batch_size", "data_set"} <= same:  # else its epoch begins again
            self._running = EpochState(**checkpoint.running)
            self.first_step -= self._running.batches
        channels = len(checkpoint.statistics.mean_image)
        if {"resize", "measure_images", "dtype"} <= same and channels == self.data.channels:
            self._known = checkpoint.statistics, checkpoint.settings["scale"]
        if "data_set" in same:
            self._left_out = checkpoint.left_out
        done = f"step {checkpoint.step:,}, {len(self.history)} of {self.settings.epochs} epochs done"
        print(f"Going on from {shown(checkpoint.path)}: {done}")

    def _kept(self, model: dict) -> dict:
        """The run's settings, as checkpoints and the final weights keep them; the scale comes with the batches."""
        data = self.data
        about: dict[str, Any] = {"classes": list(data.classes), "names": list(data.names)}
        about |= {"data": data.place, "data_set": data.fingerprint, "drawn": self._drawn}
        about["dtype"] = dtype_of(data.train).name
        return dataclasses.asdict(self.settings) | about | model

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except NonFiniteError as error:
            raise (self._epoch.explained(error) if self._epoch else error) from error.__cause__
        finally:
            if self._epoch:
                self._epoch.close()

    def batches(
        self, colour: float = 0.1, scale: float | Sequence[float] | None = 1.0, mean: bool = True, mirror: bool = True,
        padding: int = 0, offsets: bool = True, augment: bool = True, statistics: Statistics | None = None,
    ) -> Batches:  # fmt: skip
        """The loaders, after the mean image has been measured, unless it is known.

        colour, mirror, padding, offsets: of the training images, see Loader. augment: False trains on their middle
        crops. mean: False subtracts none. statistics: another training set's, taken as they are. scale: what pixels are
        multiplied by; None: 1 / their deviation.
        """
        s, workers = self.settings, self.typed.workers

        def on_bad(name: str, reason: str) -> None:
            self.folder.bad_image(name, reason)

        random = {"colour": colour, "mirror": mirror, "padding": padding, "offsets": offsets} if augment else None
        rest: Any = self.net, on_bad, self._left_out, random, self.mesh
        if statistics is not None and scale is not None and self._known is None:
            self._known = statistics, scale
        none = Statistics.none(self.data.channels, s.resize)
        make_batches(self.data, s, workers, none, 1.0, *rest)  # what cannot be is told before work begins
        if self._known:
            statistics, scale = self._known
        elif mean or colour or scale is None:
            statistics = measured(self.data, s, workers, self.stop.check, on_bad, self.mesh)
            scale = unit_scale(self.data, statistics) if scale is None else scale
            statistics = statistics if mean else dataclasses.replace(statistics, mean_image=none.mean_image)
        else:
            statistics = none
        self._record["scale"] = scale
        self.folder.describe(self._record)
        self.images = make_batches(self.data, s, workers, statistics, scale, *rest)
        return self.images

    def epochs(self, last: int) -> Iterator[RunEpoch]:
        """The epochs that are left of `last`, each to be ended by `end`. An interrupted one goes on where it was."""
        _ = self.images  # or says what is missing, before anything goes
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
        step, counts = self.first_step, {}
        if running:
            step, counts = step + running.batches, running.counts()
        state = {"settings": self._record, "history": self.history, "step": step, "epoch": epoch, "running": counts}
        self.folder.save(self.net, self.optimizer, self.images.statistics, state | {"left_out": self.images.left_out})

    def leave(self) -> None:
        """Ends a run that was asked to stop, on all ranks; CheckpointError where it could not be saved."""
        if self.folder.unsaved:
            raise self.folder.unsaved
        self._stop()

    def _stop(self) -> None:
        self._left = True
        self.stop.check()

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
            if agreed(self.mesh, self.stop)[0]:
                self._stop()

        return report

    def tell(self, loader: Loader, result: EpochState) -> None:
        """A line and a record of a test of the final weights."""
        print(errors_line(loader.views, result, len(self.data.classes), skipped=len(loader.bad)))
        about = {"step": self.first_step, "views": loader.views, "left_out": len(loader.bad)}
        self.folder.log("test", **about, **result.record())
        if self.folder.keep_folder():  # it was moved or deleted meanwhile
            self.finish()

    def done(self) -> None:
        """The last word: how long it took, and what is where."""
        made = shown(", ".join(self.folder.contents()))
        print(f"\nDone in {duration(time.perf_counter() - self._started)}. In {shown(self.path)}: {made}")
