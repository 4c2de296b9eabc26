"""Any mode of a picture as RGB or gray."""

import numpy as np
import pytest
from PIL import Image

from tinynet.data.images.colours import to_channels, to_rgb
from tinynet.random import stream

VALUES = stream(0, "test colours").integers(0, 256, (6, 9, 4), dtype=np.uint8)
WEIGHTS = np.array([0.299, 0.587, 0.114])  # of gray, ITU-R 601


def images() -> dict[str, tuple[Image.Image, np.ndarray]]:
    """A picture in each mode, and its colours on white, float64 (6, 9, 3)."""
    colours, alpha = VALUES[..., :3].astype(float), VALUES[..., 3:] / 255
    gray = np.repeat(colours[..., :1], 3, axis=2)
    deep = (VALUES[..., 0].astype(np.uint16) << 8) + VALUES[..., 1]
    palette = Image.fromarray(VALUES[..., :3]).quantize(200)
    return {
        "RGB": (Image.fromarray(VALUES[..., :3]), colours),
        "L": (Image.fromarray(VALUES[..., 0]), gray),
        "RGBA": (Image.fromarray(VALUES), colours * alpha + 255 * (1 - alpha)),
        "LA": (Image.fromarray(VALUES[..., [0, 3]], "LA"), gray * alpha + 255 * (1 - alpha)),
        "I;16": (Image.fromarray(deep), gray),
        "P": (palette, np.asarray(palette.convert("RGB")).astype(float)),
        "1": (Image.fromarray(VALUES[..., 0] > 99), np.repeat(255.0 * (VALUES[..., :1] > 99), 3, axis=2)),
    }


@pytest.mark.parametrize("mode", list(images()))
def test_each_mode_in_rgb_and_in_gray(mode):
    image, colours = images()[mode]
    assert np.abs(np.asarray(to_rgb(image)) - colours).max() <= 1
    gray = to_channels(image, 1)
    assert gray.mode == "L" and np.abs(np.asarray(gray) - colours @ WEIGHTS).max() <= 1.5
