"""MNIST's handwritten digits (LeCun, Cortes and Burges 1998), or Fashion-MNIST's clothes (Xiao and others 2017).

28 x 28 pixels, gray, 10 classes, 60,000 images for training and 10,000 for validation.
"""

import os
from pathlib import Path

from tinynet.data.dataset import Dataset
from tinynet.data.stores.idx import idx_dataset, idx_folder
from tinynet.errors import DataError

DIGITS = tuple("0123456789")
SIDE = 28  # pixels


def mnist(folder: str | Path) -> Dataset:
    """The data set of the four IDX files in `folder` (train-images-idx3-ubyte and so on, gzipped or not), in memory.

    Images load as uint8 (size, size, 1), white on black; classes are "0" to "9". DataError for files that are missing,
    damaged or of another size.
    """
    root = Path(os.path.expanduser(folder))
    data = idx_dataset(idx_folder(root) or root, DIGITS)
    height, width = data.train.pixels.shape[1:3]
    if (height, width) != (SIDE, SIDE):
        raise DataError(f"{data.root}: expected images of {SIDE} x {SIDE} pixels, found {height} x {width}")
    return data
