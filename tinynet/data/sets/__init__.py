"""Data sets by name."""

from tinynet.data.sets.cifar10 import cifar10, cifar100
from tinynet.data.sets.mnist import mnist

__all__ = ["cifar10", "cifar100", "mnist"]
