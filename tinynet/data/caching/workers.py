"""The processes that fill a prepared cache: each opens the data set once, decodes images chunk by chunk, writes pixels.

What has to be done, and what becomes of the results, is known to writer.py.
"""

import multiprocessing
import os
import signal
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import threadpoolctl

from tinynet.data.caching.journal import Checksums, Chunk
from tinynet.data.dataset import Split
from tinynet.data.statistics import Sums
from tinynet.data.stores.cache import SPLITS, Manifest, describe, pixel_offset
from tinynet.data.stores.layouts import open_dataset
from tinynet.errors import DataError


@dataclass(frozen=True)
class Result:
    """A chunk whose pixels are on disk."""

    chunk: Chunk
    checksums: Checksums
    bad: dict[int, str]  # by the image's position in the split, why it cannot be read
    sums: Sums | None  # over its images; None outside of the training set


def finished(
    tasks: dict[Chunk, Checksums], out: Path, manifest: Manifest, workers: int, *, val_share: float | None = None
) -> Iterator[Result]:
    """The results of the chunks as `workers` processes finish them.

    tasks: of each chunk the checksums of those images that are in the cache already; they are read there, the others
    decoded. val_share: with which the data set is opened. Leaving the iterator early stops the processes, each within
    an image.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(workers, context, _begin, (out, manifest, stop, val_share))
    left = iter(tasks.items())
    running: set[Future] = set()
    try:
        while True:
            with _for_workers():  # which begin here
                running |= {pool.submit(_work, *task) for task in islice(left, 2 * workers - len(running))}
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


@contextmanager
def _for_workers() -> Iterator[None]:
    """What processes that begin in here inherit: that Ctrl-C, which a terminal sends to all of them, is blocked, since
    the first alone is to answer it; and the backend without a GPU, which would reserve memory for each of them. Where
    signals cannot be blocked, on Windows, each ignores it from its own beginning.
    """
    can_block = hasattr(signal, "pthread_sigmask")
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_block else set()
    backend = os.environ.get("TINYNET_BACKEND")
    os.environ["TINYNET_BACKEND"] = "numpy"
    try:
        yield
    finally:
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        os.environ.pop("TINYNET_BACKEND")
        if backend is not None:
            os.environ["TINYNET_BACKEND"] = backend


_worker: "_Worker"  # of this process, if it is one


def _begin(*arguments) -> None:
    """Makes this process a worker, until its parent ends, in whatever way."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threadpoolctl.threadpool_limits(1)  # there is a process for each core
    _worker = _Worker(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # a worker has one
    parent.join()
    os._exit(1)


def _work(chunk: Chunk, known: Checksums) -> Result:
    return _worker.work(chunk, known)


class _Worker:
    """A process's view of the data set and the cache."""

    def __init__(self, out: Path, manifest: Manifest, stop, val_share: float | None):
        self._out, self._manifest, self._stop, self._val_share = out, manifest, stop, val_share

    @cached_property
    def _splits(self) -> dict[str, Split]:
        source = self._manifest.source
        dataset = open_dataset(source, val_share=self._val_share)
        if describe(dataset, source, self._manifest.size, self._manifest.images_per_file) != self._manifest:
            raise DataError(f"{source}: the data set changed while it was prepared")
        return dict(zip(SPLITS, (dataset.train, dataset.val), strict=True))

    def work(self, chunk: Chunk, known: Checksums) -> Result:
        """Brings the chunk's pixels to disk, those of images that cannot be read as zeros."""
        size = self._manifest.size
        path, offset = self._place(chunk)
        pixels = np.zeros((len(known), size, size, 3), np.uint8)
        if known != [None] * len(known):
            pixels = np.fromfile(path, np.uint8, pixels.size, offset=offset).reshape(pixels.shape)
        checksums: Checksums = []
        bad: dict[int, str] = {}
        decoded = False
        for row, (image, checksum) in enumerate(zip(pixels, known, strict=True)):
            if self._stop.is_set():
                raise CancelledError
            if checksum is None or zlib.crc32(image.data) != checksum:
                checksum = self._decode(chunk.split, chunk.first + row, image, bad)
                decoded = True
            checksums.append(checksum)
        if decoded:
            with open(path, "r+b") as file:  # not mapped: a full disk would end the process without a word
                file.seek(offset)
                file.write(pixels.data)
                file.flush()
                os.fsync(file.fileno())
        return Result(chunk, checksums, bad, self._sums(chunk, pixels, checksums))

    def _decode(self, split: str, index: int, image: np.ndarray, bad: dict[int, str]) -> int | None:
        """Fills in the image and returns its checksum; a bad one becomes zeros, its reason is noted."""
        images = self._splits[split]
        try:
            image[:] = images.load(index, self._manifest.size)
        except DataError as error:
            image[:] = 0
            bad[index] = str(error)
            return None
        return zlib.crc32(image.data)

    def _sums(self, chunk: Chunk, pixels: np.ndarray, checksums: Checksums) -> Sums | None:
        if chunk.split != "train":
            return None
        sums = Sums.zero(self._manifest.size)
        for image, checksum in zip(pixels, checksums, strict=True):
            if checksum is not None:
                sums.add(image)
        return sums

    def _place(self, chunk: Chunk) -> tuple[Path, int]:
        """The file of the chunk's pixels, and where in it they begin."""
        number, row = divmod(chunk.first, self._manifest.images_per_file)
        name, images = self._manifest.files(chunk.split)[number]
        size = self._manifest.size
        return self._out / name, pixel_offset(self._out / name, images, size) + row * size * size * 3
