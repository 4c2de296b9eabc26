"""Checkpoints: everything a run needs to go on from any step, each in a folder that is committed as a whole.

There is no random state to save: every draw depends on the seed and the step alone.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tinynet.backend import to_host
from tinynet.data import DataError, Dataset, Statistics
from tinynet.files import check_folder, commit_folder
from tinynet.interchange.weights import (
    CheckpointError,
    check_arrays,
    read_arrays,
    set_arrays,
    set_parameters,
    whole_parameters,
    write_arrays,
)
from tinynet.training.loop import NonFiniteError
from tinynet.training.trained import STATE, STATISTICS, WEIGHTS, write_trained

VELOCITY = "velocity.safetensors"
FILES = WEIGHTS, STATISTICS, VELOCITY, STATE


NAME = re.compile("step-[0-9]{9,}")


@dataclass(frozen=True)
class Checkpoint:
    """settings: the network and the run, as JSON can hold them. history: one record per finished epoch.

    step: how many were done. epoch: the number of the one to go on with, from 0. running: what was counted in it so
    far, EpochState.counts(); empty at its start. left_out: for "train" and "val" what Loader.bad held.
    """

    weights: dict[str, np.ndarray]
    velocity: dict[str, np.ndarray]
    statistics: Statistics
    settings: dict
    history: list[dict]
    step: int
    epoch: int
    running: dict
    path: Path
    left_out: dict[str, dict[int, str]] = field(default_factory=dict)

    def check_data(self, data: Dataset, other_images: bool = False) -> None:
        """DataError unless it was made with the classes of `data` and, unless told, with the same images."""
        if self.settings["classes"] != list(data.classes):
            raise DataError(f"{self.path} was trained on other classes than those of {data.root}")
        if self.settings["data_set"] != data.fingerprint and not other_images:
            others = f"other images than those of {data.root}{data.why_other()}"
            raise DataError(f"{self.path} was trained on {others}; --override goes on")

    def restore(self, net, optimizer=None) -> None:
        """Sets the net's parameters and the optimizer's velocities, all or none; CheckpointError if they do not fit."""
        if optimizer is not None:
            check_arrays(net, self.velocity, f"{self.path}, velocity")
        set_parameters(net, self.weights, str(self.path))
        if optimizer is not None:
            set_arrays(net, optimizer.velocity, self.velocity)


def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Reads a checkpoint whose checksums are right; CheckpointError when it is missing, damaged or something else."""
    folder = Path(folder)
    if not folder.is_dir():
        found = "that is a file" if folder.exists() else "no such folder"
        raise CheckpointError(f"{folder}: {found}; a checkpoint is a folder with {', '.join(FILES)}")
    try:
        check_folder(folder, FILES)
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        left_out = {split: {int(i): why for i, why in bad.items()} for split, bad in state.get("left_out", {}).items()}
        return Checkpoint(
            weights=read_arrays(folder / WEIGHTS)[0],
            velocity=read_arrays(folder / VELOCITY)[0],
            statistics=Statistics.from_arrays(read_arrays(folder / STATISTICS)[0]),
            path=folder,
            **state | {"left_out": left_out},
        )
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: not a checkpoint that can be used: {error}") from error


def find_checkpoint(path: str | Path, report: Callable[[str], None] = print) -> Checkpoint:
    """The newest usable checkpoint of a run's folder, or the one that `path` is; CheckpointError if there is none.

    report: told of each damaged one that was passed over.
    """
    path = Path(path)
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    if path.name != "checkpoints" and folder == path:
        return load_checkpoint(path)
    checkpoint = Checkpoints(folder).load_newest(report)
    if checkpoint is None:
        raise CheckpointError(f"{path}: a run without a checkpoint so far")
    return checkpoint


class Checkpoints:
    """The checkpoints of a run: folders step-000001234 in `folder`, of which the last `keep` and the best are kept.

    The best is the one after an epoch whose validation top-1 error is the lowest (the earliest of equals).
    """

    def __init__(self, folder: str | Path, keep: int = 3):
        if keep < 1:
            raise ValueError(f"Checkpoints: expected to keep 1 or more, got {keep}")
        self.folder, self.keep = Path(folder), keep

    def paths(self) -> list[Path]:
        """Of all checkpoints, the oldest first."""
        found = (path for path in self.folder.glob("step-*") if NAME.fullmatch(path.name) and path.is_dir())
        return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))

    def save(self, net, optimizer, statistics: Statistics, state: Mapping) -> Path:
        """Writes a checkpoint of the step state["step"]; then deletes what is not to be kept.

        state: the fields of Checkpoint that JSON can hold. CheckpointError, with everything as before, when it cannot
        be written (a full disk); NonFiniteError for weights or velocities that nothing can go on from.
        """
        velocity = net.merge({name: to_host(velocity) for name, velocity in optimizer.velocity.items()})
        weights = whole_parameters(net)
        for kind, arrays in (("parameter", weights), ("velocity of", velocity)):
            bad = [name for name, array in arrays.items() if not np.isfinite(array).all()]
            if bad:
                names = ", ".join(bad)
                raise NonFiniteError(f"step {state['step']}: no checkpoint, since the {kind} {names} is not finite")

        def write(folder: Path) -> None:
            write_trained(folder, weights, statistics, state["settings"])
            write_arrays(folder / VELOCITY, velocity)
            (folder / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")

        path = self.folder / f"step-{state['step']:09}"
        try:
            commit_folder(path, write)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be written ({error}); those before it are as they were") from error
        with contextlib.suppress(OSError):  # what cannot be deleted now is tried again with the next
            self._prune(path)
        return path

    def load_newest(self, report: Callable[[str], None] = print) -> Checkpoint | None:
        """The newest checkpoint that is not damaged; `report` is told of each one that is. None: there is none at all.

        CheckpointError when all are damaged.
        """
        errors = []
        for path in reversed(self.paths()):
            try:
                return load_checkpoint(path)
            except CheckpointError as error:
                report(f"{error}. Falling back to the checkpoint before it.")
                errors.append(error)
        if errors:
            raise CheckpointError(f"{self.folder}: none of {len(errors)} checkpoints can be used: {errors[-1]}")
        return None

    def _prune(self, newest: Path) -> None:
        """Keeps `newest`, those just before it, and the best. One with a higher number was damaged, or left behind when
        the run went on from an earlier one.
        """
        paths = self.paths()
        place = paths.index(newest)
        kept = {*paths[max(0, place + 1 - self.keep) : place + 1], self._best(paths[: place + 1])}
        for path in set(paths) - kept:
            path.rename(path.with_name(f".{path.name}.deleted"))  # first, so that a kill leaves no half of one
        for path in self.folder.glob(".step-*"):
            shutil.rmtree(path, ignore_errors=True)

    @staticmethod
    def _best(paths: list[Path]) -> Path | None:
        errors = {}
        for path in paths:
            try:
                check_folder(path, (STATE,))
                state = json.loads((path / STATE).read_text(encoding="utf-8"))
                if state["history"] and not state["running"]:
                    errors[path] = state["history"][-1]["validation"]["top1_error"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return min(errors, key=errors.get, default=None)
