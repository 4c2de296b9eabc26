"""Evaluation: the mean over views and networks, what is skipped, and what a table of classes says."""

import gc
import weakref

import numpy as np
import pytest
from run_on_disk import settings_of

from tinynet import DataError, models
from tinynet.backend import to_device, to_host
from tinynet.data import Batch, Loader, Prepare, Statistics, measure
from tinynet.training import NonFiniteError, Trained, evaluate, evaluate_networks, predict
from tinynet.training import trained as trained_networks

SIZE, CROP = 72, 67


@pytest.fixture
def make_trained(data):
    """make_trained(seed, size, crop) -> a network with random weights, its own crop, mean image and scale."""

    def make(seed: int, size: int = SIZE, crop: int = CROP, scale: float = 0.02) -> Trained:
        settings = settings_of(data, size, crop, scale, seed=seed)
        statistics = measure(data.train, size, limit=5 + seed, workers=1, seed=seed)
        return Trained(models.alexnet(**settings["network"]), statistics, settings, f"network {seed}")

    return make


def by_hand(trained: Trained, split, views: str) -> np.ndarray:
    """Mean softmax over views, image by image, in float64."""
    loader = Loader(split, 5, trained.settings["resize"], trained.settings["crop"], views, workers=0)
    rows = []
    for batch in loader.epoch():
        logits = to_host(trained.net.forward(trained.prepare()(batch))).astype(np.float64)
        exponentials = np.exp(logits)
        softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
        rows += [
            softmax[batch.views * image : batch.views * (image + 1)].mean(axis=0) for image in range(len(batch.labels))
        ]
    return np.array(rows)


class Skipping(Loader):
    """A loader that cannot read some images, as one with broken files: they are left out of their batches."""

    bad = (0, 1, 2, 7)

    def epoch(self, number: int = 0, start: int = 0):
        for batch in super().epoch(number, start):
            good = ~np.isin(batch.indices, self.bad)
            images = batch.images[np.repeat(good, batch.views)]
            yield Batch(images, batch.labels[good], None, batch.indices[good], batch.views)


@pytest.mark.parametrize("views", ["middle", "ten"])
def test_one_network_has_exactly_the_errors_that_evaluate_finds(make_trained, data, views):
    trained = make_trained(1)
    loader = Loader(data.val, 5, SIZE, CROP, views, workers=0)
    each_epoch = evaluate(trained.net, loader, trained.prepare())
    published = evaluate_networks([trained], data.val, views, batch_size=7)
    assert (published.top1_error, published.top5_error) == (each_epoch.top1_error, each_epoch.top5_error)
    assert published.loss == pytest.approx(each_epoch.loss, rel=1e-6)
    assert (published.images, published.skipped, published.networks) == (12, 0, 1)


def test_probabilities_that_are_all_but_equal_are_counted_alike(make_trained, data, monkeypatch):
    trained = make_trained(1)
    for key, values in (("weight", 0), ("bias", [0, 1e-10, 0])):  # apart in float64, equal in float32
        trained.net["fc8"].params[key][...] = to_device(np.asarray(values, np.float32))
    loader = Skipping(data.val, 5, SIZE, CROP, "middle", workers=0)  # 1, 3 and 4 images of the three classes
    each_epoch = evaluate(trained.net, loader, trained.prepare())
    monkeypatch.setattr(trained_networks, "Loader", Skipping)
    published = evaluate_networks([trained], data.val, "middle")
    assert each_epoch.top1_error == published.top1_error == 87.5  # of equal classes the first is the answer
    assert published.classes[0].top1_error == 0


def test_probabilities_are_in_the_splits_order_and_sum_to_one(make_trained, data):
    trained, states = make_trained(1), []
    loader = Loader(data.val, 5, SIZE, CROP, "ten", workers=2)
    found = predict(trained.net, loader, trained.prepare(), lambda state: states.append(state.images))
    assert found.probabilities.dtype == np.float32
    np.testing.assert_allclose(found.probabilities, by_hand(trained, data.val, "ten"), rtol=1e-5)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert found.indices.tolist() == list(range(12)) and (found.labels == data.val.labels).all()
    assert states == [5, 10, 12]


def test_the_mean_over_networks_each_with_its_own_crop_mean_and_scale(make_trained, data):
    networks = [make_trained(1), make_trained(2, size=80, crop=75), make_trained(3, scale=0.005)]
    mean = sum(by_hand(trained, data.val, "ten") for trained in networks) / 3
    labels = data.val.labels
    found = evaluate_networks(networks, data.val, "ten")
    assert found.networks == 3
    assert found.top1_error == pytest.approx(100 * (mean.argmax(axis=1) != labels).mean())
    assert found.loss == pytest.approx(-np.log(mean[np.arange(12), labels]).mean(), rel=1e-5)
    singles = [evaluate_networks([trained], data.val, "ten").loss for trained in networks]
    assert found.loss < np.mean(singles)  # -log is convex


