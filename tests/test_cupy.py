"""The CuPy backend: the same numbers as NumPy's, layer by layer; and on emulated GPUs, which count what they are asked
to do, the kernels, copies and allocations of a training step. Speed on a GPU is not shown here.
"""

import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from inputs import normal, relative_difference

from tinynet import (
    SGD,
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    SoftmaxCrossEntropy,
    Tanh,
    backend,
    models,
    parallel,
)
from tinynet.backend import on_gpu, to_device, to_host, xp
from tinynet.data import Batch, Prepare, Statistics
from tinynet.initializers import initialize
from tinynet.training import train_epoch

emu = sys.modules.get("emu")
pytestmark = pytest.mark.skipif(not on_gpu, reason="needs TINYNET_BACKEND=cupy")
counted = pytest.mark.skipif(emu is None, reason="counts are those of emulated GPUs: pytest -p emu")


# ---- the same numbers as NumPy's ----

DTYPES = {"float32": 1e-5, "float64": 1e-12}  # and the largest difference allowed, relative to an array's largest value


def make_net_of_every_layer() -> Sequential:
    """For (N, 3, 33, 31): every kind of layer, with groups, padding, rows left over and windows that overlap."""
    net = Sequential(
        [
            ("conv1", Conv2d(3, 8, 5, stride=2, padding=2)),  # 8 x 17 x 16
            ("relu1", ReLU(inplace=True)),
            ("lrn1", LocalResponseNorm(5, alpha=0.5, groups=2)),
            ("pool1", MaxPool2d(3, stride=2, ceil_mode=True)),  # 8 x 8 x 8
            ("conv2", Conv2d(8, 12, 3, padding="same", groups=2)),
            ("tanh2", Tanh()),
            ("lrn2", LocalResponseNorm(3, alpha=0.5, beta=0.6, within_channel=True)),
            ("pool2", AvgPool2d(3, stride=2, padding=1)),  # 12 x 4 x 4
            ("conv3", Conv2d(12, 8, (3, 2), padding=1)),  # 8 x 4 x 5
            ("sigmoid3", Sigmoid()),
            ("softmax3", Softmax()),
            ("flatten", Flatten()),  # 160
            ("fc4", Linear(160, 24)),
            ("relu4", ReLU()),
            ("dropout4", Dropout()),
            ("fc5", Linear(24, 20)),
            ("dropout5", Dropout(0.3, scale="test")),
            ("fc6", Linear(20, 5)),
        ],
        needs_dx=True,
    )
    initialize(net, seed=1)
    return net


def train_by_layer(dtype: str) -> dict[str, np.ndarray]:
    """What one training step gives at every layer, and the parameters after it, on the host."""
    net, loss = make_net_of_every_layer().astype(dtype), SoftmaxCrossEntropy()
    optimizer, results = SGD(net, lr=0.1), {}

    def keep(name: str, array) -> None:
        results[f"{dtype} {name}"] = to_host(array).copy()

    x = to_device(normal(2, 6, 3, 33, 31).astype(dtype))
    for layer in net:
        x = layer.forward(x, train=True)
        keep(f"{layer.name} y", x)
    keep("loss loss", np.array(loss.forward(x, np.arange(6) % 5)))
    dy = loss.backward()
    keep("loss dx", dy)
    for layer in reversed(list(net)):
        dy = layer.backward(dy)
        keep(f"{layer.name} dx", dy)
    optimizer.step()
    for name, layer, key in net.parameters():
        keep(f"{layer.name} d{key}", layer.grads[key])
        keep(f"{layer.name} {key} after the update", layer.params[key])
        keep(f"{layer.name} velocity of {key}", optimizer.velocity[name])
    return results


def test_every_layer_gives_what_numpy_gives(tmp_path, tables):
    command = "import sys, numpy, test_cupy\nfor d in test_cupy.DTYPES: numpy.savez(d, **test_cupy.train_by_layer(d))"
    environment = {**os.environ, "TINYNET_BACKEND": "numpy"}
    environment["PYTHONPATH"] = os.pathsep.join([os.path.dirname(__file__), *map(os.path.abspath, sys.path)])
    subprocess.run([sys.executable, "-c", command], cwd=tmp_path, env=environment, check=True)

    worst: dict[tuple[str, str], float] = {}  # by dtype and layer
    for dtype, allowed in DTYPES.items():
        actual = train_by_layer(dtype)
        with np.load(tmp_path / f"{dtype}.npz") as expected:
            assert set(expected) == set(actual)
            for name, array in actual.items():
                assert array.dtype == expected[name].dtype and array.shape == expected[name].shape, name
                difference = relative_difference(array, expected[name])
                assert difference <= allowed, f"{name}: {difference:.3g}"
                place = dtype, name.split()[1]
                worst[place] = max(worst.get(place, 0.0), difference)
    layers = dict.fromkeys(layer for _, layer in worst)
    tables["CuPy against NumPy: largest relative difference of outputs, gradients and updated parameters"] = [
        f"{layer:10} {worst['float32', layer]:8.1e} (float32) {worst['float64', layer]:8.1e} (float64)"
        for layer in layers
    ]


