"""What the rest of the program knows of a data set: two splits of images and the classes they share.

Where the images lie is known to the split classes (folders.py and its neighbours); layouts.py finds the right one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


class Split(Protocol):
    """What the loader needs to know of a set of images."""

    classes: tuple[str, ...]
    labels: np.ndarray  # (images,) int64

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def load(self, index: int, size: int) -> np.ndarray: ...


@dataclass(frozen=True)
class Dataset:
    """A training and a validation set with the same classes.

    classes: what a label stands for, in the order of the labels (ImageNet's wnids, or folders' names). names: what
    reports call them, in the same order.
    """

    root: Path
    train: Split
    val: Split
    classes: tuple[str, ...]
    names: tuple[str, ...]
