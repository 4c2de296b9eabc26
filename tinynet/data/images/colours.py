"""An image's colours: whatever mode a file has as RGB or as gray, and the colour noise of the paper's section 4.1.

Adding the noise's shift happens later, on the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from tinynet.data.statistics import Statistics

STRIP_PIXELS = 2**20  # of a picture whose colours are converted, at a time


MODES = {1: "L", 3: "RGB"}  # by channels


def to_rgb(image: Image.Image) -> Image.Image:
    """to_channels(image, 3)."""
    return to_channels(image, 3)


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Any mode that JPEG and PNG have, as RGB (3 channels) or gray (1): transparency is laid on white, 16 bits keep
    their upper 8. ValueError for another number of channels.

    A large picture is converted strip by strip: no more of it is in memory than itself and the result.
    """
    if channels not in MODES:
        raise ValueError(f"expected pictures of 1 or 3 channels, got {channels}")
    mode = MODES[channels]
    if image.mode == mode and not image.has_transparency_data:
        return image
    width, height = image.size
    if width * height <= STRIP_PIXELS:
        return _convert(image, mode)
    image.load()  # before there is a result: a decoder needs memory of its own
    result = Image.new(mode, image.size)
    thickness = max(1, STRIP_PIXELS // min(image.size))  # of strips across the longer side
    for start in range(0, max(image.size), thickness):
        end = start + thickness
        box = (0, start, width, min(end, height)) if height > width else (start, 0, min(end, width), height)
        result.paste(_convert(image.crop(box), mode), box)
    return result


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """The same of a part, in one piece: each step makes a copy."""
    if image.mode.startswith("I"):  # 16-bit gray: convert() would clip at 255 where it should divide
        values = np.asarray(image)
        gray = (values >> 8).astype(np.uint8)
        if "transparency" in image.info:
            gray[values == image.info["transparency"]] = 255
        return Image.fromarray(gray).convert(mode)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert(mode)
    return image.convert(mode)


def colour_shift(statistics: Statistics, generator: np.random.Generator, amount: float = 0.1) -> np.ndarray:
    """What one image's colour noise adds to every pixel (paper, 4.1): float32 (3,), in units of 0 to 255.

    V @ (a * s), a ~ N(0, amount): V the principal components of the training set's RGB values, s their
    standard deviations as in the 2012 program (the paper's text says eigenvalues).
    """
    a = generator.normal(0.0, amount, size=len(statistics.deviations))
    return (statistics.components @ (a * statistics.deviations)).astype(np.float32)
