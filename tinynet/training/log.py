"""The log of a run: JSON lines that survive a kill, the sizes of parameters and updates, and TensorBoard's curves.

What is worth a record, and when, is decided where the run is.
"""

import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tinynet.backend import xp
from tinynet.files import check_regular, is_count, is_number, no_link, parse_json, shown
from tinynet.layers import Layer
from tinynet.optimizers import SGD

CHUNK = 1 << 20  # numbers whose absolute values are in memory at once


def append_json_line(path: str | Path, record: dict) -> None:
    """Adds one record to a log of JSON lines, on a fresh line where a kill has torn the last one. OSError when it
    cannot be written, or is a link.
    """
    if os.path.lexists(path):
        check_regular(path)
    with open(path, "ab+", opener=no_link) as log:
        torn = log.tell() > 0
        if torn:
            log.seek(-1, 2)  # from the end
            torn = log.read() != b"\n"
        log.write(b"\n" * torn + json.dumps(record).encode() + b"\n")


def read_log(path: str | Path) -> list[dict]:
    """The records of a log that count: without lines that a kill tore, and without what a resumed run did again.

    A run that goes on from a step writes a record with "event": "resume" and that "step"; records before it with a
    later step are void; so is all before a "start". A line that no run has written is left out like a torn one: in what
    is returned, an "event" is a text, a "step" a whole number, and an "epoch" has its numbers. OSError when the file
    cannot be read.
    """
    check_regular(path)
    with open(path, encoding="utf-8", errors="replace") as log:
        records = [record for line in log if (record := _record(line)) is not None]
    kept: list[dict] = []
    limit, epochs = math.inf, set()  # as they stand after a record; so the log is walked through once, backwards
    for record in reversed(records):
        event, step = record.get("event"), record.get("step", 0)
        # the same epoch twice: a run was killed between the record and the checkpoint after it
        if step <= limit and not (event == "epoch" and step in epochs):
            kept.append(record)
        if event == "epoch":
            epochs.add(step)
        if event == "resume":
            limit = min(limit, record.get("step", math.inf))
        if event == "start":
            break
    return kept[::-1]


def _record(line: str) -> dict | None:
    """What a line of a log says; None if no run has written it."""
    try:
        record = parse_json(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("event", ""), str):
        return None
    if not is_count(record.get("step", 0)) or (record.get("event") == "epoch" and not is_epoch(record)):
        return None
    return record


def is_epoch(record: object) -> bool:
    """Whether a record of an epoch, from JSON, has its numbers: epoch, step, rate, and the results of both passes; of
    few classes there need not be top-5 errors.
    """
    if not isinstance(record, dict) or not (is_count(record.get("epoch")) and is_count(record.get("step"))):
        return False
    numbers = [record.get("lr")]
    for part in (record.get("train"), record.get("validation")):
        results = part if isinstance(part, dict) else {}
        numbers += [results.get("loss"), results.get("top1_error")]
        numbers += [results["top5_error"]] if results.get("top5_error") is not None else []
    return all(map(is_number, numbers))


# ---- the sizes of parameters ----


def parameter_sizes(net: Layer, optimizer: SGD) -> dict[str, dict[str, float | None]]:
    """For each parameter of the whole network the mean absolute "weight", the last "update", and their "ratio".

    cuda-convnet printed these with each test: a ratio around 1e-3 is healthy, far smaller means that a layer hardly
    learns, far larger that the learning rate is too high. The update is the optimizer's velocity. What is not a finite
    number, as the ratio of a parameter of zeros, is None: JSON has no other word for it.
    """

    def sums(device: int) -> dict[str, np.ndarray]:
        return {name: _sums(layer.params[key], optimizer.velocity[name]) for name, layer, key in net.parameters(device)}

    parts = {name: part for found in net.on_devices(sums) for name, part in found.items()}
    return {name: _sizes(*part.reshape(-1, 3).sum(axis=0)) for name, part in net.merge(parts).items()}


def _sums(weight, update) -> np.ndarray:
    """The sums of absolute values of both, and how many there are: (1, ..., 1, 3).

    It has an axis of length 1 for each of the parameter's, so that `merge` joins the towers' sums in place of the
    towers' parameters.
    """
    sums = (_absolute_sum(weight), _absolute_sum(update), weight.size)
    return np.array(sums).reshape(*(1,) * weight.ndim, 3)


def _absolute_sum(array) -> float:
    flat = array.reshape(-1)
    chunks = (flat[first : first + CHUNK] for first in range(0, flat.size, CHUNK))
    return sum(float(xp.abs(chunk).sum(dtype=xp.float64)) for chunk in chunks)


def _sizes(weights: float, updates: float, count: float) -> dict[str, float | None]:
    ratio = updates / weights if weights > 0 else math.nan
    sizes = {"weight": weights / count, "update": updates / count, "ratio": ratio}
    return {name: float(size) if math.isfinite(size) else None for name, size in sizes.items()}


# ---- TensorBoard ----


class TensorBoard:
    """Writes the numbers of log records as TensorBoard's scalars into `folder`: tensorboard --logdir FOLDER.

    resumed_at: the step from which a run goes on; TensorBoard then forgets the later ones of the run before. It needs
    neither TensorFlow nor PyTorch. ImportError without the package tensorboard, ValueError for a folder that it cannot
    name. Use it in a `with`, or close() it.
    """

    def __init__(self, folder: str | Path, resumed_at: int | None = None):
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise ImportError(f"TensorBoard's curves need: pip install 'tinynet[tensorboard]' ({error})") from error
        if str(folder).encode(errors="ignore").decode() != str(folder):
            raise ValueError(f"{shown(folder)}: TensorBoard takes no folder whose name is not UTF-8")
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._writer = EventFileWriter(str(folder))
        if resumed_at is not None:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._writer.add_event(self._event(wall_time=time.time(), step=resumed_at + 1, session_log=start))

    def add(self, record: dict) -> None:
        """Every number in the record as a point at its "step": "lr", "train/loss", "parameters/fc6.weight/ratio"."""
        values = [
            self._summary.Value(tag=tag, simple_value=number)
            for tag, number in _numbers(record)
            if tag not in ("step", "epoch")
        ]
        event = self._event(wall_time=time.time(), step=record["step"], summary=self._summary(value=values))
        self._writer.add_event(event)

    def flush(self) -> None:
        """Everything added so far is on disk when this returns."""
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def _numbers(record: dict, prefix: str = "") -> Iterator[tuple[str, float]]:
    """(tag, number) of all numbers in nested dicts, the tags like paths."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + name, float(value)
