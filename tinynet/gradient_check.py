"""The gradient check: the backward pass of a layer or a network against finite differences of its forward pass.

Derivatives are computed in float64 and every element is checked; shapes and dtypes are looked at in float32 too. A
point where the function has a kink (a ReLU at 0, two equal values in a max-pooling window) has no derivative: choose
inputs away from such points.
"""

import contextlib
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from tinynet.backend import Array, device_of, on_device, to_device, xp
from tinynet.layers import Layer
from tinynet.losses import Loss, SoftmaxCrossEntropy
from tinynet.network import Sequential, leaves
from tinynet.random import stream

ENOUGH = 64  # elements of each array, to find out which layer of a net is the wrong one


class GradientCheckError(RuntimeError):
    """A backward pass that is not the derivative of its forward pass, or that breaks a layer's contract."""


def check_layer(
    layer: Layer,
    x: Array,
    dy: Array | None = None,
    *,
    step: float = 1e-5,
    relative: float = 1e-6,
    absolute: float = 1e-9,
    samples: int | None = None,
    seed: int = 0,
) -> float:
    """Checks every element of dx and of each parameter's gradient; returns the largest relative difference seen.

    x: an input (N, ...) in any memory order; dy: a gradient of the output's shape, by default drawn from N(0, 1).
    step: of the central difference sum(dy * (y(x + step) - y(x - step))) / (2 * step). A difference passes when it is
    at most `relative` times the larger of the two numbers, or at most `absolute`; it is reported relative to the same.
    samples: how many elements of each array are checked, drawn from a named stream; None for all. Also checked: shapes,
    that float32 and float64 are kept, that x and dy are not written to (but for inplace=True), and that a second
    backward gives the same bits. Parameters and gradients are put back; dropout's step ends at 0. GradientCheckError
    tells the parameter, the index and both numbers.
    """
    x = xp.array(x, dtype=xp.float64)
    check = _Check(layer.name or "network", step, relative, absolute, samples, seed)
    _check_each(layer, x, check)

    def forward(x):
        layer.set_step(0)  # the same dropout masks every time
        return on_device(layer.forward(x, train=True), 0)

    with _lent(layer, xp.float64):
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
        arrays = _arrays(layer, x)
        for name, array in arrays.items():
            check.require_like(f"gradient of {name}", gradients[0][name], array.shape)
            check.require(_same(gradients[0][name], gradients[1][name]), f"a second backward changed {name}'s gradient")

        def evaluate():
            return xp.array(forward(xp.array(x)))

        def difference(high, low) -> float:
            return float(xp.sum(dy * (high - low)))  # subtracted before summing, which rounds less

        return max(  # by default of a first layer without parameters, which has no gradient
            (check.compare(name, array, gradients[0][name], evaluate, difference) for name, array in arrays.items()),
            default=0.0,
        )


def check_network(
    net: Sequential,
    x: Array,
    labels: Array,
    *,
    loss: Loss | None = None,
    step: float = 1e-5,
    relative: float = 1e-6,
    absolute: float = 1e-9,
    samples: int | None = None,
    seed: int = 0,
) -> float:
    """Checks the gradient of the loss by every parameter, and by x if net.needs_dx; returns the largest difference.

    x: (N, ...); labels: (N,); loss: forward(logits, labels) and backward(), by default SoftmaxCrossEntropy. Dropout is
    on, with the masks of step 0 in every evaluation. The rest is as for `check_layer`. An error names the layer whose
    shapes or dtypes are wrong, or the layers that do not pass by themselves.
    """
    x = xp.array(x, dtype=xp.float64)
    loss = SoftmaxCrossEntropy() if loss is None else loss
    check = _Check(net.name or "network", step, relative, absolute, samples, seed)
    _check_each(net, x, check)

    def evaluate() -> float:
        net.set_step(0)  # the same dropout masks every time
        return loss.forward(net.forward(xp.array(x), train=True), labels)

    with _lent(net, xp.float64):
        evaluate()
        gradients = _copies(net, net.backward(loss.backward()))
        try:
            arrays = _arrays(net, x).items()
            return max(
                (check.compare(name, array, gradients[name], evaluate, operator.sub) for name, array in arrays),
                default=0.0,
            )
        except GradientCheckError as error:
            raise GradientCheckError(f"{error}{_found_alone(net, x, check)}") from error


