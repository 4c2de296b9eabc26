"""What training needs to know of the training set as a whole: its mean image and the principal components of colour.

Measured once and saved beside the weights. What is done with them is in preprocessing.py and prepare.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from tinynet.data.bad_images import BadImages
from tinynet.data.dataset import Split
from tinynet.data.errors import DataError
from tinynet.random import stream
from tinynet.threads import in_order, single_threaded_blas

CHUNK = 32  # images per task: few enough for a smooth progress bar


@dataclass(frozen=True)
class Statistics:
    """Mean and principal components of RGB values in 0 to 255, as AlexNet's pre-processing uses them
    (paper, sections 2 and 4.1).
    """

    mean_image: np.ndarray  # (3, size, size) float32
    components: np.ndarray  # (3, 3) float32: a column per principal component, rows R G B
    deviations: np.ndarray  # (3,) float32: standard deviation along each component, smallest first
    images: int  # how many images were measured

    @property
    def pixel_deviation(self) -> float:
        """Standard deviation of a pixel's value, over all three colours together."""
        return float(np.sqrt((self.deviations.astype(np.float64) ** 2).mean()))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As arrays named "statistics.mean_image" and so on, fit to lie beside the weights in one file."""
        return {f"statistics.{field.name}": np.atleast_1d(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Statistics":
        """The inverse of to_arrays; other names in `arrays` are left alone. ValueError when one is missing, or is not
        what statistics can be: shapes as above, numbers that are finite, deviations and a count not below zero.
        """
        names = {field.name: f"statistics.{field.name}" for field in fields(cls)}
        if missing := [name for name in names.values() if name not in arrays]:
            found = ", ".join(list(arrays)[:5]) or "none"
            raise ValueError(f"Statistics: expected arrays named {', '.join(missing)}, found {found}")
        found = {name: arrays[full_name] for name, full_name in names.items()}
        mean_image = found["mean_image"]
        side = mean_image.shape[-1] if mean_image.ndim == 3 else 1
        shapes = {"mean_image": (3, side, side), "components": (3, 3), "deviations": (3,), "images": (1,)}
        for name, array in found.items():
            kinds, what = ("iu", "integers") if name == "images" else ("f", "floating-point numbers")
            if array.shape != shapes[name] or array.size == 0 or array.dtype.kind not in kinds:
                expected = f"{what} of the shape {shapes[name]}"
                raise ValueError(f"Statistics: {name}: expected {expected}, found {array.dtype} {array.shape}")
            with np.errstate(all="ignore"):
                finite = np.isfinite(array.astype(np.float32)).all()
            if not finite or (name in ("deviations", "images") and array.min() < 0):
                raise ValueError(f"Statistics: {name}: has values that are not finite, or below zero")
        images = int(found.pop("images")[0])
        return cls(**{name: array.astype(np.float32, copy=False) for name, array in found.items()}, images=images)


@dataclass
class Sums:
    """What the statistics are computed from: sums over images, exact integers.

    So any division of the images among threads, processes or runs gives the same Statistics, to the last bit.
    """

    pixel_sums: np.ndarray  # (size, size, 3) int64: the sum of each pixel
    products: np.ndarray  # (3, 3) int64: the sum over all pixels of a colour's value times a colour's value
    images: int

    @classmethod
    def zero(cls, size: int) -> "Sums":
        """The sums over no image of size x size."""
        return cls(np.zeros((size, size, 3), np.int64), np.zeros((3, 3), np.int64), 0)

    def add(self, image: np.ndarray) -> None:
        """Adds one image, uint8 (size, size, 3)."""
        self.pixel_sums += image
        # Floats, for BLAS; exact, since a sum of integers stays below 2**53 up to 2**37 pixels.
        colours = np.ascontiguousarray(image.reshape(-1, 3).T, np.float64)  # (3, size * size)
        self.products += np.array([[one @ other for other in colours] for one in colours]).astype(np.int64)
        self.images += 1

    def merge(self, other: "Sums") -> None:
        """Adds the images that `other` has seen."""
        self.pixel_sums += other.pixel_sums
        self.products += other.products
        self.images += other.images

    def statistics(self) -> Statistics:
        """Mean image and principal components of what was added; DataError when that is nothing."""
        if self.images == 0:
            raise DataError("statistics: expected at least one image that can be read, found none")
        pixels = self.images * self.pixel_sums[..., 0].size
        mean = self.pixel_sums.sum(axis=(0, 1)) / pixels
        variances, components = np.linalg.eigh(self.products / pixels - np.outer(mean, mean))
        # A component's sign is arbitrary: its largest entry is made positive, whatever eigh returns.
        components *= np.sign(components[np.abs(components).argmax(axis=0), range(3)])
        mean_image = self.pixel_sums.transpose(2, 0, 1) / self.images  # (3, size, size)
        return Statistics(
            mean_image=np.ascontiguousarray(mean_image, dtype=np.float32),
            components=components.astype(np.float32),
            deviations=np.sqrt(np.maximum(variances, 0)).astype(np.float32),
            images=self.images,
        )


@single_threaded_blas  # or each small product would wake all cores
def measure(
    split: Split,
    size: int,
    limit: int | None = None,
    workers: int = 2,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    max_bad: float = 0.01,
    on_bad: Callable[[str, str], None] | None = None,
) -> Statistics:
    """Measure the images of the split, cut to size x size: all of them, or `limit` images that the seed chooses.

    The result does not depend on `workers`. `progress(done, total)` is called as images are finished. An image that
    cannot be read is left out and reported to `on_bad`, and DataError ends the work when their share of the
    split passes `max_bad`, as BadImages has it.
    """
    if len(split) == 0 or workers < 1 or (limit is not None and limit < 1):
        raise ValueError(f"measure: expected images, limit and workers >= 1, got {len(split)}, {limit} and {workers}")
    chosen = np.sort(stream(seed, "statistics").permutation(len(split))[:limit])
    bad = BadImages(split, max_bad, on_bad)
    sums, done = Sums.zero(size), 0
    chunks = ((split, chosen[first : first + CHUNK], size) for first in range(0, len(chosen), CHUNK))
    for part, failures in in_order(_measure_chunk, chunks, workers, 2 * workers, "tinynet-statistics"):
        for index, reason in failures.items():
            bad.add(index, reason)
        sums.merge(part)
        done += part.images + len(failures)
        if progress:
            progress(done, len(chosen))
    return sums.statistics()


def _measure_chunk(split: Split, indices: np.ndarray, size: int) -> tuple[Sums, dict[int, str]]:
    """The sums over some images, and why each of those that are missing in them cannot be read."""
    sums, failures = Sums.zero(size), {}
    for index in indices.tolist():
        try:
            sums.add(split.load(index, size))
        except DataError as error:
            failures[index] = str(error)
    return sums, failures
