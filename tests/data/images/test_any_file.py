"""Whatever a folder of a million images may hold: one file of each kind, and the pixels or the error it brings.

The files are in tests/image_files.py.
"""

import io
import os
import re
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from image_files import BAD, GOOD, IMAGE, NOISE_JPEG, SIZE, SMOOTH, SMOOTH_JPEG, encoded, exif, png
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from tinynet.data import DataError, decode
from tinynet.data.images import colours
from tinynet.data.images.decoding import MAX_SIDE
from tinynet.random import stream


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", GOOD)
def test_good_files(tmp_path, name):
    content, expected, tolerance = GOOD[name]
    path = tmp_path / "image.JPEG"  # whatever the content
    path.write_bytes(content)
    result = decode(path, SIZE)
    assert result.shape == (SIZE, SIZE, 3) and result.dtype == np.uint8
    if expected is not None:
        assert np.abs(result.astype(float) - expected).max() <= tolerance
    np.testing.assert_array_equal(decode(content, SIZE), result)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(tmp_path, name):
    content, message = BAD[name]
    path = tmp_path / "image.JPEG"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        decode(path, SIZE)
    assert str(caught.value).startswith(f"{path}: {message}")
    with pytest.raises(DataError, match=r"^inside a tar: "):
        decode(content, SIZE, name="inside a tar")


def test_strip_by_strip_gives_the_same_pixels(monkeypatch):
    """As large pictures are converted; no more than a strip of them at a time."""
    converted, convert = [], colours._convert
    whole = {name: decode(content, SIZE) for name, (content, *_) in GOOD.items()}

    def counted(image: Image.Image, mode: str) -> Image.Image:
        converted.append(image.width * image.height)
        return convert(image, mode)

    monkeypatch.setattr(colours, "_convert", counted)
    monkeypatch.setattr(colours, "STRIP_PIXELS", 100)
    for name, (content, *_) in GOOD.items():
        np.testing.assert_array_equal(decode(content, SIZE), whole[name], err_msg=name)
    assert 80 < max(converted) <= 100 and len(converted) > 40

    values = stream(0, "test strips").integers(0, 256, (7, 120, 4), dtype=np.uint8)
    for image in (Image.fromarray(values), Image.fromarray(values.transpose(1, 0, 2).copy())):
        strips = np.asarray(colours.to_rgb(image))
        np.testing.assert_array_equal(strips, np.asarray(convert(image, "RGB")))


def test_padding_in_a_scans_data_is_passed_over_at_once(monkeypatch):
    """A decoder that is given a part at a time begins again at the padding's start with each."""
    content = encoded(SMOOTH, "JPEG", quality=95, progressive=True)
    place = content.rindex(b"\xff\xda")
    padded = content[:place] + b"\xff" * 10**6 + content[place:]
    reads, read = [], JpegImageFile.load_read

    def counted(image, count: int) -> bytes:
        reads.append(count)
        return read(image, count)

    monkeypatch.setattr(JpegImageFile, "load_read", counted)
    np.testing.assert_array_equal(decode(padded, SIZE), decode(content, SIZE))
    assert len(reads) == 2  # one each


def test_a_side_has_a_limit():
    rows = np.zeros((1, 3 * (MAX_SIDE + 1)), np.uint8)
    assert decode(png(rows[:, :-3], 8, 2, width=MAX_SIDE), SIZE).shape == (SIZE, SIZE, 3)
    with pytest.raises(DataError, match=f"^wide: {MAX_SIDE + 1} x 1 pixels exceed the limit of {MAX_SIDE} to a side$"):
        decode(png(rows, 8, 2, width=MAX_SIDE + 1), SIZE, name="wide")


def test_errors_show_names_and_contents_escaped():
    chunk = bytes(4) + b"A\x1b[\n" + bytes(4)
    with pytest.raises(DataError) as caught:
        decode(IMAGE[:8] + chunk + IMAGE[8:], SIZE, name="x\x1b[2J\nwarning: forged\udce9.png")
    message = r"x\x1b[2J\nwarning: forged\xe9.png: cannot be decoded: the checksum of chunk A\x1b[\n is wrong"
    assert str(caught.value) == message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "image.jpg")
    with pytest.raises(DataError, match=r"image\.jpg: expected a file, found a pipe, a socket or a device"):
        decode(tmp_path / "image.jpg", SIZE)


def test_what_is_no_file(tmp_path):
    with pytest.raises(DataError, match=r"no_such_file\.jpg: cannot be read: No such file"):
        decode(tmp_path / "no_such_file.jpg", SIZE)
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path))}: cannot be read: "):
        decode(str(tmp_path), SIZE)
    path = tmp_path / "secret.jpg"
    path.write_bytes(SMOOTH_JPEG)
    path.chmod(0)
    if not os.access(path, os.R_OK):  # root reads everything
        with pytest.raises(DataError, match=r"secret\.jpg: cannot be read: Permission denied"):
            decode(path, SIZE)


