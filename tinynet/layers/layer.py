"""The protocol every layer keeps: parameters and gradients, shapes known before any data, forward and backward.

Public shapes are PyTorch's, (N, C, H, W) and (N, features); in memory the batch is the innermost axis. A layer takes
its input through `_enter`, computes on batch-last arrays with operations/, and hands its result out through `_leave`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinynet.backend import Array, device_of, xp
from tinynet.backend import name as backend_name
from tinynet.execution import Memory
from tinynet.operations import elementwise
from tinynet.operations.window import Window
from tinynet.threads import Turn, one_at_a_time

Shape = tuple[int, ...]


def pair(value: int | tuple[int, int], what: str, minimum: int) -> tuple[int, int]:
    """`value` as (vertical, horizontal), whole numbers of `minimum` or more; ValueError or TypeError naming `what`."""
    values = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(values) != 2 or not all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in values):
        raise TypeError(f"{what}: expected a whole number or a pair (vertical, horizontal), got {value!r}")
    if min(values) < minimum:
        raise ValueError(f"{what}: expected {minimum} or more, got {value!r}")
    return int(values[0]), int(values[1])


def both_sides(padding: Any, what: str) -> list[tuple[int, int]]:
    """((top, bottom), (left, right)) of a padding, a number, (vertical, horizontal) or these four; ValueError or
    TypeError naming `what`.
    """
    if isinstance(padding, tuple | list) and all(isinstance(side, tuple | list) for side in padding):
        if len(padding) != 2:
            raise TypeError(f"{what}: expected ((top, bottom), (left, right)), got {padding!r}")
        return [pair(tuple(side), what, 0) for side in padding]
    vertical, horizontal = pair(padding, what, 0)
    return [(vertical, vertical), (horizontal, horizontal)]


def whole(value: int, what: str, minimum: int = 1) -> int:
    """`value`, a whole number of `minimum` or more; ValueError or TypeError naming `what`."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{what}: expected a whole number, got {value!r}")
    if value < minimum:
        raise ValueError(f"{what}: expected {minimum} or more, got {value!r}")
    return int(value)


