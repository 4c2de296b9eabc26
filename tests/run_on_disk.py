"""What a run leaves on disk, written small: settings, weights, statistics, checkpoints and log."""

import json
from pathlib import Path

from tinynet.arrays import write_arrays
from tinynet.data import Dataset, Statistics
from tinynet.training import append_json_line
from tinynet.weights import whole_parameters


def settings_of(data: Dataset, size: int, crop: int, scale: float = 1.0, **network) -> dict:
    network = {"num_classes": len(data.classes), "width": 0.06, "input_size": crop, "initialization": "he"} | network
    names = [f"the {name}" for name in data.classes]
    classes = list(data.classes)
    return {
        "network": network, "resize": size, "crop": crop, "scale": scale, "classes": classes, "names": names,
        "data": str(data.root),
    }  # fmt: skip


def write_weights(folder: Path, net, statistics: Statistics, settings: dict) -> Path:
    """weights.safetensors and statistics.safetensors of a finished run, or of a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays(folder / "weights.safetensors", whole_parameters(net), {"settings": json.dumps(settings)})
    write_arrays(folder / "statistics.safetensors", statistics.to_arrays())
    return folder


def write_log(folder: Path, epochs: int) -> None:
    append_json_line(folder / "log.jsonl", {"event": "start"})
    for epoch in range(1, epochs + 1):
        result = {"loss": 2 / epoch, "top1_error": 90 / epoch, "top5_error": 50 / epoch}
        record = {"event": "epoch", "epoch": epoch, "step": 10 * epoch, "lr": 0.01}
        append_json_line(folder / "log.jsonl", record | {"train": result, "validation": result})
