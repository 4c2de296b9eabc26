"""Checkpoints: everything a run needs to go on, in one safetensors file, written at the end of each epoch.

There is no random state to save: every draw depends on the seed and the step alone.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinynet.backend import to_host
from tinynet.data.statistics import Statistics
from tinynet.interchange.weights import (
    CheckpointError,
    check_arrays,
    read_arrays,
    set_arrays,
    set_parameters,
    whole_parameters,
    write_arrays,
)


@dataclass(frozen=True)
class Checkpoint:
    """settings: the network and the run, as JSON can hold them. history: one record per finished epoch."""

    weights: dict[str, np.ndarray]
    velocity: dict[str, np.ndarray]
    statistics: Statistics
    settings: dict
    history: list[dict]
    path: Path

    def restore(self, net, optimizer=None) -> None:
        """Sets the net's parameters and the optimizer's velocities, all or none; CheckpointError if they do not fit."""
        if optimizer is not None:
            check_arrays(net, self.velocity, f"{self.path}, velocity")
        set_parameters(net, self.weights, str(self.path))
        if optimizer is not None:
            set_arrays(net, optimizer.velocity, self.velocity)


def save_checkpoint(path: str | Path, net, optimizer, statistics: Statistics, settings: dict, history: list) -> None:
    """Writes a checkpoint; the one that was there before stays until the new one is complete."""
    velocity = net.merge({name: to_host(velocity) for name, velocity in optimizer.velocity.items()})
    arrays = {f"weights.{name}": parameter for name, parameter in whole_parameters(net).items()}
    arrays |= {f"velocity.{name}": value for name, value in velocity.items()}
    arrays |= statistics.to_arrays()
    write_arrays(path, arrays, {"settings": json.dumps(settings), "history": json.dumps(history)})


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a checkpoint; CheckpointError when the file is missing, damaged or no checkpoint of tinynet's."""
    arrays, metadata = read_arrays(path)
    try:
        return Checkpoint(
            weights=_part(arrays, "weights."),
            velocity=_part(arrays, "velocity."),
            statistics=Statistics.from_arrays(arrays),
            settings=json.loads(metadata["settings"]),
            history=json.loads(metadata["history"]),
            path=Path(path),
        )
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of a training run ({error})") from error


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
