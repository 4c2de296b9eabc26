"""The prepared cache: a data set's images, decoded and cut once, in a few large NumPy files. Its format and its reader.

All of it can be read without tinynet: np.load(..., mmap_mode="r"), JSON. cache_writer.py writes it.
"""

import hashlib
import json
import os
import zipfile
import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tinynet.data.dataset import Dataset
from tinynet.data.errors import DataError
from tinynet.data.names import decoded, encoded
from tinynet.data.statistics import Statistics

FORMAT, VERSION = "tinynet cache", 1
MANIFEST = "cache.json"  # appears last: a folder that has it holds a whole cache
JOURNAL = "journal.jsonl"  # what is done of a cache that is not finished yet
BAD = "bad.jsonl"  # a line per image that could not be read: split, index, name, reason
STATISTICS = "statistics.npz"  # of the whole training set
SPLITS = ("train", "val")


@dataclass(frozen=True)
class Manifest:
    """What cache.json says: what the cache was made from, and how it is cut into files.

    Beside it lie, for each split, the pixels in train-000.npy, train-001.npy, ...: uint8 (images, size, size, 3), a bad
    image all zeros; and train.npz with labels, (images,) int64; checksums, (images,) uint32, the CRC-32 of each image's
    bytes; names, (images,) UTF-8.
    """

    source: str  # the data set's folder
    size: int  # images are size x size
    classes: list[str]
    names: list[str]  # of the classes
    images: dict[str, int]  # by split, the bad ones included: they keep their places, so that batches are the folder's
    contents: str  # a digest of the names and labels of all images
    images_per_file: int
    bad: dict[str, int] | None = None  # by split; None: not finished

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)})

    @classmethod
    def from_json(cls, text: str, path: Path) -> "Manifest":
        """The inverse of to_json; DataError for anything else. `path`: what errors call it."""
        try:
            found = json.loads(text)
            if found.pop("format") != FORMAT:
                raise ValueError("another format")
            version = found.pop("version")
            if version == VERSION:
                return cls(**found)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: expected the description of a prepared cache, found other content") from error
        raise DataError(
            f"{path}: a prepared cache of version {version}; this tinynet reads version {VERSION}: prepare it again"
        )

    def files(self, split: str) -> list[tuple[str, int]]:
        """The split's files of pixels, and how many images are in each."""
        images, most = self.images[split], self.images_per_file
        return [(f"{split}-{first // most:03}.npy", min(most, images - first)) for first in range(0, images, most)]

    def differences(self, other: "Manifest") -> str:
        """How another cache would differ, in words; empty when it would not."""
        found = []
        for name in (field.name for field in fields(self) if field.name != "bad"):
            mine, its = getattr(self, name), getattr(other, name)
            if mine != its:
                short = name in ("source", "size", "images", "images_per_file")
                found.append(f"{name} {mine}, not {its}" if short else f"other {name}")
        return "; ".join(found)


def describe(dataset: Dataset, source: str, size: int, images_per_file: int) -> Manifest:
    """The manifest of the cache to be made from `dataset`, which is at the path `source`."""
    digest = hashlib.sha256()
    for split in (dataset.train, dataset.val):
        digest.update(split.labels.astype("<i8").tobytes())
        for index in range(len(split)):
            digest.update(encoded(split.name(index)) + b"\n")
    images = dict(zip(SPLITS, (len(dataset.train), len(dataset.val)), strict=True))
    classes, names = list(dataset.classes), list(dataset.names)
    return Manifest(source, size, classes, names, images, digest.hexdigest(), images_per_file)


def npy_header(images: int, size: int) -> dict:
    """What NumPy's format says of a file of pixels before they begin."""
    return {"descr": "|u1", "fortran_order": False, "shape": (images, size, size, 3)}


