"""Networks as their papers give them."""

from tinynet.models.alexnet import alexnet, alexnet_torchvision
from tinynet.models.building import MODELS, build, find
from tinynet.models.cifar10 import cifar10_full, cifar10_quick
from tinynet.models.dense import convolutional
from tinynet.models.lenet import lenet
from tinynet.models.vgg import vgg, vgg_cifar

__all__ = [
    "MODELS",
    "alexnet",
    "alexnet_torchvision",
    "build",
    "cifar10_full",
    "cifar10_quick",
    "convolutional",
    "find",
    "lenet",
    "vgg",
    "vgg_cifar",
]
