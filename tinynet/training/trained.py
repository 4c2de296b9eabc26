"""A trained network as it lies on disk: rebuilt from its settings, with its weights and the statistics of its images.

Only safetensors and JSON are read. What a run needs beyond that to go on is in checkpoint.py.
"""

import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinynet import models
from tinynet.arrays import Shapes, read_arrays, read_shapes, write_arrays
from tinynet.data import Dataset, Loader, Prepare, Split, Statistics, open_dataset, view_count
from tinynet.data.batches.whole import WholeLoader, WholePrepare
from tinynet.data.dataset import ProgressCallback, channels_of, dtype_of
from tinynet.errors import CheckpointError, DataError
from tinynet.files import CHECKSUMS, brief, check_folder, is_count, is_number, parse_json, shown
from tinynet.initializers import blank
from tinynet.models.building import KNOWN, Model
from tinynet.network import Sequential
from tinynet.weights import check_shapes, set_parameters

WEIGHTS, STATISTICS = "weights.safetensors", "statistics.safetensors"
STATE = "state.json"  # beside them in a checkpoint
FINAL = "final"  # the folder in a run's with both, once it is finished
NAME = re.compile("step-[0-9]{9,}")  # of a checkpoint's folder
BEFORE = "alexnet"  # the only model of runs that name none
LEFT = "LEFT_BEHIND"  # the file that marks one that its run has left behind


class NotNamedError(CheckpointError):
    """The network's model is a user's own, and was not named."""


@dataclass(frozen=True)
class Trained:
    """A network that can be asked about images. settings: see `load_trained`; path: the weights' file."""

    net: Sequential
    statistics: Statistics
    settings: dict
    path: Path

    @property
    def channels(self) -> int:
        """Of the images that it was trained on."""
        return len(self.statistics.mean_image)

    def prepare(self) -> Prepare:
        """The step from a batch's bytes to the network's input, as in its training: its crop, mean image and scale."""
        return Prepare(self.statistics, self.settings["crop"], self.settings["scale"], self.net)

    def asked(
        self, split: Split, views: str, batch_size: int, workers: int = 2, scales: Sequence[int] = (), **bad: Any
    ) -> list[tuple[Sequential, Loader, Prepare]]:
        """What to ask about a split's images: networks, each with its batches, and the step between. One, but for the
        views "dense": then the network as convolutions on the whole of each picture, its shorter side of each of these
        sizes (default: as in its training), with a mean colour in place of the mean image. bad: Loader's max_bad and
        on_bad. ValueError for a size below the training's crop.
        """
        size, crop = self.settings["resize"], self.settings["crop"]
        if views != "dense":
            loader = Loader(split, batch_size, size, crop, views, workers=workers, **bad)
            return [(self.net, loader, self.prepare())]
        if too_small := [scale for scale in scales if scale < crop]:
            raise ValueError(f"--scales {too_small[0]}: {shown(self.path)} takes images of {crop} pixels or more")
        net = models.convolutional(self.net, (self.channels, crop, crop))
        prepare: Any = WholePrepare(self.statistics, self.settings["scale"])
        loaders: list[Any] = [WholeLoader(split, scale, workers, **bad) for scale in scales or (size,)]
        return [(net, loader, prepare) for loader in loaders]

    def data(self) -> str:
        """Where its training found its images; DataError where its settings do not say."""
        if not self.settings.get("data"):
            raise DataError(f"{shown(self.path)}: its settings do not say where its images are: say with --data")
        return self.settings["data"]

    def open_data(
        self, root: str | Path, progress: ProgressCallback | None = None, val_share: float | None = None
    ) -> Dataset:
        """The data set at `root`, read as its training read its own. val_share: what the user asks for; else the kept
        share counts, where there are no validation images.
        """
        share = self.settings.get("val_share") if val_share is None else val_share
        channels = self.channels if self.channels in (1, 3) else None  # others are never pictures
        return open_dataset(root, progress, share, channels, asked=val_share is not None)

    def for_split(self, split: Split) -> "Trained":
        """Itself; DataError unless it was trained on these classes, and on images of these channels and numbers."""
        dtype, found = self.settings.get("dtype", "uint8"), dtype_of(split).name
        if (self.channels, dtype) != (channels_of(split), found):
            trained_on = f"was trained on images of {self.channels} channels, {dtype}"
            raise DataError(f"{shown(self.path)}: {trained_on}, and these have {channels_of(split)}, {found}")
        return self.for_classes(split.classes)

    def for_classes(self, classes: Sequence[str]) -> "Trained":
        """Itself; DataError unless it was trained on these classes, in this order."""
        if tuple(self.settings["classes"]) != tuple(classes):
            raise DataError(
                f"{shown(self.path)}: was trained on other classes than the images': {_some(self.settings['classes'])};"
                f" expected {_some(classes)}"
            )
        return self


