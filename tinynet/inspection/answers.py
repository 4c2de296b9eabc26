"""What trained networks say of image files that are in no data set: probabilities, and the outputs of inner layers.

Images are cut, and pixels scaled, as in each network's own training. Errors of labelled images are counted in
training/evaluation.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tinynet.backend import to_host
from tinynet.data import Batch, Loader, Prepare, Split
from tinynet.data.stores.files import image_files
from tinynet.errors import DataError, NonFiniteError, did_you_mean
from tinynet.files import shown
from tinynet.layers import ReLU, Sigmoid, Tanh
from tinynet.network import Sequential
from tinynet.training.evaluation import mean_softmax
from tinynet.training.trained import Trained, images_at_once


@dataclass(frozen=True)
class Answer:
    """What there is to say of one image: numbers, or why it could not be read."""

    path: str
    values: np.ndarray | None  # float32
    problem: str = ""


def predict_files(
    networks: Sequence[Trained], paths: Sequence[str], views: str = "ten", workers: int = 2, scales: Sequence[int] = ()
) -> Iterator[Answer]:
    """The probability of each class, (classes,), of the images at these paths, in their order: the mean over the views
    and over the networks, as in the paper's section 4.1 and table 2.

    workers: threads that decode for each network. scales: of dense views, see Trained.asked. DataError for networks of
    other classes than the first, or that are not for pictures; NonFiniteError for one whose answers are no numbers.
    """
    if not networks:
        raise ValueError("predict_files: expected one or more networks, got none")
    classes = tuple(networks[0].settings["classes"])
    for trained in networks:
        trained.for_classes(classes)

    def ask(net: Sequential, x, views: int) -> np.ndarray:
        return mean_softmax(to_host(net.forward(x)), views)

    return _answers(networks, paths, views, workers, ask, scales)


def layer_files(trained: Trained, paths: Sequence[str], layer: str, workers: int = 2) -> Iterator[Answer]:
    """The output of a layer, see `output_of`, for the middle crops of the images at these paths, in their order."""
    end = output_of(trained.net, layer)

    def ask(net: Sequential, x, views: int) -> np.ndarray:
        return net.activations(x, [end])[end]

    return _answers([trained], paths, "middle", workers, ask)


def output_of(net: Sequential, layer: str) -> str:
    """The name of the layer whose output is meant by this one's: its own, or that of the ReLU, tanh or sigmoid right
    behind it, as the paper has it in figure 4. ValueError for a layer that is not there.
    """
    names = list(net.layers)
    if layer not in names:
        raise ValueError(f"no layer {layer!r}: this network has {', '.join(names)}{did_you_mean(layer, names)}")
    following = names.index(layer) + 1
    behind = names[following] if following < len(names) else layer
    return behind if isinstance(net[behind], ReLU | Tanh | Sigmoid) else layer


def _answers(
    networks: Sequence[Trained], paths: Sequence[str], views: str, workers: int, ask, scales: Sequence[int] = ()
) -> Iterator[Answer]:
    """The mean of what ask(net, x, views) gives for each image, (N, ...), over the networks and their scales."""
    batch_size = images_at_once(views)
    ways = [way for trained in networks for way in _ways(trained, paths, batch_size, views, workers, scales)]
    loaders = [loader for _, loader, _ in ways]
    firsts = range(0, len(paths), batch_size)
    for first, batches in zip(firsts, zip(*(loader.epoch() for loader in loaders), strict=True), strict=True):
        sums: dict[int, np.ndarray] = {}
        for (net, _, prepare), batch in zip(ways, batches, strict=True):
            if len(batch.labels):
                _add(sums, batch, ask(net, prepare(batch), batch.views))
        for index in range(first, min(len(paths), first + batch_size)):
            problem = next((loader.bad[index] for loader in loaders if index in loader.bad), "")
            values = None if problem else (sums[index] / len(ways)).astype(np.float32)
            yield Answer(paths[index], values, problem)


def _add(sums: dict[int, np.ndarray], batch: Batch, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise NonFiniteError("what a network gives is not finite")
    for index, own in zip(batch.indices.tolist(), values, strict=True):
        sums[index] = sums[index] + own if index in sums else own


def _ways(
    trained: Trained, paths: Sequence[str], batch_size: int, views: str, workers: int, scales: Sequence[int]
) -> list[tuple[Sequential, Loader, Prepare]]:
    if trained.channels not in (1, 3) or trained.settings.get("dtype", "uint8") != "uint8":
        raise DataError(f"{shown(trained.path)}: was trained on arrays, and can be asked about no pictures")

    def on_bad(name: str, reason: str) -> None:
        """Each is in the answers."""

    split: Split = image_files(paths, tuple(trained.settings["classes"]), trained.channels)
    return trained.asked(split, views, batch_size, workers, scales, max_bad=1.0, on_bad=on_bad)
