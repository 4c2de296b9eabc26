"""Where each image lies in tar archives: found once by reading their headers, then kept in the user's cache folder.

What is made of the images is in archives.py, what an archive may be in tar_members.py. The archives are only read,
never unpacked.
"""

import hashlib
import os
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import safetensors.numpy

from tinynet.data.dataset import ProgressCallback
from tinynet.data.file_kinds import count_other, hidden, names_image
from tinynet.data.labels.integer_labels import integer_label
from tinynet.data.names import PackedNames, encoded
from tinynet.data.reading import cache_folder, open_file, read_file
from tinynet.data.tar_members import BLOCK, tar_members
from tinynet.errors import DataError
from tinynet.files import beside, remove

VERSION = 4  # to be raised when an index changes, so that those in the cache folder are made again
CALLS_EVERY = 1000  # members between two calls of progress
MIB = 1 << 20
MOST_LEVELS = 4  # of archives in archives; ImageNet's training set has two
DIGEST = 32  # bytes of a SHA-256, before an index in its file
LINKS, SPECIAL = "links", "special files"  # among what is counted by suffix
COLUMNS = {"archive": np.int32, "offset": np.int64, "size": np.int64, "label": np.int64}


@dataclass(frozen=True)
class ArchiveIndex:
    """The images of some archives, in their order there: 60 bytes per image or so."""

    names: PackedNames  # inside the archive: n01440764.tar/n01440764_18.JPEG
    archive: np.ndarray  # (images,) int32: which archive
    offset: np.ndarray  # (images,) int64: the first byte
    size: np.ndarray  # (images,) int64: bytes
    label: np.ndarray  # (images,) int64: what webdataset's key.cls says; -1 where there is none
    others: Mapping[str, int]  # how many files were left out, by suffix; LINKS and SPECIAL: none of them files


def index_archives(archives: Sequence[Path], progress: ProgressCallback | None = None) -> ArchiveIndex:
    """The index of these archives: the kept one, if no archive has another size or time since, else a new one.

    An archive inside an archive is indexed too, hidden files and files that are no JPEG or PNG by name are not.
    progress(done, total): MiB of the archives behind and in all, while a new one is made. Raises DataError for an
    archive that is truncated or broken, or a .cls that is no integer; a cache folder that cannot be written costs time.
    """
    stamps = np.array([(state.st_size, state.st_mtime_ns) for state in map(os.stat, archives)], np.int64)
    paths = "\0".join(str(archive.resolve()) for archive in archives)
    key = hashlib.sha256(encoded(f"{VERSION}\0{paths}")).hexdigest()[:32]
    folder = cache_folder("index")
    kept = folder / f"{key}.index" if folder else None
    index = _load(kept, stamps) if kept else None
    if index is None:
        index = _make(archives, stamps[:, 0], progress)
        if kept:
            _save(kept, stamps, index)
    return index


def _load(file: Path, stamps: np.ndarray) -> ArchiveIndex | None:
    """The index that was kept; None when it is about other archives, or damaged in whatever way."""
    sizes = stamps[:, 0]
    try:
        content = read_file(file, int(sizes.sum()) + MIB)  # an image's header in its archive is longer than its entry
        if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
            return None
        columns = safetensors.numpy.load(content[DIGEST:])
        names = PackedNames.from_arrays(columns.pop("text"), columns.pop("starts"))
        suffixes = PackedNames.from_arrays(columns.pop("other_text"), columns.pop("other_starts"))
        others = dict(zip(suffixes, columns.pop("other_counts").tolist(), strict=True))
        same = np.array_equal(columns.pop("stamps"), stamps)
        index = ArchiveIndex(names, **columns, others=others)
        return index if same and _possible(index, sizes) else None
    except Exception:  # not there, not readable, or not written by _save
        return None


def _possible(index: ArchiveIndex, sizes: np.ndarray) -> bool:
    """Whether every image lies inside its archive, and the columns are as long as one another."""
    columns = {name: getattr(index, name) for name in COLUMNS}
    if any(column.dtype != COLUMNS[name] or column.shape != (len(index.names),) for name, column in columns.items()):
        return False
    archive, offset, size, label = columns.values()
    inside = (archive >= 0) & (archive < len(sizes))
    end = sizes[np.where(inside, archive, 0)]
    return bool((inside & (offset >= 0) & (size >= 0) & (offset <= end) & (size <= end - offset) & (label >= -1)).all())