def write_trained(folder: Path, weights: Mapping[str, np.ndarray], statistics: Statistics, settings: Mapping) -> None:
    """The files that `load_trained` needs. weights: whole, on the host."""
    write_arrays(folder / STATISTICS, statistics.to_arrays())
    write_arrays(folder / WEIGHTS, weights, {"settings": json.dumps(dict(settings))})


def images_at_once(views: str) -> int:
    """A batch size for these views: as many images as make 128 views, and 1 for "dense". ValueError, with the choices,
    for views that are none.
    """
    return 1 if views == "dense" else max(1, 128 // view_count(views))


def load_trained(
    path: str | Path, report: Callable[[str], None] = print, model: Model | None = None
) -> Trained:
    """The network at `path`: a weights.safetensors, the folder of a checkpoint, or the folder of a run.

    Of a finished run it is its final one, else its newest checkpoint that is not damaged; `report` is told of those
    that are. The weights' metadata has "settings", a JSON object with at least "network" (the arguments of its
    "model", of models.alexnet where none is named), "resize", "crop", "scale" and "classes"; statistics.safetensors
    lies beside the weights. model: builds networks of the user's own, a function or "module:function"; what a file
    names is never imported. CheckpointError says what is missing; ValueError or ImportError for a model that is not.
    """
    path, model = Path(path), models.find(model) if isinstance(model, str) else model
    if os.path.isfile(path):  # which, unlike the path's own methods, takes names that no file can have
        return _load(path, model)
    if not os.path.isdir(path):
        expected = "expected weights, a checkpoint's or a run's folder"
        raise CheckpointError(f"{shown(path)}: no such file or folder: {expected}")
    if (path / WEIGHTS).exists():
        return _load(path / WEIGHTS, model)
    return _newest(path, report, model)


def checkpoint_paths(folder: Path) -> list[Path]:
    """Of the checkpoints in a run's folder `checkpoints`, the one to go on from last.

    Those that the run has left behind, when it went on from an earlier one, come before its own.
    """
    found = (path for path in folder.glob("step-*") if NAME.fullmatch(path.name) and path.is_dir())
    return sorted(found, key=lambda path: (not left_behind(path), step_of(path)))


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def left_behind(checkpoint: Path) -> bool:
    return (checkpoint / LEFT).exists()


def _newest(run: Path, report: Callable[[str], None], model: Model | None) -> Trained:
    """The final network, or the newest checkpoint that can be read; all are listed again after each failure, since one
    may vanish while the run goes on.
    """
    failures: dict[Path, CheckpointError] = {}
    while found := [p for p in (*checkpoint_paths(run / "checkpoints"), *run.glob(FINAL)) if p not in failures]:
        try:
            return _load(found[-1] / WEIGHTS, model)
        except NotNamedError:
            raise
        except CheckpointError as error:
            failures[found[-1]] = error
            if found[-1].exists():
                report(f"{error}. Taking the one before it")
    if failures:
        first = next(iter(failures.values()))
        raise CheckpointError(f"{shown(run)}: none of its {len(failures)} checkpoints can be read; the newest: {first}")
    raise CheckpointError(f"{shown(run)}: looked for {FINAL}/{WEIGHTS} or checkpoints/step-*/{WEIGHTS}, found neither")


def _load(path: Path, own: Model | None) -> Trained:
    if any((path.parent / name).exists() for name in (CHECKSUMS, STATE)):  # else these are weights on their own
        try:
            check_folder(path.parent, (WEIGHTS, STATISTICS))
        except ValueError as error:
            raise CheckpointError(str(error)) from error
    shapes, metadata = read_shapes(path)
    settings = _settings(path, metadata)
    model = _model(path, settings["model"], own)
    beside = path.with_name(STATISTICS)
    if not beside.exists():
        raise CheckpointError(
            f"{shown(path)}: {STATISTICS}, with the mean image of its training set, is missing beside it: give the"
            f" run's folder, or copy the file from there"
        )
    try:
        statistics = Statistics.from_arrays(read_arrays(beside)[0])
        check_size(statistics, settings)
        with room_for(shapes):
            net = models.build(model, **settings["network"])
        channels, crop = len(statistics.mean_image), settings["crop"]
        outputs, classes = net.output_shape((channels, crop, crop)), len(settings["classes"])
        if outputs != (classes,):
            raise ValueError(f"outputs of {outputs}, and {classes} classes")
    except (OverflowError, RecursionError, TypeError, ValueError) as error:
        reason = f"its network or statistics cannot be rebuilt: {shown(str(error)[:300])}"
        raise CheckpointError(f"{shown(path)}: {reason}") from error
    check_shapes(net, shapes, shown(path))  # before they are read
    set_parameters(net, read_arrays(path)[0], shown(path))
    return Trained(net, statistics, settings, path)


def _model(path: Path, name: str, own: Model | None) -> Model:
    """What builds the network that a file names: one of this project's models, or what the user has named for it."""
    if name in KNOWN:
        return name
    if ":" not in name:
        raise CheckpointError(f"{shown(path)}: is of the model {brief(name)}, which this tinynet does not have")
    if own is None:
        raise NotNamedError(
            f"{shown(path)}: is of a model of somebody's own, {brief(name)}, which no file can make tinynet import:"
            f" name it yourself with --model MODULE:FUNCTION (model=)"
        )
    return own


def room_for(shapes: Shapes) -> AbstractContextManager[None]:
    """A context in which to build a network for the weights of a file that holds arrays of these shapes, and no larger
    one: its settings are not to be trusted before the weights are known to fit. A little more is let by, for the error
    that names what does not fit.
    """
    return blank(2 * sum(map(math.prod, shapes.values())) + 1_000_000)


# ---- settings ----


def _settings(path: Path, metadata: dict[str, str]) -> dict:
    """The settings in the metadata of the weights, with the classes' names."""
    if "settings" not in metadata:
        raise CheckpointError(
            f"{shown(path)}: has weights but no settings to rebuild the network from: give the {WEIGHTS} or the folder"
            f" of a run, or build the network yourself and use tinynet.load_weights"
        )
    try:
        settings = parse_json(metadata["settings"])
        if not isinstance(settings, dict):
            raise ValueError(f"found {type(settings).__name__}")
    except ValueError as error:
        raise CheckpointError(f"{shown(path)}: its settings are no JSON object ({shown(error)})") from error
    missing = [name for name in ("network", "resize", "crop", "scale", "classes") if name not in settings]
    if missing:
        found = shown(", ".join(list(settings)[:20])) or "none"
        raise CheckpointError(f"{shown(path)}: its settings lack {', '.join(missing)}; found {found}")
    settings = {"names": settings["classes"], "model": BEFORE} | settings
    try:
        check_settings(settings)
    except ValueError as error:
        raise CheckpointError(f"{shown(path)}: its settings: {error}") from error
    return settings


def check_settings(settings: Mapping) -> None:
    """ValueError unless those of a run's settings that are there are what they can be; others are not looked at."""

    def text(value: object) -> bool:
        return isinstance(value, str)

    def names(value: object) -> bool:
        return isinstance(value, list) and all(map(text, value))

    def size(value: object) -> bool:
        return is_count(value) and value > 0

    def scale(value: object) -> bool:
        return all(is_number(one) and one > 0 for one in (value if isinstance(value, list) and value else [value]))

    def flag(value: object) -> bool:
        return isinstance(value, bool)

    expected = {
        "job": (text, "a text"),
        "model": (text, "a text"),
        "network": (lambda value: isinstance(value, dict), "an object"),
        "resize": (size, "a whole number above 0"),
        "crop": (size, "a whole number above 0"),
        "scale": (scale, "a number above 0, or one for each channel"),
        "classes": (names, "a list of texts"),
        "names": (names, "a list of texts"),
        "data": (text, "a text"),
        "data_set": (text, "a text"),
        "drawn": (flag, "true or false"),
        "dtype": (lambda value: value in ("uint8", "float32"), "uint8 or float32"),
        "val_share": (lambda value: value is None or (is_number(value) and 0 < value < 1), "a share between 0 and 1"),
    }
    for name, (right, what) in expected.items():
        if name in settings and not right(settings[name]):
            raise ValueError(f"{name}: expected {what}, found {brief(settings[name])}")
    if "crop" in settings and "resize" in settings and settings["crop"] > settings["resize"]:
        raise ValueError(f"crop {settings['crop']} is larger than resize {settings['resize']}")
    if "names" in settings and "classes" in settings and len(settings["names"]) != len(settings["classes"]):
        raise ValueError(f"{len(settings['names'])} names for {len(settings['classes'])} classes")


def check_size(statistics: Statistics, settings: Mapping) -> None:
    """ValueError unless the statistics are of images of the size that the settings say, where they say one."""
    shape = statistics.mean_image.shape
    if settings.get("resize", shape[1]) != shape[1]:
        raise ValueError(f"a mean image of {shape}, and resize {settings['resize']}")


def _some(classes) -> str:
    return f"{shown(', '.join(classes[:3]))}{', ...' * (len(classes) > 3)} ({len(classes)})"
