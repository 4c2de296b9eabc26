"""A tiny data set of real JPEG files and a net that learns it in seconds."""

from types import SimpleNamespace

import pytest

from tinynet import SGD, SoftmaxCrossEntropy, models, parallel
from tinynet.data import Loader, Prepare, measure, open_dataset
from tinynet.data.sets.synthetic import make_dataset

SIZE, CROP, BATCH = 72, 67, 16


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "drawn"
    return open_dataset(make_dataset(root, size=SIZE, classes=3, train_per_class=12, val_per_class=4))


@pytest.fixture
def make_run(data):
    """make_run(workers, seed, devices) -> everything that train_epoch and evaluate take, fresh."""

    def make(workers: int = 2, seed: int = 0, devices: int = 1) -> SimpleNamespace:
        statistics = measure(data.train, SIZE, workers=1)
        common = {"size": SIZE, "crop": CROP, "workers": workers, "seed": seed}
        net = models.alexnet(len(data.classes), width=0.06, input_size=CROP, initialization="he", seed=seed)
        net = net if devices == 1 else parallel.partition(net, devices)
        return SimpleNamespace(
            net=net,
            loss=SoftmaxCrossEntropy(),
            optimizer=SGD(net, 0.01),
            statistics=statistics,
            prepare=Prepare(statistics, CROP, 1 / statistics.pixel_deviation, net),
            train=Loader(data.train, BATCH, statistics=statistics, **common),
            middle=Loader(data.val, BATCH, views="middle", **common),
            ten=Loader(data.val, 2, views="ten", **common),
        )

    return make
