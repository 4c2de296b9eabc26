"""The benchmarks' own arithmetic, and that the peers compute tinynet's very networks. No speed is tested here."""

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from inputs import batch_last, relative_difference

from tinynet.backend import to_device, to_host

SMALL = {"alexnet": 0.125, "caffenet": 0.125, "alexnet_torchvision": 0.125, "vgg16": 0.05}  # widths
SMALL |= dict.fromkeys(("lenet", "lenet_caffe", "cifar10_quick", "cifar10_full"))


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch) -> None:
    """The benchmarks are scripts that import each other: their folder is on the path."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")


def described(model: str) -> tuple:
    """A narrow net of tinynet with biases and an LRN that show, its rows, images, and its logits for them."""
    import networks

    net = networks.make(model, **({"width": SMALL[model]} if SMALL[model] else {}))
    generator = np.random.default_rng(0)
    for _, layer, key in net.parameters():
        scale = 0.5 if key == "bias" else np.sqrt(2 / layer.params[key][0].size)
        values = scale * generator.standard_normal(layer.params[key].shape, np.float32)
        layer.params[key] = to_device(values.astype(np.float32))
    for layer in net:
        if hasattr(layer, "alpha"):
            layer.alpha = 0.3
    input_shape = networks.INPUT_SHAPES[model]
    rows = [Namespace(**row) for row in networks.describe(net, input_shape)]
    x = generator.standard_normal((2, *input_shape), np.float32)
    return net, rows, x, to_host(net.forward(batch_last(to_device(x))))


@pytest.mark.parametrize("model", SMALL)
def test_pytorch_computes_the_same_network(model):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    import peers

    net, rows, x, logits = described(model)
    modules = peers.torch_modules(rows)
    with torch.no_grad():
        for name, module in modules:
            for key, parameter in module.named_parameters():
                parameter.copy_(torch.from_numpy(to_host(net[name].params[key])))
        y = torch.nn.Sequential(*(module for _, module in modules)).eval()(torch.from_numpy(x))
    assert relative_difference(logits, y.numpy()) < 1e-5


@pytest.mark.parametrize("model", SMALL)
def test_tensorflow_computes_the_same_network(model):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install tensorflow-cpu")
    import peers

    net, rows, x, logits = described(model)
    network = peers.TensorFlowNetwork(rows)
    maps = None  # the feature maps that were flattened, whose order differs: (C, H, W) here, (H, W, C) there
    for row in rows:
        if row.kind == "Flatten":
            maps = row.input_shape
        if row.name in network.variables:
            values = to_host(net[row.name].params["weight"])
            if row.kind == "Conv2d":
                values = values.transpose(2, 3, 1, 0)  # (out, in / groups, kh, kw) -> (kh, kw, in / groups, out)
            elif maps:
                values = values.reshape(-1, *maps).transpose(2, 3, 1, 0).reshape(-1, len(values))  # (H*W*C, out)
                maps = None
            else:
                values = values.T
            weight, bias = network.variables[row.name]
            weight.assign(values)
            bias.assign(to_host(net[row.name].params["bias"]))
    assert relative_difference(logits, network(x.transpose(0, 2, 3, 1), train=False).numpy()) < 1e-5


@pytest.mark.parametrize("model", SMALL)
def test_product_bound_counts_every_multiply_add(model):
    import networks

    net, rows, *_ = described(model)
    products = [product for row in rows if (product := networks.product(row, batch_size=3))]
    work = sum(product.rows * product.depth * product.columns * product.groups for product in products)
    assert work == 3 * net.summary(networks.INPUT_SHAPES[model]).multiply_adds


def test_product_bound_by_layer():
    import networks
    import products

    _, rows, *_ = described("lenet")
    options = {"batch_size": 2, "threads": 2, "steps": 1, "rows": rows}
    training = products.products_worker(Namespace(train=True, **options))
    inference = products.products_worker(Namespace(train=False, **options))
    names = [row.name for row in rows if networks.product(row, 2)]
    assert list(training["layers"]) == list(inference["layers"]) == names
    assert all(forward > 0 and backward > 0 for forward, backward in training["layers"].values())
    assert all(forward > 0 and backward == 0 for forward, backward in inference["layers"].values())
    assert training["seconds"] == [pytest.approx(sum(map(sum, training["layers"].values())))]


@pytest.mark.parametrize(("ratio", "fails"), [(1.39, True), (1.4, False), (2.0, False)])
def test_check_fails_under_its_ratio(monkeypatch, ratio, fails):
    import comparison
    import peers
    import training_step

    def compare(args, work, train):
        assert args.peers == ["torch"] and train
        return {128: {"tinynet": {"median": 20.0 * ratio}, "torch": {"median": 20.0}}}

    monkeypatch.setattr(comparison, "compare", compare)
    monkeypatch.setattr(peers, "installed", lambda wanted: wanted)
    monkeypatch.setattr(sys, "argv", ["training_step.py", "--check"])
    if fails:
        with pytest.raises(SystemExit, match=r"tinynet / PyTorch eager: 1\.39, less than 1\.4"):
            training_step.main()
    else:
        training_step.main()


@pytest.mark.parametrize("options", [["--model", "lenet"], ["--batch-size", "16"], ["--peers", "tensorflow"], []])
def test_check_refuses_what_it_is_not_about(monkeypatch, capsys, options):
    import peers
    import training_step

    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda module: None)
    monkeypatch.setattr(sys, "argv", ["training_step.py", "--check", *options])
    with pytest.raises(SystemExit) as exit:
        training_step.main()
    assert exit.value.code == 2 and "--check" in capsys.readouterr().err


def test_each_missing_peer_is_named(monkeypatch, capsys):
    import peers

    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda module: None if module == "tensorflow" else module)
    monkeypatch.setattr(peers.shutil, "which", lambda program: None)
    assert peers.installed(list(peers.NAMES)) == ["torch"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" is left out")[0] for line in lines] == ["PyTorch torch.compile", "TensorFlow"]


def test_table_has_median_best_and_ratio():
    import comparison

    runs = [{"seconds": [2.0, 4.0], "peak_bytes": 2**30}, {"seconds": [1.0], "peak_bytes": 2**31}]
    figures = comparison._figures(runs, batch_size=8)
    assert (figures["median"], figures["best"], figures["peak_bytes"]) == (4.0, 8.0, 2**31)
    peer, products = figures | {"median": 2.0}, figures | {"median": 5.0}
    _, mine, torch, _ = comparison.table({"tinynet": figures, "torch": peer, "products": products}).splitlines()
    assert mine.split() == ["tinynet", "4.0", "(8.0)", "2.00", "80", "%"]
    assert torch.split() == ["PyTorch", "eager", "2.0", "(8.0)", "2.00", "2.00", "x", "40", "%"]


def test_memory_is_taken_apart():
    import growth

    known = {"libraries": 50.0, "weights": 200.0, "gradients": 200.0, "momentum": 200.0}
    points = [{"batch_size": n, "peak_bytes": 700.0 + 12.5 * n, **known} for n in (1, 16, 256)]
    memory = growth.account(points)
    assert memory["per_image"] == pytest.approx(12.5) and memory["fixed"] == pytest.approx(700)
    assert memory["rest"] == pytest.approx(50)
    assert growth.account(points[:1])["fixed"] == 712.5


def test_clock_counts_after_the_warm_up(monkeypatch):
    import common

    calls, now = [], iter(range(100))
    monkeypatch.setattr(common.time, "perf_counter", lambda: float(next(now)))
    assert common.timed(lambda: calls.append(0), 2, warm_up=3) == [1.0, 1.0] and len(calls) == 5
    assert len(common.timed(lambda: None, 2, seconds=5.0)) == 5


def test_loader_tables():
    import loader

    runs = [{"wall": 0.01, "processor": 0.02}, {"wall": 0.02, "processor": 0.02}, {"wall": 0.04, "processor": 0.02}]
    lines = loader.loading_table({("folders", 1): runs}).splitlines()
    assert lines[2] == "| folders | 1 | 50 | 100 | 50 |"
    memory = [{"seconds": [2.0, 2.0, 3.0], "waiting": 0.0}]
    folders = [{"seconds": [2.2, 2.4], "waiting": share} for share in (0.01, 0.2, 0.03)]
    assert loader.loading_table({("cache", 2): [{"wall": 0.01, "processor": 0.0}]}).endswith("| too short to say |")
    lines = loader.training_table({"memory": memory, "folders": folders}, batch_size=46).splitlines()
    assert lines[2:] == [
        "| memory | 2000 | 2000 | 23.0 | 0.0 % | 0.0 % |",
        "| folders | 2300 | 2200 | 20.0 | 3.0 % | 15.0 % |",
    ]


def test_loader_benchmark_trains_from_every_source(monkeypatch, tmp_path):
    import loader

    monkeypatch.setattr(loader, "DRAWN", 3)
    args = Namespace(folders=tmp_path / "folders", cache=tmp_path / "cache", data=None, threads=1)
    args.batch_size, args.steps, args.width, args.devices, args.loader_threads = 2, 1, 0.06, 2, 1
    assert "drawn images, 500 x 375" in loader.prepare_data(args)
    for source in ("memory", *loader.SOURCES):
        args.source = source
        result = loader.training_worker(args)
        assert len(result["seconds"]) == 1 and 0 <= result["waiting"] <= 1
    assert loader.loading_worker(args)["wall"] > 0
    again = Namespace(**vars(args) | {"folders": tmp_path / "again", "cache": tmp_path / "other", "data": args.folders})
    assert f"{args.folders}, " in loader.prepare_data(again)
    assert len(list((tmp_path / "again" / "train" / "images").iterdir())) == 22


# ---- what scaling_model.py predicts, against figures worked out by hand ----

GRADIENTS = 4 * 60_965_224  # bytes


@pytest.fixture
def compute():
    """A node that takes 0.5 s for each image, and 1 s more for a step."""
    import scaling_model as model

    return model.Compute((1, 128), (1.5, 65.0), linear=0.25, backward=0.5)


def test_a_node_between_what_was_measured(compute):
    assert compute.seconds(1) == compute.seconds(0.5) == 1.5
    assert compute.seconds(64) == pytest.approx(33) and compute.seconds(256) == pytest.approx(130)


def test_prediction_for_replicas(compute):
    """Half of the batch each; all gradients twice through a wire of 1 MB/s, in log2(4) messages each way."""
    import scaling_model as model

    slow = model.Network(1e6, 0.001)
    assert slow.exchange(1, 1e9) == 0 and slow.exchange(4, 8e6) == pytest.approx(2 * 0.001 + 6)
    crossing = 2 * (0.001 + GRADIENTS / 2 / 1e6)
    late = model.step_seconds("replicas", 2, 128, compute, slow, hidden=False)
    assert late == pytest.approx(33 + crossing)
    hidden = model.step_seconds("replicas", 2, 128, compute, slow, hidden=True)
    assert hidden == pytest.approx(33 + crossing - 0.5 * 33)
    assert model.efficiency("replicas", 2, 128, compute, slow, False) == pytest.approx(65 / late / 2)
    fast = model.Network(1e12, 0)  # what is there last is not hidden
    last = 2 * 4 * (34_944 + 307_456 + 885_120) / 2 / 1e12
    assert model.step_seconds("replicas", 2, 128, compute, fast, True) == pytest.approx(33 + last)


def test_prediction_for_towers_and_for_the_one_weird_trick(compute):
    """Of two nodes: the ledgers of test_ranks.py, per image and for a batch of 128."""
    import scaling_model as model

    slow = model.Network(1e6, 0)
    activations = 4 * (128 * 13 * 13 + 128 * 6 * 6 + 2048)
    towers = 65 / 2 + 128 * (2 * activations + 4000) / 1e6
    assert model.step_seconds("towers", 2, 128, compute, slow, True) == pytest.approx(towers)
    convolutions = 4 * (34_944 + 307_456 + 885_120 + 663_936 + 442_624)
    weird = 0.75 * 33 + 0.25 * 65 / 2 + (64 * 2 * 4 * 9216 + 128 * (2 * 4 * 2048 + 4 * 1000) + convolutions) / 1e6
    assert model.step_seconds("one weird trick", 2, 128, compute, slow, False) == pytest.approx(weird)


def test_perfect_networks_scale_by_what_the_nodes_do(compute):
    import scaling_model as model

    perfect = model.Network(float("inf"), 0)
    for nodes in model.NODES:
        assert model.efficiency("replicas", nodes, 128, compute, perfect, True, weak=True) == pytest.approx(1)
    assert model.efficiency("replicas", 128, 128, compute, perfect) == pytest.approx(65 / 1.5 / 128)
