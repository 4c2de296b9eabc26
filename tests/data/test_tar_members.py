"""Archives that say of themselves what cannot be: an error that names them, soon, in little memory."""

import io
import random
import re
import tarfile
import tracemalloc

import pytest
from disk import tar_bytes, write

from tinynet.data import DataError
from tinynet.data.stores import archive_index
from tinynet.data.stores.archive_index import index_archives
from tinynet.data.tar_members import BLOCK, MOST_HEADERS, tar_members

END = bytes(2 * BLOCK)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def header(name, size, kind=b"0", raw_size=None, sparse_size=None):
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    content = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    if raw_size is not None:
        content[124:136] = raw_size
    if sparse_size is not None:
        content[386:495] = bytes(97) + b"%011o\0" % sparse_size
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content)
    return bytes(content)


def padded(content):
    return content + bytes(-len(content) % BLOCK)


def member(name="x.jpg", content=b"abc", **options):
    return header(name, len(content), **options) + padded(content)


def pax(records, kind=b"x", size=None):
    return header("pax", len(records) if size is None else size, kind) + padded(records)


def pax_record(keyword, value):
    for length in range(len(keyword) + len(value) + 3, len(keyword) + len(value) + 12):
        record = b"%d %s=%s\n" % (length, keyword, value)
        if len(record) == length:
            return record
    raise AssertionError


def names_in(content):
    return [one.name for one in tar_members(io.BytesIO(content), "a.tar", 0, len(content))]


def raises(*parts):
    return pytest.raises(DataError, match="(?s)" + ".*".join(map(re.escape, parts)))


def sparse_nest(levels):
    content = member() + END
    for _ in range(levels):
        content = header("i.tar", 0, b"S", sparse_size=len(content)) + content
    return content


NEGATIVE = b"\xff" * 10 + b"\xfa\x00"  # -1536 as base 256
BROKEN = {
    "a sparse member": (member("x.jpg", kind=b"S", sparse_size=1 << 40) + END, "is sparse"),
    "sparse members that overlap": (sparse_nest(30), "is sparse"),
    "a sparse member by its attributes": (
        pax(pax_record(b"GNU.sparse.map", b"0,3") + pax_record(b"GNU.sparse.size", b"9")) + member() + END, "is sparse",
    ),
    "a negative size": (member(raw_size=NEGATIVE) + END, "a.tar: truncated or broken"),
    "a negative size by its attributes": (
        member("d", b"") + pax(pax_record(b"size", b"-1536")) + member() + END, "a.tar: truncated or broken",
    ),
    "a size beyond everything": (pax(pax_record(b"size", b"9" * 30)) + member() + END, "goes on beyond the end"),
    "an attribute header of 8 GB": (pax(b"", size=8 << 30) + member() + END, "a header of"),
    "an attribute header of negative size": (header("p", 0, b"x", NEGATIVE) + member() + END, "a.tar: truncated"),
    "a long name of 8 GB": (header("n", 8 << 30, b"L") + member() + END, "a header of"),
    "a name too long": (pax(pax_record(b"path", b"a" * 5000)) + member() + END, "or its size, place or name cannot be"),
    "an endless chain of attributes": (pax(b"8 a=bcd\n") * 5000 + member() + END, "a.tar: truncated or broken"),
    "an endless chain of global attributes": (pax(b"8 a=bcd\n", b"g") * 5000 + member() + END, "a.tar: truncated"),
    "attributes in attributes": (pax(b"1 " * (MOST_HEADERS // 2) + b"=") + member() + END, "a header of"),
}  # fmt: skip


def refuse_negative(original):
    """tarfile.TarInfo._block as later Pythons have it (3.11.14, 3.12.12, 3.13.6)."""

    def block(self, count):
        if count < 0:
            raise tarfile.InvalidHeaderError("invalid offset")
        return original(self, count)

    return block


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("kind", BROKEN)
def test_what_no_archive_is(kind, later, monkeypatch):
    content, message = BROKEN[kind]
    if later:
        monkeypatch.setattr(tarfile.TarInfo, "_block", refuse_negative(tarfile.TarInfo._block))
    tracemalloc.start()
    try:
        with raises("a.tar: ", message.removeprefix("a.tar: ")):
            names_in(content)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_attributes_that_real_archives_have():
    records = pax_record(b"path", "Käse/x.jpg".encode()) + pax_record(b"SCHILY.xattr.user.a", b"v" * 10_000)
    latin = pax_record(b"hdrcharset", b"BINARY") + pax_record(b"path", b"caf\xe9/y.jpg")
    content = pax(pax_record(b"comment", b"of all"), b"g") + pax(records) + member() + pax(latin) + member() + END
    assert names_in(content) == ["Käse/x.jpg", "caf\udce9/y.jpg"]
    long = io.BytesIO()
    with tarfile.open(fileobj=long, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("long/" * 100 + "z.jpg"))
    assert names_in(long.getvalue()) == ["long/" * 100 + "z.jpg"]


def test_archives_in_archives_without_end(tmp_path):
    content = tar_bytes({"x.jpg": b"abc"})
    for level in range(40):
        content = tar_bytes({f"{level}.tar": content})
        if level == 2:
            assert list(index_archives([write(tmp_path / "four.tar", content)]).names) == ["2.tar/1.tar/0.tar/x.jpg"]
    with raises("a.tar/39.tar/38.tar/37.tar/36.tar: archives in archives, more than 4 levels deep"):
        index_archives([write(tmp_path / "a.tar", content)])


def test_headers_changed_at_random_bring_an_archive_or_a_data_error(tmp_path):
    """And members that lie one after the other, inside."""
    choose = random.Random(0)
    whole = pax(pax_record(b"path", b"long/x.jpg")) + member() + member("y.png", b"d" * 700) + member("z.cls", b"1")
    whole += member("n.tar", tar_bytes({"w.jpg": b"w"})) + END
    path, refused = tmp_path / "a.tar", 0
    for _ in range(600):
        content = bytearray(whole)
        for _ in range(choose.randrange(1, 4)):
            place = choose.choice([0, BLOCK, 2 * BLOCK, 4 * BLOCK, 7 * BLOCK]) + choose.randrange(BLOCK)
            content[place] = choose.choice([0, 32, 48, 55, 57, 83, 120, 255, choose.randrange(256)])
        for place in (0, 2 * BLOCK, 4 * BLOCK, 7 * BLOCK):  # with the right checksums, or else all are refused
            block = content[place : place + BLOCK]
            block[148:156] = b" " * 8
            content[place + 148 : place + 156] = b"%06o\0 " % sum(block)
        write(path, bytes(content))
        try:
            index = archive_index._make([path], archive_index.np.array([len(content)]), None)
        except DataError as error:
            assert str(error).startswith(f"{path}")
            refused += 1
            continue
        assert (index.offset + index.size <= len(content)).all() and (index.offset >= BLOCK).all()
        assert (index.size >= 0).all()
    assert 20 < refused < 580
