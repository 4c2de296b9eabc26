"""Where images lie in archives: the right bytes, kept for the next time, and never a broken archive's half."""

import io
import os
import re
import tarfile

import numpy as np
import pytest
import safetensors.numpy
from disk import image_bytes, tar_bytes, write

from tinynet.data import DataError
from tinynet.data.stores import archive_index
from tinynet.data.stores.archive_index import index_archives

FILES = {f"{number}.JPEG": image_bytes(str(number)) for number in range(3)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tinynet" / "index"


def found(path, index):
    """Name -> the bytes that the index points to."""
    content = path.read_bytes()
    places = zip(index.names, index.offset.tolist(), index.size.tolist(), strict=True)
    return {name: content[offset : offset + size] for name, offset, size in places}


def raises(message):
    return pytest.raises(DataError, match=re.escape(message))


def test_it_points_at_every_image(tmp_path):
    inner = tar_bytes({"a.JPEG": b"in", "long/" * 40 + "b.png": b"long name"})
    files = {**FILES, "./c.JPG": b"dot", "n01440764.tar": inner, "._c.jpg": b"hidden", "readme.txt": b"x", "d.jpg": b""}
    path = write(tmp_path / "a.tar", tar_bytes(files))
    other = write(tmp_path / "b.tar", tar_bytes({"x/key.cls": b" 12\n", "x/key.seg.png": b"s", "x/key.jpg": b"k"}))
    index = index_archives([path])
    expected = {**FILES, "c.JPG": b"dot", "d.jpg": b""}
    expected |= {"n01440764.tar/a.JPEG": b"in", f"n01440764.tar/{'long/' * 40}b.png": b"long name"}
    assert found(path, index) == expected
    both = index_archives([path, other])
    assert both.archive.tolist() == [0] * 7 + [1] * 2
    assert both.label.tolist() == [-1] * 7 + [12] * 2
    assert list(both.names)[7:] == ["x/key.seg.png", "x/key.jpg"]


def test_it_is_made_once_and_again_when_the_archive_changes(tmp_path, cache, monkeypatch):
    path = write(tmp_path / "a.tar", tar_bytes(FILES))
    calls = []
    first = index_archives([path], lambda done, total: calls.append((done, total)))
    assert calls == [(1, 1)] and len(list(cache.iterdir())) == 1

    opened, make = [], archive_index._make
    monkeypatch.setattr(archive_index, "_make", lambda *arguments: opened.append(1) or make(*arguments))
    again = index_archives([path], lambda done, total: calls.append((done, total)))
    assert not opened and len(calls) == 1
    assert list(again.names) == list(first.names)
    for column in ("archive", "offset", "size", "label"):
        np.testing.assert_array_equal(getattr(again, column), getattr(first, column), strict=True)

    write(path, tar_bytes({"new.jpg": b"new"} | FILES))
    assert found(path, index_archives([path])) == {"new.jpg": b"new"} | FILES and len(opened) == 1
    os.utime(path, (0, 0))  # the same size, another time
    index_archives([path])
    assert len(opened) == 2 and len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"PK broken", None])
def test_a_damaged_index_is_made_again(tmp_path, cache, damage):
    path = write(tmp_path / "a.tar", tar_bytes(FILES))
    index_archives([path])
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert found(path, index_archives([path])) == FILES
    assert found(path, index_archives([path])) == FILES and len(kept.read_bytes()) == len(whole)


def test_no_flipped_bit_of_an_index_is_overlooked(tmp_path, cache, monkeypatch):
    path = write(tmp_path / "a.tar", tar_bytes(FILES))
    index_archives([path])
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    stamps = np.array([(path.stat().st_size, path.stat().st_mtime_ns)], np.int64)
    assert list(archive_index._load(kept, stamps).names) == list(FILES)
    for position in range(0, len(whole), 3):
        kept.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        assert archive_index._load(kept, stamps) is None
    for length in range(0, len(whole), 100):
        kept.write_bytes(whole[:length])
        assert archive_index._load(kept, stamps) is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("archive", np.array([0, 0, 1], np.int32)), ("archive", np.array([0, 0, -1], np.int32)),
        ("offset", np.array([512, 1536, 1 << 40])), ("offset", np.array([512, 1536, -1])),
        ("size", np.array([3, 3, 1 << 62])), ("size", np.array([3, 3, -3])), ("size", np.array([3.0, 3, 3])),
        ("label", np.array([-1, -1, -2])), ("label", np.array([-1, -1])), ("starts", np.array([0, 4, 2, 9])),
        ("starts", np.array([0, 4, 8, 1 << 40])), ("starts", np.array([-1, 4, 8, 9])), ("starts", np.array([0, 9])),
        ("text", np.zeros(3, np.int64)), ("stamps", np.zeros((1, 2), np.int64)), ("more", np.zeros(3)),
    ],
)  # fmt: skip
def test_an_index_with_columns_that_cannot_be_is_made_again(tmp_path, cache, monkeypatch, column, value):
    """Its checksum is right."""
    path = write(tmp_path / "a.tar", tar_bytes(FILES))
    save = safetensors.numpy.save
    monkeypatch.setattr(archive_index.safetensors.numpy, "save", lambda columns: save(columns | {column: value}))
    index_archives([path])
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parents[1]))
    assert found(path, index_archives([path])) == FILES


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among the files here")
def test_pipes_in_place_of_files(tmp_path, cache):
    path = write(tmp_path / "a.tar", tar_bytes(FILES))
    index_archives([path])
    (kept,) = cache.iterdir()
    kept.unlink()
    os.mkfifo(kept)
    assert found(path, index_archives([path])) == FILES and kept.is_file()
    os.mkfifo(tmp_path / "b.tar")
    with raises("b.tar: expected a file, found a pipe"):
        index_archives([tmp_path / "b.tar"])


