"""Top-1 and top-5 errors, and their running means over an epoch."""

from dataclasses import dataclass

import numpy as np

from tinynet.backend import to_host


def ranks(scores, labels: np.ndarray) -> np.ndarray:
    """How many classes stand before the right one, (N,) int: 0 is a hit, under 5 a top-5 hit. scores: (N, classes).

    Of equal scores the class with the smaller number stands first, so that a net that gives every class the same
    score is not right about everything.
    """
    scores = to_host(scores)
    own = scores[np.arange(len(labels)), labels][:, None]  # (N, 1)
    earlier = np.arange(scores.shape[1]) < np.asarray(labels)[:, None]  # (N, classes)
    return ((scores > own) | ((scores == own) & earlier)).sum(axis=1)


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
