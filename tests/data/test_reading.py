"""Files that would hang or fill the memory, text in any bytes, JSON without end, and messages fit for a terminal."""

import os
import pickle
import socket

import numpy as np
import pytest

from tinynet.data import DataError, decode, reading
from tinynet.data.images.decoding import decode_content
from tinynet.data.reading import cache_folder, open_file, read_file, read_text
from tinynet.data.sets.synthetic import drawn_folder, make_dataset
from tinynet.files import parse_json


def raises(message):
    return pytest.raises(DataError, match=message)


def test_a_file_is_read_and_one_too_large_is_not(tmp_path, monkeypatch):
    path = tmp_path / "list"
    path.write_bytes(b"\xef\xbb\xbfcaf\xe9\n")
    assert read_file(path) == path.read_bytes() and read_text(path) == "caf\udce9\n"
    with raises(r"list: expected 3 bytes at most, found 8"):
        read_file(path, 3)
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "nowhere")
    with pytest.raises(OSError, match=r"directory|denied"):
        open_file(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among the files here")
def test_what_would_hang_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "x.jpg")
    (tmp_path / "link.jpg").symlink_to("x.jpg")
    monkeypatch.chdir(tmp_path)  # a socket's path has to be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("y.jpg")
        for path in ("x.jpg", "link.jpg", "y.jpg", "/dev/zero"):
            with raises(f"{path}: expected a file, found a pipe, a socket or a device"):
                open_file(path)
            with raises(f"{path}: expected a file"):
                decode(path, 8)
    os.mkdir("drawn")
    os.mkfifo("drawn/synthetic.json")
    make_dataset("drawn", 16, 2, 1, 1)
    assert os.path.isfile("drawn/synthetic.json")


def test_what_comes_from_a_data_set_is_never_a_path(tmp_path):
    for content in ("/etc/hostname", tmp_path, None, 3, bytearray(b"x"), [b"x"]):
        with raises("^a.parquet/row 0: expected the bytes of an image, found "):
            decode_content(content, 8, "a.parquet/row 0")


def test_json_has_one_error():
    assert parse_json("[1]") == [1]
    for text in ("[" * 5000, b"[" * 200_000, '{"a":' * 5000, "", b"\xff", "9" * 5000):
        with pytest.raises(ValueError):
            parse_json(text)


def test_a_user_without_a_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("index") == tmp_path / "tinynet" / "index"
    assert drawn_folder() == tmp_path / "tinynet" / "synthetic"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(reading.Path, "home", lambda: tmp_path)
    assert cache_folder("index") == tmp_path / ".cache" / "tinynet" / "index"

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(reading.Path, "home", homeless)
    assert cache_folder("index") is None and drawn_folder().parts == ("runs", "synthetic")


def test_an_errors_text_is_fit_for_a_terminal():
    error = DataError("a\x1b]0;b\x07\nc\udce9: é", "second\tline")
    for same in (error, pickle.loads(pickle.dumps(error))):
        assert str(same) == "a\\x1b]0;b\\x07\\nc\\xe9: é\nsecond\\tline"
    assert str(DataError(str(error))).count("\\x1b") == 1  # shown twice, escaped once
    assert len(str(DataError("a" * 10**6))) < 5000


def test_arrays_are_filled_as_far_as_the_file_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PIECE", 3)
    path = tmp_path / "file"
    path.write_bytes(bytes(range(10)))
    for length in (0, 2, 10, 12):
        array = np.full(length, 255, np.uint8)
        with reading.open_file(path) as file:
            assert reading.fill(file, array) == min(length, 10)
        assert array.tolist() == ([*range(10), 255, 255])[:length]
