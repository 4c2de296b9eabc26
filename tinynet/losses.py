"""Losses: what turns the net's last output and the labels into one number, and into the first gradient."""

import numpy as np

from tinynet.backend import PerDevice, device_of, to_device, to_host, xp


class SoftmaxCrossEntropy:
    """The mean over the batch of -log softmax(logits)[label]: the paper's multinomial logistic regression, section 3.5.

    Logits are shifted by each image's largest, so that values of 1e4 neither overflow nor lose the answer.
    """

    def __init__(self):
        self._kept: list[tuple] = []  # (probabilities (classes, N), labels) on each device that has the logits

    def forward(self, logits, labels) -> float:
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
        losses = []
        for replica in replicas:  # every device that has the logits finds the gradient for itself: nothing crosses
            with device_of(replica):
                losses.append(self._forward(replica, to_device(labels)))
        return float(losses[0])

    def _forward(self, logits, labels):
        shifted = logits.T - logits.max(axis=1)  # (classes, N)
        exponentials = xp.exp(shifted)
        sums = exponentials.sum(axis=0)
        losses = xp.log(sums) - shifted[labels, xp.arange(labels.size)]
        self._kept.append((exponentials / sums, labels))
        return losses.mean()

    def backward(self):
        """d loss / d logits = (softmax(logits) - onehot(label)) / N, (N, classes); on each device that had logits."""
        if not self._kept:
            raise RuntimeError("SoftmaxCrossEntropy: backward needs a forward(logits, labels) just before it")
        gradients = []
        for probabilities, labels in self._kept:
            with device_of(probabilities):
                gradient = probabilities / labels.size
                gradient[labels, xp.arange(labels.size)] -= 1 / labels.size
                gradients.append(gradient.T)
        return gradients[0] if len(gradients) == 1 else PerDevice(gradients)


def check_labels(labels, count: int, classes: int) -> np.ndarray:
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
