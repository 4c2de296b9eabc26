"""Networks as their papers give them."""

from tinynet.models.alexnet import alexnet, alexnet_torchvision
from tinynet.models.building import MODELS, build, find
from tinynet.models.lenet import lenet
from tinynet.models.vgg import vgg

__all__ = ["MODELS", "alexnet", "alexnet_torchvision", "build", "find", "lenet", "vgg"]
