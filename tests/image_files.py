"""Image files of every kind, good and bad, made on the spot, with the pixels or the error that each should bring.

All are to be decoded at SIZE x SIZE pixels, the size of most of them, so that nothing is resized.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from tinynet.random import stream

SIZE = 16


def encoded(image: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(rows: np.ndarray, depth: int, colour_type: int, *chunks: bytes, width: int | None = None) -> bytes:
    """A PNG of these rows, as bytes: Pillow writes neither 16 bits in colour nor what is wrong."""
    header = struct.pack(">IIBBBBB", width or SIZE, len(rows), depth, colour_type, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    ends = [chunk(b"IDAT", content), chunk(b"IEND", b"")]
    return b"".join([b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *chunks, *ends])


def with_segment(jpeg: bytes, marker: int, content: bytes) -> bytes:
    """The JPEG with one more segment at its beginning."""
    return jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


generator = stream(0, "test files")
COLOURS = generator.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
GRAY = generator.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
ALPHA = generator.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
DEEP = generator.integers(0, 65536, (SIZE, SIZE, 3), dtype=np.uint16)
BIG_ENDIAN = DEEP.astype(">u2")
INDICES = generator.integers(0, 3, (SIZE, SIZE), dtype=np.uint8)
PALETTE = np.array([[200, 30, 60], [10, 20, 30], [255, 250, 0]], np.uint8)
RAMP = np.linspace(20, 220, SIZE)
SMOOTH = np.stack(np.broadcast_arrays(RAMP[:, None], RAMP[None, ::-1], 90.0), axis=2).astype(np.uint8)
SMOOTH_JPEG = encoded(SMOOTH, "JPEG", quality=95, subsampling=0)
INK = np.array([40, 200, 120, 60], np.uint8)  # cyan, magenta, yellow, black
CMYK_JPEG = encoded(Image.new("CMYK", (SIZE, SIZE), tuple(INK.tolist())), "JPEG", quality=100)
PLTE = chunk(b"PLTE", PALETTE.tobytes())
BROKEN_EXIF = b"Exif\0\0II*\0\x08\0\0\0" + b"\xff" * 40  # 65,535 entries, of which a few bytes are there


def gray(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[:, :, None], 3, axis=2)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    opacity = alpha[:, :, None] / 255
    return opacity * colours + (1 - opacity) * 255


def inked(ink: np.ndarray) -> np.ndarray:
    """What a printer's inks leave of white light."""
    colour = (255 - ink[:3].astype(float)) * (255 - float(ink[3])) / 255
    return np.broadcast_to(colour, (SIZE, SIZE, 3))


def from_ycc(y: float, blue: float, red: float) -> np.ndarray:
    blue, red = blue - 128, red - 128
    return np.array([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue]).clip(0, 255)


def ycck_jpeg() -> tuple[bytes, np.ndarray]:
    """Adobe's other form: inverted inks as luma and chroma. The four stored values are those of CMYK_JPEG."""
    place = CMYK_JPEG.index(b"Adobe") + 11
    assert CMYK_JPEG[place] == 0
    stored = 255 - INK.astype(float)
    ink = from_ycc(*stored[:3])  # libjpeg gives 255 - this, and Pillow the inverse of that
    return CMYK_JPEG[:place] + b"\2" + CMYK_JPEG[place + 1 :], inked(np.array([*ink, INK[3]]))


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def animated() -> bytes:
    second = Image.fromarray(255 - COLOURS)
    return encoded(COLOURS, "PNG", save_all=True, append_images=[second], duration=100)


def two_pictures() -> bytes:
    return encoded(SMOOTH, "MPO", save_all=True, append_images=[Image.new("RGB", (SIZE, SIZE))], quality=95)


def huge() -> bytes:
    """Above 2400 x 1600, black left and right of the middle square."""
    square = SMOOTH.repeat(104, axis=0).repeat(104, axis=1)
    return encoded(np.pad(square, ((0, 0), (418, 418), (0, 0))), "JPEG")