def _save(file: Path, stamps: np.ndarray, index: ArchiveIndex) -> None:
    """Beside it first, then renamed: another run may read at any time."""
    columns = {name: getattr(index, name) for name in COLUMNS}
    suffixes = PackedNames(index.others)
    columns |= {"stamps": stamps, "text": index.names.text, "starts": index.names.starts}
    columns |= {"other_text": suffixes.text, "other_starts": suffixes.starts}
    columns |= {"other_counts": np.array(list(index.others.values()), np.int64)}
    content = safetensors.numpy.save(columns)
    partial = beside(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "xb") as opened:
            opened.write(hashlib.sha256(content).digest())
            opened.write(content)
        partial.replace(file)
    except OSError:  # a read-only or full disk: the index is made again the next time
        remove(partial)


def _make(archives: Sequence[Path], sizes: np.ndarray, progress: ProgressCallback | None) -> ArchiveIndex:
    which, offsets, lengths, labels = array("i"), array("q"), array("q"), array("q")
    total, behind = int(sizes.sum()), 0
    others: Counter = Counter()

    def names() -> Iterator[str]:
        nonlocal behind
        for number, (archive, size) in enumerate(zip(archives, sizes.tolist(), strict=True)):
            with open_file(archive) as file:
                for name, offset, length, label in _images(file, str(archive), 0, size, others):
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
    values = zip(COLUMNS.items(), (which, offsets, lengths, labels), strict=True)
    columns = {name: np.array(column, dtype) for (name, dtype), column in values}
    return ArchiveIndex(packed, **columns, others=dict(others))


def _images(
    file: BinaryIO, name: str, start: int, end: int, others: Counter, level: int = 1
) -> Iterator[tuple[str, int, int, int]]:
    """(name, offset, size, label) of the images in the archive that lies from `start` to `end`, inner archives' too."""
    if level > MOST_LEVELS:
        raise DataError(f"{name}: archives in archives, more than {MOST_LEVELS} levels deep")
    images, labels = [], {}
    for member in tar_members(file, name, start, end):
        path = re.sub(r"^(\./)+", "", member.name)
        *folders, base = path.split("/")
        if member.isdir() or hidden(base) or any(hidden(folder) and folder.strip(".") for folder in folders):
            continue
        kind = base.lower()
        offset = member.offset_data
        if not member.isreg():
            if names_image(kind):
                others[LINKS if member.issym() or member.islnk() else SPECIAL] += 1
        elif kind.endswith(".tar"):
            inside = _images(file, f"{name}/{path}", offset, offset + member.size, others, level + 1)
            yield from ((f"{path}/{inner}", start, size, label) for inner, start, size, label in inside)
        elif names_image(kind):
            images.append((path, offset, member.size))
        elif kind.endswith(".cls"):
            key = sample_key(path)
            if key in labels:
                raise DataError(f"{name}: several .cls files have the key {key}, what comes before a name's first dot")
            file.seek(offset)
            labels[key] = _label(file.read(min(member.size, BLOCK + 1)), f"{name}/{path}")
        else:
            count_other(others, kind)
    for path, offset, size in images:
        yield path, offset, size, labels.get(sample_key(path), -1)


def sample_key(path: str) -> str:
    """What webdataset's files of one sample share: the path up to the file name's first dot."""
    folder, slash, base = path.rpartition("/")
    return folder + slash + base.split(".", 1)[0]


def _label(content: bytes, name: str) -> int:
    """What a .cls says. How large it may be is known when the images are counted."""
    label = integer_label(content.decode("utf-8-sig", "replace"))
    if label is None or len(content) > BLOCK:
        raise DataError(f"{name}: expected an integer label, found {content[:40]!r}")
    if label < 0:
        raise DataError(f"{name}: expected a label from 0, found {label}, as images without a label have it")
    return label
