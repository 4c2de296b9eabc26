"""JPEG and PNG as containers of pixels: which of the two a file is, and the file without its metadata.

Metadata (EXIF, colour profiles, comments, previews, animation) never reaches the decoder: it does not change a pixel,
and broken metadata would cost a good image, or a warning for each of a million. Nor does a file that is made to keep it
busy: a file's parts are counted here. Pixels are in decoding.py.
"""

import re
import zlib
from collections.abc import Iterator

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

JPEG_SIGNATURE, PNG_SIGNATURE = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
PLUGINS: dict[bytes, type[ImageFile]] = {JPEG_SIGNATURE: JpegImageFile, PNG_SIGNATURE: PngImageFile}

# JPEG (ITU-T T.81, table B.1). Of the application segments, 0 (JFIF) and 14 (Adobe) say which colours are stored.
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA
START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
METADATA_MARKERS = {*range(0xE1, 0xEE), 0xEF, 0xFE}
# What begins a segment. Not so: FF 00, which is an FF of a scan's data, restarts within it, FF as padding, and others
# that have no length.
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")

# Bounds that no picture within the limit on pixels comes near. The largest PNG, 16-bit RGBA that does not shrink,
# has 87,000 chunks of 8 kB, as libpng writes them; tables and previews before a JPEG's first scan are a few kB.
MAX_PARTS = 100_000  # segments of a JPEG, chunks of a PNG
MAX_HEADER = 2**20  # bytes of a JPEG before its first scan, without metadata
# A scan of ten bytes makes the decoder visit every block of the picture. Encoders write ten scans; those that look for
# the smallest file, twenty.
MAX_SCANS = 100  # of a JPEG
MAX_SCANNED = 2**31  # pixels in all of its scans: 24 scans of the largest picture


def plugin(data: bytes) -> type[ImageFile] | None:
    """Pillow's class for the format that the content begins like; None: neither JPEG nor PNG."""
    return next((found for signature, found in PLUGINS.items() if data.startswith(signature)), None)


def without_metadata(data: bytes) -> bytes:
    """A JPEG's or PNG's bytes without metadata. A broken file stays broken, and is left to the decoder to judge.

    But for a PNG's checksums, which Pillow does not look at in all chunks: ValueError where one is wrong.
    """
    return _without_chunks(data) if data.startswith(PNG_SIGNATURE) else _without_segments(data)


def _without_segments(data: bytes) -> bytes:
    """A JPEG without the metadata segments before its first scan; what follows that is only looked at."""
    view, header = memoryview(data), 0
    kept: list[bytes | memoryview] = [data[:2]]
    frame = pixels = scans = 0
    components: bytes | None = None
    for marker, start, end in _segments(data):
        if marker in START_OF_FRAME:
            if frame:
                raise ValueError("it has more than one frame")
            frame, components = marker, data[start + 9 : start + 10]
            pixels = int.from_bytes(data[start + 5 : start + 7]) * int.from_bytes(data[start + 7 : start + 9])
        if marker == START_OF_SCAN:
            scans += 1
            if scans == 1:
                kept.append(view[start:])
                if frame not in PROGRESSIVE and data[start + 4 : start + 5] == components:
                    break  # all that there is to see
            elif scans > min(MAX_SCANS, MAX_SCANNED // max(1, pixels)):
                raise ValueError(f"it has more scans than a picture of {pixels} pixels needs, {scans} or more")
        elif scans and marker == END_OF_IMAGE:
            break
        elif not scans and marker not in METADATA_MARKERS and marker != END_OF_IMAGE:
            if end < start + 4 <= len(data):  # the decoder would take what follows for its length, and see another file
                raise ValueError(f"segment {marker:02X} is shorter than its own length")
            kept.append(view[start:end])
            header += end - start
            if header > MAX_HEADER:
                raise ValueError(f"what stands before its first scan is larger than {MAX_HEADER} bytes")
    return b"".join(kept)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """A JPEG's segments as (marker, start, end): FF, marker, a length of two bytes that counts itself, content.

    The data of a scan is passed over, as is what stands between segments. ValueError where they are too many.
    """
    search, end = MARKER.search, 2
    for _ in range(MAX_PARTS + 1):
        found = search(data, end)
        if found is None:
            return
        start, end = found.span()
        marker = data[start + 1]
        if marker != END_OF_IMAGE:
            end += int.from_bytes(data[end : end + 2])
        yield marker, start, end
    raise ValueError(f"it has more than {MAX_PARTS} segments")


def _without_chunks(data: bytes) -> bytes:
    """A PNG's critical chunks (a capital first letter) and transparency: length, type, content, checksum."""
    view, position, headers = memoryview(data), len(PNG_SIGNATURE), 0
    kept = [view[:position]]
    for _ in range(MAX_PARTS + 1):
        if position >= len(data):
            return b"".join(kept)
        following = position + 12 + int.from_bytes(data[position : position + 4])
        kind = data[position + 4 : position + 8]
        if kind == b"tRNS" or kind[:1].isupper():
            checksum = data[following - 4 : following]
            if following <= len(data) and zlib.crc32(view[position + 4 : following - 4]).to_bytes(4) != checksum:
                raise ValueError(f"the checksum of chunk {kind.decode('ascii', 'replace')} is wrong")
            kept.append(view[position:following])
        headers += kind == b"IHDR"
        if headers > 1:
            raise ValueError("it has more than one header")
        position = following
    raise ValueError(f"it has more than {MAX_PARTS} chunks")
