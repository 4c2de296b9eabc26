"""An image's colours: whatever mode a file has as RGB, and the colour noise of the paper's section 4.1.

Adding the noise's shift happens later, on the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from tinynet.data.statistics import Statistics

STRIP_PIXELS = 2**20  # of a picture whose colours are converted, at a time


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode that JPEG and PNG have, as RGB: transparency is laid on white, 16 bits keep their upper 8.

    A large picture is converted strip by strip: no more of it is in memory than itself and the result.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    width, height = image.size
    if width * height <= STRIP_PIXELS:
        return _to_rgb(image)
    image.load()  # before there is a result: a decoder needs memory of its own
    result = Image.new("RGB", image.size)
    thickness = max(1, STRIP_PIXELS // min(image.size))  # of strips across the longer side
    for start in range(0, max(image.size), thickness):
        end = start + thickness
        box = (0, start, width, min(end, height)) if height > width else (start, 0, min(end, width), height)
        result.paste(_to_rgb(image.crop(box)), box)
    return result


def _to_rgb(image: Image.Image) -> Image.Image:
    """The same of a part, in one piece: each step makes a copy."""
    if image.mode.startswith("I"):  # 16-bit gray: convert() would clip at 255 where it should divide
        values = np.asarray(image)
        gray = (values >> 8).astype(np.uint8)
        if "transparency" in image.info:
            gray[values == image.info["transparency"]] = 255
        return Image.fromarray(gray).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def colour_shift(statistics: Statistics, generator: np.random.Generator, amount: float = 0.1) -> np.ndarray:
    """What one image's colour noise adds to every pixel (paper, 4.1): float32 (3,), in units of 0 to 255.

    V @ (a * s), a ~ N(0, amount): V the principal components of the training set's RGB values, s their
    standard deviations as in the 2012 program (the paper's text says eigenvalues).
    """
    a = generator.normal(0.0, amount, size=3)
    return (statistics.components @ (a * statistics.deviations)).astype(np.float32)
