"""The paper's stochastic gradient descent, and schedules of its learning rate."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real

import numpy as np

from tinynet.backend import Array, xp
from tinynet.layers.layer import Layer, whole
from tinynet.operations.elementwise import sgd_update
from tinynet.threads import Turn, one_at_a_time


class SGD:
    """Gradient descent with momentum and weight decay as in Krizhevsky et al. 2012, section 5:

        v = momentum * v - weight_decay * lr * w - lr * g
        w = w + v

    lr stands inside v: when it is divided by 10, what is in v keeps its size (PyTorch's SGD differs there).

    lr_multipliers and decay_multipliers: factors by parameter, {"bias": 2.0} for all of a kind, {"fc8": 0.1} for a
    layer, {"fc8.bias": 0.2} for one; the most specific counts. The 2012 program has 2 and 0 for biases. Layers with
    trainable=False stay as they are. velocity: v by full name, of the parameters' shapes and dtypes.
    """

    name = "SGD"

    def __init__(
        self,
        net: Layer,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        lr_multipliers: Mapping[str, float] | None = None,
        decay_multipliers: Mapping[str, float] | None = None,
    ):
        if not (0 <= lr < math.inf and 0 <= momentum < 1 and 0 <= weight_decay < math.inf):
            raise ValueError(
                f"SGD: expected lr >= 0, 0 <= momentum < 1 and weight_decay >= 0,"
                f" got lr={lr}, momentum={momentum}, weight_decay={weight_decay}"
            )
        self.net, self.lr, self.momentum, self.weight_decay = net, lr, momentum, weight_decay
        self.lr_multipliers = _factors(lr_multipliers, "lr_multipliers")
        self.decay_multipliers = _factors(decay_multipliers, "decay_multipliers")
        self.velocity: dict[str, Array] = {}
        net.on_devices(self._start)
        known = {answer for _, layer, key in net.parameters() for answer in self._answers(layer, key)}
        for full_name in net.elsewhere:
            layer_name, _, key = full_name.rpartition(".")
            known |= {full_name, layer_name, key}
        for name in (*self.lr_multipliers, *self.decay_multipliers):
            if name not in known:
                raise ValueError(f"SGD: no parameter answers to {name!r}: expected one of {', '.join(sorted(known))}")

    @staticmethod
    def _answers(layer: Layer, key: str) -> tuple[str, str, str]:
        """What a parameter answers to in the multipliers, the most specific first."""
        return f"{layer.name}.{key}", layer.name, key

    def _multiplier(self, multipliers: Mapping[str, float], layer: Layer, key: str) -> float:
        if not multipliers:
            return 1.0
        return next((multipliers[name] for name in self._answers(layer, key) if name in multipliers), 1.0)

    def _start(self, device: int) -> None:
        for name, layer, key in self.net.parameters(device):
            self.velocity[name] = xp.zeros(layer.params[key].shape, layer.params[key].dtype)

    @property
    def _turn(self) -> Turn:
        return self.net._turn  # weights do not change while another thread computes with them

    @one_at_a_time
    def step(self) -> None:
        """Updates every parameter once, from the gradients of the last backward, each on its device."""
        self.net.on_devices(self._update_all)

    def _update_all(self, device: int) -> None:
        updates = []
        for name, layer, key in self.net.parameters(device):
            if not layer.trainable:
                continue
            lr = self.lr * self._multiplier(self.lr_multipliers, layer, key)
            decay = self.weight_decay * self._multiplier(self.decay_multipliers, layer, key)
            weight, gradient, velocity = layer.params[key], layer.grads[key], self.velocity[name]
            if not (weight.flags.c_contiguous and getattr(weight.flags, "writeable", True)):
                weight = layer.params[key] = xp.array(weight, order="C")  # a user's own, transposed or read-only
            if not weight.shape == gradient.shape == velocity.shape:
                raise ValueError(
                    f"SGD: expected {name}, its gradient and its velocity to be of one shape,"
                    f" got {weight.shape}, {gradient.shape} and {velocity.shape}"
                )
            updates.append((weight, xp.ascontiguousarray(gradient), velocity, float(lr), float(decay)))
        sgd_update(updates, self.momentum)

    def __repr__(self) -> str:
        options = [f"{len(self.velocity)} parameters", f"lr {self.lr:g}", f"momentum {self.momentum:g}"]
        options += [f"weight decay {self.weight_decay:g}"]
        options += [f"lr multipliers {self.lr_multipliers}"] if self.lr_multipliers else []
        options += [f"decay multipliers {self.decay_multipliers}"] if self.decay_multipliers else []
        return f"SGD({', '.join(options)})"


def _factors(multipliers: Mapping[str, float] | None, name: str) -> dict[str, float]:
    """A copy of SGD's multipliers; ValueError unless all are finite and not negative."""
    for key, factor in (multipliers or {}).items():
        if not (isinstance(factor, Real) and 0 <= factor < math.inf):
            raise ValueError(f"SGD: expected a finite number >= 0 in {name} for {key!r}, got {factor!r}")
    return dict(multipliers or {})


# ---- schedules: pure functions of the past, so that a resumed run has nothing to restore. Of two kinds: a Schedule is
# asked before each epoch, schedule(lr, errors); a Policy, Caffe's word, before each step, policy(lr, step) ----


def _rising(milestones: object) -> bool:
    """Whether these are whole numbers of 1 or more, each larger than the one before."""
    if not isinstance(milestones, Sequence) or isinstance(milestones, str):
        return False
    if not all(isinstance(one, int | np.integer) and not isinstance(one, bool) for one in milestones):
        return False
    return all(one < next_one for one, next_one in pairwise((0, *milestones)))


def _check_milestones(schedule: "MultiStepSchedule | MultiStepPolicy", what: str) -> None:
    name, milestones, factor = type(schedule).__name__, schedule.milestones, schedule.factor
    if not (_rising(milestones) and 0 < factor < math.inf):
        raise ValueError(
            f"{name}: expected milestones that are numbers of {what} >= 1 and rise, and factor > 0,"
            f" got {milestones!r} and {factor!r}"
        )
    object.__setattr__(schedule, "milestones", tuple(milestones))  # of a frozen dataclass: lists cannot be hashed


@dataclass(frozen=True)
class StepSchedule:
    """Divides the learning rate by `factor` after every `every` epochs."""

    every: int
    factor: float = 10.0

    def __post_init__(self):
        if self.every < 1 or self.factor <= 0:
            raise ValueError(f"StepSchedule: expected every >= 1 and factor > 0, got {self.every} and {self.factor}")

    def __call__(self, lr: float, errors: Sequence[float]) -> float:
        """The rate of the next epoch, for the first one's `lr` and the validation errors of the epochs so far."""
        return lr / self.factor ** (len(errors) // self.every)


@dataclass(frozen=True)
class MultiStepSchedule:
    """Divides the learning rate by `factor` after each of these numbers of epochs, as PyTorch's MultiStepLR.

    milestones: (120, 130) is the first rate for 120 epochs, a tenth of it for 10 more, and then a hundredth.
    """

    milestones: Sequence[int]
    factor: float = 10.0

    def __post_init__(self):
        _check_milestones(self, "epochs")

    def __call__(self, lr: float, errors: Sequence[float]) -> float:
        """The rate of the next epoch, for the first one's `lr` and the validation errors of the epochs so far."""
        return lr / self.factor ** bisect_right(self.milestones, len(errors))


@dataclass(frozen=True)
class PlateauSchedule:
    """Divides the learning rate by `factor` when the validation error stops falling, at most `times` times.

    The paper's rule (section 5): by 10, three times. It "stops falling" when `patience` epochs have brought no error
    lower than the lowest before them, counted anew after each division. chance: the error, in percent, of a net that
    has learnt nothing, such as Dataset.chance_error: until one was lower it has not begun to fall, and nothing is
    counted.
    """

    patience: int = 5
    factor: float = 10.0
    times: int = 3
    chance: float = math.inf

    def __post_init__(self):
        if self.patience < 1 or self.factor <= 0 or self.times < 0 or not self.chance >= 0:
            raise ValueError(
                f"PlateauSchedule: expected patience >= 1, factor > 0, times >= 0 and chance >= 0,"
                f" got {self.patience}, {self.factor}, {self.times} and {self.chance}"
            )

    def divisions(self, errors: Sequence[float]) -> int:
        """How often the rate has been divided after the epochs with these validation errors."""
        divisions, best, waited = 0, math.inf, 0
        for error in errors:
            best, waited = (error, 0) if error < best else (best, waited + (best < self.chance))
            if waited >= self.patience and divisions < self.times:
                divisions, waited = divisions + 1, 0
        return divisions

    def __call__(self, lr: float, errors: Sequence[float]) -> float:
        """The rate of the next epoch, for the first one's `lr` and the validation errors of the epochs so far."""
        return lr / self.factor ** self.divisions(errors)


@dataclass(frozen=True)
class MultiStepPolicy:
    """Divides the learning rate by `factor` after each of these numbers of steps: Caffe's policy "multistep".

    milestones: (60_000, 65_000) is the first rate for 60,000 steps, a tenth of it for 5,000, and then a hundredth.
    """

    milestones: Sequence[int]
    factor: float = 10.0

    def __post_init__(self):
        _check_milestones(self, "steps")

    def __call__(self, lr: float, step: int) -> float:
        """The rate of step number `step`, for the first one's `lr`; the first is number 0."""
        return lr / self.factor ** bisect_right(self.milestones, whole(step, "MultiStepPolicy: step", 0))


@dataclass(frozen=True)
class InversePolicy:
    """lr * (1 + gamma * step)^-power, lower with every step: Caffe's policy "inv". The defaults are its LeNet's."""

    gamma: float = 0.0001
    power: float = 0.75

    def __post_init__(self):
        if not (0 <= self.gamma < math.inf and 0 <= self.power < math.inf):
            raise ValueError(f"InversePolicy: expected gamma >= 0 and power >= 0, got {self.gamma} and {self.power}")

    def __call__(self, lr: float, step: int) -> float:
        """The rate of step number `step`, for the first one's `lr`; the first is number 0."""
        return lr * (1 + self.gamma * whole(step, "InversePolicy: step", 0)) ** -self.power
