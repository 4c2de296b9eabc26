"""JPEG and PNG as containers of pixels: which of the two a file is, and the file without its metadata.

Metadata (EXIF, colour profiles, comments, previews, animation) never reaches the decoder: it does not change a pixel,
and broken metadata would cost a good image, or a warning for each of a million. Pixels are in preprocessing.py.
"""

import zlib

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

JPEG_SIGNATURE, PNG_SIGNATURE = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
PLUGINS: dict[bytes, type[Image.Image]] = {JPEG_SIGNATURE: JpegImageFile, PNG_SIGNATURE: PngImageFile}

# JPEG (ITU-T T.81, table B.1). Of the application segments, 0 (JFIF) and 14 (Adobe) say which colours are stored.
START_OF_SCAN = 0xDA
METADATA_MARKERS = {*range(0xE1, 0xEE), 0xEF, 0xFE}
MARKERS_WITHOUT_LENGTH = {0x00, 0x01, *range(0xD0, 0xDA)}


def plugin(data: bytes) -> type[Image.Image] | None:
    """Pillow's class for the format that the content begins like; None: neither JPEG nor PNG."""
    return next((found for signature, found in PLUGINS.items() if data.startswith(signature)), None)


def without_metadata(data: bytes) -> bytes:
    """A JPEG's or PNG's bytes without metadata. A broken file stays broken, and is left to the decoder to judge.

    But for a PNG's checksums, which Pillow does not look at in all chunks: ValueError where one is wrong.
    """
    return _without_chunks(data) if data.startswith(PNG_SIGNATURE) else _without_segments(data)


def _without_segments(data: bytes) -> bytes:
    """A JPEG without metadata segments: FF, marker, a length of two bytes that counts itself, content."""
    view, kept = memoryview(data), [data[:2]]
    position = data.find(b"\xff", 2)
    while 0 <= position < len(data) - 1:
        marker, following = data[position + 1], position + 2
        if marker == START_OF_SCAN:
            kept.append(view[position:])
            break
        if marker == 0xFF:  # padding
            following = position + 1
        elif marker not in MARKERS_WITHOUT_LENGTH:
            following += int.from_bytes(data[position + 2 : position + 4])
            if marker not in METADATA_MARKERS:
                kept.append(view[position:following])
        position = data.find(b"\xff", following)
    return b"".join(kept)


def _without_chunks(data: bytes) -> bytes:
    """A PNG's critical chunks (a capital first letter) and transparency: length, type, content, checksum."""
    view, position = memoryview(data), len(PNG_SIGNATURE)
    kept = [view[:position]]
    while position < len(data):
        following = position + 12 + int.from_bytes(data[position : position + 4])
        kind = data[position + 4 : position + 8]
        if kind == b"tRNS" or kind[:1].isupper():
            checksum = data[following - 4 : following]
            if following <= len(data) and zlib.crc32(view[position + 4 : following - 4]).to_bytes(4) != checksum:
                raise ValueError(f"the checksum of chunk {kind.decode('ascii', 'replace')} is wrong")
            kept.append(view[position:following])
        position = following
    return b"".join(kept)
