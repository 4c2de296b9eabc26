"""Transfer learning: a network that starts with a trained one's weights, and of which some layers stay as they are.

How frozen layers are spared their gradients is known to Sequential.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinynet.backend import Array, to_device, to_host
from tinynet.data import Batch, Loader
from tinynet.errors import DataError, did_you_mean
from tinynet.files import shown
from tinynet.layers import Dropout
from tinynet.network import Sequential
from tinynet.training.batches import Batches
from tinynet.training.loop import EpochState, prepared
from tinynet.training.progress import Counter
from tinynet.training.settings import S, option
from tinynet.training.trained import Trained, checkpoint_paths, load_trained
from tinynet.weights import check_shapes, set_parameters, whole_parameters


def starting_point(typed: argparse.Namespace, load: Callable[..., Trained] = load_trained) -> Trained:
    """The network that a job starts from: of a run that goes on its own, else what --weights names. Images are then
    read with as many channels as it was trained on. typed: see parse_options, with starts=True. load: reads what
    --weights names, which may be of other kinds than a run's.
    """
    resumed = typed.output_dir if typed.resume is True else typed.resume
    begun = resumed and (typed.resume is not True or checkpoint_paths(Path(resumed) / "checkpoints"))
    if not begun and not typed.weights:
        raise ValueError("--weights PATH is missing: there is nothing to go on from, so say what to start from")
    if not begun and len(typed.weights) > 1:
        raise ValueError(f"--weights: expected one network to start from, got {len(typed.weights)}")
    trained = (load_trained if begun else load)(resumed if begun else typed.weights[0], model=typed.model)
    if trained.channels not in (1, 3) or trained.settings.get("dtype", "uint8") != "uint8":
        raise DataError(f"{shown(trained.path)}: was trained on arrays, and not on pictures")
    if not hasattr(typed, "channels"):
        typed.channels = trained.channels
    return trained


def take_weights(net: Sequential, trained: Trained, classes: Sequence[str]) -> str:
    """Gives `net` the parameters of the trained network, but those of its last layer, which stays as it was drawn,
    unless the classes are the same; says which. CheckpointError where other shapes differ.
    """
    weights, last = whole_parameters(trained.net), last_layer(net)
    same = tuple(trained.settings["classes"]) == tuple(classes)
    if not same:
        weights |= {name: array for name, array in whole_parameters(net).items() if name.startswith(f"{last}.")}
    source = shown(trained.path)
    check_shapes(net, {name: array.shape for name, array in weights.items()}, source)
    set_parameters(net, weights, source)
    kept = "kept: the classes are the same" if same else f"new, for {len(classes)} classes of its own"
    return f"Starting from {source}; its last layer, {last}, is {kept}"


def sized(settings: S, trained: Trained, typed: argparse.Namespace) -> S:
    """The settings with the sizes of images that the trained network has; ValueError where the user typed another."""
    sizes = {name: trained.settings[name] for name in ("resize", "crop")}
    for name, size in sizes.items():
        if getattr(typed, name, size) != size:
            raise ValueError(f"{option(name)} {getattr(typed, name)}: {shown(trained.path)} was trained with {size}")
    return replace(settings, **sizes)


def last_layer(net: Sequential) -> str:
    """The name of the last layer that has parameters."""
    return [layer.name for _, layer, _ in net.parameters()][-1]


def freeze(net: Sequential, names: Sequence[str] = (), below: str | None = None) -> list[str]:
    """Sets trainable=False on the layers of these names, and on all below one; returns the names of all that are
    frozen, in order. ValueError for a name that is not there, and when nothing is left to train.
    """
    layers = {layer.name: layer for _, layer, _ in net.parameters()}  # each once, in order
    for name in [*names, below] if below is not None else names:
        if name not in layers:
            there = f"the layers with weights are {', '.join(layers)}"
            raise ValueError(f"--freeze: no layer {name!r} that could be frozen: {there}{did_you_mean(name, layers)}")
    order = list(layers)
    chosen = {*names, *order[: order.index(below) if below is not None else 0]}
    if chosen == set(order):
        raise ValueError(f"all layers are frozen ({', '.join(order)}): nothing is left to train")
    for name, layer in layers.items():
        layer.trainable = name not in chosen
    return [name for name in order if name in chosen]


# ---- the outputs of frozen layers, computed once for all epochs ----


def split_at_training(net: Sequential) -> tuple[Sequential | None, Sequential]:
    """The layers at the beginning whose outputs are the same in every epoch, since they are frozen and drop nothing
    out, and the others; None where there are none.
    """
    names = list(net.layers)
    dropout = next((place for place, layer in enumerate(net) if isinstance(layer, Dropout) and layer.p), len(names))
    first = min(net.lowest_trained(), dropout, len(names) - 1)
    return (net[: names[first - 1]] if first else None), net[names[first] :]


def cache_features(net: Sequential, images: Batches) -> tuple[Sequential, Batches]:
    """What is left to train, and batches of what it is given: of each image of `images`, whose training images are not
    augmented, the output of the frozen layers below, computed here and kept in memory. The ten views stay images.

    From then on `net` is trained through what is left, whose first layer gives no gradient of its input. ValueError
    where nothing at the beginning of the network is frozen.
    """
    if images.train.views != "shuffled":
        raise ValueError("cache_features: expected training images without augmentation, the same in every epoch")
    body, head = split_at_training(net)
    if body is None:
        first = next(iter(net)).name
        raise ValueError(f"nothing to keep: the first layer, {first}, is trained, or what it gives is dropped out")
    head.needs_dx = False
    train, val = (Features(body, loader, images) for loader in (images.train, images.val))
    kept = (train.nbytes + val.nbytes) / 2**20
    print(f"Kept what {list(body.layers)[-1]} gives for {len(train.split) + len(val.split):,} images: {kept:,.0f} MiB")
    return head, replace(images, train=train, val=val, prepare=_to_input)  # type: ignore[arg-type]  # as far as used


class Features:
    """As a Loader, batches of a network's outputs for the images of a loader, in the same order epoch by epoch.

    Images that could not be read are left out.
    """

    def __init__(self, body: Sequential, loader: Loader, images: Batches):
        self.split, self.views, self._loader = loader.split, loader.views, loader
        counter, state, found = Counter("computing features"), EpochState(), None
        self._readable = np.zeros(len(self.split), bool)
        for batch, x in prepared(loader.epoch(), images.prepare, state):
            features = to_host(body.forward(x))
            if found is None:
                found = np.empty((len(self.split), *features.shape[1:]), features.dtype)
            found[batch.indices], self._readable[batch.indices] = features, True
            counter(state.batches, len(loader))
        if found is None:
            raise DataError(f"none of {len(self.split)} images can be read")
        self._features, self.bad = found, loader.bad

    @property
    def nbytes(self) -> int:
        """Of the memory that the outputs take."""
        return self._features.nbytes

    def __len__(self) -> int:
        return len(self._loader)

    def epoch(self, number: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from batch `start` on."""
        for indices in self._loader.batch_indices(number, start):
            indices = indices[self._readable[indices]]
            yield Batch(self._features[indices], self.split.labels[indices], None, indices, 1)


class _Input:
    """In place of Prepare, for what needs no preparing."""

    def __call__(self, batch: Batch) -> Array:
        return to_device(batch.images)

    def send(self, batch: Batch) -> None:
        """Nothing is sent ahead."""


_to_input = _Input()
