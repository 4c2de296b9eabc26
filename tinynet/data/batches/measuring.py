"""Measuring a training set: its statistics from all its images, or from some, on threads; how large its images are."""

import contextlib
from collections.abc import Callable

import numpy as np

from tinynet.data.batches.bad_images import BadImages
from tinynet.data.dataset import Split, channels_of, dtype_of
from tinynet.data.statistics import Statistics, Sums
from tinynet.errors import DataError
from tinynet.random import stream
from tinynet.threads import in_order, single_threaded_blas

CHUNK = 32  # images per task: few enough for a smooth progress bar


@single_threaded_blas  # or each small product would wake all cores
def measure(
    split: Split,
    size: int,
    limit: int | None = None,
    workers: int = 2,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    max_bad: float = 0.01,
    on_bad: Callable[[str, str], None] | None = None,
    share: tuple[int, int] = (0, 1),
    join: Callable[[Sums, dict[int, str]], dict[int, str]] = lambda sums, bad: bad,
) -> Statistics:
    """Measure the images of the split, cut to size x size: all of them, or `limit` images that the seed chooses.

    The result does not depend on `workers`. `progress(done, total)` is called as images are finished. An image that
    cannot be read is left out and reported to `on_bad`, and DataError ends the work when their share of the
    split passes `max_bad`, as BadImages has it.

    share: (2, 4) looks at the third of four parts of them; join(sums, bad) then adds to the sums those of the other
    parts, and returns why images of any part could not be read.
    """
    if len(split) == 0 or workers < 1 or (limit is not None and limit < 1):
        raise ValueError(f"measure: expected images, limit and workers >= 1, got {len(split)}, {limit} and {workers}")
    chosen = np.sort(stream(seed, "statistics").permutation(len(split))[:limit])
    chosen = chosen[share[0] * len(chosen) // share[1] : (share[0] + 1) * len(chosen) // share[1]]
    bad = BadImages(split, max_bad, on_bad)
    sums, done = _no_sums(split, size), 0
    chunks = ((split, chosen[first : first + CHUNK], size) for first in range(0, len(chosen), CHUNK))
    for part, failures in in_order(_measure_chunk, chunks, workers, 2 * workers, "tinynet-statistics"):
        for index, reason in failures.items():
            bad.add(index, reason)
        sums.merge(part)
        done += part.images + len(failures)
        if progress:
            progress(done, len(chosen))
    for index, reason in join(sums, bad.reasons).items():
        bad.add(index, reason)
    return sums.statistics()


def typical_side(split: Split, count: int = 100) -> int | None:
    """The median of the shorter sides, in pixels, of `count` images that are spread over the split, before they are
    cut; those that cannot be read are left out. None where the split does not know.
    """
    side_of, sides = getattr(split, "shorter_side", None), []
    if side_of is None:
        return None
    for index in np.unique(np.linspace(0, len(split) - 1, count, dtype=np.int64)).tolist():
        with contextlib.suppress(DataError):
            sides.append(side_of(index))
    return round(float(np.median(sides))) if sides else None


def _measure_chunk(split: Split, indices: np.ndarray, size: int) -> tuple[Sums, dict[int, str]]:
    """The sums over some images, and why each of those that are missing in them cannot be read."""
    sums = _no_sums(split, size)
    failures: dict[int, str] = {}
    for index in indices.tolist():
        try:
            sums.add(split.load(index, size))
        except DataError as error:
            failures[index] = str(error)
    return sums, failures


def _no_sums(split: Split, size: int) -> Sums:
    return Sums.zero(size, channels_of(split), dtype_of(split))
