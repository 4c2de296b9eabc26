"""ImageNet's development kit of 2012: the number of each validation image's class, and what the numbers mean.

The kit is 2.5 MB, but a file of that size may unpack to gigabytes, and its .mat may claim any number of elements: all
is bounded before it is read. scipy, which reads .mat files too, ends the process at some that are broken.
"""

import io
import struct
import tarfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tinynet.data.reading import open_file, read_file
from tinynet.data.tar_members import tar_members
from tinynet.errors import DataError

DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
FOLDER = DEVKIT.removesuffix(".tar.gz")
META, TRUTH = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
MOST_BYTES = 1 << 26  # of the kit unpacked
MOST_IN_FILE = {META: 1 << 23, TRUTH: 1 << 19}  # META unpacked, too

# A .mat of version 5: a header of 128 bytes, then elements: their kind, their length, their content. A matrix's content
# are elements again: its class, its shape, its name, its values; a struct array's values are matrices.
MAT_HEADER = 128
MATRIX, COMPRESSED = 14, 15
STRUCT_CLASS, TEXT_CLASS = 2, 4
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}
MOST_FIELDS = 64  # of a struct; the kit's has 8


def devkit_labels(path: Path) -> dict[str, str]:
    """Image (ILSVRC2012_val_00000001) -> wnid. path: the archive, or the folder that was in it.

    DataError for a kit that is broken, or larger than the kit can be.
    """
    try:
        meta, truth = _from_folder(path) if path.is_dir() else _from_archive(path)
        # The kit numbers inner nodes of the hierarchy too; images belong to leaves only.
        leaves = (row for row in _synsets(meta) if row["num_children"] == 0)
        wnids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in leaves}
        return {f"ILSVRC2012_val_{i:08d}": wnids[int(number)] for i, number in enumerate(truth.split(), start=1)}
    except Exception as error:  # of zlib, struct, NumPy, or a value of another type
        raise DataError(
            f"{path}: expected {META} and {TRUTH} of the ImageNet 2012 development kit, found something else or "
            f"a broken file: {error}"
        ) from error


def _from_folder(path: Path) -> list[bytes]:
    return [read_file(path / name, most) for name, most in MOST_IN_FILE.items()]


def _from_archive(path: Path) -> list[bytes]:
    with open_file(path) as file:
        content = file.read(MOST_BYTES + 1)
    if content.startswith(b"\x1f\x8b"):
        content = _inflated(content, MOST_BYTES, zlib.MAX_WBITS | 16)
    found: dict[str, tarfile.TarInfo] = {}
    for member in tar_members(io.BytesIO(content), str(path), 0, len(content)):
        name = member.name.removeprefix("./").split("/", 1)[-1]
        if name in MOST_IN_FILE and member.isreg():
            if member.size > MOST_IN_FILE[name]:
                raise ValueError(f"{name} of {member.size} bytes")
            found[name] = member
    return [content[found[name].offset_data :][: found[name].size] for name in MOST_IN_FILE]


def _inflated(content: bytes | memoryview, most: int, window: int = zlib.MAX_WBITS) -> bytes:
    """What zlib or gzip packed; ValueError when it is truncated, or more than `most` bytes: no more are made."""
    inflater = zlib.decompressobj(window)
    unpacked = inflater.decompress(content, most + 1)
    if len(unpacked) > most or not inflater.eof:
        raise ValueError(f"truncated, or more than {most} bytes when it is unpacked")
    return unpacked


def _synsets(mat: bytes) -> Iterator[dict[str, Any]]:
    """The rows of the struct array of this name in a .mat: their fields' values."""
    order = {b"IM": "<", b"MI": ">"}[mat[MAT_HEADER - 2 : MAT_HEADER]]
    left = MOST_IN_FILE[META]
    for kind, content in _elements(memoryview(mat)[MAT_HEADER:], order):
        if kind == COMPRESSED:
            unpacked = memoryview(_inflated(content, left))
            left -= len(unpacked)
            ((kind, content),) = _elements(unpacked, order)
        if kind == MATRIX:
            found, name, parts = _matrix(content, order)
            if name == b"synsets" and found == STRUCT_CLASS:
                return _rows(parts, order)
    raise ValueError("no synsets in the .mat")


def _elements(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """The kind and the content of each element."""
    position = 0
    while position < len(content):
        kind, size = struct.unpack_from(f"{order}2I", content, position)
        if kind >> 16:  # a short one: the length's place has the content
            kind, size, position, following = kind & 0xFFFF, kind >> 16, position + 4, position + 8
        else:
            position += 8
            following = position + size + (0 if kind == COMPRESSED else -size % 8)
        if position + size > min(following, len(content)):
            raise ValueError("an element of the .mat is longer than what is there")
        yield kind, content[position : position + size]
        position = following


def _matrix(content: memoryview, order: str) -> tuple[int, bytes, Iterator[tuple[int, memoryview]]]:
    """A matrix's class, its name, and the elements of its values."""
    parts = _elements(content, order)
    flags, _, name = _first(parts, 3)
    return struct.unpack_from(f"{order}I", flags)[0] & 0xFF, bytes(name), parts


def _first(parts: Iterator[tuple[int, memoryview]], count: int) -> list[memoryview]:
    found = [content for _, content in islice(parts, count)]
    if len(found) < count:
        raise ValueError("a matrix of the .mat has too few elements")
    return found


def _rows(parts: Iterator[tuple[int, memoryview]], order: str) -> Iterator[dict[str, Any]]:
    number, text = _first(parts, 2)
    (length,), names = struct.unpack_from(f"{order}i", number), bytes(text)
    if not 0 < length <= len(names) <= MOST_FIELDS * length:
        raise ValueError(f"a struct's names, {length} bytes each, in {len(names)} bytes")
    fields = [names[i : i + length].split(b"\0")[0].decode() for i in range(0, len(names), length)]
    for row in zip(*[parts] * len(fields), strict=True):  # an element for each field, then the next row's
        yield {field: _value(content, order) for field, (_, content) in zip(fields, row, strict=True)}


def _value(content: memoryview, order: str) -> str | float | None:
    """A text, or the first of the numbers; None: an empty matrix."""
    found, _, parts = _matrix(content, order)
    kind, values = next(parts, (0, memoryview(b"")))
    if not values:
        return None
    if found == TEXT_CLASS:
        end = {"<": "-le", ">": "-be"}[order] if TEXTS[kind] == "utf-16" else ""
        return bytes(values).decode(TEXTS[kind] + end)
    return np.frombuffer(values, order + NUMBERS[kind])[0].item()
