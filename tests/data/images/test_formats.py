"""What of a file reaches the decoder: everything that makes pixels, and nothing else."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from tinynet.data.images.formats import MAX_HEADER, MAX_PARTS, MAX_SCANS, plugin, without_metadata
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


# ---- files that are made to keep the decoder busy ----

SCAN = segment(0xDA, b"\1\1\0\0\0\x10")  # a scan of one component without a bit of data


def progressive(scans: int, between: bytes = b"", side: int | None = None) -> bytes:
    """A progressive JPEG of so many scans; side: what its header says of its size."""
    header, *parts = encoded("JPEG", progressive=True).removesuffix(b"\xff\xd9").split(b"\xff\xda")
    if side:
        place = header.index(b"\xff\xc2") + 5
        header = header[:place] + side.to_bytes(2) * 2 + header[place + 4 :]
    bare = b"\xff\xda".join([header, *parts])
    return bare + (between + SCAN) * (scans - len(parts)) + b"\xff\xd9"


@pytest.mark.parametrize(("side", "most"), [(24, MAX_SCANS), (4600, MAX_SCANS), (9459, 24)])
def test_scans_are_counted_before_any_pixel(side, most):
    assert without_metadata(progressive(most, side=side)) == progressive(most, side=side)
    with pytest.raises(ValueError, match=f"more scans than a picture of {side**2} pixels needs, {most + 1} or more"):
        without_metadata(progressive(most + 1, side=side))


@pytest.mark.parametrize(
    "between",
    [segment(0xFE, b"\xff\xd9"), b"\xff\xd0\xff\xd7", b"\xff\xff\xff", b"\xff\0\0\1", segment(0xC4, b""), b"\xff\x01"],
    ids=["a comment that holds an end", "restarts", "padding", "data", "a table", "a marker without length"],
)
def test_no_scan_hides(between):
    assert without_metadata(progressive(MAX_SCANS, between)) == progressive(MAX_SCANS, between)
    with pytest.raises(ValueError, match="more scans"):
        without_metadata(progressive(MAX_SCANS + 1, between))


def test_what_follows_a_picture_is_not_counted():
    """Telephones put a film behind it."""
    film = (SCAN + segment(0xFE, b"")) * MAX_PARTS
    for content in (encoded("JPEG"), encoded("JPEG", progressive=True)):
        assert without_metadata(content + film) == content + film


def test_segments_are_counted():
    content, empty = encoded("JPEG"), segment(0xFE, b"")
    assert without_metadata(content[:2] + empty * 10_000 + content[2:]) == content
    for marker in (0xFE, 0xE0, 0xC4, 0x02):
        with pytest.raises(ValueError, match=f"more than {MAX_PARTS} segments"):
            without_metadata(content[:2] + segment(marker, b"") * MAX_PARTS + content[2:])
    with pytest.raises(ValueError, match=f"more than {MAX_PARTS} segments"):
        without_metadata(progressive(20, between=empty * 10_000))


def test_tables_before_the_first_scan_have_a_bound_and_metadata_have_none():
    content = encoded("JPEG")
    large = segment(0xE1, bytes(65_000)) * (2 * MAX_HEADER // 65_000)
    assert without_metadata(content[:2] + large + content[2:]) == content
    tables = segment(0xDB, (b"\0" + b"\1" * 64) * 1000)
    few, many = tables * (MAX_HEADER // len(tables)), tables * (MAX_HEADER // len(tables) + 1)
    assert without_metadata(content[:2] + few + content[2:]) == content[:2] + few + content[2:]
    with pytest.raises(ValueError, match=f"before its first scan is larger than {MAX_HEADER} bytes"):
        without_metadata(content[:2] + many + content[2:])


def test_what_stands_between_segments_goes():
    content = encoded("JPEG")
    for junk in (b"\xff", b"\xff\0", b"\xff\xd0", b"\xff\x01", b"\xff\xd8", b"\xff\xd9", b"\0"):
        assert without_metadata(content[:2] + junk * 90_000 + content[2:]) == content


@pytest.mark.parametrize("length", [0, 1])
def test_what_is_counted_is_what_is_decoded(length):
    """Cut to its marker, a segment would take the next one's for its length, and a whole file for its content."""
    content, short = encoded("JPEG"), length.to_bytes(2)
    assert without_metadata(content[:2] + b"\xff\xfe" + short + content[2:]) == content  # a comment goes
    with pytest.raises(ValueError, match="segment E0 is shorter than its own length"):
        without_metadata(content[:2] + b"\xff\xe0" + short + content[2:])


@pytest.mark.parametrize("late", [False, True])
def test_a_second_frame_is_refused(late):
    content = progressive(20)
    place = content.index(b"\xff\xc2")
    frame = content[place : place + 19]
    there = content.rindex(b"\xff\xda") if late else place
    with pytest.raises(ValueError, match="more than one frame"):
        without_metadata(content[:there] + frame + content[there:])


def test_chunks_are_counted():
    content, place = encoded("PNG"), encoded("PNG").index(b"IDAT") - 4
    for kind in (b"IDAT", b"tEXt", b"AbCD"):
        chunk = bytes(4) + kind + zlib.crc32(kind).to_bytes(4)
        without_metadata(content[:place] + chunk * (MAX_PARTS - 10) + content[place:])
        with pytest.raises(ValueError, match=f"more than {MAX_PARTS} chunks"):
            without_metadata(content[:place] + chunk * MAX_PARTS + content[place:])


def test_a_second_header_is_refused():
    content = encoded("PNG")
    for place in (33, len(content) - 12):
        with pytest.raises(ValueError, match="more than one header"):
            without_metadata(content[:place] + content[8:33] + content[place:])