# ---- what a training step asks of the GPU ----

CROP, CLASSES = 67, 5


class CountedRun:
    """AlexNet, narrow, trained on four equal batches of random bytes; counts: of each step, from report to report."""

    def __init__(self, batch_size: int, monkeypatch, devices: int = 1):
        generator = np.random.default_rng(3)
        self.batches = [
            Batch(
                generator.integers(0, 256, (batch_size, 3, CROP, CROP), np.uint8),
                generator.integers(0, CLASSES, batch_size),
                generator.normal(0, 20, (batch_size, 3)).astype(np.float32),
                np.arange(batch_size),
                1,
            )
            for _ in range(4)
        ]
        self.net = models.alexnet(CLASSES, width=1 / 16, input_size=CROP)
        if devices > 1:
            self.net = parallel.partition(self.net, devices)
        self.optimizer = SGD(self.net, 0.01)
        mean = generator.uniform(0, 255, (3, CROP, CROP)).astype(np.float32)
        statistics = Statistics(mean, np.eye(3, dtype=np.float32), np.ones(3, np.float32), 4)
        self.prepare = Prepare(statistics, CROP, net=self.net)
        self.counts: list[dict[str, int]] = []
        self.copies: list[list[tuple[str, int]]] = [[]]  # (dtype, bytes) of each copy to the device, by step
        if devices == 1:  # several devices copy at the same time, and no copy could be told from another
            monkeypatch.setattr(xp, "asarray", self._recorded(xp.asarray, 0))
            monkeypatch.setattr(backend.Upload, "send", self._recorded(backend.Upload.send, 1))

    def _recorded(self, function, position: int):
        """`function`, whose argument at `position` is noted if the call has copied something to the device."""

        def call(*arguments):
            before = emu.counters()["h2d"]
            result = function(*arguments)
            if emu.counters()["h2d"] > before:
                self.copies[-1].append((arguments[position].dtype.name, arguments[position].nbytes))
            return result

        return call

    def epoch(self, number: int, start: int = 0):
        return iter(self.batches[start:])

    def __len__(self) -> int:
        return len(self.batches)

    def train(self) -> None:
        before = emu.counters()

        def report(state) -> None:
            nonlocal before
            after = emu.counters()
            self.counts.append({name: after[name] - before[name] for name in after})
            self.copies.append([])
            before = after

        train_epoch(self.net, SoftmaxCrossEntropy(), self.optimizer, self, self.prepare, 0, report)


@counted
def test_a_step_copies_its_batch_and_masks_in_and_loss_and_ranks_out(monkeypatch, tables):
    size = 6
    run = CountedRun(size, monkeypatch)
    run.train()
    hidden = run.net["fc6"].out_features
    expected = {
        "images": ("uint8", size * 3 * CROP * CROP),
        "colour shifts": ("float32", size * 3 * 4),
        "labels of the loss": ("int64", size * 8),
        "labels of the ranks": ("int64", size * 8),
        "mask of dropout6": ("bool", size * hidden),
        "mask of dropout7": ("bool", size * hidden),
    }
    for step in (1, 2):  # the first step sends two batches, the last one none
        assert sorted(run.copies[step]) == sorted(expected.values())
        assert run.counts[step]["h2d"] == len(expected)
        assert run.counts[step]["d2h"] == 2  # the loss and the ranks
        assert run.counts[step]["d2d"] == run.counts[step]["peer_bytes"] == 0
    tables["CuPy: copies of one training step of a narrow AlexNet"] = [
        f"{what:20} {count:8,} bytes of {dtype}" for what, (dtype, count) in expected.items()
    ] + ["and to the host the loss and the ranks of the right classes"]


