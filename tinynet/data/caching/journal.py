"""What is done of a cache that is not finished: the account that lets `prepare` go on after any interruption."""

import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinynet.arrays import read_arrays, write_arrays
from tinynet.data.reading import open_file, read_file
from tinynet.data.statistics import Sums
from tinynet.data.stores.cache import Manifest
from tinynet.errors import CheckpointError, DataError
from tinynet.files import no_link, parse_json

CHUNKS_BETWEEN_SUMS = 32  # whose sums an interruption may lose: seconds of work


class Chunk(NamedTuple):
    """Images of a split that are prepared together: `first` to `last` - 1."""

    split: str
    first: int
    last: int


Checksums = list[int | None]  # of a chunk's images; None: the image could not be read


class Journal:
    """A file of JSON lines: what the cache is to be, then a line per finished chunk. Each is safe on disk before the
    next begins.

    finished: the chunks that the file tells of, with their checksums. DataError when it is about another cache; why:
    what may have made it another, for the message. DataError for a link, too: what it leads to would be written over.
    """

    def __init__(self, path: Path, manifest: Manifest, why: str = ""):
        refuse_link(path)
        lines = read_file(path).split(b"\n")[:-1] if path.exists() else []  # an unfinished last line counts as none
        if lines:
            found = Manifest.from_json(lines[0].decode(errors="replace"), path)
            if found != manifest:
                raise DataError(f"{path.parent}: another cache was begun there: {found.differences(manifest)}{why}")
        self.finished: dict[Chunk, Checksums] = {}
        for line in lines[1:]:
            try:
                chunk, checksums = _read(line, manifest)
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}: a line is damaged ({error}); remove {path.parent} and begin again") from error
            self.finished[chunk] = checksums
        self._file = open(path, "ab", opener=no_link)  # noqa: SIM115
        self._file.truncate(sum(len(line) + 1 for line in lines))
        if not lines:
            self._append(manifest.to_json())

    def add(self, chunk: Chunk, checksums: Checksums) -> None:
        """A chunk is finished: its pixels are on disk."""
        self.finished[chunk] = checksums
        record = {"chunk": chunk, "checksums": checksums}
        self._append(json.dumps(record | {"crc": _crc(record)}))

    def _append(self, line: str) -> None:
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exception) -> None:
        self._file.close()


def refuse_link(path: Path) -> None:
    """DataError for a link where a cache's own file is to be written."""
    if path.is_symlink():
        raise DataError(f"{path}: expected a file of the cache's own to write, found a link")


def _crc(record: dict) -> int:
    return zlib.crc32(json.dumps(record).encode())


def _read(line: bytes, manifest: Manifest) -> tuple[Chunk, Checksums]:
    """What a line tells; ValueError, KeyError or TypeError where it is none that was written."""
    record = parse_json(line)
    crc = record.pop("crc", None)  # lines from before have none
    chunk, checksums = Chunk(*record["chunk"]), record["checksums"]
    if set(record) != {"chunk", "checksums"} or crc not in (None, _crc(record)):
        raise ValueError("its checksum is not the one it was written with")
    if not 0 <= chunk.first < chunk.last <= manifest.images[chunk.split] or len(checksums) != chunk.last - chunk.first:
        raise ValueError(f"no chunk is {chunk}")
    if not all(value is None or (type(value) is int and 0 <= value < 1 << 32) for value in checksums):
        raise ValueError("a checksum of an image cannot be")
    return chunk, checksums


class ChunkSums:
    """The sums over the training set's images, chunk by chunk, kept in a file from time to time.

    Those of a chunk that came after the file was last written have to be computed again, from the cache's pixels. What
    is in the file counts only when it is about some of `chunks`.
    """

    def __init__(self, path: Path, size: int, chunks: Iterable[Chunk]):
        self._path, self._chunks = path, set()
        self._lasting, self._passing = Sums.zero(size), Sums.zero(size)
        try:
            open_file(path).close()  # no pipe
            arrays, metadata = read_arrays(path)
            found = {Chunk(*chunk) for chunk in parse_json(metadata["chunks"])}
            whole = metadata["digest"] == _digest(arrays, metadata["chunks"])
            values: dict[str, Any] = arrays | {"images": int(arrays["images"][0])}
            sums = Sums(**values)
        except (CheckpointError, DataError, OSError, ValueError, KeyError, TypeError, IndexError):
            return  # there is none yet, or it is damaged: the sums are computed again
        if whole and found <= set(chunks):
            self._lasting, self._chunks = sums, found

    def __contains__(self, chunk: Chunk) -> bool:
        return chunk in self._chunks

    def add(self, chunk: Chunk, sums: Sums, lasting: bool) -> None:
        """Adds a chunk's images; those of one that is not `lasting`, since bad images in it are to be tried again, are
        not for the file.
        """
        if not lasting:
            self._passing.merge(sums)
            return
        self._lasting.merge(sums)
        self._chunks.add(chunk)
        if len(self._chunks) % CHUNKS_BETWEEN_SUMS == 0:
            arrays = {name: np.atleast_1d(value) for name, value in asdict(self._lasting).items()}
            told = json.dumps(sorted(self._chunks))
            write_arrays(self._path, arrays, {"chunks": told, "digest": _digest(arrays, told)})

    def total(self) -> Sums:
        """The sums over all images that were added. Nothing can be added after."""
        self._lasting.merge(self._passing)
        return self._lasting


def _digest(arrays: dict[str, np.ndarray], told: str) -> str:
    digest = hashlib.sha256(told.encode())
    for name in sorted(arrays):
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
