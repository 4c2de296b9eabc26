"""What trained networks say of image files that are in no data set: probabilities, and the outputs of inner layers.

Images are cut, and pixels scaled, as in each network's own training. Errors of labelled images are counted in
training/evaluation.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tinynet.backend import to_host
from tinynet.data import Batch, Loader, Split, view_count
from tinynet.data.stores.files import image_files
from tinynet.errors import DataError, NonFiniteError, did_you_mean
from tinynet.files import shown
from tinynet.layers import ReLU, Sigmoid, Tanh
from tinynet.network import Sequential
from tinynet.training.evaluation import mean_softmax
from tinynet.training.trained import Trained

AT_ONCE = 128  # views in a batch


@dataclass(frozen=True)
class Answer:
    """What there is to say of one image: numbers, or why it could not be read."""

    path: str
    values: np.ndarray | None  # float32
    problem: str = ""


def predict_files(
    networks: Sequence[Trained], paths: Sequence[str], views: str = "ten", workers: int = 2
) -> Iterator[Answer]:
    """The probability of each class, (classes,), of the images at these paths, in their order: the mean over the views
    and over the networks, as in the paper's section 4.1 and table 2.

    workers: threads that decode for each network. DataError for networks of other classes than the first, or that are
    not for pictures; NonFiniteError for one whose answers are no numbers.
    """
    if not networks:
        raise ValueError("predict_files: expected one or more networks, got none")
    classes = tuple(networks[0].settings["classes"])
    for trained in networks:
        trained.for_classes(classes)

    def ask(trained: Trained, x, views: int) -> np.ndarray:
        return mean_softmax(to_host(trained.net.forward(x)), views)

    return _answers(networks, paths, views, workers, ask)


def layer_files(trained: Trained, paths: Sequence[str], layer: str, workers: int = 2) -> Iterator[Answer]:
    """The output of a layer, see `output_of`, for the middle crops of the images at these paths, in their order."""
    end = output_of(trained.net, layer)

    def ask(trained: Trained, x, views: int) -> np.ndarray:
        return trained.net.activations(x, [end])[end]

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


def _answers(networks: Sequence[Trained], paths: Sequence[str], views: str, workers: int, ask) -> Iterator[Answer]:
    """The mean of what ask(trained, x, views) gives for each image, (N, ...), over the networks."""
    batch_size = max(1, AT_ONCE // view_count(views))
    loaders = [_loader(trained, paths, batch_size, views, workers) for trained in networks]
    prepares = [trained.prepare() for trained in networks]
    firsts = range(0, len(paths), batch_size)
    for first, batches in zip(firsts, zip(*(loader.epoch() for loader in loaders), strict=True), strict=True):
        sums: dict[int, np.ndarray] = {}
        for trained, prepare, batch in zip(networks, prepares, batches, strict=True):
            if len(batch.labels):
                _add(sums, batch, ask(trained, prepare(batch), batch.views), trained)
        for index in range(first, min(len(paths), first + batch_size)):
            problem = next((loader.bad[index] for loader in loaders if index in loader.bad), "")
            values = None if problem else (sums[index] / len(networks)).astype(np.float32)
            yield Answer(paths[index], values, problem)


def _add(sums: dict[int, np.ndarray], batch: Batch, values: np.ndarray, trained: Trained) -> None:
    if not np.isfinite(values).all():
        raise NonFiniteError(f"{shown(trained.path)}: what the network gives is not finite")
    for index, own in zip(batch.indices.tolist(), values, strict=True):
        sums[index] = sums[index] + own if index in sums else own


def _loader(trained: Trained, paths: Sequence[str], batch_size: int, views: str, workers: int) -> Loader:
    settings = trained.settings
    if trained.channels not in (1, 3) or settings.get("dtype", "uint8") != "uint8":
        raise DataError(f"{shown(trained.path)}: was trained on arrays, and can be asked about no pictures")
    split: Split = image_files(paths, tuple(settings["classes"]), trained.channels)

    def on_bad(name: str, reason: str) -> None:
        """Each is in the answers."""

    sizes = settings["resize"], settings["crop"]
    return Loader(split, batch_size, *sizes, views, workers=workers, max_bad=1.0, on_bad=on_bad)
