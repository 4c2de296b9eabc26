"""The paper's cut of an image to a square, training's random crops and mirrors, and the middle crop.

Pure functions on one image, (height, width, channels). A test's views are in views.py, batches in batches/loader.py.
"""

import numpy as np
from PIL import Image

from tinynet.data.images.colours import to_channels

LONGEST = 4  # times the shorter side


def shorter_side_crop(image: Image.Image, size: int, channels: int = 3) -> np.ndarray:
    """Resize so that the shorter side is `size`, and keep the middle square (paper, section 2): uint8 (size, size,
    channels), in RGB or gray.

    As the 2012 program did: by area when it shrinks, bicubic when it enlarges; EXIF rotation is not applied.
    """
    image = to_channels(image, channels)
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    if side == size:
        square = image.crop((int(left), int(top), int(left) + size, int(top) + size))
        return np.asarray(square).reshape(size, size, channels)
    # Only the middle square is resized (the filter still sees its neighbours): 20000 x 2 pixels stay small.
    method = Image.Resampling.BOX if side > size else Image.Resampling.BICUBIC
    square = image.resize((size, size), method, box=(left, top, left + side, top + side))
    return np.asarray(square).reshape(size, size, channels)


def shorter_side_resize(image: Image.Image, size: int, channels: int = 3) -> np.ndarray:
    """All of an image, resized as above so that its shorter side is `size`: uint8 (height, width, channels). Of one
    that is more than LONGEST times as long as it is wide, the middle.
    """
    image = to_channels(image, channels)
    width, height = image.size
    side = min(width, height)
    box_width, box_height = min(width, LONGEST * side), min(height, LONGEST * side)
    left, top = (width - box_width) / 2, (height - box_height) / 2
    new = max(size, round(size * box_width / side)), max(size, round(size * box_height / side))
    method = Image.Resampling.BOX if side > size else Image.Resampling.BICUBIC
    resized = image.resize(new, method, box=(left, top, left + box_width, top + box_height))
    return np.asarray(resized).reshape(new[1], new[0], channels)


def random_crop(
    image: np.ndarray, crop: int, generator: np.random.Generator, mirror: bool = True, padding: int = 0
) -> np.ndarray:
    """A random crop x crop view of (height, width, channels), offsets 0 to height - crop inclusive, mirrored half of
    the time (paper, 4.1) unless `mirror` is False. padding: so many pixels of zeros are laid around the image first.
    """
    if padding:
        image = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    height, width, _ = image.shape
    top, left, mirrored = generator.integers((height - crop + 1, width - crop + 1, 2))
    view = image[top : top + crop, left : left + crop]
    return view[:, ::-1] if mirror and mirrored else view


def middle_crop(image: np.ndarray, crop: int) -> np.ndarray:
    """The middle crop x crop view of (height, width, channels); an odd remainder leaves one pixel more below and
    to the right.
    """
    height, width, _ = image.shape
    top, left = (height - crop) // 2, (width - crop) // 2
    return image[top : top + crop, left : left + crop]
