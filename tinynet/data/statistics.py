"""What training needs to know of the training set as a whole: its mean image and the principal components of colour.

They are measured in batches/measuring.py and saved beside the weights; batches/prepare.py subtracts the mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import DTypeLike

from tinynet.errors import DataError


@dataclass(frozen=True)
class Statistics:
    """Mean and principal components of pixels' values, as AlexNet's pre-processing uses them (paper, sections 2 and
    4.1): of RGB from 0 to 255, or of any C channels.
    """

    mean_image: np.ndarray  # (C, size, size) float32
    components: np.ndarray  # (C, C) float32: a column per principal component, a row per channel
    deviations: np.ndarray  # (C,) float32: standard deviation along each component, smallest first
    images: int  # how many images were measured

    @property
    def pixel_deviation(self) -> float:
        """Standard deviation of a pixel's value, over all channels together."""
        return float(np.sqrt((self.deviations.astype(np.float64) ** 2).mean()))

    @classmethod
    def none(cls, channels: int, size: int) -> "Statistics":
        """Of nothing: a mean of zeros, for images from which none is subtracted."""
        mean = np.zeros((channels, size, size), np.float32)
        return cls(mean, np.eye(channels, dtype=np.float32), np.zeros(channels, np.float32), 0)

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
            there = ", ".join(list(arrays)[:5]) or "none"
            raise ValueError(f"Statistics: expected arrays named {', '.join(missing)}, found {there}")
        found = {name: arrays[full_name] for name, full_name in names.items()}
        mean_image = found["mean_image"]
        channels, side = (len(mean_image), mean_image.shape[-1]) if mean_image.ndim == 3 else (3, 1)
        shapes = {"mean_image": (channels, side, side), "components": (channels, channels)}
        shapes |= {"deviations": (channels,), "images": (1,)}
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
    """What the statistics are computed from: sums over images, of bytes exact integers.

    So any division of the images among threads, processes or runs gives the same Statistics, to the last bit. Of
    floating-point pixels the sums are float64, and the same when they are added in the same order.
    """

    pixel_sums: np.ndarray  # (size, size, C) int64 or float64: the sum of each pixel
    products: np.ndarray  # (C, C) of the same type: the sum over all pixels of one channel's value times another's
    images: int

    @classmethod
    def zero(cls, size: int, channels: int = 3, dtype: DTypeLike = np.uint8) -> "Sums":
        """The sums over no image of size x size, with pixels of the dtype."""
        kind = np.int64 if np.dtype(dtype).kind == "u" else np.float64
        return cls(np.zeros((size, size, channels), kind), np.zeros((channels, channels), kind), 0)

    def add(self, image: np.ndarray) -> None:
        """Adds one image, uint8 or float32 (size, size, C)."""
        self.pixel_sums += image
        # Floats, for BLAS; of bytes exact, since a sum of integers stays below 2**53 up to 2**37 pixels.
        colours = np.ascontiguousarray(image.reshape(-1, image.shape[-1]).T, np.float64)  # (C, size * size)
        products = np.array([[one @ other for other in colours] for one in colours])
        self.products += products.astype(self.products.dtype)
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
        components *= np.sign(components[np.abs(components).argmax(axis=0), range(len(mean))])
        mean_image = self.pixel_sums.transpose(2, 0, 1) / self.images  # (C, size, size)
        return Statistics(
            mean_image=np.ascontiguousarray(mean_image, dtype=np.float32),
            components=components.astype(np.float32),
            deviations=np.sqrt(np.maximum(variances, 0)).astype(np.float32),
            images=self.images,
        )
