"""tinynet: AlexNet as it was in 2012, on NumPy and CuPy, every layer with its own forward and backward pass."""

from tinynet import gradient_check, initializers, models, parallel
from tinynet.arrays import CheckpointError
from tinynet.backend import BackendError
from tinynet.data import DataError
from tinynet.gradient_check import GradientCheckError
from tinynet.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from tinynet.losses import SoftmaxCrossEntropy
from tinynet.network import Sequential
from tinynet.optimizers import SGD, InversePolicy, MultiStepPolicy, MultiStepSchedule, PlateauSchedule, StepSchedule
from tinynet.weights import load_weights, save_weights

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "AvgPool2d",
    "BackendError",
    "CheckpointError",
    "Conv2d",
    "DataError",
    "Dropout",
    "Flatten",
    "GradientCheckError",
    "InversePolicy",
    "Linear",
    "LocalResponseNorm",
    "MaxPool2d",
    "MultiStepPolicy",
    "MultiStepSchedule",
    "PlateauSchedule",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "SoftmaxCrossEntropy",
    "StepSchedule",
    "Tanh",
    "gradient_check",
    "initializers",
    "load_weights",
    "models",
    "parallel",
    "save_weights",
]
