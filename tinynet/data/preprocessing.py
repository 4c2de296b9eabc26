"""What becomes of one image before the network sees it: colour mode, the paper's cut, crops, mirrors, the
colour shift.

Pure functions on one image, uint8 and (height, width, 3) once it is decoded. Batches and threads are in
loader.py; subtracting the mean and adding the shift happen later, on the device.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tinynet.data.errors import DataError

if TYPE_CHECKING:
    from tinynet.data.statistics import Statistics


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode that JPEG and PNG have, as RGB: transparency is laid on white, 16 bits keep their upper 8."""
    if image.mode.startswith("I"):  # 16-bit gray: convert() would clip at 255 where it should divide
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def shorter_side_crop(image: Image.Image, size: int) -> np.ndarray:
    """Resize so that the shorter side is `size`, and keep the middle square (paper, section 2): uint8 (size,
    size, 3).

    As the 2012 program did: by area when it shrinks, bicubic when it enlarges; EXIF rotation is not applied.
    """
    image = to_rgb(image)
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    if side == size:
        return np.asarray(image.crop((int(left), int(top), int(left) + size, int(top) + size)))
    # Only the middle square is resized (the filter still sees its neighbours): 20000 x 2 pixels stay small.
    method = Image.Resampling.BOX if side > size else Image.Resampling.BICUBIC
    return np.asarray(image.resize((size, size), method, box=(left, top, left + side, top + side)))


def decode(source: str | os.PathLike | bytes, size: int, name: str | None = None) -> np.ndarray:
    """A JPEG or PNG (by content, whatever its name says) as uint8 (size, size, 3).

    `source` is a path or the file's bytes; `name` is what errors call it (default: the path). Raises
    DataError for a file that is missing, broken, of another format, or larger than Pillow's limit against
    decompression bombs.
    """
    name = name or ("<bytes>" if isinstance(source, bytes) else os.fspath(source))
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    limit = Image.MAX_IMAGE_PIXELS or float("inf")
    try:
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            # Pillow's own check only warns up to twice the limit.
            if image.width * image.height > limit:
                raise DataError(f"{name}: {image.width} x {image.height} pixels exceed the limit of {limit}")
            return shorter_side_crop(image, size)
    except DataError:
        raise
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{name}: expected a JPEG or PNG image, found other or broken content") from error
    except Exception as error:  # Pillow meets broken files with a dozen kinds of exception
        raise DataError(f"{name}: cannot be decoded: {error}") from error


def random_crop(image: np.ndarray, crop: int, generator: np.random.Generator) -> np.ndarray:
    """A random crop x crop view of (height, width, 3), offsets 0 to height - crop inclusive, mirrored half
    of the time (paper, 4.1).
    """
    height, width, _ = image.shape
    top, left, mirrored = generator.integers((height - crop + 1, width - crop + 1, 2))
    view = image[top : top + crop, left : left + crop]
    return view[:, ::-1] if mirrored else view


def middle_crop(image: np.ndarray, crop: int) -> np.ndarray:
    """The middle crop x crop view of (height, width, 3); an odd remainder leaves one pixel more below and
    to the right.
    """
    height, width, _ = image.shape
    top, left = (height - crop) // 2, (width - crop) // 2
    return image[top : top + crop, left : left + crop]


def ten_crops(image: np.ndarray, crop: int) -> np.ndarray:
    """The paper's ten test views (4.1) as (10, crop, crop, 3): corners (top left, top right, bottom left,
    bottom right), middle, then the mirror of each.
    """
    height, width, _ = image.shape
    tops, lefts = (slice(0, crop), slice(height - crop, height)), (slice(0, crop), slice(width - crop, width))
    corners = [image[top, left] for top in tops for left in lefts]
    views = np.stack([*corners, middle_crop(image, crop)])
    return np.concatenate([views, views[:, :, ::-1]])


def colour_shift(statistics: Statistics, generator: np.random.Generator, amount: float = 0.1) -> np.ndarray:
    """What one image's colour noise adds to every pixel (paper, 4.1): float32 (3,), in units of 0 to 255.

    V @ (a * s), a ~ N(0, amount): V the principal components of the training set's RGB values, s their
    standard deviations as in the 2012 program (the paper's text says eigenvalues).
    """
    a = generator.normal(0.0, amount, size=3)
    return (statistics.components @ (a * statistics.deviations)).astype(np.float32)
