"""What is done of an unfinished cache: read as it was written, with or without checksums, and never read wrongly."""

import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest

from tinynet.data import DataError, Sums
from tinynet.data.caching.journal import Chunk, ChunkSums, Journal
from tinynet.data.stores.cache import Manifest

MANIFEST = Manifest("/data", 4, ["a", "b"], ["a", "b"], {"train": 8, "val": 4}, "c" * 64, 8)
CHUNKS = [Chunk("train", 0, 4), Chunk("train", 4, 8), Chunk("val", 0, 4)]


def raises(message):
    return pytest.raises(DataError, match=re.escape(message))


@pytest.fixture
def path(tmp_path):
    with Journal(tmp_path / "journal.jsonl", MANIFEST) as journal:
        for number, chunk in enumerate(CHUNKS):
            journal.add(chunk, [7, None, 2**32 - 1, number])
    return tmp_path / "journal.jsonl"


def finished(path):
    with Journal(path, MANIFEST) as journal:
        return journal.finished


def test_it_tells_what_was_written(path):
    assert finished(path) == {chunk: [7, None, 2**32 - 1, number] for number, chunk in enumerate(CHUNKS)}


def test_another_cache_is_refused_and_it_is_said_why(path):
    with raises(f"{path.parent}: another cache was begun there: size 4, not 5 (why)"):
        Journal(path, replace(MANIFEST, size=5), " (why)")


def test_one_from_before_there_were_checksums_goes_on(path):
    first, *lines = (json.loads(line) for line in path.read_text().splitlines())
    old = [{name: value for name, value in first.items() if name not in ("checksum", "digests")}]
    old += [{name: value for name, value in line.items() if name != "crc"} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in old))
    assert len(finished(path)) == 3


def test_no_flipped_bit_brings_another_account(path):
    """It is an error, or it is the same; one in the last newline takes the last line along, as a torn one is."""
    content, whole = bytearray(path.read_bytes()), finished(path)
    for position in range(len(content) - 1):
        for bit in (1, 16, 64):
            content[position] ^= bit
            path.write_bytes(content)
            try:
                assert finished(path) == whole
            except DataError as error:
                assert str(path.parent) in str(error)
            content[position] ^= bit


@pytest.mark.parametrize(
    "record",
    [
        {"chunk": ["train", 0, 4], "checksums": [1, 2, 3]},
        {"chunk": ["train", 0, 9], "checksums": [1] * 9},
        {"chunk": ["train", -4, 0], "checksums": [1] * 4},
        {"chunk": ["other", 0, 4], "checksums": [1] * 4},
        {"chunk": ["train", 0, 4], "checksums": [1, 2, 3, 2**32]},
        {"chunk": ["train", 0, 4], "checksums": [1, 2, 3, "4"]},
        {"chunk": [[], 0, 4], "checksums": [1] * 4},
        [1],
        json.loads("[" * 900 + "]" * 900),
    ],
    ids=str,
)
def test_lines_that_cannot_be(path, record):
    with open(path, "a") as file:
        file.write(json.dumps(record) + "\n")
    with raises(f"{path}: a line is damaged"):
        finished(path)


def test_a_journal_nested_without_end(path):
    path.write_text("[" * 5000 + "\n")
    with raises(f"{path}: expected the description of a prepared cache"):
        finished(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among the files here")
def test_pipes_in_place_of_files(tmp_path):
    for name in ("journal.jsonl", "sums.safetensors"):
        os.mkfifo(tmp_path / name)
    with raises(f"{tmp_path / 'journal.jsonl'}: expected a file, found a pipe"):
        finished(tmp_path / "journal.jsonl")
    assert CHUNKS[0] not in ChunkSums(tmp_path / "sums.safetensors", 4, CHUNKS)


def test_sums_that_are_damaged_are_computed_again(tmp_path, monkeypatch):
    monkeypatch.setattr("tinynet.data.caching.journal.CHUNKS_BETWEEN_SUMS", 1)
    path, sums = tmp_path / "sums.safetensors", Sums.zero(4)
    sums.add(np.full((4, 4, 3), 9, np.uint8))
    ChunkSums(path, 4, CHUNKS).add(CHUNKS[0], sums, lasting=True)
    assert CHUNKS[0] in ChunkSums(path, 4, CHUNKS) and ChunkSums(path, 4, CHUNKS).total().images == 1
    content = bytearray(path.read_bytes())
    for position in range(0, len(content), 3):
        content[position] ^= 2
        path.write_bytes(content)
        found = ChunkSums(path, 4, CHUNKS)
        assert CHUNKS[0] not in found and found.total().images == 0
        content[position] ^= 2


def test_a_link_in_its_place_is_not_followed(path):
    """It may have been planted, and lead to any file of the user's."""
    content, own = path.read_bytes(), path.with_name("own")
    path.rename(own)
    path.symlink_to(own)
    with raises(f"{path}: expected a file of the cache's own to write, found a link"):
        Journal(path, MANIFEST)
    assert own.read_bytes() == content


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links cannot be told apart when they are opened here")
def test_a_link_that_comes_meanwhile_is_not_followed(path, monkeypatch):
    content, own = path.read_bytes(), path.with_name("own")
    path.rename(own)
    path.symlink_to(own)
    monkeypatch.setattr("tinynet.data.caching.journal.refuse_link", lambda path: None)
    with pytest.raises(OSError, match=re.escape(str(path))):
        Journal(path, MANIFEST)
    assert own.read_bytes() == content
