"""Batches of images ahead of the training step: order, crops and colour shifts of an epoch, on a pool of
threads.

A batch depends on the seed, the epoch and the image alone, never on the number of threads. Its images are
uint8 as they were on disk: the mean is subtracted and the shift added on the device, in prepare.py.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tinynet.data.dataset import Split
from tinynet.data.preprocessing import colour_shift, middle_crop, random_crop, ten_crops
from tinynet.data.statistics import Statistics
from tinynet.random import stream

VIEWS = {"random": 1, "middle": 1, "ten": 10}


@dataclass(frozen=True)
class Batch:
    """N images, each in `views` views that follow one another."""

    images: np.ndarray  # (N * views, 3, crop, crop) uint8, C order
    labels: np.ndarray  # (N,) int64
    shifts: np.ndarray | None  # (N * views, 3) float32, the colour to add to every pixel; None: none
    indices: np.ndarray  # (N,) int64, the images' positions in the split
    views: int


class Loader:
    """Batches of `batch_size` images of a split, a smaller last one kept.

    Each image is cut to size x size, then seen in crop x crop views: "random" (shuffled images, random crop
    and mirror, colour noise of strength `colour`, for training), "middle" or "ten" (the paper's test views,
    in the split's order). `workers` threads prepare `ahead` batches while the caller works on one; 0 does it
    in the caller. An image that cannot be read raises DataError in the caller.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        size: int = 256,
        crop: int = 227,
        views: str = "random",
        statistics: Statistics | None = None,
        colour: float = 0.1,
        seed: int = 0,
        workers: int = 2,
        ahead: int = 3,
    ):
        if views not in VIEWS:
            raise ValueError(f"Loader: expected views to be one of {', '.join(VIEWS)}, got {views!r}")
        if batch_size < 1 or ahead < 1 or workers < 0:
            raise ValueError(
                f"Loader: expected batch_size >= 1, ahead >= 1 and workers >= 0, "
                f"got {batch_size}, {ahead} and {workers}"
            )
        if not 1 <= crop <= size:
            raise ValueError(f"Loader: expected 1 <= crop <= size, got crop {crop} and size {size}")
        if colour < 0:
            raise ValueError(f"Loader: expected colour >= 0, got {colour}")
        self.colour = colour if views == "random" else 0.0
        if self.colour and statistics is None:
            raise ValueError("Loader: colour noise needs the training set's statistics, or colour=0")
        self.split, self.batch_size, self.size, self.crop, self.views = split, batch_size, size, crop, views
        self.statistics, self.seed, self.workers, self.ahead = statistics, seed, workers, ahead

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-len(self.split) // self.batch_size)

    def epoch(self, number: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number`, from batch `start` on: a run resumed in the middle of an epoch sees
        the same ones.

        Leaving the iterator early stops its threads.
        """
        if not 0 <= start <= len(self):
            raise ValueError(f"Loader: expected a first batch from 0 to {len(self)}, got {start}")
        order = np.arange(len(self.split), dtype=np.int64)
        if self.views == "random":
            order = stream(self.seed, "shuffle", number).permutation(order)
        firsts = range(start * self.batch_size, len(order), self.batch_size)
        batches = [order[first : first + self.batch_size] for first in firsts]
        if self.workers == 0:
            return (self._batch(indices, number) for indices in batches)
        return self._batches_ahead(batches, number)

    def _batches_ahead(self, batches: list[np.ndarray], epoch: int) -> Iterator[Batch]:
        """The batches in order, with `ahead` of them under way while the caller works, on a pool that
        lives as long as this iterator.
        """
        waiting: deque[tuple[Batch, list[Future]]] = deque()
        pool = ThreadPoolExecutor(self.workers, "tinynet-loader")
        try:
            for indices in batches:
                batch = self._empty(indices)
                shares = np.array_split(np.arange(len(indices)), min(self.workers, len(indices)))
                waiting.append((batch, [pool.submit(self._fill, batch, share, epoch) for share in shares]))
                if len(waiting) > self.ahead:
                    yield _finished(*waiting.popleft())
            while waiting:
                yield _finished(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _batch(self, indices: np.ndarray, epoch: int) -> Batch:
        batch = self._empty(indices)
        self._fill(batch, range(len(indices)), epoch)
        return batch

    def _empty(self, indices: np.ndarray) -> Batch:
        views = VIEWS[self.views]
        images = np.empty((len(indices) * views, 3, self.crop, self.crop), np.uint8)
        shifts = np.empty((len(indices) * views, 3), np.float32) if self.colour else None
        return Batch(images, self.split.labels[indices], shifts, indices, views)

    def _fill(self, batch: Batch, positions: np.ndarray | range, epoch: int) -> None:
        """Decode and cut the images at these positions of the batch, each into its own place."""
        for position in positions:
            index = int(batch.indices[position])
            image = self.split.load(index, self.size)
            if self.views == "random":
                generator = stream(self.seed, "augment", epoch, index)
                views = random_crop(image, self.crop, generator)[None]
                if self.colour:
                    batch.shifts[position] = colour_shift(self.statistics, generator, self.colour)
            elif self.views == "middle":
                views = middle_crop(image, self.crop)[None]
            else:
                views = ten_crops(image, self.crop)
            first = position * batch.views
            batch.images[first : first + batch.views] = views.transpose(0, 3, 1, 2)  # (views, 3, crop, crop)


def _finished(batch: Batch, futures: list[Future]) -> Batch:
    """The batch once its images are there; a worker's error is raised here, in the consumer."""
    for future in futures:
        future.result()
    return batch
