"""Top-1 and top-5 errors, and their running means over an epoch."""

from dataclasses import dataclass

import numpy as np

from tinynet.backend import device_of, on_device, to_device, to_host, xp


def ranks(scores, labels: np.ndarray) -> np.ndarray:
    """How many classes stand before the right one, (N,) int: 0 is a hit, under 5 a top-5 hit. scores: (N, classes).

    Of equal scores the class with the smaller number stands first, so that a net that gives every class the same
    score is not right about everything. The ranks alone come back to the host.
    """
    scores = on_device(scores, 0)
    with device_of(scores):
        labels = to_device(labels)
        own = scores[xp.arange(len(labels)), labels][:, None]  # (N, 1)
        earlier = xp.arange(scores.shape[1]) < labels[:, None]  # (N, classes)
        return to_host(((scores > own) | ((scores == own) & earlier)).sum(axis=1))


@dataclass
class Running:
    """Sums over the images seen so far; loss is the mean per image, errors are in percent."""

    images: int = 0
    loss_sum: float = 0.0
    top1_misses: int = 0
    top5_misses: int = 0

    def add(self, loss: float, ranks: np.ndarray) -> None:
        """Counts a batch with this mean loss and these ranks of the right class."""
        self.images += len(ranks)
        self.loss_sum += loss * len(ranks)
        self.top1_misses += int((ranks >= 1).sum())
        self.top5_misses += int((ranks >= 5).sum())

    @property
    def loss(self) -> float:
        return self.loss_sum / max(1, self.images)

    @property
    def top1_error(self) -> float:
        return 100 * self.top1_misses / max(1, self.images)

    @property
    def top5_error(self) -> float:
        return 100 * self.top5_misses / max(1, self.images)
