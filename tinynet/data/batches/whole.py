"""Whole pictures, one at a time, for networks that take images of any size."""

from collections.abc import Callable, Iterator

import numpy as np

from tinynet.backend import Array, to_device
from tinynet.data.batches.bad_images import BadImages
from tinynet.data.batches.loader import Batch
from tinynet.data.dataset import Split
from tinynet.data.statistics import Statistics
from tinynet.errors import DataError
from tinynet.threads import in_order

AHEAD = 4  # pictures for each thread


class WholeLoader:
    """As a Loader for tests, batches of one image in the split's order: all of it, its shorter side `size` pixels.

    A split whose images are cut already (a prepared cache, arrays) gives its squares. workers, max_bad, on_bad: see
    Loader.
    """

    batch_size, views = 1, "dense"

    def __init__(
        self, split: Split, size: int, workers: int = 2, max_bad: float = 0.01,
        on_bad: Callable[[str, str], None] | None = None,
    ):  # fmt: skip
        self.split, self.size, self.workers = split, size, workers
        self._load = getattr(split, "load_whole", split.load)
        self._bad = BadImages(split, max_bad, on_bad)

    @property
    def bad(self) -> dict[int, str]:
        return self._bad.reasons

    def __len__(self) -> int:
        return len(self.split)

    def epoch(self, number: int = 0, start: int = 0) -> Iterator[Batch]:
        """A batch for each image, without any where it cannot be read."""

        def load(index: int) -> tuple[int, np.ndarray | None, str]:
            try:
                return index, self._load(index, self.size), ""
            except DataError as error:
                return index, None, str(error)

        jobs = ((index,) for index in range(start, len(self.split)))
        loaded = in_order(load, jobs, max(1, self.workers), AHEAD * max(1, self.workers), "tinynet-whole")
        try:
            for index, image, problem in loaded:
                indices = np.array([index] if image is not None else [], np.int64)
                if image is None:
                    self._bad.add(index, problem)
                    images = np.empty((0, 1, 1, 1), np.uint8)
                else:
                    images = image.transpose(2, 0, 1)[None]  # (1, C, H, W)
                yield Batch(images, self.split.labels[indices], None, indices, 1)
        finally:
            loaded.close()


class WholePrepare:
    """In place of Prepare, (pixels - mean colour) * scale of images of any size: the mean image has but one."""

    def __init__(self, statistics: Statistics, scale):
        self._mean = statistics.mean_image.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)[:, None, None]
        self._scale = np.broadcast_to(np.asarray(scale, np.float32), len(self._mean))[:, None, None]

    def __call__(self, batch: Batch) -> Array:
        return to_device((batch.images.astype(np.float32) - self._mean) * self._scale)  # (N, C, H, W)

    def send(self, batch: Batch) -> None:
        """Nothing is sent ahead."""
