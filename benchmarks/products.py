"""The product bound: how long a network's matrix products alone take on this machine, in NumPy's BLAS.

No im2col, activations, pooling, normalisation or update: what a network made of products cannot be faster than. Every
layer's products are made at the tile size that suits them best, on threads whose BLAS has one thread each.
"""

import argparse
import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import common
import networks
import numpy as np
import threadpoolctl

TILE_MIB = (2, 4, 8, 12, 16, 24)  # of a convolution's columns
MEASURED_OPERATIONS = 2**30  # of each thread in one measurement, about: enough for the clock
MOST_REPEATS = 1000  # of a tiny product, for the same

Call = tuple[np.ndarray, np.ndarray, np.ndarray]  # left @ right, into out
Fastest = Callable[[list[list[Call]]], float]  # seconds of the calls, one list for each thread


def products_worker(args: argparse.Namespace) -> dict:
    """Seconds of the products of each layer, [forward, backward], and of all; backward is 0 without args.train."""
    layers = {}
    with threadpoolctl.threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(args.threads) as pool:

        def walk(calls: list[Call]) -> None:
            for left, right, out in calls:
                np.matmul(left, right, out=out)

        def fastest(shares: list[list[Call]]) -> float:
            return min(common.timed(lambda: list(pool.map(walk, shares)), args.steps, warm_up=1))

        for index, row in enumerate(args.rows):
            if product := networks.product(row, args.batch_size):
                kinds = 1 if not args.train else 3 if index else 2  # the images need no gradient
                measure = _linear if row.kind == "Linear" else _convolution
                forward, *backward = measure(product, kinds, args.threads, fastest)
                layers[row.name] = [forward, sum(backward)]
    return {"layers": layers, "seconds": [sum(map(sum, layers.values()))]}


def _calls(rows: int, depth: int, columns: int) -> list[Call]:
    """y = weight @ x, and backward's dweight = y @ x.T and dx = weight.T @ y, on arrays of their own."""
    weight, x, y = (np.ones(shape, np.float32) for shape in ((rows, depth), (depth, columns), (rows, columns)))
    return [(weight, x, y), (y, x.T, np.empty_like(weight)), (weight.T, y, np.empty_like(x))]


def _repeats(multiply_adds: float) -> int:
    return min(MOST_REPEATS, max(1, round(MEASURED_OPERATIONS / (2 * multiply_adds))))


def _linear(product: networks.Product, kinds: int, threads: int, fastest: Fastest) -> list[float]:
    """Seconds of the first `kinds` of the three products, of whose rows each thread has a share."""
    rows, depth, columns, _ = product
    repeats = _repeats(rows * depth * columns / threads)
    seconds = []
    for left, right, out in _calls(rows, depth, columns)[:kinds]:
        cuts = [len(out) * thread // threads for thread in range(threads + 1)]
        shares = [repeats * [(left[start:stop], right, out[start:stop])] for start, stop in itertools.pairwise(cuts)]
        seconds.append(fastest(shares) / repeats)
    return seconds


def _convolution(product: networks.Product, kinds: int, threads: int, fastest: Fastest) -> list[float]:
    """Seconds of the first `kinds` of the three products, each at its best width of a tile of columns."""
    rows, depth, columns, groups = product
    widest = min(columns, math.ceil(groups * columns / threads))  # leaves every thread a tile
    best = [float("inf")] * kinds
    for width in {min(widest, max(64, mebibytes * 2**20 // 4 // depth)) for mebibytes in TILE_MIB}:
        repeats = _repeats(rows * depth * width)
        own = [_calls(rows, depth, width) for _ in range(threads)]
        for kind in range(kinds):
            seconds = fastest([repeats * [calls[kind]] for calls in own])
            best[kind] = min(best[kind], seconds / (repeats * threads) * groups * columns / width)
    return best
