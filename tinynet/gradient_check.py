"""The gradient check: the backward pass of a layer or a network against finite differences of its forward pass.

Everything is computed in float64 and every element is checked. A point where the function has a kink (a ReLU at 0, two
equal values in a max-pooling window) has no derivative: choose inputs away from such points.
"""

import contextlib
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tinynet.backend import device_of, on_device, to_device, xp
from tinynet.layers import Layer
from tinynet.losses import SoftmaxCrossEntropy
from tinynet.network import Sequential
from tinynet.random import stream


class GradientCheckError(RuntimeError):
    """A backward pass that is not the derivative of its forward pass, or that breaks a layer's contract."""


def check_layer(
    layer: Layer,
    x,
    dy=None,
    *,
    step: float = 1e-5,
    relative: float = 1e-6,
    absolute: float = 1e-9,
    seed: int = 0,
) -> float:
    """Checks every element of dx and of each parameter's gradient; returns the largest relative difference seen.

    x: an input (N, ...) in any memory order; dy: a gradient of the output's shape, by default drawn from N(0, 1).
    step: of the central difference sum(dy * (y(x + step) - y(x - step))) / (2 * step). A difference passes when it is
    at most `relative` times the larger of the two numbers, or at most `absolute`; it is reported relative to the same.
    Also checked: shapes, that dtypes are kept, that x and dy are not written to (but for inplace=True), and that a
    second backward gives the same bits. Parameters and gradients are put back afterwards; dropout's step ends at 0.
    GradientCheckError tells the parameter, the index and both numbers.
    """
    x = xp.array(x, dtype=xp.float64)
    check = _Check(layer.name or "network", step, relative, absolute)

    def forward(x):
        layer.set_step(0)  # the same dropout masks every time
        return on_device(layer.forward(x, train=True), 0)

    with _in_float64(layer):
        given_x = xp.array(x)
        y = forward(given_x)
        check.require_like("output", y, (len(x), *layer.output_shape(x.shape[1:])))
        if dy is None:
            dy = to_device(stream(seed, "gradient check", "dy").standard_normal(y.shape))
        dy = xp.array(dy, dtype=xp.float64)
        gradients = []
        for _ in range(2):
            given_dy = xp.array(dy)
            dx = layer.backward(given_dy)
            gradients.append(_copies(layer, dx))  # copies: what a layer returns is valid until its next call only
            if not _writes_in_place(layer):
                check.require(_same(given_x, x), "x was written to")
                check.require(_same(given_dy, dy), "dy was written to")
        returned = "a dx" if "x" in gradients[0] else "no dx"
        check.require((returned == "a dx") == layer.needs_dx, f"needs_dx is {layer.needs_dx}, but there is {returned}")
        arrays = _arrays(layer, x)
        for name, array in arrays.items():
            check.require_like(f"gradient of {name}", gradients[0][name], array.shape)
            check.require(_same(gradients[0][name], gradients[1][name]), f"a second backward changed {name}'s gradient")

        def evaluate():
            return xp.array(forward(xp.array(x)))

        def difference(high, low) -> float:
            return float(xp.sum(dy * (high - low)))  # subtracted before summing, which rounds less

        return max(
            check.compare(name, array, gradients[0][name], evaluate, difference, np.ndindex(array.shape))
            for name, array in arrays.items()
        )


