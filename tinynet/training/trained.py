"""A trained network as it lies on disk: rebuilt from its settings, with its weights and the statistics of its images.

Only safetensors and JSON are read. What a run needs beyond that to go on is in checkpoint.py.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from tinynet import models
from tinynet.data import Prepare, Statistics
from tinynet.files import CHECKSUMS, check_folder
from tinynet.interchange.weights import CheckpointError, read_arrays, set_parameters
from tinynet.network import Sequential

WEIGHTS, STATISTICS = "weights.safetensors", "statistics.safetensors"


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


def load_trained(path: str | Path) -> Trained:
    """The network at `path`: a weights.safetensors, the folder of a checkpoint, or the folder of a run.

    Of a finished run it is its weights, else its newest checkpoint that can be read: one may vanish while the run goes
    on. The weights' metadata has "settings", a JSON object with at least "network" (the arguments of models.alexnet),
    "resize", "crop", "scale" and "classes"; statistics.safetensors lies beside the weights. CheckpointError says what
    is missing.
    """
    path = Path(path)
    if path.is_file():
        return _load(path)
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such file or folder: expected weights, a checkpoint's or a run's folder")
    if (path / WEIGHTS).exists():
        return _load(path / WEIGHTS)
    return _newest(path)


def _newest(run: Path) -> Trained:
    """The newest checkpoint that can be read. The folder is listed again after each failure: the run may go on."""
    failures: dict[Path, CheckpointError] = {}
    while checkpoints := sorted(set((run / "checkpoints").glob("step-*")) - failures.keys()):
        try:
            return _load(checkpoints[-1] / WEIGHTS)
        except CheckpointError as error:
            failures[checkpoints[-1]] = error
    if failures:
        raise CheckpointError(
            f"{run}: none of its {len(failures)} checkpoints can be read; the newest: {failures[max(failures)]}"
        )
    raise CheckpointError(f"{run}: looked for {WEIGHTS} or checkpoints/step-*/{WEIGHTS}, found neither")


def _load(path: Path) -> Trained:
    if (path.parent / CHECKSUMS).exists():  # a checkpoint's
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
