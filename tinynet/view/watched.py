"""A run that may still be under way: what its log and its checkpoints say. Nothing is written, nothing is locked."""

import os
from pathlib import Path
from typing import Any

from tinynet.errors import CheckpointError
from tinynet.files import shown
from tinynet.inspection.pictures import state_of
from tinynet.models.building import Model
from tinynet.training import Trained, load_trained
from tinynet.training.log import read_log
from tinynet.training.trained import FINAL, checkpoint_paths


class WatchedRun:
    """The run in a folder. model: builds its network, where that is one of the user's own. follow: whether newer
    weights than those first shown are wanted.
    """

    def __init__(self, folder: str | Path, trained: Trained, model: Model | None = None, follow: bool = True):
        self.folder, self._model, self._follow = Path(folder), model, follow
        self._taken = trained.path.parent
        self._read_at: tuple[int, int] | None = None  # of the log: its size and time
        self._records: list[dict] = []

    @property
    def has_log(self) -> bool:
        return (self.folder / "log.jsonl").is_file()

    def newer(self) -> tuple[Trained, str] | None:
        """Newer weights than the last ones, if there are some that can be read, and which they are."""
        found = [*checkpoint_paths(self.folder / "checkpoints"), *self.folder.glob(FINAL)]
        if not self._follow or not found or found[-1] == self._taken:
            return None
        try:
            trained = load_trained(self.folder, lambda sentence: None, self._model)
        except CheckpointError:  # being written, or just deleted: the next time
            return None
        return None if self.has_taken(trained) else (trained, state_of(trained))

    def has_taken(self, trained: Trained) -> bool:
        return trained.path.parent == self._taken

    def take(self, trained: Trained) -> None:
        """These are shown from here on."""
        self._taken = trained.path.parent

    def progress(self) -> dict[str, Any]:
        """The results of its epochs, when its last record was written, and how it ended, if that was told."""
        records = self._log()
        names = ("epoch", "train", "validation")
        epochs = [{name: record[name] for name in names} for record in records if record.get("event") == "epoch"]
        last = records[-1] if records else {}
        stopped = last.get("event") == "stop"
        reason = shown(str(last.get("reason", "")))[:300] if stopped else ""
        ended = stopped or (self.folder / FINAL).is_dir()
        time = last["time"] if isinstance(last.get("time"), str) else ""
        return {"epochs": epochs, "last": shown(time)[:40], "ended": ended, "reason": reason}

    def _log(self) -> list[dict]:
        """Read again only where it has changed."""
        path = self.folder / "log.jsonl"
        try:
            status = os.stat(path)
            if self._read_at != (status.st_size, status.st_mtime_ns):
                self._records = read_log(path)
                self._read_at = status.st_size, status.st_mtime_ns
        except OSError:
            return []
        return self._records
