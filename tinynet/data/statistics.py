"""What training needs to know of the training set as a whole: its mean image and the principal components of
its colours.

Measured once, over at most some thousand images, and saved beside the weights. What is done with them is in
preprocessing.py.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np

from tinynet.data.dataset import Split
from tinynet.random import stream

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
        return {
            f"statistics.{field.name}": np.atleast_1d(getattr(self, field.name)) for field in fields(self)
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Statistics":
        """The inverse of to_arrays; other names in `arrays` are left alone. Raises ValueError when one is
        missing.
        """
        missing = [
            f"statistics.{field.name}" for field in fields(cls) if f"statistics.{field.name}" not in arrays
        ]
        if missing:
            raise ValueError(
                f"Statistics: expected arrays named {', '.join(missing)}, found {', '.join(arrays) or 'none'}"
            )
        mean_image, components, deviations, images = (
            arrays[f"statistics.{field.name}"] for field in fields(cls)
        )
        return cls(mean_image, components, deviations, int(images[0]))


def measure(
    split: Split,
    size: int,
    limit: int = 10_000,
    workers: int = 2,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Statistics:
    """Measure `limit` images of the split (chosen by the seed; all if there are fewer), cut to size x size.

    All sums are of integers and exact, so the result does not depend on `workers`. `progress(done, total)` is
    called as images are finished. Raises DataError that names an image that cannot be read.
    """
    if len(split) == 0 or limit < 1 or workers < 1:
        raise ValueError(
            f"measure: expected images, limit and workers >= 1, got {len(split)}, {limit} and {workers}"
        )
    chosen = np.sort(stream(seed, "statistics").permutation(len(split))[:limit])
    chunks = [chosen[first : first + CHUNK] for first in range(0, len(chosen), CHUNK)]
    pixel_sums = np.zeros((size, size, 3), np.int64)
    products = np.zeros((3, 3), np.int64)
    done = 0
    with ThreadPoolExecutor(workers, "tinynet-statistics") as pool:
        for chunk, (chunk_sums, chunk_products) in zip(
            chunks, pool.map(lambda chunk: _sums(split, chunk, size), chunks), strict=True
        ):
            pixel_sums += chunk_sums
            products += chunk_products
            done += len(chunk)
            if progress:
                progress(done, len(chosen))
    return _from_sums(pixel_sums, products, len(chosen))


def _sums(split: Split, indices: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Over some images: the sum per pixel (size, size, 3), and the sum of each pixel's RGB values times
    its RGB values (3, 3).
    """
    pixel_sums = np.zeros((size, size, 3), np.int64)
    products = np.zeros((3, 3), np.int64)
    for index in indices:
        image = split.load(int(index), size)
        pixel_sums += image
        pixels = image.reshape(-1, 3).astype(np.float64)  # (size * size, 3)
        products += (pixels.T @ pixels).astype(np.int64)  # exact: integers far below 2**53
    return pixel_sums, products


def _from_sums(pixel_sums: np.ndarray, products: np.ndarray, images: int) -> Statistics:
    size = len(pixel_sums)
    pixels = images * size * size
    mean = pixel_sums.sum(axis=(0, 1)) / pixels
    variances, components = np.linalg.eigh(products / pixels - np.outer(mean, mean))
    # A component's sign is arbitrary: its largest entry is made positive, whatever eigh returns.
    components *= np.sign(components[np.abs(components).argmax(axis=0), range(3)])
    mean_image = pixel_sums.transpose(2, 0, 1) / images  # (3, size, size)
    return Statistics(
        mean_image=np.ascontiguousarray(mean_image, dtype=np.float32),
        components=components.astype(np.float32),
        deviations=np.sqrt(np.maximum(variances, 0)).astype(np.float32),
        images=images,
    )
