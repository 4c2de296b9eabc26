"""Decoding, the paper's cut, crops and the colour shift, each against an independent computation by pixel."""

import io

import numpy as np
import pytest
from PIL import Image

from tinynet.data import (
    DataError,
    Statistics,
    colour_shift,
    decode,
    middle_crop,
    random_crop,
    shorter_side_crop,
    ten_crops,
    to_rgb,
)
from tinynet.random import stream


def pixels(*shape: int) -> np.ndarray:
    return stream(0, "test pixels", *shape).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(("width", "height"), [(12, 8), (8, 12), (8, 8), (21, 8), (8, 21)])
def test_shrinking_is_the_mean_over_each_area(width, height):
    scale = 4
    image = pixels(height * scale, width * scale, 3)
    top, left = (height - 8) * scale // 2, (width - 8) * scale // 2  # at 21 x 8 in the middle of a block
    square = image[top : top + 8 * scale, left : left + 8 * scale]
    expected = square.reshape(8, scale, 8, scale, 3).mean(axis=(1, 3))  # (8, 8, 3)
    result = shorter_side_crop(Image.fromarray(image), 8)
    assert result.shape == (8, 8, 3) and result.dtype == np.uint8
    assert np.abs(result - expected).max() <= 1.01  # Pillow rounds after the rows and after the columns


@pytest.mark.parametrize(("width", "height"), [(11, 7), (7, 12), (7, 7)])
def test_enlarging_is_bicubic(width, height):
    image = pixels(height, width, 3) // 2 + 64  # room for overshoot: Pillow clips between its two passes
    size, side = 20, 7

    def weights(length: int) -> np.ndarray:
        """A (size, length) matrix: in each row Keys' cubic, a = -1/2, around an output pixel's centre."""
        matrix = np.zeros((size, length))
        for row in range(size):
            centre = (length - side) / 2 + (row + 0.5) * side / size
            distance = np.abs(np.arange(length) + 0.5 - centre)
            near = 1.5 * distance**3 - 2.5 * distance**2 + 1
            far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
            matrix[row] = np.where(distance < 1, near, np.where(distance < 2, far, 0))
        return matrix / matrix.sum(axis=1, keepdims=True)

    expected = np.einsum("yh,xw,hwc->yxc", weights(height), weights(width), image).clip(0, 255)
    result = shorter_side_crop(Image.fromarray(image), size)
    assert np.abs(result - expected).max() <= 1.5


def test_an_image_of_the_right_size_is_only_cut():
    image = pixels(10, 17, 3)
    np.testing.assert_array_equal(shorter_side_crop(Image.fromarray(image), 10), image[:, 3:13])


def test_extreme_sides_cost_no_memory():
    assert shorter_side_crop(Image.new("RGB", (20_000, 1), "red"), 256).shape == (256, 256, 3)


