"""The folder of a run: one process has it at a time, and everything that the run leaves behind is in it."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from tinynet.files import Lock
from tinynet.interchange.weights import CheckpointError
from tinynet.training.checkpoint import Checkpoint, Checkpoints
from tinynet.training.log import TensorBoard, append_json_line


class Run:
    """Lock, log and checkpoints of the run in `folder`, which is made if it is not there.

    resumed: the checkpoint that it goes on from. A checkpoint is due after `minutes`, or after `steps` steps where they
    are given; the last `keep` and the best stay. tensorboard: the log's epochs become curves, too. LockedError, an
    OSError, when another process has the folder, FileExistsError when it has checkpoints of another run.
    """

    def __init__(
        self,
        folder: str | Path,
        resumed: Checkpoint | None = None,
        keep: int = 3,
        minutes: float = 15,
        steps: int | None = None,
        tensorboard: bool = False,
    ):
        if not minutes > 0 or (steps is not None and steps < 1):
            raise ValueError(f"checkpoints: expected minutes > 0 and steps > 0 between them, got {minutes}, {steps}")
        self.folder = Path(folder)
        self.checkpoints = Checkpoints(self.folder / "checkpoints", keep)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(self.folder)
        if self.checkpoints.paths() and not (resumed and resumed.path.parent.samefile(self.checkpoints.folder)):
            raise FileExistsError(f"{folder} has checkpoints of another run: --resume {folder}, or choose another")
        resumed_at = resumed.step if resumed else None
        self._curves = TensorBoard(self.folder / "tensorboard", resumed_at) if tensorboard else None
        self._minutes, self._steps = minutes, steps
        self._saved, self._steps_since = time.monotonic(), 0
        self._named: set[str] = set()
        self.unsaved: CheckpointError | None = None  # why the last checkpoint could not be written

    def close(self) -> None:
        """Leaves the folder to others."""
        self._lock.release()

    def describe(self, settings: Mapping) -> None:
        """Writes run.json: what the run is, for people and for `python -m tinynet plot`."""
        (self.folder / "run.json").write_text(json.dumps(dict(settings), indent=1) + "\n", encoding="utf-8")

    def log(self, event: str, **fields) -> None:
        """Adds a record to log.jsonl. A full disk does not end a run: the record is lost, and that is said."""
        record = {"event": event, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **fields}
        try:
            append_json_line(self.folder / "log.jsonl", record)
        except OSError as error:
            self.warn(f"the log cannot be written: {error}")
        if event == "epoch" and self._curves:
            self._curves.add(record)
            self._curves.flush()

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
        """A context: the error that ends it is in the log too."""
        try:
            yield
        except Exception as error:
            self.log("stop", reason=str(error))
            raise

    def due(self) -> bool:
        """To be asked after each step: whether it is time for a checkpoint."""
        self._steps_since += 1
        if self._steps is not None and self._steps_since >= self._steps:
            return True
        return time.monotonic() - self._saved >= 60 * self._minutes

    def save(self, net, optimizer, statistics, state: Mapping) -> None:
        """Saves a checkpoint. When it cannot be written, the run goes on, says so, and tries again at the next."""
        try:
            self.checkpoints.save(net, optimizer, statistics, state)
            self.unsaved = None
        except CheckpointError as error:
            self.unsaved = error
            self.warn(f"no checkpoint of step {state['step']}: {error}")
            self.log("unsaved", step=state["step"], reason=str(error))
        self._saved, self._steps_since = time.monotonic(), 0
