"""Training and evaluation on real files: it learns, it repeats itself to the last bit, and it stops in time."""

from types import SimpleNamespace

import numpy as np
import pytest

from tinynet.backend import to_host
from tinynet.data import Batch, Prepare
from tinynet.training import Epoch, EpochState, NonFiniteError, evaluate, loop, train_epoch


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
    assert state.seconds == state.seconds == state.ended - state.started  # the clock stands still after the epoch


def test_waiting_for_the_loader_is_counted(make_run, monkeypatch):
    run, now = make_run(workers=0), [0.0]
    batches, forward = run.train.epoch, run.loss.forward

    def slow(*arguments):
        for batch in batches(*arguments):
            now[0] += 2
            yield batch

    def compute(*arguments):
        now[0] += 1
        return forward(*arguments)

    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    run.train.epoch, run.loss.forward = slow, compute
    state = EpochState(started=0.0)
    train_epoch(run.net, run.loss, run.optimizer, run.train, run.prepare, Epoch(0, state))
    assert (state.waiting, state.seconds, state.waiting_share) == (6, 9, 6 / 9)  # three batches


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
    place, cause = r"step 3 \(epoch 2, batch 1 of 3\)", "are values of conv3.weight: a smaller learning rate may help"
    with pytest.raises(NonFiniteError, match=f"{place}: the loss is nan at a learning rate of 0.01; .*{cause}"):
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
    message = r"step 0 .* at a learning rate of 0\.01; .*The input holds values that are not finite"
    with pytest.raises(NonFiniteError, match=message):
        epoch(run, 0)
    assert_bit_equal(weights(run), before)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("devices", [1, 2])
def test_layers_whose_outputs_are_not_finite_are_named(make_run, devices):
    run = make_run(devices=devices)
    epoch(run, 0)
    for name, layer, key in run.net.parameters():
        if name.endswith(("fc7.weight", "fc8.weight")):
            layer.params[key][...] = np.float32(3e38)
    message = r"rate of 0\.01; .*The parameters are finite; .* outputs of fc7, relu7, dropout7, .*fc8"
    with pytest.raises(NonFiniteError, match=message):
        epoch(run, 1)


def test_a_batch_without_an_image_is_a_step_without_an_update(make_run):
    """Bad images are left out of their batch; where none is left, batches keep their numbers."""
    whole, holed = make_run(), make_run()
    batches = list(whole.train.epoch(0))

    class Holed:
        def epoch(self, number, start=0):
            batch = batches[1]
            hole = Batch(batch.images[:0], batch.labels[:0], batch.shifts[:0], batch.indices[:0], batch.views)
            return iter([batches[0], hole, batches[2]][start:])

        def __len__(self):
            return 3

    holed.train = Holed()
    state = epoch(holed, 0)
    assert state.batches == 3 and state.images == 20
    for batch in (batches[0], batches[2]):  # the same by hand, with the steps' own numbers
        whole.net.set_step({16: 0, 4: 2}[len(batch.labels)])
        whole.loss.forward(whole.net.forward(whole.prepare(batch), train=True), batch.labels)
        whole.net.backward(whole.loss.backward())
        whole.optimizer.step()
    assert_bit_equal(weights(whole), weights(holed))
