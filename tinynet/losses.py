"""Losses: what turns the net's last output and the labels into one number, and into the first gradient."""

from typing import Protocol

import numpy as np

from tinynet.backend import Array, PerDevice, device_of, to_device, to_host, xp


class Loss(Protocol):
    """What training and the gradient check need of a loss."""

    def forward(self, logits: Array, labels: Array) -> float: ...

    def backward(self) -> Array: ...


class SoftmaxCrossEntropy:
    """The mean over the batch of -log softmax(logits)[label]: the paper's multinomial logistic regression, section 3.5.

    Logits are shifted by each image's largest, so that values of 1e4 neither overflow nor lose the answer. What an
    image that is right by far still has as loss and gradient is computed from the other classes: 1 - p would be 0.
    """

    def __init__(self):
        self._kept: list[Array] = []  # softmax(logits) - onehot(label), (classes, N), on each device with the logits

    def __repr__(self) -> str:
        return "SoftmaxCrossEntropy()"

    def forward(self, logits: Array, labels: Array) -> float:
        """The mean loss. logits: (N, classes), float32 or float64; labels: (N,) whole numbers in 0..classes-1.

        ValueError for shapes or labels that do not fit, TypeError for labels that are not integers.
        """
        self._kept = []
        replicas = logits if isinstance(logits, PerDevice) else (logits,)
        for replica in replicas:
            if not isinstance(replica, xp.ndarray) or replica.dtype not in (xp.float32, xp.float64):
                raise TypeError(
                    f"SoftmaxCrossEntropy: expected an array of logits of float32 or float64,"
                    f" got {type(replica).__name__} {getattr(replica, 'dtype', '')}"
                )
            if replica.ndim != 2 or replica.size == 0:
                raise ValueError(f"SoftmaxCrossEntropy: expected logits (N, classes), got {replica.shape}")
        count, classes = logits.shape
        labels = check_labels(labels, count, classes)
        losses, kept = [], []
        for replica in replicas:  # every device that has the logits finds the gradient for itself: nothing crosses
            with device_of(replica):
                loss, difference = _forward(replica, to_device(labels))
                losses.append(loss)
                kept.append(difference)
        self._kept = kept
        return float(losses[0])

    def backward(self) -> Array:
        """d loss / d logits = (softmax(logits) - onehot(label)) / N, (N, classes); on each device that had logits."""
        if not self._kept:
            raise RuntimeError("SoftmaxCrossEntropy: backward needs a forward(logits, labels) just before it")
        gradients = []
        for difference in self._kept:
            with device_of(difference):
                gradients.append((difference / difference.shape[1]).T)
        return gradients[0] if len(gradients) == 1 else PerDevice(gradients)


def _forward(logits: Array, labels: Array) -> tuple[Array, Array]:
    """(mean loss, softmax(logits) - onehot(label) as (classes, N)) on one device.

    With e_j = exp(logit_j - largest), and `rest` the sum of all e_j but the label's, the label's probability less 1 is
    -rest / (e_label + rest). The loss is log(e_label + rest) - log(e_label); where the label has the largest logit,
    e_label - 1 is 0, and log1p keeps what `rest` has.
    """
    images = xp.arange(labels.size)
    shifted = logits.T - logits.max(axis=1)  # (classes, N)
    difference = xp.exp(shifted)
    of_label = difference[labels, images]  # (N,)
    difference[labels, images] = 0
    rest = difference.sum(axis=0)
    losses = xp.log1p(of_label - 1 + rest) - shifted[labels, images]
    total = of_label + rest
    difference /= total  # the probabilities
    difference[labels, images] = -rest / total
    return losses.mean(), difference


def check_labels(labels: Array, count: int, classes: int) -> np.ndarray:
    """`labels` on the host as int64 (count,), each in 0..classes-1; ValueError or TypeError says what is wrong."""
    labels = to_host(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels: expected integers, got {labels.dtype}")
    if labels.shape != (count,):
        raise ValueError(f"labels: expected one per image, ({count},), got {labels.shape}")
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if bad.size:
        raise ValueError(f"labels: expected 0..{classes - 1}, got {labels[bad[0]]} at index {bad[0]}")
    return labels.astype(np.int64, copy=False)
