"""Checkpoints: everything a run needs to go on from any step, each in a folder that is committed as a whole.

There is no random state to save: every draw depends on the seed and the step alone.
"""

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinynet import models
from tinynet.arrays import read_arrays, write_arrays
from tinynet.backend import to_host
from tinynet.data import Dataset, Statistics
from tinynet.errors import CheckpointError, DataError, NonFiniteError
from tinynet.files import brief, check_folder, commit_folder, is_count, is_number, read_json, remove, shown, write_text
from tinynet.network import Sequential
from tinynet.training.log import is_epoch
from tinynet.training.loop import EpochState
from tinynet.training.trained import (
    BEFORE,
    LEFT,
    STATE,
    STATISTICS,
    WEIGHTS,
    check_settings,
    check_size,
    checkpoint_paths,
    left_behind,
    room_for,
    step_of,
    write_trained,
)
from tinynet.weights import check_arrays, check_shapes, set_arrays, set_parameters, whole_parameters

VELOCITY = "velocity.safetensors"
REQUIRED = {"network", "scale", "classes", "data", "data_set", "drawn"}  # of a run's settings
FILES = WEIGHTS, STATISTICS, VELOCITY, STATE
# what the weights' shapes depend on
SHAPE_OPTIONS = {"width": "--width", "groups": "--groups", "depth": "--depth", "input_size": "--crop"}


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

    def check_job(self, job: str) -> None:
        """CheckpointError unless its settings are those of a run of this job."""
        lacking = REQUIRED - self.settings.keys()
        if lacking:
            raise CheckpointError(f"{shown(self.path)}: its settings lack {', '.join(sorted(lacking))}")
        made = self.settings.get("job", BEFORE)
        if made != job:
            raise CheckpointError(f"{shown(self.path)}: a run of {brief(made)}, which {job} cannot go on with")

    def check_data(self, data: Dataset, other_images: bool = False) -> None:
        """DataError unless it was made with the classes of `data` and, unless told, with the same images."""
        if self.settings["classes"] != list(data.classes):
            raise DataError(f"{shown(self.path)} was trained on other classes than those of {shown(data.root)}")
        if self.settings["data_set"] != data.fingerprint and not other_images:
            other = f"was trained on other images than those of {shown(data.root)}{data.why_other()}"
            raise DataError(f"{shown(self.path)} {other}; --override goes on")

    def build(self, model: str, arguments: Mapping[str, object]) -> Sequential:
        """models.build(model, **arguments), whose values `restore` is to give. CheckpointError for another model than
        its own and, before much memory is taken, unless the net has the shapes of these weights.
        """
        made_by, made = self.settings.get("model", BEFORE), self.settings["network"]
        if model != made_by:
            raise CheckpointError(f"{shown(self.path)}: has the weights of {brief(made_by)}, not of {model}")
        shapes = {name: array.shape for name, array in self.weights.items()}
        try:
            with room_for(shapes):
                net = models.build(model, **arguments)
            check_shapes(net, shapes, shown(self.path))
            return net
        except (CheckpointError, OverflowError, RecursionError, TypeError, ValueError) as error:
            changed = [
                f"{option} {brief(arguments[name])} (made with {brief(made.get(name))})"
                for name, option in SHAPE_OPTIONS.items()
                if name in arguments and arguments[name] != made.get(name)
            ]
            if not changed and isinstance(error, CheckpointError):
                raise
            what = f"the weights have other shapes, which --override cannot change: {', '.join(changed)}"
            reason = what if changed else shown(str(error)[:300])
            raise CheckpointError(f"{shown(self.path)}: {reason}") from error

    def restore(self, net, optimizer=None) -> None:
        """Sets the net's parameters and the optimizer's velocities, all or none; CheckpointError if they do not fit."""
        if optimizer is not None:
            check_arrays(net, self.velocity, f"{shown(self.path)}, velocity")
        set_parameters(net, self.weights, shown(self.path))
        if optimizer is not None:
            set_arrays(net, optimizer.velocity, self.velocity)


