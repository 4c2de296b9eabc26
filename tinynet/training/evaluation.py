"""Evaluation as published: errors over the mean softmax of an image's views, of one network or of several.

How images are cut into views is the loader's business; errors are counted in metrics.py.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tinynet.backend import to_device, to_host
from tinynet.data import Loader, Prepare, Split
from tinynet.errors import DataError, NonFiniteError
from tinynet.layers import Layer
from tinynet.training.loop import EpochState, not_finite, prepared
from tinynet.training.metrics import ClassErrors, Running, class_errors, confusion_matrix, ranks
from tinynet.training.trained import Trained

Report = Callable[[EpochState], None]


def evaluate(net: Layer, loader: Loader, prepare: Prepare, report: Report = lambda state: None) -> EpochState:
    """Loss and errors over all images of the loader, from the mean softmax over its views (paper, section 4.1).

    Images that the loader skips do not count. NonFiniteError where the loss is not a finite number.
    """
    state = EpochState()
    for _ in _answers(net, loader, prepare, report, state):
        pass
    return state


@dataclass(frozen=True)
class Predictions:
    """What a network says of the N images that could be read, in the split's order."""

    probabilities: np.ndarray  # (N, classes) float32, the mean of the softmax over the views
    labels: np.ndarray  # (N,) int64
    indices: np.ndarray  # (N,) int64, the images' positions in the split


def predict(net: Layer, loader: Loader, prepare: Prepare, report: Report = lambda state: None) -> Predictions:
    """The probabilities of all images of the loader that can be read; its views are not "random"."""
    sums = _Sums(loader.split)
    sums.add(net, loader, prepare, report, EpochState())
    return sums.mean()


@dataclass(frozen=True)
class Evaluation:
    """Errors in percent and the mean loss of one or more networks over a split's images, and the same by class."""

    top1_error: float
    top5_error: float
    loss: float
    images: int
    skipped: int  # images that could not be read
    networks: int
    classes: list[ClassErrors]
    predictions: Predictions

    def record(self) -> dict[str, float | int]:
        """The numbers of all classes together, as a log keeps them."""
        names = ("top1_error", "top5_error", "loss", "images", "skipped", "networks")
        return {name: getattr(self, name) for name in names}

    def confusions(self) -> np.ndarray:
        """See confusion_matrix."""
        found = self.predictions
        return confusion_matrix(found.probabilities.argmax(axis=1), found.labels, len(self.classes))

    def surest_mistakes(self, count: int) -> Predictions:
        """Of the images that got a wrong answer, those with the highest probability of it, the surest first."""
        found = self.predictions
        answers, sure = found.probabilities.argmax(axis=1), found.probabilities.max(axis=1)
        order = np.argsort(-sure, kind="stable")
        chosen = order[answers[order] != found.labels[order]][:count]
        return Predictions(found.probabilities[chosen], found.labels[chosen], found.indices[chosen])


def evaluate_networks(
    networks: Iterable[Trained],
    split: Split,
    views: str = "ten",
    batch_size: int = 16,
    workers: int = 2,
    report: Report = lambda state: None,
    scales: Sequence[int] = (),
    **bad,
) -> Evaluation:
    """The mean of several networks' answers, as the paper's 5 and 7 networks (section 6, table 2); one will do.

    Averaged is the softmax, over the views of an image and over the networks, each with its own crop, mean image and
    pixel scale. An image counts when every network could read it. `networks` may be lazy, as in
    map(load_trained, paths): then one is in memory at a time. batch_size: images, each in all its views. views, scales:
    see Trained.asked. bad: Loader's max_bad and on_bad.

    ValueError without networks; DataError when a network's classes are not the split's, or no image can be read.
    """
    sums, state = _Sums(split), EpochState()
    names: Sequence[str] = ()
    count = 0
    for trained in networks:
        trained.for_split(split)
        for net, loader, prepare in trained.asked(split, views, batch_size, workers, scales, **bad):
            sums.add(net, loader, prepare, report, state)
        count += 1
        names = names or trained.settings.get("names", split.classes)
        del net, loader, prepare, trained  # or it would stay while the next one is loaded
    if not sums.passes:
        raise ValueError("evaluate_networks: expected one or more networks, got none")
    return _evaluation(sums, names, count)


