"""How work is cut into tiles, which threads run them, and where memory comes from.

A CPU runs a large operation as tiles that fit its caches, on a few threads with BLAS held to one thread inside; a GPU
runs it as one tile. What a tile computes lives in operations/; what differs between the two is here.
"""

import math
import os
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from numpy.typing import DTypeLike

from tinynet.backend import Array, on_gpu, xp
from tinynet.threads import Workers, hold_blas, usable_cores

# Measured on two AVX-512 cores with 2 MiB of second-level cache each: element-wise work wants its handful of arrays in
# that cache, yet calls of 50 microseconds or more, since threads wait for each other at the interpreter's lock between
# any two; the columns of a convolution want products large enough for BLAS, and to be in a cache when they are read. A
# GPU takes whole arrays, and columns as large as a small card's memory bears.
TILE_BYTES = 2**62 if on_gpu else 768 * 2**10
COLUMN_BYTES = 2**30 if on_gpu else 4 * 2**20
SHARE_WORK = 2**19  # multiply-adds: with fewer for each, waking a thread takes longer than what it saves


Tile = TypeVar("Tile")
Result = TypeVar("Result")


def _num_threads() -> int:
    """TINYNET_NUM_THREADS, else OMP_NUM_THREADS as other numerical libraries heed it, else the cores there are."""
    setting = os.environ.get("TINYNET_NUM_THREADS")
    if setting is not None:
        if not setting.isdecimal() or int(setting) < 1:
            raise ValueError(f"TINYNET_NUM_THREADS={setting}: expected a whole number of threads, 1 or more")
        return int(setting)
    outermost = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # "4,2": one number for each nested level
    if outermost.isdecimal() and int(outermost) >= 1:
        return int(outermost)
    return usable_cores()


threads_set = any(os.environ.get(name) for name in ("TINYNET_NUM_THREADS", "OMP_NUM_THREADS"))  # by the user
num_threads = 1 if on_gpu else _num_threads()  # the GPU's work is queued by one thread


class _Thread(threading.local):
    """What each thread has for itself."""

    workers: Workers | None = None  # of the device that it works for
    memory: "Memory | None" = None  # for its scratch arrays


_thread = _Thread()
_everyone = Workers(num_threads)  # all threads of the process, for work on a single device


def _after_fork() -> None:
    """A forked child has none of its parent's threads."""
    global _everyone
    _everyone = Workers(num_threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def workers() -> Workers:
    """The threads that run the tiles of the calling thread's device."""
    return _thread.workers or _everyone


def use_threads(count: int) -> None:
    """From now on the process has this many threads, for work on a single device or for all of its devices together."""
    global num_threads, _everyone
    num_threads, _everyone = count, Workers(count)


def work_with(workers: Workers) -> None:
    """From now on the calling thread, which works for one device of several, runs its tiles with these."""
    _thread.workers = workers


# ---- tiles ----


def tiles(length: int, bytes_each: int, tile_bytes: int | None = None) -> list[slice]:
    """`length` things of `bytes_each` bytes, cut into equal slices of about `tile_bytes` (default: TILE_BYTES).

    The cut depends on sizes only, never on the number of threads.
    """
    return cut(length, max(1, math.ceil(length * bytes_each / (tile_bytes or TILE_BYTES))))


def shares(work: int) -> int:
    """Among how many of the device's threads `work` multiply-adds are worth dividing: at least 1."""
    return max(1, min(workers().count, work // SHARE_WORK))


def cut(length: int, parts: int) -> list[slice]:
    """`length` things in `parts` nearly equal slices: for work whose tiles need no cache, such as products.

    What is summed inside a slice must not depend on the cut, or results would change with the number of threads.
    """
    count = min(length, parts)
    return [slice(i * length // count, (i + 1) * length // count) for i in range(count)]


# ---- tiles on threads ----


def run_shares(
    task: Callable[[Sequence[Tile]], Result], tiles: Sequence[Tile], work: int | None = None
) -> list[Result]:
    """Calls `task` once per thread with that thread's fixed share of the tiles, in order; returns the results in order.

    work: multiply-adds, where many tiles may have little of it, and one thread is enough (see `shares`).

    One call per thread, not one per tile: handing a task over costs about 50 microseconds. When a task raises, the
    others are waited for, and the first error is raised.
    """
    if not tiles:
        return []
    count = min(len(tiles), workers().count if work is None else shares(work))
    return hold_blas(workers().run, task, [tiles[share] for share in cut(len(tiles), count)])


def run(task: Callable[[Tile], object], tiles: Sequence[Tile], work: int | None = None) -> None:
    """Calls `task(tile)` for every tile, each thread walking its own fixed share of them; work as in run_shares."""

    if len(tiles) == 1:  # small work: every microsecond shows
        hold_blas(task, tiles[0])
        return

    def walk(share: Sequence[Tile]) -> None:
        for tile in share:
            task(tile)

    run_shares(walk, tiles, work)


# ---- memory ----


class Memory:
    """Named arrays that last: asking again for a name gives the same memory, enlarged only when it has to be.

    Touching fresh pages costs as much as the arithmetic on them, so the arrays of a step are kept for the next one,
    and a smaller last batch uses the front of the larger one's memory. empty: where it comes from, if not from xp.
    """

    def __init__(self, empty: Callable[..., Array] = xp.empty):
        self._empty = empty
        self._arrays: dict[str, Array] = {}
        self._blocks: dict[str, Array] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A C-contiguous array; what it holds is what its last user left there."""
        array = self._arrays.get(name)
        if array is None or array.shape != shape or array.dtype != dtype:
            size = math.prod(shape) * xp.dtype(dtype).itemsize
            block = self._blocks.get(name)
            if block is None or block.size < size:
                block = self._blocks[name] = self._empty(size, xp.uint8)
            array = self._arrays[name] = block[:size].view(dtype).reshape(shape)
        return array

    def holds(self, array: Array) -> bool:
        """Whether `array` lies in one of these arrays' memory."""
        return any(xp.may_share_memory(block, array) for block in self._blocks.values())

    def __bool__(self) -> bool:
        """Whether there is any array yet."""
        return bool(self._blocks)

    def __reduce__(self) -> tuple:
        return Memory, (self._empty,)  # what is copied or pickled gets memory of its own when it first needs some


def scratch(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """An array of the calling thread alone, to be used inside one tile: the next request for `name` gets its memory."""
    if _thread.memory is None:
        _thread.memory = Memory()
    return _thread.memory.array(name, shape, dtype)
