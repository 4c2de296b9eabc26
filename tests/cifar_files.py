"""Tiny data sets in CIFAR's binary files."""

from pathlib import Path

import numpy as np
from disk import write

CIFAR10_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def pictures(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 3, 32, 32) of noise and labels (count,) that run through 0 to 9, both uint8."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return images, (np.arange(count) % 10).astype(np.uint8)


def records(images: np.ndarray, *labels: np.ndarray) -> bytes:
    return np.concatenate([*(column[:, None] for column in labels), images.reshape(len(images), -1)], axis=1).tobytes()


def write_cifar10(folder: Path, count: int = 10) -> None:
    """`count` images in each of the five batches, and for validation."""
    for seed, name in enumerate(["test_batch", *(f"data_batch_{number}" for number in range(1, 6))]):
        write(folder / f"{name}.bin", records(*pictures(count, seed)))
    write(folder / "batches.meta.txt", "\n".join(CIFAR10_NAMES) + "\n\n")


def write_cifar100(folder: Path, train: int = 100, val: int = 100) -> None:
    for name, count in (("train", train), ("test", val)):
        fine = (np.arange(count) % 100).astype(np.uint8)
        write(folder / f"{name}.bin", records(pictures(count)[0], fine // 5, fine))
    write(folder / "fine_label_names.txt", "".join(f"thing {number}\n" for number in range(100)))
