"""The pictures of a run, from what it has left on disk so far; how each is drawn is known to plots.py.

Made of a finished run, of one that was killed, and of one that still goes on.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tinynet import models
from tinynet.data import Dataset, Loader, Split
from tinynet.data.dataset import channels_of, dtype_of
from tinynet.errors import CheckpointError, DataError, NonFiniteError
from tinynet.files import shell_word, shown
from tinynet.inspection import plots
from tinynet.layers import Conv2d, Linear
from tinynet.models.building import Model
from tinynet.network import Sequential, leaves
from tinynet.random import stream
from tinynet.training.evaluation import predict
from tinynet.training.log import read_log
from tinynet.training.progress import Counter
from tinynet.training.trained import Trained, load_trained
from tinynet.weights import whole_parameters

SEARCHED = 2000  # training images among which the nearest are looked for
ROWS, NEAREST = 5, 6  # of figure 4 right


class Chosen:
    """Some images of a split, as a split."""

    def __init__(self, split: Split, indices: np.ndarray):
        self._split, self._indices = split, indices
        self.classes, self.labels = split.classes, split.labels[indices]
        self.channels, self.dtype = channels_of(split), dtype_of(split)

    def __len__(self) -> int:
        return len(self._indices)

    def name(self, index: int) -> str:
        return self._split.name(int(self._indices[index]))

    def load(self, index: int, size: int) -> np.ndarray:
        return self._split.load(int(self._indices[index]), size)


def draw_training(folder: Path, history: Sequence[dict], net, title: str, towers: int = 1) -> str:
    """The pictures of a run that has just ended: learning_curves.png and conv1_filters.png, into its folder.

    Whatever goes wrong, it does not end a finished run: it is returned as a sentence that says what would draw them,
    fit for a terminal; else nothing.
    """
    command, first = f"python -m tinynet plot {shell_word(folder)}", first_convolution(net)
    weights = whole_parameters(net) if first else {}  # where ranks of a mesh meet: before anything that may fail
    if not os.path.isdir(folder):  # it is another rank's
        return ""
    try:
        plots.learning_curves(history, folder / "learning_curves.png", shown(title))
        if first:
            name = first[0]
            plots.filters(weights[f"{name}.weight"], folder / f"{name}_filters.png", towers, name=name)
    except ImportError:
        return f"No pictures without matplotlib: pip install 'tinynet[plots]' && {command}"
    except Exception as error:
        return f"No pictures: {shown(error)}; to draw them: {command}"
    return ""


def draw_pictures(
    run: str | Path,
    data: str | Path | Dataset | None = None,
    out: str | Path | None = None,
    images: int = 8,
    seed: int = 0,
    model: Model | None = None,
) -> Iterator[str]:
    """Draws into `out` (default: the run's folder) and yields a sentence for each picture, fit for a terminal: where it
    is, or why not.

    learning_curves.png from log.jsonl; conv1_filters.png, guesses.png and neighbours.png from the weights or the newest
    checkpoint, the last two with images of the data set `data`, or at this path (default: where the run found it),
    chosen by `seed`.
    model: builds the network, where it is one of the user's own (see load_trained).
    Raises ImportError without matplotlib, CheckpointError when `run` is no run's folder, OSError when `out` cannot be
    written, ValueError for images < 1, and DataError at the end when `data` is given and cannot be used.
    """
    run = Path(run)
    sentences = _pictures(run, data, run if out is None else Path(out), images, seed, model)
    return map(shown, sentences)


def _pictures(
    run: Path, data: str | Path | Dataset | None, out: Path, images: int, seed: int, model: Model | None
) -> Iterator[str]:
    """The same, names as they are."""
    plots.check_matplotlib()
    model = models.find(model) if isinstance(model, str) else model  # a wrong name is told before anything is drawn
    if images < 1:
        raise ValueError(f"expected 1 or more images, got {images}")
    if not any(os.path.exists(run / name) for name in ("run.json", "log.jsonl", "weights.safetensors", "checkpoints")):
        what = "that is a file" if os.path.isfile(run) else "none of them" if os.path.isdir(run) else "no such folder"
        raise CheckpointError(
            f"{shown(run)}: looked for the folder of a run, with its run.json, log.jsonl, weights.safetensors or"
            f" checkpoints; found {what}"
        )
    _check_writable(out)
    title = run.resolve().name
    yield _draw_curves(run, out, title)
    try:
        trained = load_trained(run, model=model)
    except CheckpointError as error:
        yield f"No filters and no guesses: {error}"
        return
    yield _draw_filters(trained, out)
    try:
        dataset = data_of(trained, data)
        yield _draw_guesses(trained, dataset, out, title, images, seed)
        yield _draw_neighbours(trained, dataset, out, title, seed)
    except DataError as error:
        if data is not None:
            raise
        yield f"No more pictures: {error}. Say where the data set is with --data PATH"
    except NonFiniteError as error:
        yield f"No more pictures: {error}"


def _check_writable(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        where = f"{shown(out)}: pictures cannot be written there"
        raise OSError(f"{where} ({error}): name another folder, --out DIR") from error


def state_of(trained: Trained) -> str:
    """Which weights these are: a checkpoint's, or those of the finished run."""
    folder = trained.path.parent.name
    return f"step {int(folder.removeprefix('step-')):,}" if folder.startswith("step-") else "finished"


def data_of(trained: Trained, data: str | Path | Dataset | None = None) -> Dataset:
    """The data set `data`, or at this path (default: where the network's training found its own). DataError where it is
    not there, or has other classes or images than the network was trained on.
    """
    if isinstance(data, Dataset):
        trained.for_split(data.val)
        return data
    root = trained.settings.get("data") if data is None else data
    if not root:
        raise DataError(f"{shown(trained.path)}: its settings do not say where the images are")
    dataset = trained.open_data(root)
    if list(dataset.classes) != list(trained.settings["classes"]):
        raise DataError(f"{shown(root)}: has other classes than those that {shown(trained.path)} was trained on")
    trained.for_split(dataset.val)
    return dataset


# ---- the pictures ----


def _draw_curves(run: Path, out: Path, title: str) -> str:
    log, path = run / "log.jsonl", out / "learning_curves.png"
    records = read_log(log) if log.exists() else []
    history = [record for record in records if record.get("event") == "epoch"]
    if not history:
        return f"No learning curves: {log} has no finished epoch yet"
    plots.learning_curves(history, path, title)
    return f"{path}: loss and errors of {len(history)} epoch{'s' * (len(history) > 1)}"


def _draw_filters(trained: Trained, out: Path) -> str:
    """Figure 3 of the paper."""
    first = first_convolution(trained.net)
    if first is None:
        return "No filters: the network has no convolution of 1 or 3 channels"
    (name, layer), path = first, out / f"{first[0]}_filters.png"
    plots.filters(layer.params["weight"], path, _towers(trained), name=name)
    return f"{path}: the kernels of {name} ({state_of(trained)})"


def _towers(trained: Trained) -> int:
    """How many groups of kernels the first layer's are shown in: as many as alexnet's towers."""
    return trained.settings["network"].get("groups", 2) if trained.settings["model"] == "alexnet" else 1


def first_convolution(net) -> tuple[str, Conv2d] | None:
    """Its name and the layer, of a network or of its first tower, where its kernels can be shown as pictures."""
    layers = getattr(net, "towers", [net])[0].layers
    first = next(((name, layer) for name, layer in layers.items() if isinstance(layer, Conv2d)), None)
    return first if first and first[1].in_channels in (1, 3) else None


def _draw_guesses(trained: Trained, dataset: Dataset, out: Path, title: str, images: int, seed: int) -> str:
    """Figure 4 left of the paper."""
    path, settings = out / "guesses.png", trained.settings
    chosen = Chosen(dataset.val, _readable(dataset.val, settings["resize"], images, seed))
    loader = Loader(chosen, 16, settings["resize"], settings["crop"], "ten", workers=0)
    predictions = predict(trained.net, loader, trained.prepare())
    pictures = [chosen.load(int(index), settings["resize"]) for index in predictions.indices]
    about = (
        f"{title}, {state_of(trained)}: validation images chosen by seed {seed}, each with its true class and the best"
    )
    about += " guesses by the mean over ten views, the right one in red"
    plots.guesses(pictures, predictions.labels.tolist(), predictions.probabilities, settings["names"], path, about)
    return f"{path}: {len(pictures)} validation images and the best guesses, by the mean over ten views"


def _draw_neighbours(trained: Trained, dataset: Dataset, out: Path, title: str, seed: int) -> str:
    """Figure 4 right of the paper: nearest are images whose outputs of fc7 (in other networks, of the last but one
    linear layer) have the smallest Euclidean distance.
    """
    path, size, names = out / "neighbours.png", trained.settings["resize"], trained.settings["names"]
    val = Chosen(dataset.val, _readable(dataset.val, size, ROWS, seed))
    searched = stream(seed, "pictures", "train").permutation(len(dataset.train))[:SEARCHED]
    train = Chosen(dataset.train, searched)
    val_indices, val_features = _features(trained, val)
    train_indices, train_features = _features(trained, train)
    products = val_features @ train_features.T  # (rows, searched)
    distances = (train_features**2).sum(axis=1) - 2 * products  # squared, less what is the same in a row
    nearest = [train_indices[row] for row in np.argsort(distances, axis=1, kind="stable")[:, :NEAREST]]
    layer, _ = hidden_layer(trained.net)
    about = f"{title}, {state_of(trained)}: validation images, and the nearest by the output of {layer} among"
    about += f" {len(train):,} training images chosen by seed {seed}"
    plots.neighbours(
        [val.load(int(index), size) for index in val_indices],
        [names[val.labels[index]] for index in val_indices],
        [[train.load(int(index), size) for index in row] for row in nearest],
        [[names[train.labels[index]] for index in row] for row in nearest],
        path,
        about,
    )
    return f"{path}: the nearest of {len(train):,} training images, by the output of {layer}"


def _readable(split: Split, size: int, count: int, seed: int) -> np.ndarray:
    """The first `count` images in an order drawn by the seed, or fewer, that can be decoded; DataError if none can."""
    readable: list[int] = []
    last = None
    for index in stream(seed, "pictures").permutation(len(split)):
        try:
            split.load(int(index), size)
        except DataError as error:
            last = error
            continue
        readable.append(index)
        if len(readable) == count:
            break
    if not readable:
        raise DataError(f"none of {len(split)} images can be read; the last: {last}")
    return np.array(readable)


def hidden_layer(net: Sequential) -> tuple[str, str]:
    """The last but one of the linear layers, and the layer whose output the last one sees: in alexnet fc7 and dropout7.
    Of a network that has only one, or none, what lies below it.
    """
    layers = leaves(net)
    linear = [place for place, layer in enumerate(layers) if isinstance(layer, Linear)] or [len(layers) - 1]
    name = layers[linear[-2]].name if len(linear) > 1 else "all layers but the last"
    return name, layers[max(0, linear[-1] - 1)].name


def _features(trained: Trained, split: Chosen) -> tuple[np.ndarray, np.ndarray]:
    """(indices, what the last layer sees: in alexnet the outputs of fc7 after its ReLU) of the middle crops of the
    images that can be read: (N,), (N, numbers) float32. DataError if none can.
    """
    _, last = hidden_layer(trained.net)
    size, crop = trained.settings["resize"], trained.settings["crop"]
    loader = Loader(split, 32, size, crop, "middle", max_bad=1.0, on_bad=lambda name, reason: None)  # passed over
    prepare, counter = trained.prepare(), Counter("comparing")
    indices, features = [], []
    for number, batch in enumerate(loader.epoch(), start=1):
        if len(batch.labels):
            indices.append(batch.indices)
            features.append(trained.net.activations(prepare(batch), [last])[last].reshape(len(batch.labels), -1))
        counter(number, len(loader))
    if not indices:
        raise DataError(f"none of {len(split)} training images can be read")
    return np.concatenate(indices), np.concatenate(features)