def test_a_file_too_large_to_be_an_image_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("tinynet.data.images.decoding.MAX_FILE_BYTES", len(SMOOTH_JPEG))
    path = tmp_path / "image.jpg"
    path.write_bytes(SMOOTH_JPEG)
    decode(path, SIZE)
    path.write_bytes(SMOOTH_JPEG + b"\0")
    with pytest.raises(DataError, match=r"image\.jpg: the file is larger than \d+ bytes"):
        decode(path, SIZE)


def whole_or_refused(content: bytes, whole: np.ndarray) -> str:
    try:
        np.testing.assert_array_equal(decode(content, SIZE), whole)
    except DataError:
        return "refused"
    return "whole"


@pytest.mark.parametrize(("content", "may_lack"), [(NOISE_JPEG, 0), (IMAGE, 20)], ids=["JPEG", "PNG"])
def test_a_file_cut_anywhere_is_never_half_an_image(content, may_lack):
    """A PNG's last 20 bytes are two checksums and the mark of the end."""
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    whole = decode(content, SIZE)
    for length in [*range(3, len(content), 97), *range(len(content) - 30, len(content))]:
        outcome = whole_or_refused(content[:length], whole)
        assert outcome == "refused" or length >= len(content) - may_lack


def test_a_flipped_bit_in_a_png_is_found():
    whole, generator = decode(IMAGE, SIZE), stream(0, "test bits")
    outcomes = []
    for place, bit in generator.integers((0, 0), (len(IMAGE), 8), (200, 2)).tolist():
        content = bytearray(IMAGE)
        content[place] ^= 1 << bit
        outcomes.append(whole_or_refused(bytes(content), whole))
    assert outcomes.count("refused") > 190  # not where the end is marked


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.filterwarnings("error")
def test_damaged_anywhere_it_is_an_image_or_an_error(kind):
    good = encoded(SMOOTH.repeat(3, axis=0).repeat(3, axis=1), kind, exif=exif(3))
    generator = stream(0, "test damage", kind)
    outcomes = {"image": 0, "error": 0}
    for trial in range(300):
        content = bytearray(good)
        if trial % 3 == 0:
            del content[int(generator.integers(len(content))) :]
        else:
            for place in generator.integers(0, len(content), generator.integers(1, 6)):
                content[place] = int(generator.integers(256))
        try:
            result = decode(bytes(content), SIZE)
        except DataError:
            outcomes["error"] += 1
        else:
            assert result.shape == (SIZE, SIZE, 3) and result.dtype == np.uint8
            outcomes["image"] += 1
    assert outcomes["error"] > 100


@pytest.mark.parametrize(("limit", "refused"), [(1024, False), (1023, True), (300, True)])
@pytest.mark.filterwarnings("error")
def test_the_limit_on_pixels_is_pillows(monkeypatch, limit, refused):
    file = encoded(Image.new("RGB", (32, 32)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    if refused:
        with pytest.raises(DataError, match=rf"^bomb\.png: 32 x 32 pixels exceed the limit of {limit}$"):
            decode(file, 16, name="bomb.png")
    else:
        assert decode(file, 16).shape == (16, 16, 3)


def test_a_decompression_bomb_costs_no_memory():
    tracemalloc.start()
    try:
        for name in ("108 megapixels", "decompression bomb"):
            with pytest.raises(DataError):
                decode(BAD[name][0], SIZE)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_pillow_alone_would_warn_of_them():
    """Or the tests that nothing warns would prove nothing."""
    for name in ("JPEG with broken EXIF", "JPEG with a broken list of pictures", "PNG, animated wrongly"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Image.open(io.BytesIO(GOOD[name][0])).load()
        assert caught, name


@pytest.mark.parametrize("options", [["-W", "error"], ["-W", "always"]])
def test_nothing_is_printed_in_threads(tmp_path, options):
    names = [name for name in GOOD if "broken" in name or "wrongly" in name or "text" in name]
    assert len(names) == 5
    for number, name in enumerate(names):
        (tmp_path / f"{number}.jpg").write_bytes(GOOD[name][0])
    program = (
        "import sys, pathlib; from concurrent.futures import ThreadPoolExecutor; from tinynet.data import decode\n"
        "paths = sorted(pathlib.Path(sys.argv[1]).iterdir()) * 20\n"
        "with ThreadPoolExecutor(4) as pool: print(len([image.shape for image in pool.map(lambda path: "
        "decode(path, 16), paths)]))"
    )
    command = [sys.executable, *options, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()})
    assert (done.returncode, done.stdout, done.stderr) == (0, "100\n", "")
