"""One epoch of training. When to do which, and what becomes of the results, is a script's business."""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from tinynet.backend import Array, on_device, to_host
from tinynet.data import Batch, Loader, Prepare
from tinynet.errors import NonFiniteError
from tinynet.layers import Layer
from tinynet.losses import Loss
from tinynet.network import Sequential
from tinynet.optimizers import SGD
from tinynet.training.metrics import Running, ranks

INPUT_NOT_FINITE = "The input holds values that are not finite."


@dataclass
class EpochState(Running):
    """How an epoch goes: the running errors, and where the time went, in seconds."""

    batches: int = 0  # begun
    waiting: float = 0.0  # for the loader
    before: float = 0.0  # spent on this epoch before the run was interrupted
    started: float = field(default_factory=time.perf_counter)
    ended: float | None = None  # None while it goes on

    def counts(self) -> dict:
        """What a checkpoint in the middle of an epoch keeps; EpochState(**counts) goes on from there."""
        kept = ("images", "loss_sum", "top1_misses", "top5_misses", "batches", "waiting")
        return {name: getattr(self, name) for name in kept} | {"before": self.seconds}

    @property
    def seconds(self) -> float:
        return self.before + (time.perf_counter() if self.ended is None else self.ended) - self.started

    @property
    def images_per_second(self) -> float:
        return self.images / max(self.seconds, 1e-9)

    @property
    def waiting_share(self) -> float:
        """The share of the time that was spent waiting for images, 0..1."""
        return self.waiting / max(self.seconds, 1e-9)


class Epoch:
    """A pass over the training set: its number, from 0, and where it stands. Called with the state after each batch of
    training and of validation, it may end the pass by raising; this one does nothing. A Run's saves and shows.
    """

    def __init__(self, number: int, state: EpochState | None = None):
        self.number, self.state = number, state or EpochState()

    def __call__(self, state: EpochState) -> None:
        """After a batch: of training where `state` is the epoch's own, else of validation."""


def prepared(batches: Iterable[Batch], prepare: Prepare, state: EpochState) -> Iterator[tuple[Batch, Array]]:
    """The batches and their inputs; batches, and the time spent waiting for the loader, are counted in the state.

    The next batch is fetched, and starts on its way to the devices, before this one is computed. A batch none of whose
    images could be read is counted and left out.
    """
    iterator, state.ended = iter(batches), None

    def following() -> Batch | None:
        before = time.perf_counter()
        batch = next(iterator, None)
        state.waiting += time.perf_counter() - before
        return batch

    batch = following()
    while batch is not None:
        x = prepare(batch) if len(batch.labels) else None
        upcoming = following()
        if upcoming is not None and len(upcoming.labels):
            prepare.send(upcoming)
        state.batches += 1
        if x is not None:
            yield batch, x
        batch = upcoming
    state.ended = time.perf_counter()


def train_epoch(
    net: Layer,
    loss: Loss,
    optimizer: SGD,
    loader: Loader,
    prepare: Prepare,
    epoch: Epoch | int,
    report: Callable[[EpochState], None] = lambda state: None,
) -> EpochState:
    """Trains on every batch of an epoch once; it and `report` are called after each step, and may end it by raising.

    epoch: its number, or an Epoch, which may have been interrupted: it goes on with its next batch. The step's number,
    epoch * batches + batch, names the random streams: it is all that dropout depends on. NonFiniteError, before the
    update, for a loss that is not finite.
    """
    epoch = Epoch(epoch) if isinstance(epoch, int) else epoch
    state = epoch.state
    for batch, x in prepared(loader.epoch(epoch.number, state.batches), prepare, state):
        step = epoch.number * len(loader) + state.batches - 1
        net.set_step(step)
        net.take_part(batch.part)
        logits = net.forward(x, train=True)
        value = loss.forward(logits, batch.labels)
        if not math.isfinite(value):
            raise NonFiniteError(
                f"step {step} (epoch {epoch.number + 1}, batch {state.batches} of {len(loader)}): the loss is {value}"
                f" at a learning rate of {optimizer.lr:g}; the weights are as before the step. {not_finite(net, x)}"
            )
        net.backward(loss.backward())
        optimizer.step()
        state.add(*net.of_all_images(value, ranks(logits, batch.labels)))
        epoch(state)
        report(state)
    return state


def not_finite(net: Layer, x: Array) -> str:
    """Says where there are values that are not finite: in the input, in which parameters, in which layers' outputs."""
    if not np.isfinite(to_host(x)).all():
        return INPUT_NOT_FINITE
    bad = [name for name, layer, key in net.parameters() if not np.isfinite(to_host(layer.params[key])).all()]
    if bad:
        return f"Not finite are values of {', '.join(bad)}: a smaller learning rate may help."
    outputs = net.on_devices(lambda device: _outputs_not_finite(getattr(net, "towers", [net])[device], x, device))
    names = list(dict.fromkeys(itertools.chain(*outputs)))  # each once, in order
    if names:
        where = f"not finite are values in the outputs of {', '.join(names)}"
        return f"The parameters are finite; {where}: a smaller learning rate may help."
    return "Parameters and outputs are finite: the loss overflowed; a smaller learning rate may help."


def _outputs_not_finite(tower: Sequential, x: Array, device: int) -> list[str]:
    """The names of a tower's layers whose outputs hold values that are not finite."""
    names, x = [], on_device(x, device)
    for layer in tower:
        x = layer.forward(x)
        if not np.isfinite(to_host(x)).all():
            names.append(layer.name)
    return names
