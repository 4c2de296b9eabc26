"""The prepared cache: a data set's images, decoded and cut once, in a few large NumPy files. Its format and its reader.

All of it can be read without tinynet: np.load(..., mmap_mode="r"), JSON. caching/writer.py writes it.
"""

import hashlib
import json
import os
import zipfile
import zlib
from dataclasses import asdict, dataclass, fields
from io import FileIO
from pathlib import Path

import numpy as np

from tinynet.data.dataset import Dataset
from tinynet.data.names import PackedNames, decoded, encoded
from tinynet.data.reading import open_file, read_at, read_file
from tinynet.data.statistics import Statistics
from tinynet.data.stores.archives import in_shard, shared_key
from tinynet.errors import DataError
from tinynet.files import parse_json, shown

FORMAT, VERSION = "tinynet cache", 1
MANIFEST = "cache.json"  # appears last: a folder that has it holds a whole cache
JOURNAL = "journal.jsonl"  # what is done of a cache that is not finished yet
BAD = "bad.jsonl"  # a line per image that could not be read: split, index, name, reason
STATISTICS = "statistics.npz"  # of the whole training set
SPLITS = ("train", "val")
CHECKED = (*(f"{split}.npz" for split in SPLITS), BAD, STATISTICS)  # files whose digests the manifest has
ROOM = 1 << 24  # bytes that names may take in vain, so that np.load gives them one by one
LARGEST = 10_000  # pixels to a side: no image that decode takes is larger


@dataclass(frozen=True)
class Manifest:
    """What cache.json says: what the cache was made from, and how it is cut into files.

    Beside it lie, for each split, the pixels in train-000.npy, train-001.npy, ...: uint8 (images, size, size, 3), a bad
    image all zeros; and train.npz with labels, (images,) int64; checksums, (images,) uint32, the CRC-32 of each image's
    bytes; names, (images,) UTF-8. An array is as wide everywhere as its longest name: where one is far longer than the
    others, names_text has all of them, one after the other, and names_starts, (images + 1,) int64, where each begins.
    """

    source: str  # the data set's folder
    size: int  # images are size x size
    classes: list[str]
    names: list[str]  # of the classes
    images: dict[str, int]  # by split, the bad ones included: they keep their places, so that batches are the folder's
    contents: str  # a digest of the names and labels of all images
    images_per_file: int
    bad: dict[str, int] | None = None  # by split; None: not finished
    digests: dict[str, str] | None = None  # SHA-256 of the small files; None: not finished, or of an earlier tinynet

    def to_json(self) -> str:
        text = json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)})
        return json.dumps(json.loads(text) | {"checksum": _digest(text)})

    @classmethod
    def from_json(cls, text: str, path: Path) -> "Manifest":
        """The inverse of to_json; DataError for anything else. `path`: what errors call it."""
        try:
            found = parse_json(text)
            checksum = found.pop("checksum", None)  # caches from before have none
            whole = checksum in (None, _digest(json.dumps(found)))
            if found.pop("format") != FORMAT:
                raise ValueError("another format")
            version = found.pop("version")
            manifest = cls(**found) if version == VERSION else None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{path}: expected the description of a prepared cache, found other content") from error
        if manifest is None:
            raise DataError(
                f"{path}: a prepared cache of version {version}; this tinynet reads version {VERSION}: prepare it again"
            )
        if not whole:
            raise DataError(f"{path}: damaged, its checksum is not the one it was written with")
        if wrong := manifest.wrong(checked=checksum is not None):
            raise DataError(f"{path}: not the description of a prepared cache: {wrong} cannot be")
        return manifest

    def wrong(self, checked: bool) -> str | None:
        """A field that no cache has been written with; None: all may be right. checked: there was a checksum."""
        texts: list = [*self.classes, *self.names] if _are(list, self.classes, self.names) else [None]
        counts: list = [*self.images.values(), self.images_per_file] if _are(dict, self.images) else [None]
        bad = self.bad if isinstance(self.bad, dict) else {}
        digests = self.digests if isinstance(self.digests, dict) else {}
        possible = {
            "source": _are(str, self.source, self.contents),
            "size": _are(int, self.size) and 1 <= self.size <= LARGEST,
            "classes": _are(str, *texts) and len(self.classes) == len(self.names) > 0,
            "images": _are(int, *counts) and set(self.images) == set(SPLITS) and min(counts) > 0,
            "bad": self.bad is None or (set(bad) == set(SPLITS) and _are(int, *bad.values())),
            "digests": self.digests is None or (checked and set(digests) == set(CHECKED)),
        }
        return next((name for name, right in possible.items() if not right), None)

    def files(self, split: str) -> list[tuple[str, int]]:
        """The split's files of pixels, and how many images are in each."""
        images, most = self.images[split], self.images_per_file
        return [(f"{split}-{first // most:03}.npy", min(most, images - first)) for first in range(0, images, most)]

    def differences(self, other: "Manifest") -> str:
        """How another cache would differ, in words; empty when it would not."""
        found = []
        for name in (field.name for field in fields(self) if field.name not in ("bad", "digests")):
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


