"""Where each image lies in tar archives: found once by reading their headers, then kept in the user's cache folder.

What is made of the images is in archives.py. The archives are only read, never unpacked.
"""

import hashlib
import os
import re
import tarfile
import tempfile
import zipfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tinynet.data.dataset import ProgressCallback
from tinynet.data.errors import DataError
from tinynet.data.folders import IMAGE_SUFFIXES
from tinynet.data.names import PackedNames, encoded

VERSION = 2  # to be raised when an index changes, so that those in the cache folder are made again
BLOCK = 512  # bytes: tar's unit
MOST_PADDING = 1 << 20  # bytes of zeros that may end an archive: tar itself pads to 10 or 20 kB
CALLS_EVERY = 1000  # members between two calls of progress
MIB = 1 << 20


@dataclass(frozen=True)
class ArchiveIndex:
    """The images of some archives, in their order there: 60 bytes per image or so."""

    names: PackedNames  # inside the archive: n01440764.tar/n01440764_18.JPEG
    archive: np.ndarray  # (images,) int32: which archive
    offset: np.ndarray  # (images,) int64: the first byte
    size: np.ndarray  # (images,) int64: bytes
    label: np.ndarray  # (images,) int32: what webdataset's key.cls says; -1 where there is none


def index_archives(archives: Sequence[Path], progress: ProgressCallback | None = None) -> ArchiveIndex:
    """The index of these archives: the kept one, if no archive has another size or time since, else a new one.

    An archive inside an archive is indexed too, hidden files and files that are no JPEG or PNG by name are not.
    progress(done, total): MiB of the archives behind and in all, while a new one is made. Raises DataError for an
    archive that is truncated or broken, or a .cls that is no integer; a cache folder that cannot be written costs time.
    """
    stamps = np.array([(state.st_size, state.st_mtime_ns) for state in map(os.stat, archives)], np.int64)
    paths = "\0".join(str(archive.resolve()) for archive in archives)
    key = hashlib.sha256(encoded(f"{VERSION}\0{paths}")).hexdigest()[:32]
    kept = cache_folder() / f"{key}.npz"
    index = _load(kept, stamps)
    if index is None:
        index = _make(archives, stamps[:, 0], progress)
        _save(kept, stamps, index)
    return index


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinynet" / "index"


def _load(file: Path, stamps: np.ndarray) -> ArchiveIndex | None:
    try:
        with np.load(file) as kept:
            if not np.array_equal(kept["stamps"], stamps):
                return None
            columns = {field.name: kept[field.name] for field in fields(ArchiveIndex) if field.name != "names"}
            return ArchiveIndex(PackedNames.from_arrays(kept["text"], kept["starts"]), **columns)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # not there, or damaged
        return None


def _save(file: Path, stamps: np.ndarray, index: ArchiveIndex) -> None:
    """Beside it first, then renamed: another run may read at any time."""
    columns = {field.name: getattr(index, field.name) for field in fields(index) if field.name != "names"}
    beside = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".partial", delete=False) as beside:
            np.savez(beside, stamps=stamps, text=index.names.text, starts=index.names.starts, **columns)
        os.replace(beside.name, file)
    except OSError:  # a read-only or full disk: the index is made again the next time
        if beside is not None:
            Path(beside.name).unlink(missing_ok=True)


def _make(archives: Sequence[Path], sizes: np.ndarray, progress: ProgressCallback | None) -> ArchiveIndex:
    which, offsets, lengths, labels = array("i"), array("q"), array("q"), array("i")
    total, behind = int(sizes.sum()), 0

    def names() -> Iterator[str]:
        nonlocal behind
        for number, (archive, size) in enumerate(zip(archives, sizes.tolist(), strict=True)):
            with open(archive, "rb") as file:
                for name, offset, length, label in _images(file, str(archive), 0, size):
                    yield name
                    which.append(number)
                    offsets.append(offset)
                    lengths.append(length)
                    labels.append(label)
                    if progress and len(which) % CALLS_EVERY == 0:
                        progress((behind + offset) // MIB, total // MIB + 1)
            behind += size

    packed = PackedNames(names())
    if progress:
        progress(total // MIB + 1, total // MIB + 1)
    return ArchiveIndex(
        packed, np.array(which, np.int32), np.array(offsets, np.int64), np.array(lengths, np.int64),
        np.array(labels, np.int32),
    )  # fmt: skip


def _images(file: BinaryIO, name: str, start: int, end: int) -> Iterator[tuple[str, int, int, int]]:
    """(name, offset, size, label) of the images in the archive that lies from `start` to `end`, inner archives' too."""
    images, labels = [], {}
    for member in _members(file, name, start, end):
        path = re.sub(r"^(\./)+", "", member.name)
        base = path.rsplit("/", 1)[-1].lower()
        if not member.isreg() or base.startswith("."):
            continue
        offset = member.offset_data
        if base.endswith(".tar"):
            for inner, *place in _images(file, f"{name}/{path}", offset, offset + member.size):
                yield f"{path}/{inner}", *place
        elif base.endswith(IMAGE_SUFFIXES):
            images.append((path, offset, member.size))
        elif base.endswith(".cls"):
            file.seek(offset)
            labels[_key(path)] = _integer(file.read(min(member.size, BLOCK)), f"{name}/{path}")
    for path, offset, size in images:
        yield path, offset, size, labels.get(_key(path), -1)


def _members(file: BinaryIO, name: str, start: int, end: int) -> Iterator[tarfile.TarInfo]:
    """tarfile's members of an archive inside `file`. It stops without a word at the first header that it cannot read,
    and at the first zeros: where it stopped is checked here.
    """
    file.seek(start)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # it would keep them all: 1 kB each
                if member.offset_data + member.size > end:
                    raise tarfile.ReadError(f"{member.name} goes on beyond the end")
                yield member
            file.seek(archive.offset)
            rest = file.read(min(end - archive.offset, MOST_PADDING + 1))
        if len(rest) < BLOCK or any(rest) or len(rest) > MOST_PADDING:  # a hole in a download is all zeros, too
            raise tarfile.ReadError(f"at byte {archive.offset - start} neither a further file nor the archive's end")
    except tarfile.TarError as error:
        raise DataError(
            f"{name}: truncated or broken, or no (uncompressed) tar archive: {error}; it has {end - start} bytes. "
            f"Compare its size or checksum with the source's, and download it again"
        ) from error


def _key(path: str) -> str:
    """What webdataset's files of one sample share: the path up to the file name's first dot."""
    folder, slash, base = path.rpartition("/")
    return folder + slash + base.split(".", 1)[0]


def _integer(content: bytes, name: str) -> int:
    try:
        return int(content)
    except ValueError as error:
        raise DataError(f"{name}: expected an integer label, found {content[:40]!r}") from error