def test_without_a_home_nothing_is_kept(tmp_path, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.home", homeless)
    path = write(tmp_path / "a.tar", tar_bytes(FILES))
    assert found(path, index_archives([path])) == FILES and os.listdir(tmp_path) == ["a.tar"]


def test_what_is_left_out_is_counted(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("a.jfif", "b.JPE", "c.webp", "d.WEBP", "e.bmp", "f.txt", "g", "@eaDir/h.jpg", "__MACOSX/._i.jpg",
                     "deep/.hidden/j.jpg", "./k.jpg", "../l.jpg"):  # fmt: skip
            archive.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("m.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "k.jpg"
        archive.addfile(link)
        device = tarfile.TarInfo("n.jpg")
        device.type = tarfile.CHRTYPE
        archive.addfile(device)
    path = write(tmp_path / "a.tar", file.getvalue())
    for _ in range(2):  # made, and kept
        index = index_archives([path])
        assert list(index.names) == ["a.jfif", "b.JPE", "k.jpg", "../l.jpg"]
        assert index.others == {".webp": 2, ".bmp": 1, "without a suffix": 1, "links": 1, "special files": 1}


def test_labels_that_are_none(tmp_path):
    for content in (b"cat", b"1.0", b"1_0", b"9" * 19, b"5" + b" " * 600, b"", b"\xd9\xa1"):
        with raises("a.tar/a.cls: expected an integer label, found b'"):
            index_archives([write(tmp_path / "a.tar", tar_bytes({"a.cls": content}))])
    with raises("a.tar/a.cls: expected a label from 0, found -1"):
        index_archives([write(tmp_path / "a.tar", tar_bytes({"a.cls": b"-1"}))])
    with raises("a.tar: several .cls files have the key x/img, what comes before a name's first dot"):
        index_archives([write(tmp_path / "a.tar", tar_bytes({"x/img.0.cls": b"1", "x/img.1.cls": b"1"}))])


def test_a_cache_folder_that_cannot_be_written_only_costs_time(tmp_path, cache, monkeypatch):
    path = write(tmp_path / "a.tar", tar_bytes(FILES))
    write(tmp_path / "file", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert found(path, index_archives([path])) == FILES
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def full(*arguments, **arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive_index.os, "replace", full)
    assert found(path, index_archives([path])) == FILES and list(cache.iterdir()) == []


def members(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return archive.getmembers()


def end_of_files(content):
    last = members(content)[-1]
    return last.offset_data + -(-last.size // 512) * 512


@pytest.mark.parametrize("nested", [False, True])
def test_a_truncated_archive_is_named_wherever_it_was_cut(tmp_path, nested):
    content = tar_bytes(FILES)
    end = end_of_files(content)
    path = tmp_path / "cut.tar"
    for length in (0, 100, 512, 600, 1024, end // 2, end - 1, end):
        cut = content[:length]
        whole = tar_bytes({"n01440764.tar": cut, "n01443537.tar": content}) if nested else cut
        write(path, whole)
        with raises("cut.tar/n01440764.tar: truncated or broken" if nested else "cut.tar: truncated or broken"):
            index_archives([path])
    holed = content[:1024] + bytes(2 << 20)  # of its full length, but only the first piece has come
    write(path, tar_bytes({"n01440764.tar": holed}) if nested else holed)
    with raises("cut.tar/n01440764.tar: truncated or broken" if nested else "cut.tar: truncated or broken"):
        index_archives([path])
    short = content[: end + 512]
    write(path, tar_bytes({"n01440764.tar": short}) if nested else short)
    assert len(index_archives([path]).names) == 3  # the mark of the end is there


def test_what_is_no_archive(tmp_path):
    damaged = bytearray(tar_bytes(FILES))
    second = members(damaged)[1].offset
    damaged[second : second + 512] = b"?" * 512
    for content in (b"no archive" * 200, bytes(damaged)):
        with raises("bad.tar: truncated or broken, or no (uncompressed) tar archive"):
            index_archives([write(tmp_path / "bad.tar", content)])


def test_progress_ends_at_the_total(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_index, "CALLS_EVERY", 2)
    monkeypatch.setattr(archive_index, "MIB", 512)
    path = write(tmp_path / "a.tar", tar_bytes(FILES))
    calls = []
    index_archives([path], lambda done, total: calls.append((done, total)))
    assert len(calls) == 2 and calls[0][0] < calls[1][0] == calls[1][1] == len(path.read_bytes()) // 512 + 1
