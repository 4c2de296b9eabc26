"""ImageNet's development kit of 2012: the number of each validation image's class, and what the numbers mean.

It is 2.5 MB. What is in it is read by scipy, but only after it is known how much that will take: a file of 3 MB may
unpack to any size, and a .mat claim any number of elements in any depth.
"""

import io
import math
import struct
import tarfile
import warnings
import zlib
from pathlib import Path

from tinynet.data.errors import DataError
from tinynet.data.reading import open_file, read_file
from tinynet.data.tar_members import tar_members

DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
FOLDER = DEVKIT.removesuffix(".tar.gz")
META, TRUTH = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
MOST_BYTES = 1 << 26  # of the kit unpacked
MOST_IN_FILE = {META: 1 << 23, TRUTH: 1 << 19}  # the kit's own have 0.2 and 0.14 MB

# A .mat of version 5: a header of 128 bytes, then elements: their kind, their length, their content.
MAT_HEADER = 128
INT32, MATRIX, COMPRESSED = 5, 14, 15
PLAIN_CLASSES = {4, *range(6, 16)}  # of matrices: text and numbers; the others hold further matrices
MOST_CONTAINERS = 16  # the kit's has one


def devkit_labels(path: Path) -> dict[str, str] | None:
    """Image (ILSVRC2012_val_00000001) -> wnid. path: the archive, or the folder that was in it.

    None without scipy; DataError for a kit that is broken, or larger than the kit can be.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        return None
    try:
        meta, truth = _from_folder(path) if path.is_dir() else _from_archive(path)
        synsets = _variable(meta, "synsets", loadmat)
        # The kit numbers inner nodes of the hierarchy too; images belong to leaves only.
        wnids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets if row["num_children"] == 0}
        return {f"ILSVRC2012_val_{i:08d}": wnids[int(number)] for i, number in enumerate(truth.split(), start=1)}
    except Exception as error:  # gzip, tarfile and loadmat have many kinds of them
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


def _inflated(content: bytes, most: int, window: int = zlib.MAX_WBITS) -> bytes:
    """What zlib or gzip packed; ValueError when it is more than `most` bytes, and only then."""
    inflater = zlib.decompressobj(window)
    unpacked = inflater.decompress(content, most + 1)
    if len(unpacked) > most:
        raise ValueError(f"more than {most} bytes when it is unpacked")
    if not inflater.eof:
        raise ValueError("truncated")
    return unpacked


def _variable(mat: bytes, name: str, loadmat) -> list:
    """The rows of one variable of a .mat, a struct array."""
    order = {b"IM": "<", b"MI": ">"}[mat[MAT_HEADER - 2 : MAT_HEADER]]
    position, left = MAT_HEADER, MOST_IN_FILE[META]
    while position < len(mat):
        kind, size = struct.unpack_from(f"{order}2I", mat, position)
        element = mat[position : position + 8 + size]
        position += 8 + size
        if kind == COMPRESSED:
            element = _inflated(element[8:], left)
        left -= len(element)
        _check_element(element, order)
        with warnings.catch_warnings(action="ignore"):  # they quote what is in the file
            found = loadmat(io.BytesIO(mat[:MAT_HEADER] + element), squeeze_me=True)
        if name in found:
            return list(found[name].reshape(-1))
    raise ValueError(f"no {name}")


def _check_element(element: bytes, order: str) -> None:
    """ValueError unless an unpacked element is one matrix, whose parts follow one another as loadmat will read them,
    with no more elements than there are bytes and few matrices that hold others: loadmat descends by recursion.
    """
    kind, size = struct.unpack_from(f"{order}2I", element)
    if kind != MATRIX or size != len(element) - 8:
        raise ValueError("not one matrix")
    position = containers = elements = 0
    while position < len(element):
        kind, size = struct.unpack_from(f"{order}2I", element, position)
        position += 8
        if kind == MATRIX and size:  # goes on with its class, its dimensions, and what is in it
            (flags,) = struct.unpack_from(f"{order}I", element, position + 8)
            containers += flags & 0xFF not in PLAIN_CLASSES
            kind, size = struct.unpack_from(f"{order}2I", element, position + 16)
            dimensions = struct.unpack_from(f"{order}{min(size, 32) // 4}i", element, position + 24)
            elements += math.prod(dimensions)
            if kind != INT32 or size > 32 or min(dimensions) < 0 or elements > len(element):
                raise ValueError(f"a matrix of {' x '.join(map(str, dimensions))} elements")
            position += 24 + size + -size % 8
        elif not kind >> 16:  # else four bytes that stand in place of the length
            position += size + -size % 8
    if position != len(element) or containers > MOST_CONTAINERS:
        raise ValueError("parts that do not follow one another, or matrices in matrices")
