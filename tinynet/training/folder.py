"""The folder of a run: one process has it at a time, and everything that the run leaves behind is in it."""

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from tinynet.data import Statistics
from tinynet.errors import CheckpointError
from tinynet.files import Lock, commit_folder, recover, remove, shell_word, shown, write_text
from tinynet.interruption import Stopped
from tinynet.training.checkpoint import Checkpoint, Checkpoints, find_checkpoint, read_state, whole_state
from tinynet.training.log import TensorBoard, append_json_line, read_log
from tinynet.training.trained import FINAL, NAME, write_trained
from tinynet.weights import whole_parameters


class RunFolder:
    """Lock, log and checkpoints of the run in `folder`, which is made if it is not there.

    It is this process's own from here on, so that what `find` finds is the newest that there will be. LockedError, an
    OSError, when another process has it. Where the folder is moved, deleted or replaced nevertheless, nothing more is
    written under its name, and the run goes on in a new folder from its next checkpoint on.
    """

    def __init__(self, folder: str | Path):
        self._enter(Path(folder))
        self.unsaved: CheckpointError | None = None  # why the last checkpoint could not be written
        self._curves: TensorBoard | None = None
        self._settings: dict | None = None
        self._history: list[dict] = []  # as the last checkpoint has it
        self._damaged: list[str] = []
        self._named: set[str] = set()

    def _enter(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self._lock = folder, Lock(folder)
        self.checkpoints = Checkpoints(folder / "checkpoints")
        recover(self.checkpoints.folder)
        recover(folder)

    @classmethod
    def new(cls, prefix: str | Path) -> "RunFolder":
        """In the folder prefix-1, or the next number that is free."""
        return cls(_free(prefix, 1))

    @classmethod
    def resume(cls, path: str | Path, folder: str | Path | None = None) -> tuple["RunFolder", Checkpoint]:
        """The run that goes on from `path`, a run's folder or one of its checkpoints, and the checkpoint.

        folder: where it goes on, if not in that run's own folder. CheckpointError when there is nothing to go on from.
        """
        try:
            inside = path = Path(path).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links, or a name that no file can have
            raise CheckpointError(f"{shown(path)}: leads nowhere ({shown(error)})") from error
        if os.path.isdir(path / "checkpoints"):
            pass  # a run, even where its own folder is called checkpoints, or lies in one
        elif path.name == "checkpoints":
            inside = path.parent
        elif path.parent.name == "checkpoints" and NAME.fullmatch(path.name):
            inside = path.parent.parent
        if folder is None and not os.path.isdir(inside / "checkpoints"):
            find_checkpoint(path)  # says what is wrong with the path, if it is the path
            raise CheckpointError(f"{shown(path)} is in no run's folder: say with --output-dir where the run goes on")
        run = cls(inside if folder is None else folder)
        try:
            return run, find_checkpoint(path, run.pass_over)
        except CheckpointError:
            run.close()
            raise

    def close(self) -> None:
        """Leaves the folder to others; the end of the process does so, too."""
        if self._curves:
            self._curves.close()
        self._lock.release()

    def find(self) -> Checkpoint | None:
        """The newest checkpoint of this run, to go on from; None when it has none yet. Damaged ones are passed over."""
        return self.checkpoints.load_newest(self.pass_over)

    def pass_over(self, message: str) -> None:
        """Says, here and in the log, that a damaged checkpoint is passed over."""
        self._damaged.append(message)
        self.warn(message)

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
        if not going_on and (self.checkpoints.paths() or (self.path / FINAL).exists()):
            instead = f"--resume {shell_word(self.path)}, or choose another folder"
            raise FileExistsError(f"{shown(self.path)} has another run: {instead}")
        if resumed is not None and going_on:
            self._leave_behind(resumed)
        told = resumed is None or self._has_told(resumed)
        if tensorboard:
            last = resumed.step if resumed and told else -1 if going_on else None  # of its points, those that stay
            self._curves = TensorBoard(self.path / "tensorboard", last)
        if resumed is None:
            self.log("start")
        else:
            if not told:
                self._tell(resumed.history)
            bad = (record.get("name") for record in self._records() if record.get("event") == "bad_image")
            self._named = {name for name in bad if isinstance(name, str)}
            self.log("resume", step=resumed.step, checkpoint=str(resumed.path), damaged=self._damaged)
        self._saved, self._steps_since = time.monotonic(), 0

    def _leave_behind(self, resumed: Checkpoint) -> None:
        """From here on the newest checkpoint of the run is the one that it goes on from."""
        try:
            later = self.checkpoints.go_on_from(resumed.path)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{shown(self.path)}: later checkpoints cannot be marked: {error}") from error
        if later:
            some = ", ".join(map(_name, later[:3])) + ", ..." * (len(later) > 3)
            beside = "later checkpoints stay, beside those of --keep, until the run has passed them"
            self.warn(f"going on from {resumed.path.name}; {beside}: {some}")

    def describe(self, settings: Mapping) -> None:
        """Writes run.json: what the run is, for people and for other programs."""
        self._settings = dict(settings)
        if self.keep_folder():  # which has written it
            return
        write_text(self.path / "run.json", json.dumps(self._settings, indent=1) + "\n")

    # ---- the log ----

    @property
    def _log(self) -> Path:
        return self.path / "log.jsonl"

    def log(self, event: str, /, **fields) -> None:
        """Adds a record to log.jsonl. A full disk does not end a run: the record is lost, and that is said."""
        about = {"event": event, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        record = about | fields | about  # of a history from elsewhere, fields may be called anything
        try:
            if self._lock.lost():
                raise OSError(f"{shown(self.path)} was moved, deleted or replaced")
            append_json_line(self._log, record)
            if event == "epoch" and self._curves:
                self._curves.add(record)
                self._curves.flush()
        except OSError as error:
            self.warn(f"a record of the log cannot be written: {error}")

    def _records(self) -> list[dict]:
        """What the log says so far; nothing where it cannot be read."""
        with suppress(OSError):
            return read_log(self._log)
        return []

    def _has_told(self, checkpoint: Checkpoint) -> bool:
        """Whether the log's epochs are those that led to the checkpoint. They are not in a new folder, nor after the
        run went on from an earlier one in between, nor where a full disk has cost one.
        """
        epochs = [record for record in self._records() if record.get("event") == "epoch"]
        epochs = [record for record in epochs if record["step"] <= checkpoint.step]
        history = checkpoint.history
        same = all(record | before == record for record, before in zip(epochs, history, strict=False))
        return len(epochs) == len(history) and same

    def _tell(self, history: Sequence[dict], **about) -> None:
        """Begins the log anew: with these epochs, whatever it has said before."""
        self.log("start", **about)
        for record in history:
            self.log("epoch", **record)

    def warn(self, message: str) -> None:
        """A line on the terminal, in which what does not print is escaped."""
        tqdm.write(f"warning: {shown(message)}", file=sys.stderr)

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
                self.warn(f"stopped; go on with --resume {shell_word(self.path)}")
            elif isinstance(error, Stopped):
                self.warn("stopped before the first checkpoint: nothing was saved")
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
        arrays = whole_state(net, optimizer)  # where ranks of a mesh meet: before anything that may fail on one of them
        try:
            self._history = state["history"]
            self.keep_folder()
            self.checkpoints.write(*arrays, optimizer.lr, statistics, state)
            self.unsaved = None
        except CheckpointError as error:
            self.unsaved = error
            self.warn(f"no checkpoint of step {state['step']}: {error}")
            self.log("unsaved", step=state["step"], reason=str(error))
        self._saved, self._steps_since = time.monotonic(), 0

    def keep_folder(self) -> bool:
        """Goes on in a new folder where the run's own has been moved, deleted or replaced, and returns whether it does:
        what was trained is not lost, and nothing is written into a folder that another run may have.

        It has the same name if nothing has it now, so that a queue that starts the run again finds it. CheckpointError
        when there can be none.
        """
        if not self._lock.lost():
            return False
        lost, keep = self.path, self.checkpoints.keep
        self._lock.release()
        try:
            self._enter(_free(lost, 2) if os.path.lexists(lost) else lost)
        except OSError as error:
            raise CheckpointError(f"{shown(lost)} was moved, deleted or replaced, and {error}") from error
        self.checkpoints.keep = keep
        where = "a new folder of that name" if self.path == lost else str(self.path)
        self.warn(f"{lost} was moved, deleted or replaced: the run goes on in {where}, with its next checkpoint")
        if self._curves:
            self._curves.close()
            self._curves = TensorBoard(self.path / "tensorboard")
        self._tell(self._history, moved_from=str(lost))
        with suppress(OSError):  # a full disk
            if self._settings is not None:
                self.describe(self._settings)
        return True

    def contents(self) -> list[str]:
        """What is in the folder, for people; nothing where there is none any more."""
        with suppress(OSError):
            return sorted(path.name for path in self.path.iterdir() if not path.name.startswith("."))
        return []

    def unfinish(self) -> None:
        """Takes the final weights away, which those of a run that goes on no longer are."""
        if not self._lock.lost() and (self.path / FINAL).exists():
            self.warn(f"{self.path / FINAL} goes, since the run goes on: what it held is in the checkpoints")
            remove(self.path / FINAL)

    def finish(self, net, statistics: Statistics, settings: Mapping) -> None:
        """Writes the final weights, with what is needed to use them, as the folder `final`: all of it or nothing."""
        weights = whole_parameters(net)  # before anything that may fail, as in `save`
        self.keep_folder()
        folder = self.path / FINAL
        try:
            commit_folder(folder, lambda beside: write_trained(beside, weights, statistics, settings))
        except (CheckpointError, OSError) as error:
            raise CheckpointError(f"{shown(folder)}: cannot be written ({shown(error.__cause__ or error)})") from error


def going_on(
    typed: argparse.Namespace, stack: ExitStack
) -> tuple[RunFolder | None, Checkpoint | None, list[str]]:
    """What a run goes on from, if it does: its folder, where it is there already, its checkpoint, and what is to be
    said of damaged ones. typed: see parse_options; the folder is left with the stack.
    """
    resume, output = typed.resume, typed.output_dir
    folder, checkpoint, damaged = None, None, list[str]()
    if resume is True and os.path.isdir(output):
        folder = RunFolder(output)
        stack.callback(folder.close)
        checkpoint = folder.find()
    elif resume and resume is not True and output and not os.path.exists(output):
        checkpoint = find_checkpoint(resume, damaged.append)
    elif resume and resume is not True:
        folder, checkpoint = RunFolder.resume(resume, output)
        stack.callback(folder.close)
    return folder, checkpoint, damaged


def _name(checkpoint: Path) -> str:
    """As a message names it."""
    try:
        read_state(checkpoint)
    except (OSError, ValueError):
        return f"{checkpoint.name} (damaged)"
    return checkpoint.name


def _free(prefix: str | Path, first: int) -> Path:
    """The folder prefix-1, or the next number that is free."""
    return next(path for number in itertools.count(first) if not os.path.lexists(path := Path(f"{prefix}-{number}")))