def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Reads a checkpoint whose checksums are right; CheckpointError when it is missing, damaged or something else."""
    folder = Path(folder)
    if not os.path.isdir(folder):
        found = "that is a file" if os.path.exists(folder) else "no such folder"
        raise CheckpointError(f"{shown(folder)}: {found}; a checkpoint is a folder with {', '.join(FILES)}")
    try:
        state = read_state(folder)
        statistics = Statistics.from_arrays(read_arrays(folder / STATISTICS)[0])
        check_size(statistics, state["settings"])
        return Checkpoint(
            weights=read_arrays(folder / WEIGHTS)[0],
            velocity=read_arrays(folder / VELOCITY)[0],
            statistics=statistics,
            path=folder,
            **state,
        )
    except (CheckpointError, OSError, TypeError, ValueError) as error:
        raise CheckpointError(f"{shown(folder)}: not a checkpoint that can be used: {shown(error)}") from error


def read_state(folder: Path, names: Sequence[str] = FILES) -> dict:
    """The fields that a checkpoint's state.json holds; ValueError where one of its files `names` is missing or damaged,
    or the state is not what a run has written.
    """
    check_folder(folder, names)
    return _checked(read_json(folder / STATE))


def _history(folder: Path) -> list[dict] | None:
    """The epochs that led to a checkpoint; None where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        return read_state(folder, (STATE,))["history"]
    return None


def _checked(found: Any) -> dict:
    """The fields of a Checkpoint that a state.json holds; ValueError where they are not what a run has written."""

    def require(right: bool, what: str, value: object) -> None:
        if not right:
            raise ValueError(f"{STATE}: expected {what}, found {brief(value)}")

    require(isinstance(found, dict), "an object", found)
    state: dict = {"left_out": {}} | found
    kinds = {"settings": dict, "history": list, "step": int, "epoch": int, "running": dict, "left_out": dict}
    require(state.keys() == kinds.keys(), f"{', '.join(kinds)}", ", ".join(state))
    for name, kind in kinds.items():
        require(isinstance(state[name], kind), f"{name} to be of type {kind.__name__}", state[name])
    for name in ("step", "epoch"):
        require(is_count(state[name]), f"{name} to be a count", state[name])
    check_settings(state["settings"])
    for record in state["history"]:
        require(is_epoch(record), "history to be of epochs, with their results", record)
    counts = EpochState().counts()
    if state["running"]:
        require(state["running"].keys() == counts.keys(), f"counts of {', '.join(counts)}", ", ".join(state["running"]))
    for name, value in state["running"].items():
        right = is_count(value) if isinstance(counts[name], int) else is_number(value)
        require(right, f"{name} to be a number", value)
    left_out: dict[str, dict[int, str]] = {}
    for split, bad in state["left_out"].items():
        right = isinstance(bad, dict) and all(image.isdecimal() and isinstance(why, str) for image, why in bad.items())
        require(right, "left_out to say which images cannot be read, and why", bad)
        left_out[split] = {int(image): why for image, why in bad.items()}
    return state | {"left_out": left_out}


def find_checkpoint(path: str | Path, report: Callable[[str], None] = print) -> Checkpoint:
    """The newest usable checkpoint of a run's folder, or the one that `path` is; CheckpointError if there is none.

    report: told of each damaged one that was passed over.
    """
    path = Path(path)
    folder = path / "checkpoints" if os.path.isdir(path / "checkpoints") else path
    if path.name != "checkpoints" and folder == path:
        return load_checkpoint(path)
    checkpoint = Checkpoints(folder).load_newest(report)
    if checkpoint is None:
        raise CheckpointError(f"{shown(path)}: a run without a checkpoint so far")
    return checkpoint


