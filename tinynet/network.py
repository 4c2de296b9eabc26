"""Sequential, a chain of named layers that is itself a layer, and the summary of a network."""

import math
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import overload

import numpy as np
from numpy.typing import DTypeLike

from tinynet.backend import Array, to_host, xp
from tinynet.errors import did_you_mean
from tinynet.execution import Memory
from tinynet.layers.layer import Layer, Shape
from tinynet.threads import Turn, single_threaded_blas


class Container(Layer):
    """A layer made of layers. They have the parameters, the gradients and the memory: Layer.__init__ is not called.

    params and grads are read-only collections of the layers' own arrays, under full names.
    """

    @property
    def params(self) -> Mapping[str, Array]:  # type: ignore[override]  # read-only, as a layer's are not
        return MappingProxyType({self._inner(name): layer.params[key] for name, layer, key in self.parameters()})

    @property
    def grads(self) -> Mapping[str, Array]:  # type: ignore[override]  # likewise
        return MappingProxyType({self._inner(name): layer.grads[key] for name, layer, key in self.parameters()})

    def _inner(self, full_name: str) -> str:
        return full_name.removeprefix(f"{self.name}.")

    def __getstate__(self) -> dict:
        return self.__dict__  # the layers leave out what is only for themselves


class Sequential(Container):
    """Layers one after the other: Sequential([("conv1", Conv2d(3, 96, 11, stride=4)), ("relu1", ReLU()), ...]).

    net["conv1"] is a layer by name, net[:"pool5"] the part of the net up to a layer, that one included, and iterating
    gives the layers in order. Names are unique; a layer has one place. params and grads are read-only collections of
    the layers' own arrays, under full names such as "conv1.weight": write into the arrays, or put others into
    `net["conv1"].params`. needs_dx=True makes backward return the gradient of the net's input, which is left out by
    default.

    What forward(x) returns is the caller's. What forward(x, train=True), backward and the layers return lies in memory
    of the net, and is valid until its next call: copy what is to last. The net, its layers and its parts work for one
    thread at a time; another one gets a RuntimeError, and may have a copy.deepcopy of its own.
    """

    def __init__(self, layers: Sequence[tuple[str, Layer]], needs_dx: bool = False):
        self._memories = Memory(), Memory()  # for inference
        self.layers: dict[str, Layer] = {}
        for entry in layers:
            if not isinstance(entry, tuple | list) or len(entry) != 2:
                raise TypeError(f"Sequential: expected pairs (name, layer), got {entry!r}")
            name, layer = entry
            if not isinstance(name, str) or not name or "." in name:
                raise ValueError(f"Sequential: a layer's name must be a word without dots, got {name!r}")
            if not isinstance(layer, Layer):
                raise TypeError(f"Sequential: expected a layer under the name {name!r}, got {type(layer).__name__}")
            if name in self.layers:
                raise ValueError(f"Sequential: two layers are named {name!r}")
            self.layers[name] = layer
            if len(set(map(id, leaves(self)))) < len(leaves(self)):
                raise ValueError(f"Sequential: the layer {name!r} has another place in the net already")
        if not self.layers:
            raise ValueError("Sequential: expected at least one layer, got none")
        self.rename("")
        self.take_turns(next(iter(self))._turn)  # a part of another net brings that net's, and they take turns together
        for layer in self.layers.values():
            layer.needs_dx = True
        self.needs_dx = needs_dx

    # ---- the chain as a layer ----

    @property
    def needs_dx(self) -> bool:
        """Whether backward returns the input's gradient: the first layer's answer is the net's."""
        return next(iter(self)).needs_dx

    @needs_dx.setter
    def needs_dx(self, value: bool) -> None:
        next(iter(self)).needs_dx = value

    @property
    def trainable(self) -> bool:
        """Whether the optimizer updates any of the layers; setting it sets all of them, and freezes them with False."""
        return any(layer.trainable for layer in self)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self:
            layer.trainable = value

    def parameters(self, device: int | None = None) -> list[tuple[str, Layer, str]]:
        return [parameter for layer in self for parameter in layer.parameters()]

    def rename(self, name: str) -> None:
        self.name = name
        for inner, layer in self.layers.items():
            layer.rename(f"{name}.{inner}" if name else inner)

    def take_turns(self, turn: Turn) -> None:
        self._turn = turn
        for layer in self:
            layer.take_turns(turn)

    def set_step(self, step: int) -> None:
        for layer in self:
            layer.set_step(step)

    def take_part(self, part: tuple[int, Sequence[int]] | None, views: int = 1) -> None:
        for layer in self:
            layer.take_part(part, views)

    def astype(self, dtype: DTypeLike) -> "Sequential":
        for layer in self:
            layer.astype(dtype)
        return self

    def _output_shape(self, shape: tuple) -> Shape:
        for layer in self:
            shape = (shape[0], *layer._output_shape(shape))
        return shape[1:]

    def multiply_adds(self, input_shape: Shape) -> int:
        return self.summary(input_shape).multiply_adds

    @single_threaded_blas
    def forward(self, x: Array, train: bool = False) -> Array:
        if not train:
            return xp.array(self.infer(x, self._memories), order="K")  # a copy, in the same memory order
        y = x
        for layer in self:
            y = layer.forward(_own(layer, y, given=x), train)
        return y

    @single_threaded_blas
    def infer(self, x: Array, memories: tuple[Memory, Memory]) -> Array:
        [(_, y)] = deque(self._outputs(x, memories), maxlen=1)  # the last
        return y

    @single_threaded_blas
    def backward(self, dy: Array) -> Array | None:
        """Down to the first layer where needs_dx is True; else no further than to the lowest that is trained."""
        return self.backward_to(0 if self.needs_dx else self.lowest_trained(), dy)

    def lowest_trained(self) -> int:
        """The position of the first layer whose parameters are trained; without one, the number of layers."""
        # lists: a generator that is left half done ends in Python's care, where Ctrl-C is lost
        trained = [True in [owner.trainable for _, owner, _ in layer.parameters()] for layer in self]
        return trained.index(True) if True in trained else len(self)

    @single_threaded_blas
    def backward_to(self, lowest: int, dy: Array, done: Callable[[Layer], object] = lambda layer: None) -> Array | None:
        """backward, ended by the layer at this position, which is spared its dx unless it is the first.

        done: told of each layer once its gradients are there, while those before it have yet to come.
        """
        layers, dx = list(self), dy
        for layer in reversed(layers[lowest + 1 :]):
            dx = layer.backward(_own(layer, dx, given=dy))
            done(layer)
        for layer in layers[lowest : lowest + 1]:  # none where nothing is trained
            needs_dx, layer.needs_dx = layer.needs_dx, layer.needs_dx and lowest == 0
            try:
                dx = layer.backward(_own(layer, dx, given=dy))
            finally:
                layer.needs_dx = needs_dx
            done(layer)
        return dx if lowest == 0 else None

    def _outputs(self, x, memories: tuple[Memory, Memory]) -> Iterator[tuple[str, object]]:
        """(name, output) of each layer in turn, for inference; of an inner net its layers', then its own."""
        y = x
        for name, layer in self.layers.items():
            if isinstance(layer, Sequential):
                for inner, output in layer._outputs(y, memories):
                    yield f"{name}.{inner}", output
                y = output
            else:
                y = layer.infer(_own(layer, y, given=x), memories)
            yield name, y

    # ---- looking inside ----

    @single_threaded_blas
    def activations(self, x: Array, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """What the layers of these names (default: all) make of x, without training: copies on the host, (N, ...).

        Of an inner net "block", "block.fc1" is a layer and "block" its output. KeyError for a name that is not there.
        """
        there = self._names()
        wanted = there if names is None else [names] if isinstance(names, str) else list(names)
        for name in wanted:
            known(name, there)
        found: dict[str, np.ndarray] = {}
        for name, y in self._outputs(x, self._memories):
            if name in wanted:
                found[name] = np.array(to_host(y))  # a copy: the next layers write to this memory
            if len(found) == len(set(wanted)):
                break
        return {name: found[name] for name in wanted}

    def _names(self) -> list[str]:
        """Of all that `_outputs` gives."""
        names = []
        for name, layer in self.layers.items():
            names += [f"{name}.{inner}" for inner in layer._names()] if isinstance(layer, Sequential) else []
            names.append(name)
        return names

    def _part(self, ends: slice) -> "Sequential":
        """The layers between two names, both included, as a net that shares them."""
        if ends.step is not None:
            raise TypeError(f"expected net[first:last] with layers' names, got the step {ends.step!r}")
        names = list(self.layers)
        first, last = (None if name is None else names.index(known(name, names)) for name in (ends.start, ends.stop))
        chosen = names[first : None if last is None else last + 1]
        if not chosen:
            raise KeyError(f"no layers from {ends.start!r} to {ends.stop!r}: this net has {', '.join(names)}")
        part = object.__new__(Sequential)
        part.__dict__ |= self.__dict__ | {"layers": {name: self.layers[name] for name in chosen}}
        return part

    # ---- the chain as a container ----

    @overload
    def __getitem__(self, name: str) -> Layer: ...

    @overload
    def __getitem__(self, name: slice) -> "Sequential": ...

    def __getitem__(self, name: str | slice) -> Layer:
        return self._part(name) if isinstance(name, slice) else self.layers[known(name, self.layers)]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers.values())

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        width = max(map(len, self.layers))
        return "\n".join(f"{name:{width}}  {layer!r}" for name, layer in self.layers.items())

    def summary(self, input_shape: Shape) -> "Summary":
        """What each layer makes of an image of `input_shape` (C, H, W), computed before any data."""
        rows = []
        for name, layer in self.layers.items():
            output_shape = layer.output_shape(input_shape)
            if isinstance(layer, Sequential):
                inner = layer.summary(input_shape).rows
                rows += [SummaryRow(f"{name}.{row.name}", *row.values()[1:]) for row in inner]
            else:
                parameters = sum(math.prod(parameter.shape) for parameter in layer.params.values())
                work = layer.multiply_adds(input_shape)
                rows.append(SummaryRow(name, repr(layer), output_shape, parameters, work, 4 * math.prod(output_shape)))
            input_shape = output_shape
        return Summary(rows)


