"""One epoch of training. When to do which, and what becomes of the results, is a script's business."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from tinynet.backend import to_host
from tinynet.data import Batch, Loader, Prepare
from tinynet.network import Sequential
from tinynet.training.metrics import Running, ranks


class NonFiniteLossError(RuntimeError):
    """The loss of a step is not a number or infinite; the weights are as they were before the step."""


@dataclass
class EpochState(Running):
    """How an epoch goes: the running errors, and where the time went, in seconds."""

    batches: int = 0
    waiting: float = 0.0  # for the loader
    started: float = field(default_factory=time.perf_counter)
    ended: float | None = None  # None while it goes on

    @property
    def seconds(self) -> float:
        return (time.perf_counter() if self.ended is None else self.ended) - self.started

    @property
    def images_per_second(self) -> float:
        return self.images / max(self.seconds, 1e-9)

    @property
    def waiting_share(self) -> float:
        """The share of the time that was spent waiting for images, 0..1."""
        return self.waiting / max(self.seconds, 1e-9)


def prepared(batches: Iterable[Batch], prepare: Prepare, state: EpochState) -> Iterator[tuple[Batch, object]]:
    """The batches and their inputs; the time spent waiting for the loader is added to the state.

    The next batch is fetched, and starts on its way to the devices, before this one is computed.
    """
    iterator = iter(batches)

    def following() -> Batch | None:
        before = time.perf_counter()
        batch = next(iterator, None)
        state.waiting += time.perf_counter() - before
        return batch

    batch = following()
    while batch is not None:
        x, upcoming = prepare(batch), following()
        if upcoming is not None:
            prepare.send(upcoming)
        yield batch, x
        state.batches += 1
        batch = upcoming
    state.ended = time.perf_counter()


def train_epoch(
    net,
    loss,
    optimizer,
    loader: Loader,
    prepare: Prepare,
    epoch: int,
    report: Callable[[EpochState], None] = lambda state: None,
) -> EpochState:
    """Trains on every batch of epoch number `epoch` once; `report` is called after each step.

    The step's number, epoch * batches + batch, names the random streams: it is all that dropout depends on.
    NonFiniteLossError, before the update, for a loss that is not finite.
    """
    state = EpochState()
    for batch, x in prepared(loader.epoch(epoch), prepare, state):
        step = epoch * len(loader) + state.batches
        net.set_step(step)
        logits = net.forward(x, train=True)
        value = loss.forward(logits, batch.labels)
        if not math.isfinite(value):
            raise NonFiniteLossError(
                f"step {step} (epoch {epoch + 1}, batch {state.batches + 1} of {len(loader)}): the loss is {value};"
                f" the weights are as before the step. {_first_non_finite(net, x)}"
            )
        net.backward(loss.backward())
        optimizer.step()
        state.add(value, ranks(logits, batch.labels))
        report(state)
    return state


def _first_non_finite(net, x) -> str:
    """Says where values that are not finite first stand: in the input, a parameter, or the output of a layer."""
    if not np.isfinite(to_host(x)).all():
        return "The input holds values that are not finite."
    for name, parameter in net.params.items():
        if not np.isfinite(to_host(parameter)).all():
            return f"{name} holds values that are not finite: a smaller learning rate may help."
    for layer in net if isinstance(net, Sequential) else ():
        x = layer.forward(x)
        if not np.isfinite(to_host(x)).all():
            return f"The first output that is not finite is that of {layer.name}."
    return "Input and parameters are finite: the computation overflowed; a smaller learning rate may help."
