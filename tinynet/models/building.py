"""Networks by name: those of this folder, and a user's own, named "module:function"."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable

from tinynet.errors import did_you_mean
from tinynet.models.alexnet import alexnet, alexnet_torchvision
from tinynet.models.chain import chain
from tinynet.models.cifar10 import cifar10_full, cifar10_quick
from tinynet.models.lenet import lenet
from tinynet.models.vgg import vgg, vgg_cifar
from tinynet.network import Sequential

Model = str | Callable[..., Sequential]  # a network's name, or what builds it
MODELS: dict[str, Callable[..., Sequential]] = {
    model.__name__: model
    for model in (alexnet, alexnet_torchvision, cifar10_full, cifar10_quick, lenet, vgg, vgg_cifar)
}
# what a file may name: these, and a chain of layers that it describes
KNOWN = MODELS | {"chain": chain}


def build(model: Model, /, **arguments) -> Sequential:
    """The network of this name with these arguments: one of MODELS, or "module:function", which is imported; or what a
    function returns.

    So a name that comes from a file must be one of KNOWN before it is given to this function. ValueError for a name or
    an argument that is not known, TypeError when the function returns no Sequential, ImportError when there is none.
    """
    name, model = (model, find(model)) if isinstance(model, str) else (getattr(model, "__name__", "model"), model)
    takes = inspect.signature(model).parameters
    unknown = [argument for argument in arguments if argument not in takes]
    if unknown and not any(one.kind is one.VAR_KEYWORD for one in takes.values()):
        raise ValueError(f"{name}: takes {', '.join(takes) or 'no arguments'}; got {', '.join(unknown)[:200]}")
    net = model(**arguments)
    if not isinstance(net, Sequential):
        raise TypeError(f"{name}: expected it to return a Sequential, got {type(net).__name__}")
    return net


def find(name: str) -> Callable[..., Sequential]:
    """The function of this name: one of MODELS, or a user's "module:function", imported as python does, and from the
    current folder, which is in sys.path from then on.
    """
    if name in KNOWN:
        return KNOWN[name]
    module_name, _, function = name.partition(":")
    if not (function and all(part.isidentifier() for part in module_name.split("."))):
        ask = did_you_mean(name, MODELS)
        raise ValueError(f"expected a model, {', '.join(MODELS)}, or your own as module:function; got {name!r}{ask}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and imports one that is not
        raise ImportError(f"{name}: there is no module {module_name!r} here nor among the installed ones") from error
    model = getattr(module, function, None)
    if not callable(model):
        raise ImportError(f"{name}: {module_name} has no function {function!r}")
    return model