def known(name: str, names: Collection[str]) -> str:
    """`name`; KeyError, with those that there are, when no layer has it."""
    if name not in names:
        raise KeyError(f"no layer named {name!r}: this net has {', '.join(names)}{did_you_mean(name, names)}")
    return name


def _own(layer: Layer, array, given):
    """`array`, or a copy where the layer would write to it and it lies where `given` does, what the net was given: a
    user's array, or the one of an outer net, which could be spared the copy.
    """
    if getattr(layer, "inplace", False) and xp.may_share_memory(array, given):
        return xp.array(array, order="K")  # in the same memory order
    return array


def leaves(layer: Layer) -> list[Layer]:
    """The layer, or of a chain its layers, and theirs."""
    return [leaf for inner in layer for leaf in leaves(inner)] if isinstance(layer, Sequential) else [layer]


@dataclass(frozen=True)
class SummaryRow:
    """One layer of a summary. Multiply-adds and bytes (of the float32 output) are per image."""

    name: str
    layer: str
    output_shape: Shape
    parameters: int
    multiply_adds: int
    activation_bytes: int

    def values(self) -> tuple:
        return self.name, self.layer, self.output_shape, self.parameters, self.multiply_adds, self.activation_bytes


@dataclass(frozen=True)
class Summary:
    """The layers of a network with their sizes; `str` is the table, the totals are attributes."""

    rows: list[SummaryRow]

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Of the forward pass of one image."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """Of all layers' float32 outputs for one image."""
        return sum(row.activation_bytes for row in self.rows)

    def __str__(self) -> str:
        head = ("name", "layer", "output", "parameters", "multiply-adds", "bytes/image")
        total = ("total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}", f"{self.activation_bytes:,}")
        body = [
            (row.name, row.layer, " x ".join(map(str, row.output_shape)), *(f"{n:,}" for n in row.values()[3:]))
            for row in self.rows
        ]
        widths = [max(len(line[column]) for line in (head, *body, total)) for column in range(len(head))]

        def line(cells: tuple[str, ...]) -> str:
            pairs = list(zip(cells, widths, strict=True))
            return "  ".join([f"{c:<{w}}" for c, w in pairs[:3]] + [f"{c:>{w}}" for c, w in pairs[3:]])

        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        return "\n".join([line(head), rule, *map(line, body), rule, line(total)])

    __repr__ = __str__