def test_exif_rotation_is_not_applied():
    image = Image.fromarray(pixels(16, 16, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by 90 degrees
    rotated = encoded(image, "PNG", exif=exif)
    np.testing.assert_array_equal(decode(rotated, 16), np.asarray(image))


def test_gray_modes_keep_their_values():
    gray = pixels(5, 6)
    for image in (
        Image.fromarray(gray),
        Image.open(io.BytesIO(encoded(Image.fromarray(gray.astype(np.uint16) * 256 + 77), "PNG"))),  # 16 bit
        Image.fromarray(gray).quantize(256) if len(np.unique(gray)) < 256 else Image.fromarray(gray),
    ):
        result = to_rgb(image)
        assert result.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(result), np.repeat(gray[:, :, None], 3, axis=2))
    black_and_white = np.asarray(to_rgb(Image.fromarray(gray > 127)))
    np.testing.assert_array_equal(black_and_white[:, :, 0], np.where(gray > 127, 255, 0))


def test_transparency_is_laid_on_white():
    colours, alpha = pixels(6, 6, 3), pixels(6, 6, 1)
    alpha[0, 0], alpha[0, 1] = 0, 255
    opacity = alpha / 255
    expected = opacity * colours + (1 - opacity) * 255
    result = np.asarray(to_rgb(Image.fromarray(np.concatenate([colours, alpha], axis=2))))
    assert np.abs(result - expected).max() <= 1
    assert result[0, 0].tolist() == [255, 255, 255] and result[0, 1].tolist() == colours[0, 1].tolist()

    gray = np.asarray(to_rgb(Image.fromarray(np.concatenate([colours[:, :, :1], alpha], axis=2))))  # mode LA
    assert np.abs(gray - expected[:, :, :1]).max() <= 1


def test_a_palette_keeps_its_colours_and_its_transparent_entry_becomes_white():
    image = Image.new("P", (2, 1))
    image.putpalette([200, 30, 60, 10, 20, 30])
    image.putpixel((1, 0), 1)
    assert np.asarray(to_rgb(image)).tolist() == [[[200, 30, 60], [10, 20, 30]]]
    with Image.open(io.BytesIO(encoded(image, "PNG", transparency=1))) as transparent:
        assert np.asarray(to_rgb(transparent)).tolist() == [[[200, 30, 60], [255, 255, 255]]]


def test_cmyk_jpeg():
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, full magenta and yellow: red
    red = decode(encoded(ink, "JPEG"), 16)
    assert np.abs(red.astype(int) - [255, 0, 0]).max() < 12


def test_the_content_decides_whatever_the_name(tmp_path):
    image = pixels(9, 9, 3)
    path = tmp_path / "really_a_png.JPEG"
    path.write_bytes(encoded(Image.fromarray(image), "PNG"))
    np.testing.assert_array_equal(decode(path, 9), image)
    np.testing.assert_array_equal(decode(path.read_bytes(), 9), image)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM"])
def test_other_formats_are_not_decoded(tmp_path, kind):
    path = tmp_path / "image.jpg"
    path.write_bytes(encoded(Image.new("RGB", (8, 8)), kind))
    with pytest.raises(DataError, match=r"image\.jpg: expected a JPEG or PNG image"):
        decode(path, 8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_broken_files_are_named(tmp_path, kind):
    whole = encoded(Image.fromarray(pixels(64, 64, 3)), kind)
    for length in (0, 1, 20, len(whole) // 2, len(whole) - 100):
        path = tmp_path / f"cut_at_{length}.jpg"
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=rf"cut_at_{length}\.jpg"):
            decode(path, 32)
    with pytest.raises(DataError, match=r"no_such_file\.jpg: cannot be decoded"):
        decode(tmp_path / "no_such_file.jpg", 32)
    with pytest.raises(DataError, match="inside a tar: expected a JPEG or PNG"):
        decode(b"text", 32, name="inside a tar")


@pytest.mark.parametrize(
    "limit", [700, 300]
)  # 1,024 pixels: Pillow warns beyond its limit, raises beyond twice
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bombs(monkeypatch, limit):
    file = encoded(Image.new("RGB", (32, 32)), "PNG")
    assert decode(file, 16).shape == (16, 16, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match=r"bomb\.png.*limit"):
        decode(file, 16, name="bomb.png")


def test_random_crops_reach_every_offset_and_both_mirrors():
    height, width, crop = 7, 9, 5
    image = np.arange(height * width * 3).reshape(height, width, 3)
    generator = stream(0, "test crops")
    seen = {}
    for _ in range(1500):
        view = random_crop(image, crop, generator)
        assert view.shape == (crop, crop, 3) and view.base is not None  # a view: nothing was copied
        mirrored = view[0, 0, 0] > view[0, 1, 0]
        corner = (view[:, ::-1] if mirrored else view)[0, 0, 0] // 3
        place = (int(corner // width), int(corner % width), bool(mirrored))
        expected = image[place[0] : place[0] + crop, place[1] : place[1] + crop]
        np.testing.assert_array_equal(view, expected[:, ::-1] if mirrored else expected)
        seen[place] = seen.get(place, 0) + 1
    assert set(seen) == {
        (top, left, mirror) for top in range(3) for left in range(5) for mirror in (False, True)
    }
    assert min(seen.values()) > 20 and max(seen.values()) < 90  # 50 each on average
    assert 650 < sum(count for place, count in seen.items() if place[2]) < 850


def test_random_crop_of_the_whole_image():
    image = pixels(5, 5, 3)
    view = random_crop(image, 5, stream(0, "test whole"))
    assert (view == image).all() or (view == image[:, ::-1]).all()


def test_the_ten_views():
    image = pixels(8, 11, 3)
    views = ten_crops(image, 6)
    corners = [image[:6, :6], image[:6, 5:], image[2:, :6], image[2:, 5:], image[1:7, 2:8]]
    assert views.shape == (10, 6, 6, 3) and views.dtype == np.uint8
    np.testing.assert_array_equal(views[:5], corners)
    np.testing.assert_array_equal(views[5:], [np.flip(corner, axis=1) for corner in corners])
    np.testing.assert_array_equal(middle_crop(image, 6), views[4])
    np.testing.assert_array_equal(ten_crops(image[:, :8], 8)[4], image[:, :8])  # crop = size


def test_colour_shift_has_the_covariance_of_the_components():
    components = np.linalg.qr(stream(0, "test components").normal(size=(3, 3)))[0].astype(np.float32)
    deviations = np.array([5, 20, 60], np.float32)
    statistics = Statistics(np.zeros((3, 4, 4), np.float32), components, deviations, 1)
    generator = stream(0, "test shifts")
    shifts = np.stack([colour_shift(statistics, generator, 0.2) for _ in range(20_000)])
    assert shifts.dtype == np.float32 and shifts.shape == (20_000, 3)
    expected = components @ np.diag((0.2 * deviations) ** 2) @ components.T
    np.testing.assert_allclose(shifts.T @ shifts / len(shifts), expected, atol=0.03 * np.abs(expected).max())
    assert np.abs(shifts.mean(axis=0)).max() < 0.3