class CacheSplit:
    """The images of one split, read one by one. Any number of threads may do so at once; it can be pickled.

    Reading, and not mapping, makes an error of the disk an exception where it would kill the process.
    """

    def __init__(self, root: Path, split: str, manifest: Manifest, bad: dict[int, str]):
        self.size, self.classes = manifest.size, tuple(manifest.classes)
        self._index, self._bad, self._images_per_file = root / f"{split}.npz", bad, manifest.images_per_file
        self.labels, self._checksums = _arrays(self._index, "labels", "checksums")
        if not len(self.labels) == len(self._checksums) == manifest.images[split]:
            raise DataError(f"{self._index}: expected {manifest.images[split]} images, found {len(self.labels)}")
        self._paths = [root / name for name, _ in manifest.files(split)]
        self._offsets = [pixel_offset(root / name, count, self.size) for name, count in manifest.files(split)]
        self._files: dict[int, BinaryIO] = {}  # opened when they are needed
        self._names: np.ndarray | None = None

    def __getstate__(self) -> dict:
        return vars(self) | {"_files": {}, "_names": None}

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """What to call the image in a message: its name in the data set that the cache was made from."""
        if self._names is None:
            (self._names,) = _arrays(self._index, "names")
        return decoded(self._names[index])

    def load(self, index: int, size: int) -> np.ndarray:
        """The image as uint8 (size, size, 3), read-only.

        DataError for an image that could not be read when the cache was made, for the same reason, and for one whose
        bytes are no longer those that were written. ValueError when size is not the cache's.
        """
        if size != self.size:
            raise ValueError(
                f"{self._index.parent}: its images are {self.size} x {self.size}, not {size} x {size}: "
                f"use --resize {self.size}, or prepare another cache with --size {size}"
            )
        if index in self._bad:
            raise DataError(f"{self.name(index)}: {self._bad[index]}")
        number, row = divmod(index, self._images_per_file)
        length = size * size * 3
        try:
            pixels = os.pread(self._file(number).fileno(), length, self._offsets[number] + row * length)
        except OSError as error:
            raise DataError(f"{self.name(index)}: cannot be read from {self._paths[number]}: {error}") from error
        if len(pixels) != length or zlib.crc32(pixels) != self._checksums[index]:
            raise DataError(
                f"{self.name(index)}: damaged in the cache: image {row} of {self._paths[number]} has not the checksum "
                f"{self._checksums[index]:08x} that it was written with"
            )
        return np.frombuffer(pixels, np.uint8).reshape(size, size, 3)

    def _file(self, number: int) -> BinaryIO:
        if number not in self._files:  # of two threads that open it at once, both use the one that came first
            self._files.setdefault(number, open(self._paths[number], "rb", buffering=0))  # noqa: SIM115
        return self._files[number]


def is_cache(root: str | Path) -> bool:
    """Whether a prepared cache is at `root`, finished or not."""
    return any((Path(root) / name).is_file() for name in (MANIFEST, JOURNAL))


def open_cache(root: str | Path) -> Dataset:
    """The data set in a prepared cache: batches and statistics are those of the images that it was made from.

    DataError when it is not finished, damaged, or of another version.
    """
    root = Path(root)
    manifest = read_manifest(root)
    if manifest is None:
        unfinished = "not a finished cache: the command that began it, python -m tinynet prepare, goes on with it"
        raise DataError(f"{root}: {unfinished if is_cache(root) else 'no prepared cache, it has no ' + MANIFEST}")
    bad = _bad_images(root / BAD, manifest)
    train, val = (CacheSplit(root, split, manifest, bad[split]) for split in SPLITS)
    names = [f"statistics.{field.name}" for field in fields(Statistics)]
    statistics = Statistics.from_arrays(dict(zip(names, _arrays(root / STATISTICS, *names), strict=True)))
    return Dataset(root, train, val, train.classes, tuple(manifest.names), statistics)


def read_manifest(root: Path) -> Manifest | None:
    """What the finished cache at `root` is; None when there is none."""
    try:
        text = (root / MANIFEST).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise DataError(f"{root / MANIFEST}: expected UTF-8 text: {error}") from error
    return Manifest.from_json(text, root / MANIFEST)


def _arrays(path: Path, *names: str) -> list[np.ndarray]:
    """These arrays of a .npz file, which has checksums of its own."""
    try:
        with np.load(path) as file:
            return [file[name] for name in names]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not readable as a part of a prepared cache: {error}") from error


def pixel_offset(path: Path, images: int, size: int) -> int:
    """Where the pixels begin in a file of them; DataError unless it is whole."""
    expected = npy_header(images, size)
    try:
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            found = np.lib.format.read_array_header_1_0(file)
            offset, length = file.tell(), os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a file of {images} images of {size} x {size}: {error}") from error
    if found != (expected["shape"], False, np.dtype(np.uint8)):
        raise DataError(f"{path}: expected uint8 of the shape {expected['shape']}, found {found[2]} of {found[0]}")
    if length != offset + images * size * size * 3:
        raise DataError(f"{path}: expected {offset + images * size * size * 3} bytes, found {length}")
    return offset


def _bad_images(path: Path, manifest: Manifest) -> dict[str, dict[int, str]]:
    """By split and index: why an image could not be read."""
    bad = {split: {} for split in SPLITS}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            bad[record["split"]][record["index"]] = record["reason"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not readable as a list of bad images: {error}") from error
    if manifest.bad != {split: len(bad[split]) for split in SPLITS}:
        raise DataError(f"{path}: expected {manifest.bad} images, found {({s: len(bad[s]) for s in SPLITS})}")
    return bad
