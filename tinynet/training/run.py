"""The folder of a run: one process has it at a time, and everything that the run leaves behind is in it."""

import itertools
import json
import math
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from tinynet.data import Statistics
from tinynet.files import Lock, commit_folder, recover
from tinynet.interchange.weights import CheckpointError, whole_parameters
from tinynet.training.checkpoint import NAME, Checkpoint, Checkpoints, find_checkpoint
from tinynet.training.interruption import Stopped
from tinynet.training.log import TensorBoard, append_json_line, read_log
from tinynet.training.trained import FINAL, write_trained


class Run:
    """Lock, log and checkpoints of the run in `folder`, which is made if it is not there.

    It is this process's own from here on, so that what `find` finds is the newest that there will be. LockedError, an
    OSError, when another process has it.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(self.folder)
        self.checkpoints = Checkpoints(self.folder / "checkpoints")
        recover(self.checkpoints.folder)
        self.unsaved: CheckpointError | None = None  # why the last checkpoint could not be written
        self._curves: TensorBoard | None = None
        self._damaged: list[str] = []
        self._named: set[str] = set()

    @classmethod
    def new(cls, prefix: str | Path) -> "Run":
        """In the folder prefix-1, or the next number that is free."""
        numbers = itertools.count(1)
        return cls(next(folder for number in numbers if not (folder := Path(f"{prefix}-{number}")).exists()))

    @classmethod
    def resume(cls, path: str | Path, folder: str | Path | None = None) -> tuple["Run", Checkpoint]:
        """The run that goes on from `path`, a run's folder or one of its checkpoints, and the checkpoint.

        folder: where it goes on, if not in that run's own folder. CheckpointError when there is nothing to go on from.
        """
        path = Path(path).resolve()
        inside = path
        if (path / "checkpoints").is_dir():
            pass  # a run, even where its own folder is called checkpoints, or lies in one
        elif path.name == "checkpoints":
            inside = path.parent
        elif path.parent.name == "checkpoints" and NAME.fullmatch(path.name):
            inside = path.parent.parent
        if folder is None and not (inside / "checkpoints").is_dir():
            find_checkpoint(path)  # says what is wrong with the path, if it is the path
            raise CheckpointError(f"{path} is in no run's folder: say with --output-dir where the run goes on")
        run = cls(inside if folder is None else folder)
        return run, run.find(path)

    def close(self) -> None:
        """Leaves the folder to others; the end of the process does so, too."""
        if self._curves:
            self._curves.close()
        self._lock.release()

    def find(self, path: str | Path | None = None) -> Checkpoint | None:
        """The checkpoint to go on from: the one at `path`, or the newest of this run; None when it has none yet.

        Damaged ones are passed over; that is said, here and in the log.
        """

        def report(message: str) -> None:
            self._damaged.append(message)
            self.warn(message)

        return self.checkpoints.load_newest(report) if path is None else find_checkpoint(path, report)

    def start(
        self, resumed: Checkpoint | None, keep: int = 3, minutes: float = 15, steps: int | None = None,
        tensorboard: bool = False,
    ) -> None:  # fmt: skip
        """Begins, or goes on from a checkpoint.

        A checkpoint is due after `minutes`, or after `steps` steps where they are given; the last `keep` and the best
        stay. tensorboard: the log's epochs become curves, too. FileExistsError when another run's results are there.
        """
        if keep < 1 or not minutes > 0 or (steps is not None and steps < 1):
            expected = "expected to keep 1 or more, and minutes > 0 and steps > 0 between them"
            raise ValueError(f"checkpoints: {expected}; got {keep}, {minutes} and {steps}")
        self.checkpoints.keep, self._minutes, self._steps = keep, minutes, steps
        here = self.checkpoints.folder
        going_on = resumed is not None and here.exists() and resumed.path.parent.samefile(here)
        if not going_on and (self.checkpoints.paths() or (self.folder / FINAL).exists()):
            raise FileExistsError(f"{self.folder} has another run: --resume {self.folder}, or choose another folder")
        if tensorboard:
            self._curves = TensorBoard(self.folder / "tensorboard", resumed.step if resumed else None)
        if resumed is None:
            self.log("start")
        else:
            if not going_on:
                for record in resumed.history:
                    self.log("epoch", **record)
            with suppress(OSError):
                bad = (record for record in read_log(self._log) if record.get("event") == "bad_image")
                self._named = {record.get("name") for record in bad}
            self.log("resume", step=resumed.step, checkpoint=str(resumed.path), damaged=self._damaged)
        self._saved, self._steps_since = time.monotonic(), 0
        if going_on and [path.name for path in self.checkpoints.paths()[-1:]] != [resumed.path.name]:
            self._saved = -math.inf  # soon, or a kill would lead back to what this run has left

    def describe(self, settings: Mapping) -> None:
        """Writes run.json: what the run is, for people and for other programs."""
        path = self.folder / "run.json"
        try:
            path.write_text(json.dumps(dict(settings), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error

    # ---- the log ----

    @property
    def _log(self) -> Path:
        return self.folder / "log.jsonl"

    def log(self, event: str, **fields) -> None:
        """Adds a record to log.jsonl. A full disk does not end a run: the record is lost, and that is said."""
        record = {"event": event, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **fields}
        try:
            append_json_line(self._log, record)
            if event == "epoch" and self._curves:
                self._curves.add(record)
                self._curves.flush()
        except OSError as error:
            self.warn(f"a record of the log cannot be written: {error}")

    def warn(self, message: str) -> None:
        tqdm.write(f"warning: {message}", file=sys.stderr)

    def bad_image(self, name: str, reason: str) -> None:
        """What loaders tell of an image that they leave out: each is named once, on the terminal and in the log."""
        if name not in self._named:
            self._named.add(name)
            self.warn(f"left out {name}: {reason}")
            self.log("bad_image", name=name, reason=reason)

    @contextmanager
    def logged(self) -> Iterator[None]:
        """A context: what ends it early is in the log too, and how to go on is said."""
        try:
            yield
        except Exception as error:
            self.log("stop", reason=str(error))
            if isinstance(error, Stopped) and self.checkpoints.paths():
                self.warn(f"stopped; go on with --resume {self.folder}")
            raise

    # ---- checkpoints, and the end ----

    def due(self) -> bool:
        """To be asked after each step: whether it is time for a checkpoint."""
        self._steps_since += 1
        if self._steps is not None and self._steps_since >= self._steps:
            return True
        return time.monotonic() - self._saved >= 60 * self._minutes

    def save(self, net, optimizer, statistics: Statistics, state: Mapping) -> None:
        """Saves a checkpoint. When it cannot be written, the run goes on, says so, and tries again at the next."""
        try:
            self.checkpoints.save(net, optimizer, statistics, state)
            self.unsaved = None
        except CheckpointError as error:
            self.unsaved = error
            self.warn(f"no checkpoint of step {state['step']}: {error}")
            self.log("unsaved", step=state["step"], reason=str(error))
        self._saved, self._steps_since = time.monotonic(), 0

    def unfinish(self) -> None:
        """Takes the final weights away, which those of a run that goes on no longer are."""
        shutil.rmtree(self.folder / FINAL, ignore_errors=True)

    def finish(self, net, statistics: Statistics, settings: Mapping) -> None:
        """Writes the final weights, with what is needed to use them, as the folder `final`: all of it or nothing."""
        folder = self.folder / FINAL
        try:
            commit_folder(folder, lambda beside: write_trained(beside, whole_parameters(net), statistics, settings))
        except OSError as error:
            raise CheckpointError(f"{folder}: cannot be written ({error})") from error