class Layer:
    """Base of all layers. A layer states `_output_shape`, `forward` and `backward`, and `params` where it has some.

    name: the place in the net, as errors print it. params, grads: dicts with the same keys ("weight" and "bias");
    `backward` assigns the gradients. trainable: False freezes the parameters: `backward` need not assign their
    gradients, and the optimizer stays away. needs_dx: False lets `backward` skip the input's gradient and return None.

    An array that a layer returns is the layer's own memory: it is valid until the same layer's next call.
    """

    trainable = True
    needs_dx = True
    devices = 1
    elsewhere: Sequence[str] = ()  # full names of a network's parameters that only other processes have
    formula = ""  # what one output is, for whoever looks at a network
    split_as: str | None = None
    """How `parallel.partition` divides a layer of one's own among devices:

        "each"       every channel or neuron is computed by itself, without parameters, as ReLU's
        "whole"      all of them are needed, and there are no parameters, as Softmax's
        "channels"   every channel is computed by itself, from its own part of the parameters
        "outputs"    all are needed, and a part of the parameters makes a part of the outputs, as a linear layer's

    A part of a parameter is one of its first axis: `forward` and `_output_shape` must read sizes from `params`.
    """

    def __init__(self):
        self.name = type(self).__name__
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self._shapes: dict[str, Shape] = {}  # of the parameters
        self._memory = Memory()
        self._turn = Turn()  # a net's layers have that of the net
        self._cache: tuple | None = None
        self._plan: tuple = (None, None)  # what the plan depends on, and the plan: windows for an input's size

    def __init_subclass__(cls, **options) -> None:
        """Whatever a layer computes, one thread at a time is inside of it, and of the net that it belongs to."""
        super().__init_subclass__(**options)
        for name in ("forward", "backward", "backward_to", "infer", "activations"):
            if name in vars(cls):
                setattr(cls, name, one_at_a_time(vars(cls)[name]))

    def __getstate__(self) -> dict:
        """What a copy or a pickle takes along: neither scratch memory nor what the last forward kept for backward."""
        return self.__dict__ | {"_memory": Memory(), "_cache": None}

    # ---- what a layer states ----

    def _output_shape(self, shape: tuple) -> Shape:
        """The shape of one image's output for `shape` = (N, ...) of the input, after checking it; N may be a letter."""
        return tuple(shape[1:])

    def multiply_adds(self, input_shape: Shape) -> int:
        """Multiply-adds of one image's forward pass; 0 for layers that make no products."""
        return 0

    def windows(self, input_shape: Shape) -> tuple[Window, Window] | None:
        """Where outputs look on the rows and on the columns of an input (C, H, W); None where there is no window."""
        return None

    def forward(self, x: Array, train: bool = False) -> Array:
        """The output for x. With `train`, what `backward` needs is kept; without, it is dropped."""
        raise NotImplementedError(f"{self.name}: {type(self).__name__} has no forward")

    def backward(self, dy: Array) -> Array | None:
        """Assigns `grads` and returns dx, the gradient of the input, for dy, the gradient of the last output."""
        raise NotImplementedError(f"{self.name}: {type(self).__name__} has no backward")

    def add_parameter(self, key: str, value: Array) -> None:
        """Adds a parameter, "weight" or any other key, for a layer's __init__: an array of float32 or float64.

        It is in `params` from then on, with a gradient of zeros in `grads`: optimizers, files and the gradient check
        find it there. Another array put into `params` must have its shape: `parameter` looks at that.
        """
        if "." in key or key in self._shapes:
            raise ValueError(f"{self.name}: expected a new key without dots for a parameter, got {key!r}")
        self._check_parameter(key, value, getattr(value, "shape", ()))
        self._shapes[key] = value.shape
        self.params[key] = value
        self.grads[key] = xp.zeros_like(value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key} {shape}' for key, shape in self._shapes.items())})"

    # ---- what every layer gets ----

    def output_shape(self, input_shape: Shape) -> Shape:
        """The output's shape, (C, H, W) or (features,), for an input's; ValueError if it does not fit."""
        return self._output_shape(("N", *input_shape))

    def parameters(self, device: int | None = None) -> list[tuple[str, "Layer", str]]:
        """(full name, layer, key) of every parameter: `layer.params[key]` and `layer.grads[key]` are its arrays.

        device: only those that this device holds.
        """
        return [(f"{self.name}.{key}", self, key) for key in self.params]

    def on_devices(self, task: Callable[[int], object]) -> list:
        """task(device) on every device that the network lives on, at the same time; the results. Here there is one."""
        return [task(0)]

    def merge(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Host arrays under this network's full names as whole ones: the same, unless parameters are split."""
        return dict(arrays)

    def split(self, whole: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The reverse of `merge`."""
        return dict(whole)

    def set_step(self, step: int) -> None:
        """Names the training step, for layers that draw random numbers: dropout's masks are a function of it."""

    def take_part(self, part: tuple[int, Sequence[int]] | None, views: int = 1) -> None:
        """Which images of a batch come next, for layers that draw random numbers or exchange images: part (index,
        counts) is number `index` of those that replicas of the network have got, counts[index] images, each in `views`
        views; None: all.
        """

    def of_all_images(self, loss: float, ranks: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean loss of a batch, and the right classes' ranks (see training.ranks), of all its images, of which this
        process may have computed a part. Here these are all.
        """
        return loss, ranks

    def rename(self, name: str) -> None:
        """Gives the layer its place in a net; a container passes it on to what it holds."""
        self.name = name

    def take_turns(self, turn: Turn) -> None:
        """Makes the layer part of a net that one thread at a time uses; a container passes it on."""
        self._turn = turn

    def astype(self, dtype: DTypeLike) -> "Layer":
        """Converts the parameters to float32 or float64, in place; returns the layer."""
        dtype = self._check_dtype(xp.dtype(dtype), "parameters")
        for arrays in (self.params, self.grads):
            for key in arrays:
                with device_of(arrays[key]):
                    arrays[key] = arrays[key].astype(dtype, copy=False)
        return self

    @one_at_a_time
    def infer(self, x: Array, memories: tuple[Memory, Memory]) -> Array:
        """forward(x) as one of a chain: the output lies in that of the two memories which x is not in.

        So a chain needs no more than two layers' memory at a time. A layer that has trained uses what it has.
        """
        if self._memory:
            return self.forward(x)
        own = self._memory
        self._memory = memories[memories[0].holds(x)]
        try:
            return self.forward(x)
        finally:
            self._memory = own

    # ---- for the layers' own use ----

    def _check_dtype(self, dtype, what: str):
        if dtype not in (xp.float32, xp.float64):
            raise TypeError(f"{self.name}: expected {what} of float32 or float64, got {dtype}")
        return dtype

    def _shape_error(self, expected: str, shape: tuple, what: str = "input") -> ValueError:
        return ValueError(f"{self.name}: expected {what} {expected}, got ({', '.join(map(str, shape))})")

    def _check(self, x, what: str = "input") -> tuple:
        """The shape of x, once it is known to be an array that layers compute with."""
        if not isinstance(x, xp.ndarray):
            raise TypeError(f"{self.name}: expected an array of the {backend_name} backend, got {type(x).__name__}")
        if x.size == 0 or x.ndim == 0:
            raise ValueError(f"{self.name}: expected {what} with at least one image, got the shape {x.shape}")
        self._check_dtype(x.dtype, what)
        return x.shape

    def _enter(self, x: Array, name: str = "x") -> Array:
        """x (N, ...) as a C-contiguous batch-last array (..., N): a view where it lies so, else one copy."""
        self._check(x, "input" if name == "x" else "gradient")
        memory = x.transpose(*range(1, x.ndim), 0)  # (N, ...) -> (..., N)
        if memory.flags.c_contiguous:
            return memory
        batch_last = self._memory.array(name, memory.shape, memory.dtype)
        elementwise.copy(memory, batch_last)
        return batch_last

    def _enter_gradient(self, dy: Array, y: Shape, dtype: DTypeLike) -> Array:
        """dy as a batch-last array, after checking it against the last output: its batch-last shape `y`, and dtype."""
        expected = (y[-1], *y[:-1])
        if self._check(dy, "gradient") != expected:
            raise self._shape_error(f"({', '.join(map(str, expected))})", dy.shape, "gradient")
        if dy.dtype != dtype:
            raise TypeError(f"{self.name}: expected a gradient of {dtype}, the input's type, got {dy.dtype}")
        return self._enter(dy, "dy")

    @staticmethod
    def _leave(memory: Array) -> Array:
        """A batch-last array (..., N) as users see it, (N, ...): a view."""
        return memory.transpose(memory.ndim - 1, *range(memory.ndim - 1))

    def _planned(self, make: Callable, *settings):
        """make(*settings), kept until a call with other settings: what depends on sizes is worked out once."""
        if self._plan[0] != settings:
            self._plan = settings, make(*settings)
        return self._plan[1]

    def _array(self, name: str, shape: Shape, dtype: DTypeLike) -> Array:
        return self._memory.array(name, tuple(shape), dtype)

    def parameter(self, key: str, dtype: DTypeLike) -> Array:
        """params[key] for a computation in `dtype`, cast where it is kept in another; None where there is none.

        What a user has put into `params` is checked: ValueError for another shape, TypeError for another kind.
        """
        shape = self._shapes.get(key)
        if shape is None:
            if key in self.params:
                raise ValueError(f"{self.name}: params has a {key}, for which the layer was not made")
            return None
        parameter: Array = self.params.get(key)
        self._check_parameter(key, parameter, shape)
        return parameter.astype(dtype, copy=False)

    def _check_parameter(self, key: str, parameter, shape: Shape) -> None:
        if not isinstance(parameter, xp.ndarray) or parameter.dtype.char not in "fd":
            found = "none" if parameter is None else f"{type(parameter).__name__} {getattr(parameter, 'dtype', '')}"
            raise TypeError(
                f"{self.name}: expected {key} to be an array of the {backend_name} backend, of float32 or float64,"
                f" got {found.strip()}"
            )
        if parameter.shape != shape:
            raise self._shape_error(f"({', '.join(map(str, shape))})", parameter.shape, key)

    def _gradient(self, key: str, dtype: DTypeLike) -> Array:
        """The array that receives a parameter's gradient: the last step's, unless its shape or dtype has changed."""
        shape, gradient = self._shapes[key], self.grads[key]
        if gradient.shape != shape or gradient.dtype != dtype:
            gradient = self.grads[key] = xp.empty(shape, dtype)
        return gradient

    def _kept(self) -> tuple:
        """What forward kept for backward."""
        if self._cache is None:
            raise RuntimeError(f"{self.name}: backward needs a forward(x, train=True) just before it")
        return self._cache