def arrays_of_names(names: PackedNames) -> dict[str, np.ndarray]:
    """The names of a split's images, as its .npz keeps them."""
    width = int(np.diff(names.starts).max(initial=1))
    if width * len(names) > 4 * len(names.text) + ROOM:
        return {"names_text": names.text, "names_starts": names.starts}
    return {"names": np.array([encoded(name) for name in names])}


def npy_header(images: int, size: int) -> bytes:
    """What stands before the pixels in a file of them, in NumPy's format, 1.0, to the byte as NumPy 2 writes it:
    signature, version, length, and a text whose room for a longer shape and whose end are filled with spaces.
    """
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {(images, size, size, 3)}, }}"
    text += " " * (21 - len(str(images)))
    text += " " * (-(10 + len(text) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def digest_of(path: Path) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _are(kind: type, *values: object) -> bool:
    """Whether all are of the kind; True is no int here."""
    return all(type(value) is kind for value in values)


class CacheSplit:
    """The images of one split, read one by one. Any number of threads may do so at once; it can be pickled.

    Reading, and not mapping, makes an error of the disk an exception where it would kill the process.
    """

    def __init__(self, root: Path, split: str, manifest: Manifest, bad: dict[int, str]):
        self.size, self.classes = manifest.size, tuple(manifest.classes)
        self._index, self._bad, self._images_per_file = root / f"{split}.npz", bad, manifest.images_per_file
        self.labels, self._checksums = _arrays(self._index, "labels", "checksums")
        if not self.labels.shape == self._checksums.shape == (manifest.images[split],):
            raise DataError(f"{self._index}: expected {manifest.images[split]} images, found {len(self.labels)}")
        if (self.labels.dtype, self._checksums.dtype) != (np.int64, np.uint32):
            raise DataError(f"{self._index}: expected labels in int64 and checksums in uint32")
        if self.labels.min() < 0 or self.labels.max() >= len(self.classes):
            raise DataError(f"{self._index}: expected labels from 0 to {len(self.classes) - 1}, found others")
        self._paths = [root / name for name, _ in manifest.files(split)]
        self._offsets = [pixel_offset(root / name, count, self.size) for name, count in manifest.files(split)]
        self._files: dict[int, FileIO] = {}  # opened when they are needed
        self._names: np.ndarray | PackedNames | None = None

    def __getstate__(self) -> dict:
        return vars(self) | {"_files": {}, "_names": None}

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """What to call the image in a message: its name in the data set that the cache was made from."""
        if self._names is None:
            self._names = self._read_names()
        name = self._names[index]
        return name if isinstance(name, str) else decoded(name)

    def _read_names(self) -> np.ndarray | PackedNames:
        """In whichever form they are kept: neither takes more memory than the file."""
        arrays = _arrays(self._index, "names", otherwise=("names_text", "names_starts"))
        try:
            names = arrays[0] if len(arrays) == 1 else PackedNames.from_arrays(*arrays)
        except ValueError as error:
            raise DataError(f"{self._index}: expected names of {len(self)} images: {error}") from error
        right = isinstance(names, PackedNames) or (names.dtype.kind == "S" and names.ndim == 1)
        if not right or len(names) != len(self):
            raise DataError(f"{self._index}: expected names of {len(self)} images, found other content")
        return names

    def load(self, index: int, size: int) -> np.ndarray:
        """The image as uint8 (size, size, 3), read-only.

        DataError for an image that could not be read when the cache was made, for the same reason, and for one whose
        bytes are no longer those that were written. ValueError when size is not the cache's.
        """
        if size != self.size:
            raise ValueError(
                f"{shown(self._index.parent)}: its images are {self.size} x {self.size}, not {size} x {size}: "
                f"use --resize {self.size}, or prepare another cache with --size {size}"
            )
        if index in self._bad:
            raise DataError(f"{self.name(index)}: {self._bad[index]}")
        number, row = divmod(index, self._images_per_file)
        length = size * size * 3
        try:
            pixels = read_at(self._file(number), length, self._offsets[number] + row * length)
        except OSError as error:
            raise DataError(f"{self.name(index)}: cannot be read from {self._paths[number]}: {error}") from error
        if len(pixels) != length or zlib.crc32(pixels) != self._checksums[index]:
            raise DataError(
                f"{self.name(index)}: damaged in the cache: image {row} of {self._paths[number]} has not the checksum "
                f"{self._checksums[index]:08x} that it was written with"
            )
        return np.frombuffer(pixels, np.uint8).reshape(size, size, 3)

    def _file(self, number: int) -> FileIO:
        if number not in self._files:  # of two threads that open it at once, both use the one that came first
            self._files.setdefault(number, open_file(self._paths[number]))
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
    for name, digest in (manifest.digests or {}).items():
        if digest_of(root / name) != digest:
            raise DataError(f"{root / name}: damaged, its checksum is not the one it was written with")
    bad = _bad_images(root / BAD, manifest)
    train, val = (CacheSplit(root, split, manifest, bad[split]) for split in SPLITS)
    statistics = _statistics(root / STATISTICS, manifest.size)
    notes = [] if manifest.digests else _notes_of_old(root, train, val)
    return Dataset(root, train, val, train.classes, tuple(manifest.names), statistics, tuple(map(shown, notes)))


def _notes_of_old(root: Path, *splits: CacheSplit) -> list[str]:
    """Caches that have no digests were prepared when a webdataset's images under one key all took its last label."""
    for split in splits:
        names = (split.name(index) for index in range(len(split)))
        if shared := shared_key(filter(in_shard, names)):
            key, *_ = shared
            return [f"{root}: all images of one key, {key}, have one label here, which may be wrong: prepare it again"]
    return []


def read_manifest(root: Path) -> Manifest | None:
    """What the finished cache at `root` is; None when there is none."""
    try:
        text = read_file(root / MANIFEST).decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise DataError(f"{root / MANIFEST}: expected UTF-8 text: {error}") from error
    return Manifest.from_json(text, root / MANIFEST)


def _arrays(path: Path, *names: str, otherwise: tuple[str, ...] = ()) -> list[np.ndarray]:
    """These arrays of a .npz file, which has checksums of its own; where the first is not there, `otherwise`. np.savez
    packs nothing, so that what is read is no larger than the file.
    """
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as packed:
            if any(member.compress_type != zipfile.ZIP_STORED for member in packed.infolist()):
                raise ValueError("compressed")
            if otherwise and f"{names[0]}.npy" not in packed.namelist():
                names = otherwise
            return [_array(packed, f"{name}.npy") for name in names]
    except DataError:
        raise
    except Exception as error:  # zipfile and NumPy have many kinds for a flipped bit
        raise DataError(f"{path}: not readable as a part of a prepared cache: {error}") from error


def _array(packed: zipfile.ZipFile, name: str) -> np.ndarray:
    with packed.open(name) as member:
        array = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1) or array.ndim == 0:  # at its end the checksum is looked at
            raise ValueError(f"{name} is longer than its array, or none")
        return array


def _statistics(path: Path, size: int) -> Statistics:
    expected = {"mean_image": (3, size, size), "components": (3, 3), "deviations": (3,), "images": (1,)}
    names = [f"statistics.{name}" for name in expected]
    arrays = _arrays(path, *names)
    for array, shape in zip(arrays, expected.values(), strict=True):
        if array.shape != shape or array.dtype.kind not in "fi" or not np.isfinite(array).all():
            raise DataError(f"{path}: expected statistics of images of {size} x {size}, found other arrays")
    return Statistics.from_arrays(dict(zip(names, arrays, strict=True)))


def pixel_offset(path: Path, images: int, size: int) -> int:
    """Where the pixels begin in a file of them; DataError unless it is whole."""
    header = npy_header(images, size)
    try:
        with open_file(path) as file:
            found, length = file.read(len(header)), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DataError(f"{path}: expected a file of {images} images of {size} x {size}: {error}") from error
    if found != header:
        raise DataError(f"{path}: expected the header of a NumPy file, uint8 {(images, size, size, 3)}, found another")
    if length != len(header) + images * size * size * 3:
        raise DataError(f"{path}: expected {len(header) + images * size * size * 3} bytes, found {length}")
    return len(header)


def _bad_images(path: Path, manifest: Manifest) -> dict[str, dict[int, str]]:
    """By split and index: why an image could not be read."""
    bad: dict[str, dict[int, str]] = {split: {} for split in SPLITS}
    try:
        for line in read_file(path).decode("utf-8").splitlines():
            record = parse_json(line)
            split, index, reason = record["split"], record["index"], record["reason"]
            if not (_are(int, index) and _are(str, split, reason) and 0 <= index < manifest.images[split]):
                raise ValueError(f"no image {index} of {split}")
            bad[split][index] = reason
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not readable as a list of bad images: {error}") from error
    if manifest.bad != {split: len(bad[split]) for split in SPLITS}:
        raise DataError(f"{path}: expected {manifest.bad} images, found {({s: len(bad[s]) for s in SPLITS})}")
    return bad
