"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 32 x 32 pixels in colour, 10 or 100 classes, 50,000 images for training and
10,000 for validation.
"""

import os
from pathlib import Path

from tinynet.data.dataset import Dataset
from tinynet.data.stores.cifar_binary import CIFAR10, CIFAR100, Cifar, cifar_dataset, cifar_folder


def cifar10(folder: str | Path) -> Dataset:
    """The data set of data_batch_1.bin to _5.bin and test_batch.bin in `folder`, or in its cifar-10-batches-bin: the
    binary version of CIFAR-10, in memory.

    Images load as uint8 (size, size, 3). DataError for files that are missing, damaged, or of the Python version.
    """
    return _opened(folder, CIFAR10)


def cifar100(folder: str | Path) -> Dataset:
    """The same of CIFAR-100: train.bin and test.bin in `folder`, or in its cifar-100-binary. The 100 classes are the
    fine labels; the 20 groups are not read.
    """
    return _opened(folder, CIFAR100)


def _opened(folder: str | Path, kind: Cifar) -> Dataset:
    root = Path(os.path.expanduser(folder))
    return cifar_dataset(cifar_folder(root, kind) or root, kind)
