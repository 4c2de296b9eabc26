"""What becomes of one image before the network sees it: colour mode, the paper's cut, crops, mirrors, the colour shift.

Pure functions on one image, uint8 and (height, width, 3) once it is decoded. The views of a test are in views.py,
batches and threads in loader.py; subtracting the mean and adding the shift happen later, on the device.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tinynet.data import formats
from tinynet.data.errors import DataError
from tinynet.data.reading import open_file

if TYPE_CHECKING:
    from tinynet.data.statistics import Statistics

MAX_FILE_BYTES = 2**30  # as many pixels as Pillow allows, four values of 16 bits each, stored as they are, take 0.7
MAX_SIDE = 1_000_000  # pixels, libpng's own limit: Pillow keeps a pointer for each row, and a decoder two whole rows
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


def shorter_side_crop(image: Image.Image, size: int) -> np.ndarray:
    """Resize so that the shorter side is `size`, and keep the middle square (paper, section 2): uint8 (size, size,
    3).

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

    `source` is a path or the file's bytes; `name` is what errors call the latter. Of an animation, the
    picture for those who cannot show it. Metadata is not looked at. Raises DataError, and nothing else, for a file that
    is missing, unreadable, broken, of another format, larger than Pillow's limit against decompression bombs, or made
    to keep a decoder busy (the bounds are in formats.py); limit and bounds are looked at before any pixel. The largest
    pictures take 0.7 GiB of memory, and a progressive JPEG of CMYK 1.1.
    """
    if isinstance(source, bytes):
        return decode_content(source, size, name or "<bytes>")
    return decode_content(read_file(source), size, name or os.fspath(source))


def decode_content(data: bytes, size: int, name: str) -> np.ndarray:
    """What decode does, for what comes from a data set: bytes, and never a path, which data could make name any file
    of this machine.
    """
    if not isinstance(data, bytes):
        raise DataError(f"{name}: expected the bytes of an image, found {type(data).__name__}")
    plugin = formats.plugin(data)
    if plugin is None:
        found = f"content that begins with {data[:12]!r}" if data else "an empty file"
        raise DataError(f"{name}: expected a JPEG or PNG image, found {found}")
    limit = Image.MAX_IMAGE_PIXELS or float("inf")
    try:
        # Not Image.open, which warns of images beyond the limit and decodes them up to twice the limit.
        with plugin(io.BytesIO(formats.without_metadata(data))) as image:
            image.decodermaxblock = len(data)  # in one piece: libjpeg begins a run of padding again with each
            width, height = image.size
            if width * height <= limit and max(width, height) <= MAX_SIDE:
                return shorter_side_crop(image, size)
    except Exception as error:  # Pillow meets broken files with a dozen kinds of exception
        raise DataError(f"{name}: cannot be decoded: {str(error) or type(error).__name__}") from error
    exceeded = f"{limit}" if width * height > limit else f"{MAX_SIDE} to a side"
    raise DataError(f"{name}: {width} x {height} pixels exceed the limit of {exceeded}")


def read_file(path: str | os.PathLike) -> bytes:
    """A file's bytes; DataError when it cannot be read, or is larger than any image that decode takes."""
    try:
        with open_file(path) as file:
            check_size(os.fstat(file.fileno()).st_size, os.fspath(path))
            return file.read()
    except OSError as error:
        raise DataError(f"{os.fspath(path)}: cannot be read: {error.strerror}") from error


def check_size(size: int, name: str) -> None:
    """DataError for a file of so many bytes that it cannot be an image: it would be read into memory."""
    if size > MAX_FILE_BYTES:
        raise DataError(f"{name}: the file is larger than {MAX_FILE_BYTES} bytes, no image within the limits is")


def random_crop(image: np.ndarray, crop: int, generator: np.random.Generator) -> np.ndarray:
    """A random crop x crop view of (height, width, 3), offsets 0 to height - crop inclusive, mirrored half of the
    time (paper, 4.1).
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


def colour_shift(statistics: Statistics, generator: np.random.Generator, amount: float = 0.1) -> np.ndarray:
    """What one image's colour noise adds to every pixel (paper, 4.1): float32 (3,), in units of 0 to 255.

    V @ (a * s), a ~ N(0, amount): V the principal components of the training set's RGB values, s their
    standard deviations as in the 2012 program (the paper's text says eigenvalues).
    """
    a = generator.normal(0.0, amount, size=3)
    return (statistics.components @ (a * statistics.deviations)).astype(np.float32)
