"""Writing a prepared cache: a data set's images decoded and cut, on several processes, so that any interruption is
made good by the same command. What is written is described in stores/cache.py, what is kept on the way in journal.py.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tinynet.data.batches.bad_images import BadImages
from tinynet.data.caching.journal import Checksums, Chunk, ChunkSums, Journal, refuse_link
from tinynet.data.caching.workers import finished
from tinynet.data.dataset import Dataset, channels_of, dtype_of
from tinynet.data.names import PackedNames
from tinynet.data.statistics import Sums
from tinynet.data.stores.cache import (
    BAD,
    CHECKED,
    JOURNAL,
    LARGEST,
    MANIFEST,
    SPLITS,
    STATISTICS,
    Manifest,
    arrays_of_names,
    describe,
    digest_of,
    npy_header,
    pixel_offset,
    read_manifest,
)
from tinynet.data.stores.layouts import open_dataset
from tinynet.errors import DataError
from tinynet.files import LOCK, OWNER, Lock, shown, sync, write_text

SUMS = "sums.safetensors"
KEPT = "What is finished is kept: the same command goes on from there"


def write_cache(
    data: str | Path,
    out: str | Path,
    size: int = 256,
    workers: int = 2,
    *,
    max_bad: float = 0.01,
    progress: Callable[[int, int], None] | None = None,
    report: Callable[[str], None] = print,
    opening: Callable[[int, int], None] | None = None,
    val_share: float | None = None,
    images_per_file: int = 65536,
    images_per_chunk: int = 256,
) -> None:
    """Decode and cut the images of the data set at `data` once, into a prepared cache at `out`.

    `workers` processes share the work in chunks of images. Called again after an interruption of any kind, it goes on
    with the chunks that are not finished, and tries bad images again; once all is finished, it does nothing.
    `progress(done, total)` counts the images of this call; `report(line)` gets what a user should know, each bad image
    included; `opening` is `open_dataset`'s progress, and `val_share` its share of a folder of classes that becomes the
    validation set, which the cache then has. DataError for another cache or other files at `out`, a disk too small, or
    when more than the share `max_bad` of a split's images are bad.
    """
    if min(size, workers) < 1 or size > LARGEST:
        raise ValueError(f"write_cache: expected size from 1 to {LARGEST} and workers >= 1, got {size} and {workers}")
    if images_per_chunk < 1 or images_per_file % images_per_chunk:
        raise ValueError(f"write_cache: chunks of {images_per_chunk} images do not fill files of {images_per_file}")
    out = Path(out)
    source = os.path.abspath(os.path.expanduser(data))
    dataset = open_dataset(source, opening, val_share)
    _refuse_other_kinds(source, dataset)
    for note in dataset.notes:
        report(f"warning: {note}")
    manifest = describe(dataset, source, size, images_per_file)
    if _is_complete(out, manifest, dataset, report):
        return
    with _locked(out), _explained(out):
        if not _is_complete(out, manifest, dataset, report):
            writer = _Writer(dataset, out, manifest, max_bad, report, val_share)
            writer.write(workers, images_per_chunk, progress)


def _refuse_other_kinds(source: str, dataset: Dataset) -> None:
    """DataError for images that are no pictures in colour, which is all that a cache can hold."""
    for split in (dataset.train, dataset.val):
        channels, dtype = channels_of(split), dtype_of(split)
        if (channels, dtype) != (3, np.uint8):
            raise DataError(
                f"{source}: a prepared cache holds uint8 of 3 channels, and these images are {dtype} of {channels}: "
                f"they lie in memory as they are, and need no cache"
            )


def _is_complete(out: Path, manifest: Manifest, dataset: Dataset, report: Callable[[str], None]) -> bool:
    """Whether the cache is there already; DataError when it is another one."""
    found = read_manifest(out)
    if found is None:
        return False
    if differences := found.differences(manifest):
        raise DataError(f"{out}: another prepared cache is there: {differences}{dataset.why_other()}")
    _remove_leftovers(out)
    report(f"{shown(out)} is complete: nothing to do")
    return True


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Makes the folder this process's own; LockedError when another one has it, DataError for what is not a cache."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: expected a folder to write, found a file")
    if out.exists() and not (out / JOURNAL).exists():
        others = sorted({path.name for path in out.iterdir()} - {LOCK, OWNER})
        if others:
            raise DataError(f"{out}: expected a new or empty folder, or a cache begun before; found {others[0]}")
    out.mkdir(parents=True, exist_ok=True)
    with Lock(out):
        yield


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    """What may go wrong on the way as a DataError that says how to go on."""
    try:
        yield
    except BrokenProcessPool as error:
        raise DataError(
            f"{out}: a worker process was killed, most often for want of memory; or the script that calls write_cache "
            f"lacks if __name__ == '__main__', and its workers ran it too. {KEPT}, perhaps with fewer --workers"
        ) from error
    except OSError as error:  # a full disk, most likely
        gone = "the folder was moved or deleted while it was written"
        raise DataError(f"{out}: {error}. {KEPT if (out / JOURNAL).exists() else gone}") from error


class _Writer:
    """One call of write_cache, once the folder is its own."""

    def __init__(
        self,
        dataset: Dataset,
        out: Path,
        manifest: Manifest,
        max_bad: float,
        report: Callable[[str], None],
        val_share: float | None,
    ):
        self._splits = dict(zip(SPLITS, (dataset.train, dataset.val), strict=True))
        self._out, self._manifest, self._report, self._why_other = out, manifest, report, dataset.why_other()
        self._val_share = val_share

        def tell(name: str, reason: str) -> None:
            report(f"bad image: {name}: {reason}")  # as BadImages says them, fit to be shown

        self._bad = {name: BadImages(split, max_bad, tell) for name, split in self._splits.items()}

    def write(self, workers: int, images_per_chunk: int, progress: Callable[[int, int], None] | None) -> None:
        with Journal(self._out / JOURNAL, self._manifest, self._why_other) as journal:
            self._check_space()
            self._make_files(begun=bool(journal.finished))
            sync(self._out)
            chunks = [
                Chunk(split, first, min(first + images_per_chunk, images))
                for split, images in self._manifest.images.items()
                for first in range(0, images, images_per_chunk)
            ]
            sums = self._finish(chunks, journal, workers, progress)
            checksums = {
                split: np.array(
                    [value or 0 for chunk in chunks if chunk.split == split for value in journal.finished[chunk]],
                    np.uint32,
                )
                for split in SPLITS
            }
        self._commit(checksums, sums)

    def _check_space(self) -> None:
        paths = [self._out / name for split in SPLITS for name, _ in self._manifest.files(split)]
        there = sum(path.stat().st_blocks * 512 for path in paths if path.exists())
        needed = max(0, sum(self._manifest.images.values()) * self._manifest.size**2 * 3 - there)
        free = shutil.disk_usage(self._out).free
        line = f"{shown(self._out)} needs {needed / 1e9:.2f} GB more, {free / 1e9:.2f} GB are free"
        if needed > free:
            raise DataError(line)
        self._report(line)

    def _make_files(self, begun: bool) -> None:
        """The files of pixels in their full length, still without content; those that were begun must be whole."""
        size = self._manifest.size
        for path, images in ((self._out / name, n) for split in SPLITS for name, n in self._manifest.files(split)):
            if begun:
                refuse_link(path)
                try:
                    pixel_offset(path, images, size)
                except DataError as error:
                    raise DataError(f"{error}; remove {self._out} and begin again") from error
                continue
            path.unlink(missing_ok=True)  # a link there would lead elsewhere
            with open(path, "xb") as file:
                file.write(npy_header(images, size))
                file.truncate(file.tell() + images * size * size * 3)

    def _finish(
        self, chunks: list[Chunk], journal: Journal, workers: int, progress: Callable[[int, int], None] | None
    ) -> Sums:
        """Finishes all chunks; the sums over the training set's images."""
        sums = ChunkSums(self._out / SUMS, self._manifest.size, chunks)
        order = sorted(chunks, key=lambda chunk: chunk not in journal.finished)  # so that too many bad images show soon
        tasks = {chunk: known for chunk in order if (known := self._left(chunk, journal, sums)) is not None}
        if journal.finished:
            left, images = sum(known.count(None) for known in tasks.values()), sum(self._manifest.images.values())
            self._report(f"going on: {left} of {images} images are left to decode")
        done, total = 0, sum(map(len, tasks.values()))
        for result in finished(tasks, self._out, self._manifest, workers, val_share=self._val_share):
            if journal.finished.get(result.chunk) != result.checksums:
                journal.add(result.chunk, result.checksums)
            if result.sums is not None:
                sums.add(result.chunk, result.sums, lasting=not result.bad)
            for index, reason in result.bad.items():
                self._bad[result.chunk.split].add(index, reason)
            done += len(result.checksums)
            if progress:
                progress(done, total)
        return sums.total()

    def _left(self, chunk: Chunk, journal: Journal, sums: ChunkSums) -> Checksums | None:
        """The checksums that are known of a chunk with work left; None where none is left."""
        known = journal.finished.get(chunk)
        if known is None:
            return [None] * (chunk.last - chunk.first)
        whole = None not in known and (chunk in sums or chunk.split != "train")
        return None if whole else known

    def _commit(self, checksums: dict[str, np.ndarray], sums: Sums) -> None:
        """Writes what is small, and last of all the manifest, by a rename: from then on the cache is whole."""
        for name in CHECKED:
            (self._out / name).unlink(missing_ok=True)  # a link there would lead elsewhere
        for name, images in self._splits.items():
            names = arrays_of_names(PackedNames(images.name(index) for index in range(len(images))))
            arrays = {"labels": images.labels, "checksums": checksums[name], **names}
            _save_arrays(self._out / f"{name}.npz", arrays)
        with open(self._out / BAD, "w", encoding="utf-8") as file:
            for split, bad in self._bad.items():
                for index, reason in sorted(bad.reasons.items()):
                    record = {"split": split, "index": index, "name": self._splits[split].name(index), "reason": reason}
                    file.write(json.dumps(record) + "\n")
        _save_arrays(self._out / STATISTICS, sums.statistics().to_arrays())
        counts = {split: len(bad.reasons) for split, bad in self._bad.items()}
        digests = {name: digest_of(self._out / name) for name in CHECKED}
        manifest = replace(self._manifest, bad=counts, digests=digests)
        for name in (*CHECKED, "."):
            sync(self._out / name)
        write_text(self._out / MANIFEST, manifest.to_json() + "\n")
        sync(self._out)
        _remove_leftovers(self._out)


def _save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """An .npz of arrays by their names."""
    np.savez(path, **arrays)  # Any in their type, since a keyword of savez's own takes no array


def _remove_leftovers(out: Path) -> None:
    """Of a whole cache, what only its writing needed; the lock too, since the manifest keeps all from writing now."""
    begun = (*out.glob(".*.partial"), *out.glob(".tmp*"))  # by write_arrays and by safetensors, killed meanwhile
    for path in (out / JOURNAL, out / SUMS, out / OWNER, *begun):
        path.unlink(missing_ok=True)
    with suppress(PermissionError):  # Windows deletes nothing that is open, as it is until it is released
        (out / LOCK).unlink(missing_ok=True)
