"""What is done of a cache that is not finished: the account that lets `prepare` go on after any interruption."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinynet.data.cache import Manifest
from tinynet.data.errors import DataError
from tinynet.data.statistics import Sums
from tinynet.interchange.weights import CheckpointError, read_arrays, write_arrays

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

    finished: the chunks that the file tells of, with their checksums. DataError when it is about another cache.
    """

    def __init__(self, path: Path, manifest: Manifest):
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []  # an unfinished last line counts as none
        if lines:
            found = Manifest.from_json(lines[0].decode(errors="replace"), path)
            if found != manifest:
                raise DataError(f"{path.parent}: another cache was begun there: {found.differences(manifest)}")
        self.finished: dict[Chunk, Checksums] = {}
        for line in lines[1:]:
            try:
                record = json.loads(line)
                self.finished[Chunk(*record["chunk"])] = record["checksums"]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}: a line is damaged ({error}); remove {path.parent} and begin again") from error
        self._file = open(path, "ab")  # noqa: SIM115
        self._file.truncate(sum(len(line) + 1 for line in lines))
        if not lines:
            self._append(manifest.to_json())

    def add(self, chunk: Chunk, checksums: Checksums) -> None:
        """A chunk is finished: its pixels are on disk."""
        self.finished[chunk] = checksums
        self._append(json.dumps({"chunk": chunk, "checksums": checksums}))

    def _append(self, line: str) -> None:
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exception) -> None:
        self._file.close()


class ChunkSums:
    """The sums over the training set's images, chunk by chunk, kept in a file from time to time.

    Those of a chunk that came after the file was last written have to be computed again, from the cache's pixels. What
    is in the file counts only when it is about some of `chunks`.
    """

    def __init__(self, path: Path, size: int, chunks: Iterable[Chunk]):
        self._path, self._chunks = path, set()
        self._lasting, self._passing = Sums.zero(size), Sums.zero(size)
        try:
            arrays, metadata = read_arrays(path)
        except CheckpointError:  # there is none yet
            return
        found = {Chunk(*chunk) for chunk in json.loads(metadata["chunks"])}
        if found <= set(chunks):
            images = int(arrays.pop("images")[0])
            self._lasting, self._chunks = Sums(**arrays, images=images), found

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
            write_arrays(self._path, arrays, {"chunks": json.dumps(sorted(self._chunks))})

    def total(self) -> Sums:
        """The sums over all images that were added. Nothing can be added after."""
        self._lasting.merge(self._passing)
        return self._lasting
