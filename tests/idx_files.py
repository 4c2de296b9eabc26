"""Tiny data sets in MNIST's IDX files."""

import gzip
from pathlib import Path

import numpy as np
from disk import write


def idx_bytes(array: np.ndarray) -> bytes:
    """uint8 of any shape as an IDX file has it."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def digits(count: int, seed: int = 0, side: int = 28) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, side, side) of noise and labels (count,) that run through 0 to 9, both uint8."""
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side), dtype=np.uint8)
    return images, (np.arange(count) % 10).astype(np.uint8)


def write_idx(folder: Path, dot: str = "-", end: str = "", train: int = 20, val: int = 10, side: int = 28) -> None:
    for name, count in (("train", train), ("t10k", val)):
        for kind, array in zip(("images", "labels"), digits(count, count, side), strict=True):
            content = idx_bytes(array)
            path = folder / f"{name}-{kind}{dot}idx{array.ndim}-ubyte{end}"
            write(path, gzip.compress(content) if end else content)