def check_network(
    net: Sequential,
    x,
    labels,
    *,
    loss=None,
    step: float = 1e-5,
    relative: float = 1e-6,
    absolute: float = 1e-9,
    samples: int | None = None,
    seed: int = 0,
) -> float:
    """Checks the gradient of the loss by every parameter, and by x if net.needs_dx; returns the largest difference.

    x: (N, ...); labels: (N,); loss: forward(logits, labels) and backward(), by default SoftmaxCrossEntropy. samples:
    how many elements of each array are checked, drawn from a named stream; None for all. Dropout is on, with the masks
    of step 0 in every evaluation. The rest is as for `check_layer`.
    """
    x = xp.array(x, dtype=xp.float64)
    loss = SoftmaxCrossEntropy() if loss is None else loss
    check = _Check(net.name or "network", step, relative, absolute)

    def evaluate() -> float:
        net.set_step(0)  # the same dropout masks every time
        return loss.forward(net.forward(xp.array(x), train=True), labels)

    def chosen(name: str, shape: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
        size = math.prod(shape)
        if samples is None or samples >= size:
            return np.ndindex(shape)
        flat = stream(seed, "gradient check", name).choice(size, samples, replace=False)
        return zip(*np.unravel_index(np.sort(flat), shape), strict=True)

    with _in_float64(net):
        evaluate()
        gradients = _copies(net, net.backward(loss.backward()))
        return max(
            check.compare(name, array, gradients[name], evaluate, operator.sub, chosen(name, array.shape))
            for name, array in _arrays(net, x).items()
        )


@dataclass(frozen=True)
class _Check:
    """The name of what is checked, and when a difference is too large."""

    name: str
    step: float
    relative: float
    absolute: float

    def require(self, holds: bool, problem: str) -> None:
        if not holds:
            raise GradientCheckError(f"{self.name}: {problem}")

    def require_like(self, what: str, array, shape: tuple[int, ...]) -> None:
        self.require(array.shape == shape, f"expected the {what} to be {shape}, got {array.shape}")
        self.require(array.dtype == xp.float64, f"the {what} of a float64 computation is {array.dtype}")

    def compare(
        self, name: str, array, gradient, evaluate: Callable, difference: Callable, indices: Iterable[tuple[int, ...]]
    ) -> float:
        """Moves single elements of `array` up and down, and compares what `evaluate` makes of it with `gradient`."""
        worst = 0.0
        for index in indices:
            value = _element(array, index)
            _set_element(array, index, value + self.step)
            high = evaluate()
            _set_element(array, index, value - self.step)
            low = evaluate()
            _set_element(array, index, value)
            numeric = difference(high, low) / ((value + self.step) - (value - self.step))
            analytic = _element(gradient, index)
            gap = abs(analytic - numeric)
            error = gap / max(abs(analytic), abs(numeric), self.absolute / self.relative) if gap else 0.0
            place = f"{name}[{', '.join(map(str, index))}]"
            self.require(
                error <= self.relative,  # false for NaN, too
                f"the gradient of {place} is {analytic:.12g}, finite differences give {numeric:.12g}"
                f" (relative difference {error:.2g}, allowed {self.relative:g})",
            )
            worst = max(worst, error)
        return worst


@contextlib.contextmanager
def _in_float64(layer: Layer) -> Iterator[None]:
    """Lends the layer float64 copies of its parameters, and gradients of NaN: one that is not assigned is found out."""
    own = [(owner, key, owner.params[key], owner.grads[key]) for _, owner, key in layer.parameters()]
    for owner, key, parameter, _ in own:
        with device_of(parameter):
            owner.params[key] = parameter.astype(xp.float64)
            owner.grads[key] = xp.full_like(owner.params[key], xp.nan)
    try:
        yield
    finally:
        for owner, key, parameter, gradient in own:
            owner.params[key], owner.grads[key] = parameter, gradient
        layer.set_step(0)


def _arrays(layer: Layer, x) -> dict:
    """What has a gradient, by name: the parameters, and x unless the layer leaves dx out."""
    parameters = {name: owner.params[key] for name, owner, key in layer.parameters()}
    return {"x": x, **parameters} if layer.needs_dx else parameters


def _copies(layer: Layer, dx) -> dict:
    """Copies of the gradients that backward assigned and returned, under the names of `_arrays`."""
    gradients = {}
    for name, owner, key in layer.parameters():
        with device_of(owner.grads[key]):
            gradients[name] = xp.array(owner.grads[key])
    return gradients if dx is None else {"x": xp.array(dx), **gradients}


def _same(a, b) -> bool:
    """Bit for bit, where a NaN equals a NaN."""
    with device_of(a):
        return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


def _element(array, index: tuple[int, ...]) -> float:
    with device_of(array):
        return float(array[index])


def _set_element(array, index: tuple[int, ...], value: float) -> None:
    with device_of(array):
        array[index] = value


def _writes_in_place(layer: Layer) -> bool:
    inner = layer if isinstance(layer, Sequential) else ()
    return getattr(layer, "inplace", False) or any(map(_writes_in_place, inner))