GOOD = {  # name: content, the pixels expected, by how much each may differ
    "RGB PNG": (encoded(COLOURS, "PNG"), COLOURS, 0),
    "RGB JPEG": (SMOOTH_JPEG, SMOOTH, 6),
    "progressive JPEG": (encoded(SMOOTH, "JPEG", quality=95, progressive=True), SMOOTH, 10),
    "JPEG that stores RGB": (encoded(SMOOTH, "JPEG", quality=95, keep_rgb=True), SMOOTH, 6),
    "grayscale JPEG": (encoded(SMOOTH[:, :, 0], "JPEG", quality=95), gray(SMOOTH[:, :, 0]), 6),
    "grayscale PNG": (encoded(GRAY, "PNG"), gray(GRAY), 0),
    "grayscale and alpha": (encoded(np.dstack([GRAY, ALPHA]), "PNG"), on_white(gray(GRAY), ALPHA), 1),
    "grayscale, one value transparent": (
        encoded(GRAY, "PNG", transparency=int(GRAY[0, 0])), gray(np.where(GRAY[0, 0] == GRAY, 255, GRAY)), 0,
    ),
    "RGBA": (encoded(np.dstack([COLOURS, ALPHA]), "PNG"), on_white(COLOURS, ALPHA), 1),
    "16-bit grayscale": (png(BIG_ENDIAN[:, :, 0], 16, 0), gray(DEEP[:, :, 0] >> 8), 0),
    "16-bit grayscale, one value transparent": (
        png(BIG_ENDIAN[:, :, 0], 16, 0, chunk(b"tRNS", BIG_ENDIAN[0, 0, :1].tobytes())),
        gray(np.where(DEEP[:, :, 0] == DEEP[0, 0, 0], 255, DEEP[:, :, 0] >> 8)), 0,
    ),
    "16-bit RGB": (png(BIG_ENDIAN, 16, 2), DEEP >> 8, 0),
    "16-bit grayscale and alpha": (
        png(BIG_ENDIAN[:, :, :2], 16, 4), on_white(gray(DEEP[:, :, 0] >> 8), DEEP[:, :, 1] >> 8), 1,
    ),
    "16-bit RGBA": (
        png(BIG_ENDIAN[:, :, [0, 1, 2, 0]], 16, 6), on_white(DEEP >> 8, DEEP[:, :, 0] >> 8), 1,
    ),
    "1 bit": (encoded(Image.fromarray(GRAY > 127), "PNG"), gray(np.where(GRAY > 127, 255, 0)), 0),
    "2 bits": (
        png(np.full((SIZE, SIZE // 4), 0b00011011, np.uint8), 2, 0),
        gray(np.tile([0, 85, 170, 255], (SIZE, SIZE // 4))), 0,
    ),
    "palette": (png(INDICES, 8, 3, PLTE), PALETTE[INDICES], 0),
    "palette, one entry transparent": (
        png(INDICES, 8, 3, PLTE, chunk(b"tRNS", b"\xff\0")),
        np.where(INDICES[..., None] == 1, 255, PALETTE[INDICES]), 0,
    ),
    "palette, entries half transparent": (
        png(INDICES, 8, 3, PLTE, chunk(b"tRNS", b"\x80\x20\xff")),
        on_white(PALETTE[INDICES], np.array([0x80, 0x20, 0xFF])[INDICES]), 1,
    ),
    "CMYK JPEG, inverted as Adobe does": (CMYK_JPEG, inked(INK), 3),
    "YCCK JPEG, inverted as Adobe does": (*ycck_jpeg(), 4),
    "JPEG with broken EXIF": (with_segment(SMOOTH_JPEG, 0xE1, BROKEN_EXIF), SMOOTH, 6),
    "JPEG with an empty EXIF": (with_segment(SMOOTH_JPEG, 0xE1, b"Exif\0\0"), SMOOTH, 6),
    "JPEG with a corrupt colour profile": (
        with_segment(SMOOTH_JPEG, 0xE2, b"ICC_PROFILE\0\x07\x03 no profile"), SMOOTH, 6,
    ),
    "JPEG with a broken list of pictures": (with_segment(SMOOTH_JPEG, 0xE2, b"MPF\0II*\0\xff\xff\xff\xff"), SMOOTH, 6),
    "JPEG that says it is rotated": (encoded(SMOOTH, "JPEG", quality=95, exif=exif(6)), SMOOTH, 10),
    "JPEG with junk between its segments": (SMOOTH_JPEG[:20] + b"\0\1\2" + SMOOTH_JPEG[20:], SMOOTH, 6),
    "JPEG with padding between its segments": (SMOOTH_JPEG[:20] + b"\xff\xff" + SMOOTH_JPEG[20:], SMOOTH, 6),
    "JPEG with junk at its end": (SMOOTH_JPEG + b"junk" * 100, SMOOTH, 6),
    "two pictures in a JPEG": (two_pictures(), SMOOTH, 10),
    "PNG that says it is rotated": (encoded(COLOURS, "PNG", exif=exif(6)), COLOURS, 0),
    "PNG with broken EXIF": (encoded(COLOURS, "PNG", exif=BROKEN_EXIF), COLOURS, 0),
    "PNG with a corrupt colour profile": (png(COLOURS, 8, 2, chunk(b"iCCP", b"name\0\0no profile")), COLOURS, 0),
    "PNG with a text of 10 MB": (
        png(COLOURS, 8, 2, chunk(b"zTXt", b"text\0\0" + zlib.compress(b"x" * 10**7))), COLOURS, 0,
    ),
    "PNG, animated": (animated(), COLOURS, 0),
    "PNG, animated wrongly": (png(COLOURS, 8, 2, chunk(b"acTL", bytes(8))), COLOURS, 0),
    "8 pixels": (encoded(np.full((8, 8, 3), (9, 99, 199), np.uint8), "PNG"), np.full((16, 16, 3), (9, 99, 199)), 0),
    "1 x 1": (encoded(np.full((1, 1, 3), 77, np.uint8), "PNG"), np.full((SIZE, SIZE, 3), 77), 0),
    "1 x 500": (encoded(np.full((500, 1, 3), 77, np.uint8), "PNG"), np.full((SIZE, SIZE, 3), 77), 0),
    "500 x 1": (encoded(np.full((1, 500, 3), 77, np.uint8), "JPEG"), np.full((SIZE, SIZE, 3), 77), 3),
    "2500 x 1664": (huge(), SMOOTH, 3),
}  # fmt: skip

IMAGE = encoded(COLOURS.repeat(4, axis=0).repeat(4, axis=1), "PNG")
NOISE_JPEG = encoded(stream(0, "test noise").integers(0, 256, (64, 64, 3), dtype=np.uint8), "JPEG")
BAD = {  # name: content, and what the error says besides the file's name
    "empty": (b"", "expected a JPEG or PNG image, found an empty file"),
    "text": (b"<html>404 not found</html>", "expected a JPEG or PNG image, found content that begins with b'<html>404"),
    "zeros": (bytes(5000), "expected a JPEG or PNG image"),
    "a JPEG's first byte": (SMOOTH_JPEG[:1], "expected a JPEG or PNG image"),
    "JPEG, the signature only": (SMOOTH_JPEG[:3], "cannot be decoded"),
    "JPEG, a part of the header": (SMOOTH_JPEG[:100], "cannot be decoded"),
    "JPEG, the header only": (NOISE_JPEG[:630], "cannot be decoded: image file is truncated"),
    "JPEG, half": (NOISE_JPEG[: len(NOISE_JPEG) // 2], "cannot be decoded: image file is truncated"),
    "JPEG, all but 100 bytes": (NOISE_JPEG[:-100], "cannot be decoded: image file is truncated"),
    "PNG, the signature only": (IMAGE[:8], "cannot be decoded"),
    "PNG, the header only": (IMAGE[:33], "cannot be decoded"),
    "PNG, half": (IMAGE[: len(IMAGE) // 2], "cannot be decoded: image file is truncated"),
    "PNG without a palette": (png(INDICES, 8, 3), "cannot be decoded"),
    "PNG of no pixels": (png(COLOURS[:0], 8, 2), "cannot be decoded"),
    "GIF": (encoded(COLOURS, "GIF"), "expected a JPEG or PNG image, found content that begins with b'GIF8"),
    "TIFF": (encoded(COLOURS, "TIFF"), "expected a JPEG or PNG image, found content that begins with b'II"),
    "WebP": (encoded(COLOURS, "WebP"), "expected a JPEG or PNG image, found content that begins with b'RIFF"),
    "BMP": (encoded(COLOURS, "BMP"), "expected a JPEG or PNG image, found content that begins with b'BM"),
    "108 megapixels": (
        png(np.zeros((9000, 1500), np.uint8), 1, 0, width=12000), "12000 x 9000 pixels exceed the limit of 89478485",
    ),
    "decompression bomb": (
        png(COLOURS[:1], 8, 2, width=60000).replace(
            chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 1, 8, 2, 0, 0, 0)),
            chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)),
        ),
        "60000 x 60000 pixels exceed the limit of 89478485",
    ),
}  # fmt: skip
