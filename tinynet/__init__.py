"""tinynet: AlexNet as it was in 2012, on NumPy and CuPy, every layer with its own forward and backward pass.

A name is imported when it is first used, so that `python -m tinynet --help` need not start a GPU.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinynet import gradient_check, initializers, models, parallel
    from tinynet.errors import BackendError, CheckpointError, DataError
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

_HOMES = {  # of what is no room of its own
    "errors": "BackendError CheckpointError DataError",
    "gradient_check": "GradientCheckError",
    "layers": "AvgPool2d Conv2d Dropout Flatten Linear LocalResponseNorm MaxPool2d ReLU Sigmoid Softmax Tanh",
    "losses": "SoftmaxCrossEntropy",
    "network": "Sequential",
    "optimizers": "SGD InversePolicy MultiStepPolicy MultiStepSchedule PlateauSchedule StepSchedule",
    "weights": "load_weights save_weights",
}


def __getattr__(name: str):
    """A public name from its home, or a room (PEP 562)."""
    home = next((home for home, names in _HOMES.items() if name in names.split()), None)
    room = f"{__name__}.{home or name}"
    try:
        module = importlib.import_module(room)
    except ModuleNotFoundError as error:
        if error.name != room:
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    globals()[name] = getattr(module, name) if home else module
    return globals()[name]


def __dir__() -> list[str]:
    return [*globals(), *__all__]
