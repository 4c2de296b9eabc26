"""Training and evaluation on real files: it learns, it repeats itself to the last bit, and it stops in time."""

import time

import numpy as np
import pytest

from tinynet.backend import to_host
from tinynet.data import Prepare
from tinynet.training import NonFiniteLossError, evaluate, train_epoch


def epoch(run, number: int):
    return train_epoch(run.net, run.loss, run.optimizer, run.train, run.prepare, number)


def weights(run) -> dict[str, np.ndarray]:
    return {name: to_host(parameter).copy() for name, parameter in run.net.params.items()}


def assert_bit_equal(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].tobytes() == other[name].tobytes(), name


def test_two_runs_are_bit_equal_whatever_the_loader_threads(make_run):
    results = []
    for workers in (0, 1, 3):
        run = make_run(workers)
        losses = [epoch(run, number).loss for number in range(2)]
        results.append((losses, weights(run)))
    for losses, final in results[1:]:
        assert losses == results[0][0]
        assert_bit_equal(final, results[0][1])
    other = make_run(seed=1)
    assert epoch(other, 0).loss != results[0][0][0]


def test_it_learns_and_evaluation_leaves_training_alone(make_run):
    quiet, checked = make_run(), make_run()
    first = last = None
    for number in range(8):
        last = epoch(quiet, number)
        first = first or last
        epoch(checked, number)
        evaluate(checked.net, checked.middle, checked.prepare)
    assert last.loss < 0.9 * first.loss
    assert_bit_equal(weights(quiet), weights(checked))


def test_the_state_counts_images_time_and_reports(make_run):
    run, reports = make_run(), []
    state = train_epoch(run.net, run.loss, run.optimizer, run.train, run.prepare, 0, lambda s: reports.append(s.images))
    assert reports == [16, 32, 36]
    assert state.images == 36 and state.batches == 3
    assert 0 <= state.waiting_share < 1 and state.images_per_second > 0
    seconds = state.seconds
    time.sleep(0.02)
    assert state.seconds == seconds  # the clock stands still when the epoch is over


def test_ten_views_are_averaged_after_the_softmax(make_run):
    run = make_run()
    epoch(run, 0)
    result = evaluate(run.net, run.ten, run.prepare)
    losses, hits = [], 0
    for batch in run.ten.epoch():
        logits = to_host(run.net.forward(run.prepare(batch))).astype(np.float64)
        for image, label in enumerate(batch.labels):
            views = np.exp(logits[10 * image : 10 * image + 10])
            mean = (views / views.sum(axis=1, keepdims=True)).mean(axis=0)
            losses.append(-np.log(mean[label]))
            hits += mean.argmax() == label
    assert result.images == 12
    assert result.loss == pytest.approx(np.mean(losses))
    assert result.top1_error == pytest.approx(100 * (1 - hits / 12))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_before_the_update(make_run, bad):
    run = make_run()
    epoch(run, 0)
    run.net["conv3"].params["weight"][0, 0, 0, 0] = bad
    before = weights(run)
    with pytest.raises(NonFiniteLossError, match=r"step 3 \(epoch 2, batch 1 of 3\).*conv3.weight holds values"):
        epoch(run, 1)
    assert_bit_equal(weights(run), before)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_input_that_is_not_finite_is_named(make_run):
    run = make_run()

    class Spoiled(Prepare):
        def __call__(self, batch):
            x = super().__call__(batch)
            x[0, 0, 5, 5] = np.nan
            return x

    run.prepare = Spoiled(run.statistics, run.train.crop)
    before = weights(run)
    with pytest.raises(NonFiniteLossError, match=r"step 0 .*The input holds values that are not finite"):
        epoch(run, 0)
    assert_bit_equal(weights(run), before)