def whole_state(net, optimizer) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The net's parameters and the optimizer's velocities on the host, joined where several devices hold parts."""
    velocity = {name: to_host(velocity) for name, velocity in optimizer.velocity.items()}
    return whole_parameters(net), net.merge(velocity)


class Checkpoints:
    """The checkpoints of a run: folders step-000001234 in `folder`, of which the last `keep` and the best are kept.

    The best is the one after an epoch whose validation top-1 error is the lowest (the earliest of equals). Beside
    these, those that the run has left behind by going on from an earlier one stay until it has passed their steps.
    """

    def __init__(self, folder: str | Path, keep: int = 3):
        if keep < 1:
            raise ValueError(f"Checkpoints: expected to keep 1 or more, got {keep}")
        self.folder, self.keep = Path(folder), keep

    def paths(self) -> list[Path]:
        """Of all checkpoints, the one to go on from last; those that the run has left behind come first."""
        return checkpoint_paths(self.folder)

    def go_on_from(self, checkpoint: Path) -> list[Path]:
        """From now on `checkpoint` is the newest of the run: leaves behind those with later steps, which are returned,
        and those that led elsewhere; takes back those that led to it.
        """
        step, history = step_of(checkpoint), _history(checkpoint)
        (checkpoint / LEFT).unlink(missing_ok=True)
        for path in self.paths():
            before = _history(path)
            led = None  # whether it led to the checkpoint: unknown of a damaged one, which stays what it was
            if history is not None and before is not None:
                led = before == history[: len(before)]
            if step_of(path) > step or led is False:
                reason = f"The run went on from {checkpoint.name}; this stays until it has passed this step."
                write_text(path / LEFT, f"{reason}\n")
            elif led:
                (path / LEFT).unlink(missing_ok=True)
        return [path for path in self.paths() if step_of(path) > step]

    def save(self, net, optimizer, statistics: Statistics, state: Mapping) -> Path:
        """Writes a checkpoint of the step state["step"]; then deletes what is not to be kept.

        state: the fields of Checkpoint that JSON can hold. CheckpointError, with everything as before, when it cannot
        be written (a full disk); NonFiniteError for weights or velocities that nothing can go on from.
        """
        return self.write(*whole_state(net, optimizer), optimizer.lr, statistics, state)

    def write(
        self, weights: Mapping[str, np.ndarray], velocity: Mapping[str, np.ndarray], lr: float, statistics: Statistics,
        state: Mapping,
    ) -> Path:  # fmt: skip
        """`save` of what `whole_state` has found."""
        for kind, arrays in (("parameter", weights), ("velocity of", velocity)):
            bad = [name for name, array in arrays.items() if not np.isfinite(array).all()]
            if bad:
                reason = f"no checkpoint, since the {kind} {', '.join(bad)} is not finite"
                rate = f"at a learning rate of {lr:g}: a smaller one may help"
                raise NonFiniteError(f"step {state['step']}: {reason}, {rate}")

        def write(folder: Path) -> None:
            write_trained(folder, weights, statistics, state["settings"])
            write_arrays(folder / VELOCITY, velocity)
            (folder / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")

        path = self.folder / f"step-{state['step']:09}"
        try:
            commit_folder(path, write)
        except (CheckpointError, OSError) as error:
            reason = f"cannot be written ({shown(error.__cause__ or error)}); those before it are as they were"
            raise CheckpointError(f"{shown(path)}: {reason}") from error
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
            none = f"none of {len(errors)} checkpoints can be used"
            raise CheckpointError(f"{shown(self.folder)}: {none}: {errors[-1]}")
        return None

    def _prune(self, newest: Path) -> None:
        """Keeps the last of the run's own checkpoints, up to `newest`, the best of them, and all with later steps."""
        before = [path for path in self.paths() if step_of(path) <= step_of(newest)]
        own = [path for path in before if not left_behind(path)]
        for path in set(before) - {*own[-self.keep :], best_of(own)}:
            path.rename(path.with_name(f".{path.name}.deleted"))  # first, so that a kill leaves no half of one
        for path in self.folder.glob(".step-*"):
            remove(path)


def best_checkpoint(run: str | Path) -> Path:
    """Of the checkpoints in a run's folder, the one after an epoch whose validation top-1 error is the lowest.

    CheckpointError where there is none.
    """
    if best := best_of([path for path in checkpoint_paths(Path(run) / "checkpoints") if not left_behind(path)]):
        return best
    expected = "expected a run's folder with a checkpoint at the end of an epoch"
    raise CheckpointError(f"{shown(run)}: there is no best one: {expected}")


def best_of(paths: list[Path]) -> Path | None:
    """Of these checkpoints; the earliest of equals, None without any that ends an epoch. What is damaged is none."""
    errors = {}
    for path in paths:
        try:
            state = read_state(path, (STATE,))
        except (OSError, ValueError):
            continue
        if state["history"] and not state["running"]:
            errors[path] = state["history"][-1]["validation"]["top1_error"]
    return min(errors, key=errors.__getitem__, default=None)
