"""What of a file reaches the decoder: everything that makes pixels, and nothing else."""

import io

import numpy as np
import pytest
from PIL import Image

from tinynet.data.formats import plugin, without_metadata
from tinynet.random import stream

PIXELS = stream(0, "test formats").integers(0, 256, (24, 24, 3), dtype=np.uint8)


def encoded(kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2) + content


def test_the_format_is_told_by_content():
    assert plugin(encoded("JPEG")).format == "JPEG" and plugin(encoded("PNG")).format == "PNG"
    assert plugin(encoded("GIF")) is None and plugin(b"") is None


@pytest.mark.parametrize("progressive", [False, True])
def test_metadata_segments_go_and_all_others_stay(progressive):
    bare = encoded("JPEG", progressive=progressive)
    inside = b"\xff\xda\xff\xd9" * 10  # what looks like the start of a scan, and the end, within a segment
    metadata = [*range(0xE1, 0xEE), 0xEF, 0xFE]  # APP1 to APP13, APP15, comment
    noisy = bare[:2] + b"".join(segment(marker, inside) for marker in metadata) + bare[2:]
    assert without_metadata(noisy) == bare == without_metadata(bare)
    assert without_metadata(encoded("JPEG", progressive=progressive, comment="hello", exif=Image.Exif())) == bare

    adobe = bare[:2] + segment(0xEE, b"Adobe\0d\0\0\0\0\1") + bare[2:]
    assert without_metadata(adobe) == adobe


def test_segments_in_and_after_the_scan_stay():
    late = encoded("JPEG") + segment(0xE1, b"Exif\0\0") + b"\xff\xd9"
    assert without_metadata(late) == late


def test_ancillary_chunks_go_but_for_transparency():
    bare = encoded("PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert without_metadata(encoded("PNG", exif=exif, dpi=(72, 72), icc_profile=b"none")) == bare
    transparent = encoded("PNG", transparency=(1, 2, 3))
    assert transparent != bare and without_metadata(transparent) == transparent


def test_a_wrong_checksum_is_named():
    content = bytearray(encoded("PNG"))
    content[content.index(b"IDAT") + 20] ^= 1
    with pytest.raises(ValueError, match="the checksum of chunk IDAT is wrong"):
        without_metadata(bytes(content))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_cut_files_stay_cut(kind):
    content = encoded(kind)
    for length in range(12, len(content), 7):
        assert content.startswith(without_metadata(content[:length]))
