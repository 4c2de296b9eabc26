"""Dropout in its two scalings, with masks from named streams."""

from collections.abc import Sequence

import numpy as np

from tinynet.backend import Array, to_device
from tinynet.layers.layer import Layer
from tinynet.operations import elementwise
from tinynet.random import stream


class Dropout(Layer):
    """Sets each value to zero with probability p while training (Krizhevsky et al. 2012, section 4.2); any shape.

    scale="train": kept values are divided by 1 - p in training; at test x itself is the output, as in PyTorch.
    scale="test": the paper's way, kept values stay as they are and outputs are multiplied by 1 - p at test.

    The mask is drawn from stream(seed, name, step) in batch-last order, for the whole batch: the same on every device,
    however images are shared out, and again after a restart. Each training forward adds 1 to `step`;
    Sequential.set_step pins it.
    """

    formula = "training: y = m · x, m = 0 with probability p; at test: y = (1 − p) · x  (or both over 1 − p)"

    def __init__(self, p: float = 0.5, scale: str = "train"):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: expected 0 <= p < 1, got p={p}")
        if scale not in ("train", "test"):
            raise ValueError(f"Dropout: scale must be 'train' or 'test', got {scale!r}")
        self.p, self.scale = float(p), scale
        self.seed, self.step = 0, 0
        self.part = (0, 1)  # (0, 2): the first of two towers, which draws for both and keeps its half
        self._images: tuple[int, int] | None = None  # the place of the first in the batch, and how many that has

    def set_step(self, step: int) -> None:
        self.step = step

    def take_part(self, part: tuple[int, Sequence[int]] | None, views: int = 1) -> None:
        self._images = None if part is None else (views * sum(part[1][: part[0]]), views * sum(part[1]))

    @property
    def _train_scale(self) -> float:
        return 1 / (1 - self.p) if self.scale == "train" else 1.0

    def forward(self, x: Array, train: bool = False) -> Array:
        self._cache = None
        x = self._enter(x)
        if not train and self.scale == "train":
            return self._leave(x)
        y = self._array("y", x.shape, x.dtype)
        if train:
            (index, parts), (rows, count) = self.part, (x.shape[0], x.shape[-1])
            first, images = self._images or (0, count)
            whole = (parts * rows, *x.shape[1:-1], max(images, first + count))  # of the whole batch
            drawn = stream(self.seed, self.name, self.step).random(whole, np.float32)
            mask = to_device(drawn[index * rows : (index + 1) * rows, ..., first : first + count] >= self.p)
            self.step += 1
            self._cache = mask, x.dtype
            elementwise.masked_scale(x, mask, self._train_scale, y)
        else:
            elementwise.scaled(x, 1 - self.p, y)
        return self._leave(y)

    def backward(self, dy: Array) -> Array | None:
        """y is mask * x, scaled: dx is mask * dy, scaled alike."""
        mask, dtype = self._kept()
        dy = self._enter_gradient(dy, mask.shape, dtype)
        if not self.needs_dx:
            return None
        dx = self._array("dx", mask.shape, dtype)
        elementwise.masked_scale(dy, mask, self._train_scale, dx)
        return self._leave(dx)

    def __repr__(self) -> str:
        return f"Dropout({self.p:g}{', scaled at test' if self.scale == 'test' else ''})"