def _evaluation(sums: "_Sums", names: Sequence[str], networks: int) -> Evaluation:
    predictions, split = sums.mean(), sums.split
    probabilities, labels = predictions.probabilities, predictions.labels
    if not len(labels):
        raise DataError(f"evaluate_networks: none of the {len(split)} images could be read")
    found = ranks(to_device(probabilities), labels)
    right = probabilities[np.arange(len(labels)), labels]
    total = Running()
    total.add(_mean_loss(right), found)
    classes = class_errors(found, probabilities.argmax(axis=1), labels, split.classes, names)
    skipped = len(split) - len(labels)
    return Evaluation(
        total.top1_error, total.top5_error, total.loss, total.images, skipped, networks, classes,
        predictions,
    )  # fmt: skip


class _Sums:
    """The probabilities of every image of a split, summed over passes: images x classes x 4 bytes, 200 MB for
    ImageNet's validation set.
    """

    def __init__(self, split: Split):
        self.split, self.passes = split, 0  # a network has one for each size of the images
        self._sums = np.zeros((len(split), len(split.classes)), np.float32)
        self._counts = np.zeros(len(split), np.int64)  # in how many of them the image could be read

    def add(self, net: Layer, loader: Loader, prepare: Prepare, report: Report, state: EpochState) -> None:
        self.passes += 1
        for indices, probabilities in _answers(net, loader, prepare, report, state):
            self._sums[indices] += probabilities
            self._counts[indices] += 1

    def mean(self) -> Predictions:
        indices = np.flatnonzero(self._counts == self.passes)
        probabilities = self._sums if len(indices) == len(self._sums) else self._sums[indices]
        probabilities /= self.passes  # which ends the sums
        return Predictions(probabilities, self.split.labels[indices], indices)


def _answers(
    net: Layer, loader: Loader, prepare: Prepare, report: Report, state: EpochState
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(indices, probabilities float32 (N, classes)) of each batch, counted in the state.

    Errors are those of the float32 values, so that they are the same whether the values are kept or not.
    """
    for batch, x in prepared(loader.epoch(), prepare, state):
        net.take_part(batch.part, batch.views)
        probabilities = mean_softmax(to_host(net.forward(x)), batch.views)
        value = _mean_loss(probabilities[np.arange(len(batch.labels)), batch.labels])
        if not math.isfinite(value):
            place = f"evaluation, batch {state.batches} of {len(loader)}"
            raise NonFiniteError(f"{place}: the loss is {value}. {not_finite(net, x)}")
        probabilities = probabilities.astype(np.float32)
        state.add(*net.of_all_images(value, ranks(to_device(probabilities), batch.labels)))
        yield batch.indices, probabilities
        report(state)


def mean_softmax(logits: np.ndarray, views: int) -> np.ndarray:
    """(N * views, classes) to (N, classes) float64: the probabilities of each image, the mean over its views; of a map
    of scores, (N * views, classes, H, W), over its places too.
    """
    logits = logits.astype(np.float64)
    if logits.ndim == 4:
        views *= logits.shape[2] * logits.shape[3]
        logits = logits.transpose(0, 2, 3, 1).reshape(-1, logits.shape[1])
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities.reshape(-1, views, logits.shape[1]).mean(axis=1)


def _mean_loss(right: np.ndarray) -> float:
    """The mean of -log of the right classes' probabilities; of 0, of which there is no logarithm, it is 690."""
    return float(-np.log(np.maximum(right.astype(np.float64), 1e-300)).mean())