def _check_each(net: Layer, x, check: "_Check") -> None:
    """Shapes and dtypes of what each layer of a net makes in both passes, in float32 and float64."""
    for dtype in (xp.float32, xp.float64):
        with _lent(net, dtype):
            inputs, y = [], x.astype(dtype)
            net.set_step(0)
            for layer in leaves(net):
                its = replace(check, name=layer.name or check.name)
                inputs.append(y.shape)
                expected = (len(y), *layer.output_shape(y.shape[1:]))
                for train in (False, True):
                    given = xp.array(y)
                    output = on_device(layer.forward(given, train=train), 0)
                    its.require_like("output", output, expected, dtype)
                    its.require(_writes_in_place(layer) or _same(given, y), "x was written to")
                y = output
            dy = xp.ones_like(y)
            for layer, shape in zip(reversed(leaves(net)), reversed(inputs), strict=True):
                its = replace(check, name=layer.name or check.name)
                given = xp.array(dy)
                dx = layer.backward(given)
                its.require(_writes_in_place(layer) or _same(given, dy), "dy was written to")
                its.require((dx is not None) == layer.needs_dx, f"needs_dx is {layer.needs_dx}, but backward gave {dx}")
                for name, owner, key in layer.parameters():
                    its.require_like(f"gradient of {name}", owner.grads[key], owner.params[key].shape, dtype)
                if dx is not None:
                    dy = on_device(dx, 0)
                    its.require_like("gradient of x", dy, shape, dtype)


def _found_alone(net: Layer, x, check: "_Check") -> str:
    """Which layers of a net that has failed do not pass the check by themselves, on what they are given in the net."""
    if len(leaves(net)) == 1:
        return ""
    found, y = [], x
    net.set_step(0)
    for layer in leaves(net):
        given = xp.array(y)
        try:
            tolerances = {"step": check.step, "relative": check.relative, "absolute": check.absolute}
            check_layer(layer, given, samples=ENOUGH, seed=check.seed, **tolerances)
        except GradientCheckError as error:
            found.append(str(error))
        layer.set_step(0)
        y = xp.array(on_device(layer.forward(given, train=True), 0))
    passes = "By itself each layer passes: does one in place follow a layer that needs its own output?"
    return f". By itself fails {'; '.join(found)}" if found else f". {passes}"


@dataclass(frozen=True)
class _Check:
    """The name of what is checked, and when a difference is too large."""

    name: str
    step: float
    relative: float
    absolute: float
    samples: int | None
    seed: int

    def require(self, holds: bool, problem: str) -> None:
        if not holds:
            raise GradientCheckError(f"{self.name}: {problem}")

    def require_like(self, what: str, array, shape: tuple[int, ...], dtype=xp.float64) -> None:
        self.require(isinstance(array, xp.ndarray), f"expected the {what} to be an array, got {type(array).__name__}")
        self.require(array.shape == shape, f"expected the {what} to be {shape}, got {array.shape}")
        self.require(array.dtype == dtype, f"the {what} of a {xp.dtype(dtype)} computation is {array.dtype}")

    def _chosen(self, name: str, shape: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
        size = math.prod(shape)
        if self.samples is None or self.samples >= size:
            return np.ndindex(shape)
        flat = stream(self.seed, "gradient check", name).choice(size, self.samples, replace=False)
        return zip(*np.unravel_index(np.sort(flat), shape), strict=True)

    def compare(self, name: str, array, gradient, evaluate: Callable, difference: Callable) -> float:
        """Moves single elements of `array` up and down, and compares what `evaluate` makes of it with `gradient`."""
        worst = 0.0
        for index in self._chosen(name, array.shape):
            value = _element(array, index)
            _set_element(array, index, value + self.step)
            high = evaluate()
            _set_element(array, index, value - self.step)
            low = evaluate()
            _set_element(array, index, value)
            numeric = difference(high, low) / ((value + self.step) - (value - self.step))
            analytic = _element(gradient, index)
            self.require(not math.isnan(analytic), f"the gradient of {name} is nan: not assigned, or added to")
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
def _lent(layer: Layer, dtype) -> Iterator[None]:
    """Lends the layer copies of its parameters in `dtype`, and gradients of NaN: one not assigned is found out. None is
    frozen meanwhile.
    """
    frozen = [owner for _, owner, _ in layer.parameters() if not owner.trainable]
    own = [(owner, key, owner.params[key], owner.grads[key]) for _, owner, key in layer.parameters()]
    for owner, key, parameter, _ in own:
        with device_of(parameter):
            owner.params[key] = parameter.astype(dtype)
            owner.grads[key] = xp.full_like(owner.params[key], xp.nan)
    for owner in frozen:
        owner.trainable = True
    try:
        yield
    finally:
        for owner in frozen:
            owner.trainable = False
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
