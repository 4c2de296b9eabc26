"""A development kit that unpacks to more than any kit has, or claims more than it holds, is refused at little cost."""

import gzip
import io
import random
import re
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from disk import tar_bytes, write

from tinynet.data import DataError
from tinynet.data.labels.devkit import DEVKIT, META, TRUTH, devkit_labels

scipy_io = pytest.importorskip("scipy.io")
LABELS = {"ILSVRC2012_val_00000001": "n02106550", "ILSVRC2012_val_00000002": "n01440764"}


def mat(compressed=True, **more):
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(1, "n02106550", "Rottweiler", 0), (2, "n01440764", "tench", 0), (3, "n00001740", "entity", 3)]
    file = io.BytesIO()
    variables = {"synsets": np.array(rows, dtype=kinds).reshape(-1, 1)} | more
    scipy_io.savemat(file, variables, do_compression=compressed)
    return file.getvalue()


def kit(meta, truth=b"1\n2\n", **more):
    files = {f"{DEVKIT[:-7]}/{META}": meta, f"{DEVKIT[:-7]}/{TRUTH}": truth, **more}
    return gzip.compress(tar_bytes(files))


def raises(message):
    return pytest.raises(DataError, match=re.escape(message))


@pytest.fixture
def little_memory():
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300 << 20


@pytest.mark.parametrize("compressed", [False, True])
def test_a_kit(tmp_path, compressed):
    path = write(tmp_path / DEVKIT, kit(mat(compressed, version="1.0", empty=np.zeros(0))))
    assert devkit_labels(path) == LABELS
    write(path, gzip.decompress(path.read_bytes()))
    assert devkit_labels(path) == LABELS
    write(tmp_path / "kit" / META, mat(compressed))
    write(tmp_path / "kit" / TRUTH, b"1\n2\n")
    assert devkit_labels(tmp_path / "kit") == LABELS


def element(kind, content):
    return struct.pack("<2I", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(kind, dimensions, *content, name=b"synsets"):
    flags = struct.pack("<4I", 6, 8, kind, 0)
    shape = element(5, struct.pack(f"<{len(dimensions)}i", *dimensions))
    return element(14, flags + shape + element(1, name) + b"".join(content))


def number(value):
    return matrix(6, (1, 1), element(9, struct.pack("<d", value)), name=b"")


def struct_array(*values, fields=(b"WNID", b"num_children")):
    names = b"".join(name.ljust(16, b"\0") for name in fields)
    return matrix(2, (1, 1), element(5, struct.pack("<i", 16)), element(1, names), *values)


def nested(levels):
    """Cells in cells, made from the inside out without copying all of it each time."""
    cell, inside = matrix(1, (1, 1)), number(1)
    parts, size = [inside], len(inside)
    for _ in range(levels):
        parts.append(cell[:4] + struct.pack("<I", len(cell) - 8 + size) + cell[8:])
        size += len(cell)
    return b"".join(reversed(parts))


HEADER = mat()[:128]
HOSTILE = {
    "a kit of 3 GB": lambda: gzip.compress(bytes(70 << 20)) * 40,
    "a list of 1 GB": lambda: kit(mat(), b"1\n" * (30 << 20)),
    "a .mat of 1 GB": lambda: kit(HEADER + element(15, zlib.compress(bytes(30 << 20)))),
    "many variables of 8 MB": lambda: kit(HEADER + element(15, zlib.compress(matrix(6, (1, 1), bytes(7 << 20)))) * 50),
    "many elements of no bytes": lambda: kit(HEADER + matrix(4, (1, 1 << 30), element(16, b""))),
    "the same in each field": lambda: kit(
        HEADER + matrix(2, (1, 1), element(5, bytes(4)), matrix(4, (1, 1 << 12), element(16, b"")) * 20_000)
    ),
    "dimensions that overflow": lambda: kit(HEADER + matrix(1, (1 << 30, 1 << 30, 1 << 30))),
    "negative dimensions": lambda: kit(HEADER + matrix(1, (-1, -1))),
    "cells in cells": lambda: kit(HEADER + nested(50_000)),
    "a struct in a struct": lambda: kit(HEADER + struct_array(struct_array(b""))),
    "more fields than any": lambda: kit(HEADER + struct_array(fields=[b"a"] * 99)),
    "fields without names": lambda: kit(HEADER + matrix(2, (1, 1), element(5, bytes(4)), element(1, b""))),
    "a field too few": lambda: kit(HEADER + struct_array(number(1), number(2), number(3))),
    "a length beyond the end": lambda: kit(HEADER + struct.pack("<2I", 14, 1 << 31) + bytes(64)),
    "no element": lambda: kit(HEADER),
    "an older format": lambda: kit(struct.pack("<5i", 0, 1 << 14, 1 << 14, 0, 8) + b"synsets\0"),
    "HDF5": lambda: kit(HEADER[:124] + b"\0\2IM" + b"\x89HDF\r\n\x1a\n" * 100),
    "another variable": lambda: kit(mat(synsets=np.zeros((300, 300)))),
    "no devkit": lambda: kit(b"", more=b""),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_kits(tmp_path, kind, little_memory):
    content = HOSTILE[kind]()
    path = write(tmp_path / DEVKIT, content)
    del content
    tracemalloc.reset_peak()
    with raises(f"{path}: expected {META} and {TRUTH} of the ImageNet 2012 development kit, found something else or a"):
        devkit_labels(path)


def test_a_mat_changed_at_random_brings_labels_or_a_data_error(tmp_path):
    choose, whole = random.Random(0), mat(compressed=False)
    write(tmp_path / TRUTH, b"1\n2\n")
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(choose.randrange(1, 4)):
            value = choose.choice([0, 1, 2, 5, 14, 15, 255, choose.randrange(256)])
            content[choose.randrange(124, len(content))] = value
        write(tmp_path / META, bytes(content))
        try:
            found = devkit_labels(tmp_path)
        except DataError as error:
            assert str(error).startswith(f"{tmp_path}: expected ")
        else:
            assert list(found) == list(LABELS)
