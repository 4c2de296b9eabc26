"""A trained network as it lies on disk: rebuilt from its settings, with its weights and the statistics of its images.

Only safetensors and JSON are read. What a run needs beyond that to go on is in checkpoint.py.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinynet import models
from tinynet.data import DataError, Prepare, Statistics
from tinynet.files import CHECKSUMS, check_folder
from tinynet.interchange.weights import CheckpointError, read_arrays, set_parameters, write_arrays
from tinynet.network import Sequential

WEIGHTS, STATISTICS = "weights.safetensors", "statistics.safetensors"
STATE = "state.json"  # beside them in a checkpoint
FINAL = "final"  # the folder in a run's with both, once it is finished


@dataclass(frozen=True)
class Trained:
    """A network that can be asked about images. settings: see `load_trained`; path: the weights' file."""

    net: Sequential
    statistics: Statistics
    settings: dict
    path: Path

    def prepare(self) -> Prepare:
        """The step from a batch's bytes to the network's input, as in its training: its crop, mean image and scale."""
        return Prepare(self.statistics, self.settings["crop"], self.settings["scale"], self.net)

    def for_classes(self, classes: Sequence[str]) -> "Trained":
        """Itself; DataError unless it was trained on these classes, in this order."""
        if tuple(self.settings["classes"]) != tuple(classes):
            raise DataError(
                f"{self.path}: was trained on other classes than the images': {_some(self.settings['classes'])};"
                f" expected {_some(classes)}"
            )
        return self


def write_trained(folder: Path, weights: Mapping[str, np.ndarray], statistics: Statistics, settings: Mapping) -> None:
    """The files that `load_trained` needs. weights: whole, on the host."""
    write_arrays(folder / STATISTICS, statistics.to_arrays())
    write_arrays(folder / WEIGHTS, weights, {"settings": json.dumps(dict(settings))})


def load_trained(path: str | Path, report: Callable[[str], None] = print) -> Trained:
    """The network at `path`: a weights.safetensors, the folder of a checkpoint, or the folder of a run.

    Of a finished run it is its final one, else its newest checkpoint that is not damaged; `report` is told of those
    that are. The weights' metadata has "settings", a JSON object with at least "network" (the arguments of
    models.alexnet), "resize", "crop", "scale" and "classes"; statistics.safetensors lies beside the weights.
    CheckpointError says what is missing.
    """
    path = Path(path)
    if path.is_file():
        return _load(path)
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such file or folder: expected weights, a checkpoint's or a run's folder")
    if (path / WEIGHTS).exists():
        return _load(path / WEIGHTS)
    return _newest(path, report)


def _newest(run: Path, report: Callable[[str], None]) -> Trained:
    """The final network, or the newest checkpoint that can be read; all are listed again after each failure, since one
    may vanish while the run goes on.
    """
    failures: dict[Path, CheckpointError] = {}
    while found := sorted({*(run / "checkpoints").glob("step-*"), *run.glob(FINAL)} - failures.keys(), key=_order):
        try:
            return _load(found[-1] / WEIGHTS)
        except CheckpointError as error:
            failures[found[-1]] = error
            if found[-1].exists():
                report(f"{error}. Taking the one before it")
    if failures:
        newest = failures[max(failures, key=_order)]
        raise CheckpointError(f"{run}: none of its {len(failures)} checkpoints can be read; the newest: {newest}")
    raise CheckpointError(f"{run}: looked for {FINAL}/{WEIGHTS} or checkpoints/step-*/{WEIGHTS}, found neither")


def _order(folder: Path) -> tuple[bool, str]:
    return folder.name == FINAL, folder.name


def _load(path: Path) -> Trained:
    if any((path.parent / name).exists() for name in (CHECKSUMS, STATE)):  # else these are weights on their own
        try:
            check_folder(path.parent, (WEIGHTS, STATISTICS))
        except ValueError as error:
            raise CheckpointError(str(error)) from error
    weights, metadata = read_arrays(path)
    settings = _settings(path, metadata)
    beside = path.with_name(STATISTICS)
    if not beside.exists():
        raise CheckpointError(
            f"{path}: {STATISTICS}, with the mean image of its training set, is missing beside it: give the run's"
            f" folder, or copy the file from there"
        )
    try:
        statistics = Statistics.from_arrays(read_arrays(beside)[0])
        net = models.alexnet(**settings["network"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its network or statistics cannot be rebuilt: {error}") from error
    set_parameters(net, weights, str(path))
    return Trained(net, statistics, settings, path)


def _settings(path: Path, metadata: dict[str, str]) -> dict:
    """The settings in the metadata of the weights, with the classes' names."""
    if "settings" not in metadata:
        raise CheckpointError(
            f"{path}: has weights but no settings to rebuild the network from: give the {WEIGHTS} or the folder of a"
            f" run, or build the network yourself and use tinynet.load_weights"
        )
    try:
        settings = json.loads(metadata["settings"])
        missing = [name for name in ("network", "resize", "crop", "scale", "classes") if name not in settings]
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its settings are no JSON object ({error})") from error
    if missing:
        raise CheckpointError(f"{path}: its settings lack {', '.join(missing)}; found {', '.join(settings) or 'none'}")
    return {"names": settings["classes"]} | settings


def _some(classes) -> str:
    return f"{', '.join(classes[:3])}{', ...' * (len(classes) > 3)} ({len(classes)})"
