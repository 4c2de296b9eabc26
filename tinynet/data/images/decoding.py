"""A file's bytes become pixels: uint8 (size, size, channels), in RGB or gray, cut as in the paper.

What a file may be is known to formats.py, how it is cut to crops.py.
"""

import io
import os
from collections.abc import Callable

import numpy as np
from PIL import Image

from tinynet.data.images import formats
from tinynet.data.images.crops import shorter_side_crop
from tinynet.data.reading import open_file
from tinynet.errors import DataError

MAX_FILE_BYTES = 2**30  # as many pixels as Pillow allows, four values of 16 bits each, stored as they are, take 0.7
MAX_SIDE = 1_000_000  # pixels, libpng's own limit: Pillow keeps a pointer for each row, and a decoder two whole rows


def decode(source: str | os.PathLike | bytes, size: int, name: str | None = None, channels: int = 3) -> np.ndarray:
    """A JPEG or PNG (by content, whatever its name says) as uint8 (size, size, channels), in RGB or, of 1, gray.

    `source` is a path or the file's bytes; `name` is what errors call the latter. Of an animation, the
    picture for those who cannot show it. Metadata is not looked at. Raises DataError, and nothing else, for a file that
    is missing, unreadable, broken, of another format, larger than Pillow's limit against decompression bombs, or made
    to keep a decoder busy (the bounds are in formats.py); limit and bounds are looked at before any pixel. The largest
    pictures take 0.7 GiB of memory, and a progressive JPEG of CMYK 1.1.
    """
    if isinstance(source, bytes):
        return decode_content(source, size, name or "<bytes>", channels)
    return decode_content(read_file(source), size, name or os.fspath(source), channels)


def decode_content(
    data: bytes, size: int, name: str, channels: int = 3,
    cut: Callable[[Image.Image, int, int], np.ndarray] = shorter_side_crop,
) -> np.ndarray:  # fmt: skip
    """What decode does, for what comes from a data set: bytes, and never a path, which data could make name any file
    of this machine. cut: of crops.py.
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
                return cut(image, size, channels)
    except Exception as error:  # Pillow meets broken files with a dozen kinds of exception
        raise DataError(f"{name}: cannot be decoded: {str(error) or type(error).__name__}") from error
    exceeded = f"{limit}" if width * height > limit else f"{MAX_SIDE} to a side"
    raise DataError(f"{name}: {width} x {height} pixels exceed the limit of {exceeded}")


def shorter_side(data: bytes, name: str) -> int:
    """How many pixels the shorter side of an image has, by its header alone; DataError where that cannot be read."""
    plugin = formats.plugin(data)
    try:
        if plugin is None:
            raise ValueError("expected a JPEG or PNG image")
        with plugin(io.BytesIO(formats.without_metadata(data))) as image:
            return min(image.size)
    except Exception as error:  # as above
        raise DataError(f"{name}: cannot be decoded: {str(error) or type(error).__name__}") from error


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
