"""Batches of images ahead of the training step: order, crops and colour shifts of an epoch, on a pool of threads.

A batch depends on the seed, the epoch and the images alone, never on the number of threads. Its images are uint8 as
they were on disk: the mean is subtracted and the shift added on the device, in prepare.py.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tinynet.data.batches.bad_images import BadImages
from tinynet.data.dataset import Split, channels_of, dtype_of
from tinynet.data.images.colours import colour_shift
from tinynet.data.images.crops import middle_crop, random_crop
from tinynet.data.images.views import CHOICES, crops, view_count
from tinynet.data.statistics import Statistics
from tinynet.errors import DataError
from tinynet.random import stream
from tinynet.threads import in_order


@dataclass(frozen=True)
class Batch:
    """N images, each in `views` views that follow one another; N may be 0, where no image could be read."""

    images: np.ndarray  # (N * views, channels, crop, crop) uint8 or float32, C order
    labels: np.ndarray  # (N,) int64
    shifts: np.ndarray | None  # (N * views, 3) float32, the colour to add to every pixel; None: none
    indices: np.ndarray  # (N,) int64, the images' positions in the split
    views: int
    # Of a batch that replicas share: which of them has these images, and how many each has; None: these are all.
    part: tuple[int, tuple[int, ...]] | None = None

    def without(self, positions: list[int]) -> "Batch":
        """A copy without the images at these positions."""
        kept = np.ones(len(self.labels), bool)
        kept[positions] = False
        views = kept.repeat(self.views)
        shifts = None if self.shifts is None else self.shifts[views]
        return Batch(self.images[views], self.labels[kept], shifts, self.indices[kept], self.views, self.part)


class Loader:
    """Batches of `batch_size` images of a split, a smaller last one kept.

    Each image is cut to size x size, then seen in crop x crop views: "random" (for training: shuffled images, a random
    crop out of the image with `padding` zeros around it, or the middle one without `offsets`, mirrored half of the time
    unless `mirror` is False, colour noise of strength `colour`), "shuffled" (for training without augmentation: the
    middle crops in the same order), or those that `crops` has for the name (the paper's test views are "ten"), in the
    split's order. `workers` threads prepare `ahead` batches while the caller works on one; 0 does it in the caller.

    An image that cannot be read is left out of its batch, which is smaller by one, and reported by
    `on_bad(name, reason)` in the caller's thread, in the order of the batches, once however often it turns up; without
    `on_bad` it is logged as a warning. When more than the share `max_bad` of the split is bad, the batch raises
    DataError instead; known_bad, `bad` of a run that goes on, counts too. Errors other than a split's DataError are
    raised in the caller.

    share: (2, 4) gives the third of four nearly equal parts of each batch, which may be empty.
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
        max_bad: float = 0.01,
        on_bad: Callable[[str, str], None] | None = None,
        known_bad: Mapping[int, str] | None = None,
        mirror: bool = True,
        padding: int = 0,
        offsets: bool = True,
        share: tuple[int, int] = (0, 1),
    ):
        self._views_per_image = _views_per_image(views)
        if batch_size < 1 or ahead < 1 or workers < 0:
            raise ValueError(
                f"Loader: expected batch_size >= 1, ahead >= 1 and workers >= 0, "
                f"got {batch_size}, {ahead} and {workers}"
            )
        if not 0 <= padding <= size:
            raise ValueError(f"Loader: expected padding from 0 to {size}, the size of the images, got {padding}")
        self.padding = padding if views == "random" and offsets else 0
        if not 1 <= crop <= size + 2 * self.padding:
            around = f", and padding {self.padding}" if self.padding else ""
            raise ValueError(f"Loader: expected 1 <= crop <= size, got crop {crop} and size {size}{around}")
        if colour < 0:
            raise ValueError(f"Loader: expected colour >= 0, got {colour}")
        self.channels, self.dtype = channels_of(split), dtype_of(split)
        self.colour = colour if views == "random" else 0.0
        if self.colour and self.channels != 3:
            raise ValueError(f"Loader: colour noise is for 3 channels, the images have {self.channels}: use colour=0")
        if self.colour and statistics is None:
            raise ValueError("Loader: colour noise needs the training set's statistics, or colour=0")
        self.split, self.batch_size, self.size, self.crop, self.views = split, batch_size, size, crop, views
        self.statistics, self.seed, self.workers, self.ahead, self.mirror = statistics, seed, workers, ahead, mirror
        self.share, self.offsets = share, offsets
        self._bad = BadImages(split, max_bad, on_bad, known_bad)

    @property
    def bad(self) -> dict[int, str]:
        """Why each image that was left out so far could not be read, by its position in the split."""
        return self._bad.reasons

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-len(self.split) // self.batch_size)

    def epoch(self, number: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number`, from batch `start` on: a run resumed in the middle of an epoch sees the
        same ones.

        Leaving the iterator early stops its threads.
        """
        batches = [self._own(indices) for indices in self.batch_indices(number, start)]
        return self._batches_ahead(batches, number) if self.workers else self._batches(batches, number)

    def batch_indices(self, number: int = 0, start: int = 0) -> list[np.ndarray]:
        """Which images each of these batches has: their positions in the split, int64."""
        if not 0 <= start <= len(self):
            raise ValueError(f"Loader: expected a first batch from 0 to {len(self)}, got {start}")
        order = np.arange(len(self.split), dtype=np.int64)
        if self.views in ("random", "shuffled"):
            order = stream(self.seed, "shuffle", number).permutation(order)
        firsts = range(start * self.batch_size, len(order), self.batch_size)
        return [order[first : first + self.batch_size] for first in firsts]

    def _own(self, indices: np.ndarray) -> np.ndarray:
        part, of = self.share
        return indices[part * len(indices) // of : (part + 1) * len(indices) // of]

    def _batches(self, batches: list[np.ndarray], epoch: int) -> Iterator[Batch]:
        """The batches in order, each made when it is asked for."""
        for indices in batches:
            batch = self._empty(indices)
            yield self._finished(batch, self._fill(batch, range(len(indices)), epoch))

    def _batches_ahead(self, batches: list[np.ndarray], epoch: int) -> Iterator[Batch]:
        """The batches in order, with `ahead` of them under way while the caller works, on threads that live as long as
        this iterator. Each thread fills a share of each batch; a thread's error is raised here, in the caller.
        """

        def jobs() -> Iterator[tuple[Batch, list[int]]]:
            for indices in batches:
                batch = self._empty(indices)
                for share in np.array_split(np.arange(len(indices)), self._shares(batch)):
                    yield batch, share.tolist()

        def fill(batch: Batch, share: list[int]) -> tuple[Batch, dict[int, str]]:
            return batch, self._fill(batch, share, epoch)

        filled = in_order(fill, jobs(), self.workers, self.ahead * self.workers, "tinynet-loader")
        try:
            for batch, failures in filled:
                for _ in range(self._shares(batch) - 1):
                    failures |= next(filled)[1]
                yield self._finished(batch, failures)
        finally:
            filled.close()

    def _shares(self, batch: Batch) -> int:
        return max(1, min(self.workers, len(batch.indices)))

    def _empty(self, indices: np.ndarray) -> Batch:
        count = len(indices) * self._views_per_image
        images = np.empty((count, self.channels, self.crop, self.crop), self.dtype)
        shifts = np.empty((count, 3), np.float32) if self.colour else None
        return Batch(images, self.split.labels[indices], shifts, indices, self._views_per_image)

    def _fill(self, batch: Batch, positions: Iterable[int], epoch: int) -> dict[int, str]:
        """Decode and cut the images at these positions of the batch, each into its own place; why, by position, where
        one cannot be read.
        """
        failures: dict[int, str] = {}
        for position in positions:
            index = int(batch.indices[position])
            try:
                image = self.split.load(index, self.size)
            except DataError as error:
                failures[position] = str(error)
                continue
            if image.shape[2] != self.channels:  # which NumPy would copy into any number
                raise ValueError(f"{self.split.name(index)}: has {image.shape[2]} channels, expected {self.channels}")
            if self.views == "random":
                generator = stream(self.seed, "augment", epoch, index)
                if not self.offsets:
                    image = middle_crop(image, self.crop)  # of which there is one crop
                views = random_crop(image, self.crop, generator, self.mirror, self.padding)[None]
                if batch.shifts is not None:
                    assert self.statistics is not None  # as __init__ has seen to
                    batch.shifts[position] = colour_shift(self.statistics, generator, self.colour)
            else:
                views = crops(image, self.crop, "middle" if self.views == "shuffled" else self.views)
            first = position * batch.views
            batch.images[first : first + batch.views] = views.transpose(0, 3, 1, 2)  # (views, channels, crop, crop)
        return failures

    def _finished(self, batch: Batch, failures: dict[int, str]) -> Batch:
        """The batch without the images that could not be read, which are counted here, in the caller's thread."""
        for position, reason in failures.items():
            self._bad.add(int(batch.indices[position]), reason)
        return batch.without(list(failures)) if failures else batch


def _views_per_image(views: str) -> int:
    try:
        return 1 if views in ("random", "shuffled") else view_count(views)
    except ValueError:
        raise ValueError(f"Loader: expected views to be random, shuffled, {CHOICES}; got {views!r}") from None
