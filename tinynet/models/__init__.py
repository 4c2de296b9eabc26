"""Networks as their papers give them."""

from tinynet.models.alexnet import alexnet, alexnet_torchvision
from tinynet.models.lenet import lenet
from tinynet.models.vgg import vgg

__all__ = ["alexnet", "alexnet_torchvision", "lenet", "vgg"]