@counted
@pytest.mark.skipif(on_gpu and xp.cuda.runtime.getDeviceCount() < 2, reason="needs two devices")
def test_between_two_devices_cross_the_bytes_of_the_ledger_and_no_others(monkeypatch, tables):
    lines = []
    for size in (6, 24):
        run = CountedRun(size, monkeypatch, devices=2)
        run.train()
        crossings = [(crossing.layer, crossing.direction) for crossing in run.net.ledger.crossings]
        forward, backward = ["conv3", "fc6", "fc7", "fc8"], ["fc7", "fc6", "conv3"]
        assert crossings == [(layer, "forward") for layer in forward] + [(layer, "backward") for layer in backward]
        for counts in run.counts:
            assert counts["peer_bytes"] == run.net.ledger.total > 0
        for counts in run.counts[1:-1]:  # the first step sends two batches, the last one none
            assert counts["h2d"] == 2 * 5 + 1  # to each device what one alone gets, but the ranks' labels to one only
            assert counts["d2h"] == 2  # the loss and the ranks
        counts = run.counts[2]
        # A device that is still reading another's temporary array keeps its memory from being used again, now and then.
        assert min(counts["mallocs"] for counts in run.counts[2:]) == 0
        lines.append(
            f"batch {size:3}: {counts['launches']} launches, {counts['h2d']} copies to and {counts['d2h']} from the"
            f" devices, {counts['peer_bytes']:,} bytes between them; ledger {run.net.ledger.total:,}"
        )
    tables["CuPy: one training step of a narrow AlexNet on two devices"] = lines


@counted
def test_neither_launches_nor_memory_grow_with_the_batch_or_the_step(monkeypatch):
    runs = {size: CountedRun(size, monkeypatch) for size in (4, 16, 64)}
    for run in runs.values():
        run.train()
        assert [count["mallocs"] for count in run.counts[2:]] == [0, 0]
    launches = {size: [count["launches"] for count in run.counts] for size, run in runs.items()}
    assert len({launch for counts in launches.values() for launch in counts}) == 1, launches


@counted
def test_launches_by_layer(tables):
    net = models.alexnet(CLASSES, width=1 / 16, input_size=CROP)
    loss, optimizer = SoftmaxCrossEntropy(), SGD(net, 0.01)
    x, launches = to_device(normal(4, 4, 3, CROP, CROP).astype(np.float32)), Counter()

    def count(name: str, function, *arguments):
        before = emu.counters()["launches"]
        result = function(*arguments)
        launches[name] += emu.counters()["launches"] - before
        return result

    x = xp.array(x.transpose(1, 2, 3, 0), order="C").transpose(3, 0, 1, 2)  # batch-last, as Prepare gives it
    for layer in net:
        x = count(f"{layer.name} forward", layer.forward, x, True)
    count("loss forward", loss.forward, x, np.arange(4))
    dy = count("loss backward", loss.backward)
    for layer in reversed(list(net)):
        dy = count(f"{layer.name} backward", layer.backward, dy)
    count("update", optimizer.step)

    for layer in net:
        forward, backward = launches[f"{layer.name} forward"], launches[f"{layer.name} backward"]
        if isinstance(layer, Conv2d):  # in each group: im2col and bias; im2col and sum, col2im; and the bias' gradient
            expected = 2 * layer.groups, (3 if layer.needs_dx else 2) * layer.groups + 1
        elif isinstance(layer, LocalResponseNorm):  # backward: each output's terms, then their sums
            expected = 1, 2
        else:  # cuBLAS' products are not counted; what is, for a linear layer, are the bias and its gradient
            expected = (0, 0) if isinstance(layer, Flatten) else (1, 1)
        assert (forward, backward) == expected, layer.name
    assert launches["update"] == len(net.parameters())
    names = [*(layer.name for layer in net), "loss"]
    tables["CuPy: kernel launches of one training step of AlexNet, forward and backward"] = [
        *(f"{name:10} {launches[f'{name} forward']:4} {launches[f'{name} backward']:4}" for name in names),
        f"{'update':10} {launches['update']:4}",
        f"{'all':10} {launches.total():4}",
    ]


def test_an_upload_waits_for_work_that_still_uses_its_memory():
    """Memory that the pool has taken back may be in use by kernels that are queued: on the upload's own stream, the
    first batch would overwrite it.
    """
    uploads, waited = backend.Upload(), []

    class Recorded(xp.cuda.Stream):
        def wait_event(self, event):
            waited.append(event)
            super().wait_event(event)

    uploads._stream = Recorded(non_blocking=True)
    size = 1 << 24
    for _ in range(4):  # more than the two buffers
        before = xp.zeros(size, xp.float32)
        for _ in range(50):
            before += 1
        used = before.copy()
        del before
        uploads._slots[1].device = uploads._slots[1].pinned = None  # as at the first batch, or with one of another size
        uploads.receive(np.full(4 * size, 255, np.uint8))
        uploads.release()
        assert (used == 50).all()
    assert len(waited) == 4
