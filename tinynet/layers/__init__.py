"""The layers: each with its parameters, its shapes and its own forward and backward pass."""

from tinynet.layers.activations import ReLU, Sigmoid, Softmax, Tanh
from tinynet.layers.convolution import Conv2d
from tinynet.layers.dropout import Dropout
from tinynet.layers.layer import Layer
from tinynet.layers.linear import Flatten, Linear
from tinynet.layers.normalization import LocalResponseNorm
from tinynet.layers.pooling import AvgPool2d, MaxPool2d

__all__ = [
    "AvgPool2d",
    "Conv2d",
    "Dropout",
    "Flatten",
    "Layer",
    "Linear",
    "LocalResponseNorm",
    "MaxPool2d",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
]
