"""Evaluation of a trained network, as published: loss, top-1 and top-5 errors, averaged over the views of an image."""

import math
from collections.abc import Callable

import numpy as np

from tinynet.backend import to_device, to_host
from tinynet.data import Loader, Prepare
from tinynet.training.loop import EpochState, NonFiniteLossError, prepared
from tinynet.training.metrics import ranks


def evaluate(
    net,
    loader: Loader,
    prepare: Prepare,
    report: Callable[[EpochState], None] = lambda state: None,
) -> EpochState:
    """Loss and errors over all images of the loader, from the mean softmax over its views (paper, section 4.1)."""
    state = EpochState()
    for batch, x in prepared(loader.epoch(), prepare, state):
        probabilities = _softmax(to_host(net.forward(x)).astype(np.float64))
        probabilities = probabilities.reshape(len(batch.labels), batch.views, -1).mean(axis=1)  # (N, classes)
        right = probabilities[np.arange(len(batch.labels)), batch.labels]
        value = float(-np.log(np.maximum(right, 1e-300)).mean())
        if not math.isfinite(value):
            raise NonFiniteLossError(f"evaluation, batch {state.batches + 1} of {len(loader)}: the loss is {value}")
        state.add(value, ranks(to_device(probabilities), batch.labels))
        report(state)
    return state


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