def test_networks_are_in_memory_one_at_a_time(make_trained, data):
    alive = []

    def lazily():
        for seed in (1, 2, 3):
            gc.collect()
            assert not any(reference() for reference in alive)
            trained = make_trained(seed)
            alive.append(weakref.ref(trained.net))
            yield trained
            del trained

    assert evaluate_networks(lazily(), data.val, "middle").networks == 3


def test_images_that_cannot_be_read_do_not_count(make_trained, data, monkeypatch):
    trained = make_trained(1)
    loader = Skipping(data.val, 3, SIZE, CROP, "ten", workers=0)  # the first batch has no image left
    found = predict(trained.net, loader, trained.prepare())
    good = np.setdiff1d(np.arange(12), Skipping.bad)
    assert found.indices.tolist() == good.tolist()
    np.testing.assert_allclose(found.probabilities, by_hand(trained, data.val, "ten")[good], rtol=1e-5)
    state = evaluate(trained.net, loader, trained.prepare())
    assert state.images == 8

    monkeypatch.setattr(trained_networks, "Loader", Skipping)
    published = evaluate_networks([trained], data.val, "ten", batch_size=3)
    assert (published.images, published.skipped) == (8, 4)
    assert published.top1_error == state.top1_error
    assert [row.images for row in published.classes] == [1, 3, 4]


def test_an_image_counts_when_every_network_could_read_it(make_trained, data, monkeypatch):
    first, second = make_trained(1), make_trained(2)

    def loader(*arguments, **options):
        made = Skipping(*arguments, **options)
        made.bad = (3,) if not seen else (3, 5)
        seen.append(made)
        return made

    seen = []
    monkeypatch.setattr(trained_networks, "Loader", loader)
    found = evaluate_networks([first, second], data.val, "middle")
    assert (found.images, found.skipped) == (10, 2)
    good = np.setdiff1d(np.arange(12), (3, 5))
    mean = ((by_hand(first, data.val, "middle") + by_hand(second, data.val, "middle")) / 2)[good]
    assert found.loss == pytest.approx(-np.log(mean[np.arange(10), data.val.labels[good]]).mean(), rel=1e-5)


def test_the_classes_add_up(make_trained, data):
    found = evaluate_networks([make_trained(1)], data.val, "middle")
    assert [row.label for row in found.classes] == list(data.classes)
    assert [row.name for row in found.classes] == [f"the {name}" for name in data.classes]
    assert np.mean([row.top1_error for row in found.classes]) == pytest.approx(found.top1_error)
    wrong = [row for row in found.classes if row.top1_error]
    assert wrong and all(row.wrong_answer != row.name and row.times > 0 for row in wrong)


def test_what_cannot_be_evaluated_is_said(make_trained, data, monkeypatch):
    with pytest.raises(ValueError, match="expected one or more networks, got none"):
        evaluate_networks([], data.val)
    other = make_trained(1)
    other.settings["classes"] = ["cat", "dog", "owl", "rat"]
    with pytest.raises(DataError, match=r"network 1: .* other classes .*: cat, dog, owl, \.\.\. \(4\); expected check"):
        evaluate_networks([other], data.val)
    monkeypatch.setattr(Skipping, "bad", range(12))
    monkeypatch.setattr(trained_networks, "Loader", Skipping)
    with pytest.raises(DataError, match="none of the 12 images could be read"):
        evaluate_networks([make_trained(1)], data.val)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_network_that_overflows_is_no_result(make_trained, data):
    trained = make_trained(1)
    trained.net["fc8"].params["weight"][0] = np.nan
    with pytest.raises(NonFiniteError, match="evaluation, batch 1 of 1: the loss is nan"):
        evaluate_networks([trained], data.val)


def test_a_network_of_gray_images_refuses_coloured_ones(make_run, data, tmp_path):
    run = make_run()
    gray = Statistics.none(1, 72)
    trained = Trained(run.net, gray, {"classes": list(data.classes), "resize": 72, "crop": 67}, tmp_path / "a")
    with pytest.raises(DataError, match="a: was trained on images of 1 channels, uint8, and these have 3, uint8"):
        evaluate_networks([trained], data.val)
    (batch, *_) = run.middle.epoch()
    with pytest.raises(ValueError, match="Prepare: expected images of 1 channels, as the mean image has, got 3"):
        Prepare(gray, 67)(batch)
