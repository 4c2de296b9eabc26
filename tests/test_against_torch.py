"""Every layer against PyTorch on the CPU in float64, forwards and backwards, over random shapes and settings.

Skipped where PyTorch is not installed: the test extra does not pull it in. The worst relative differences by layer are
printed at the end of the test run.
"""

import math

import numpy as np
import pytest
from inputs import batch_last, relative_difference, signed, spread

from tinynet.backend import to_device, to_host
from tinynet.initializers import initialize
from tinynet.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from tinynet.losses import SoftmaxCrossEntropy
from tinynet.models import alexnet, alexnet_torchvision, cifar10_full, cifar10_quick, lenet, vgg, vgg_cifar
from tinynet.network import Sequential
from tinynet.optimizers import SGD

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

SHAPES = 40  # random shapes and settings for each layer
ALLOWED = 1e-12  # relative to the largest value of an array


def pair(generator, low: int, high: int) -> tuple[int, int]:
    first, second = (int(value) for value in generator.integers(low, high + 1, 2))
    return first, second


def images(generator, channels: int) -> tuple[int, int, int, int]:
    return int(generator.integers(1, 5)), channels, *pair(generator, 5, 11)


# ---- for each layer: (ours, PyTorch's, the input's shape), with settings drawn from the generator ----


def conv2d(generator):
    groups = int(generator.integers(1, 4))
    inputs, outputs = (groups * int(generator.integers(1, 4)) for _ in range(2))
    settings = {
        "kernel_size": pair(generator, 1, 5),
        "stride": pair(generator, 1, 3),
        "padding": pair(generator, 0, 3),
        "groups": groups,
        "bias": bool(generator.integers(2)),
    }
    return Conv2d(inputs, outputs, **settings), torch.nn.Conv2d(inputs, outputs, **settings), images(generator, inputs)


def conv2d_same(generator):
    inputs, outputs, kernel = 2, 3, pair(generator, 1, 5)
    theirs = torch.nn.Conv2d(inputs, outputs, kernel, padding="same")
    return Conv2d(inputs, outputs, kernel, padding="same"), theirs, images(generator, inputs)


def linear(generator):
    inputs, outputs, bias = *pair(generator, 1, 30), bool(generator.integers(2))
    shape = (int(generator.integers(1, 9)), inputs)
    return Linear(inputs, outputs, bias), torch.nn.Linear(inputs, outputs, bias), shape


def pool_settings(generator) -> dict:
    kernel = pair(generator, 1, 5)
    return {
        "kernel_size": kernel,
        "stride": pair(generator, 1, 4),
        "padding": tuple(int(generator.integers(0, size // 2 + 1)) for size in kernel),
        "ceil_mode": bool(generator.integers(2)),
    }


def max_pool2d(generator):
    settings = pool_settings(generator)
    return MaxPool2d(**settings), torch.nn.MaxPool2d(**settings), images(generator, 3)


def avg_pool2d(generator):
    settings = {**pool_settings(generator), "count_include_pad": bool(generator.integers(2))}
    return AvgPool2d(**settings), torch.nn.AvgPool2d(**settings), images(generator, 3)


def local_response_norm(generator):
    """PyTorch's divides alpha by the window's size, and has no groups."""
    size, k = int(generator.integers(1, 8)), float(generator.choice([0.5, 1.0, 2.0]))
    alpha, beta = float(generator.uniform(0.1, 1)), float(generator.choice([0.75, 0.5, 1.2]))
    theirs = torch.nn.LocalResponseNorm(size, alpha, beta, k)
    shape = images(generator, int(generator.integers(1, 10)))
    if generator.integers(2):
        return LocalResponseNorm(size, alpha, beta, k, average=True), theirs, shape
    return LocalResponseNorm(size, alpha / size, beta, k), theirs, shape


class WithinChannel(torch.nn.Module):
    """The 2012 program's same-map normalisation, from PyTorch's parts: the window's mean by average pooling."""

    def __init__(self, size: int, alpha: float, beta: float, k: float):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x):
        mean = torch.nn.functional.avg_pool2d(x * x, self.size, stride=1, padding=self.size // 2)
        return x / (self.k + self.alpha * mean) ** self.beta


def local_response_norm_within(generator):
    size = int(generator.choice([1, 3, 5]))
    settings = {"size": size, "alpha": 0.9, "beta": 0.75, "k": 1.0}
    ours = LocalResponseNorm(**settings, average=True, within_channel=True)
    return ours, WithinChannel(**settings), images(generator, 3)


def pooling_of_less_than_a_kernel(ours, theirs):
    """With ceil_mode, where a kernel is larger than the padded input by less than the stride."""

    def make(generator):
        kernel, stride = (int(size) for size in generator.integers(2, 6, 2))
        padding = int(generator.integers(0, kernel // 2 + 1))
        spans = [int(-generator.integers(0, stride)) for _ in range(2)]
        sides = [max(1, kernel - 2 * padding + span) for span in spans]
        settings = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": True}
        return ours(**settings), theirs(**settings), (2, 3, *sides)

    return make


def elementwise(ours, theirs):
    return lambda generator: (ours(), theirs(), images(generator, int(generator.integers(1, 6))))


LAYERS = {
    "Conv2d": conv2d,
    "MaxPool2d of less than a kernel": pooling_of_less_than_a_kernel(MaxPool2d, torch.nn.MaxPool2d),
    "AvgPool2d of less than a kernel": pooling_of_less_than_a_kernel(AvgPool2d, torch.nn.AvgPool2d),
    "Conv2d, same": conv2d_same,
    "Linear": linear,
    "MaxPool2d": max_pool2d,
    "AvgPool2d": avg_pool2d,
    "LocalResponseNorm": local_response_norm,
    "LocalResponseNorm, within": local_response_norm_within,
    "ReLU": elementwise(ReLU, torch.nn.ReLU),
    "Tanh": elementwise(Tanh, torch.nn.Tanh),
    "Sigmoid": elementwise(Sigmoid, torch.nn.Sigmoid),
    "Softmax": elementwise(Softmax, lambda: torch.nn.Softmax(dim=1)),
    "Flatten": elementwise(Flatten, torch.nn.Flatten),
}


def differences(ours, theirs, x: np.ndarray, dy_seed: int) -> dict[str, float]:
    """Relative differences of y, dx and every parameter's gradient; theirs gets our parameters."""
    ours.astype("float64")
    for key, parameter in theirs.double().named_parameters():
        parameter.data = torch.from_numpy(to_host(ours.params[key]).copy())
    their_x = torch.tensor(x, requires_grad=True)
    their_y = theirs(their_x)
    dy = signed(dy_seed, *their_y.shape)
    their_y.backward(torch.from_numpy(dy))
    y = to_host(ours.forward(batch_last(x), train=True)).copy()
    assert y.shape == tuple(their_y.shape), f"{ours!r} on {x.shape}: {y.shape}, PyTorch has {tuple(their_y.shape)}"
    dx = ours.backward(to_device(dy))
    found = {
        "y": relative_difference(y, their_y.detach().numpy()),
        "dx": relative_difference(dx, their_x.grad.numpy()),
    }
    for key, parameter in theirs.named_parameters():
        found[key] = relative_difference(ours.grads[key], parameter.grad.numpy())
    return found


def report(tables, name: str, shapes: int, worst: dict[str, float]) -> None:
    lines = tables.setdefault("worst relative differences to PyTorch, float64", [])
    lines.append(f"{name:26} {shapes:3} shapes   " + "  ".join(f"{key} {value:.1e}" for key, value in worst.items()))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", LAYERS)
def test_layer(name, tables):
    generator = np.random.default_rng(sum(map(ord, name)))
    worst: dict[str, float] = {}
    shapes = 0
    while shapes < SHAPES:
        ours, theirs, shape = LAYERS[name](generator)
        try:
            ours.output_shape(shape[1:])
        except ValueError:  # a kernel that does not fit: drawn again
            with pytest.raises(RuntimeError):
                theirs.double()(torch.zeros(shape, dtype=torch.float64))
            continue
        shapes += 1
        x = (spread if name == "MaxPool2d" else signed)(shapes, *shape)
        for key, value in differences(ours, theirs, 2 * x, shapes).items():
            assert value <= ALLOWED, f"{ours!r} on {shape}: {key} differs by {value:.2g}"
            worst[key] = max(value, worst.get(key, 0.0))
    report(tables, name, shapes, worst)


def test_softmax_cross_entropy(tables):
    generator = np.random.default_rng(1)
    worst = {"loss": 0.0, "dlogits": 0.0}
    for _ in range(SHAPES):
        batch, classes = pair(generator, 1, 20)
        logits, labels = 5 * generator.standard_normal((batch, classes)), generator.integers(0, classes, batch)
        their_logits = torch.tensor(logits, requires_grad=True)
        their_loss = torch.nn.functional.cross_entropy(their_logits, torch.from_numpy(labels))
        their_loss.backward()
        loss = SoftmaxCrossEntropy()
        value = loss.forward(to_device(logits), labels)
        their_value = their_loss.item()
        worst["loss"] = max(worst["loss"], abs(value - their_value) / max(their_value, 1e-3))
        worst["dlogits"] = max(worst["dlogits"], relative_difference(loss.backward(), their_logits.grad.numpy()))
    report(tables, "SoftmaxCrossEntropy", SHAPES, worst)
    assert max(worst.values()) <= ALLOWED


# ---- the whole network ----


class GroupedLRN(torch.nn.Module):
    """PyTorch's LRN on each tower's half of the channels, with the paper's sum."""

    def __init__(self, groups: int, size: int, alpha: float):
        super().__init__()
        self.groups, self.norm = groups, torch.nn.LocalResponseNorm(size, size * alpha, 0.75, 2.0)

    def forward(self, x):
        return torch.cat([self.norm(half) for half in x.chunk(self.groups, dim=1)], dim=1)


def twin_of(net: Sequential) -> torch.nn.Sequential:
    """The same network made of PyTorch's modules, in float64, with the same parameters."""

    def twin(layer):
        if isinstance(layer, Conv2d):
            groups = {"groups": layer.groups}
            settings = (layer.kernel_size, layer.stride, layer.padding)
            return torch.nn.Conv2d(layer.in_channels, layer.out_channels, *settings, **groups)
        if isinstance(layer, Linear):
            return torch.nn.Linear(layer.in_features, layer.out_features)
        if isinstance(layer, LocalResponseNorm) and layer.within_channel:
            return WithinChannel(layer.size, layer.alpha, layer.beta, layer.k)
        if isinstance(layer, LocalResponseNorm):
            return GroupedLRN(layer.groups, layer.size, layer.alpha)
        if isinstance(layer, MaxPool2d):
            return torch.nn.MaxPool2d(layer.kernel_size, layer.stride, ceil_mode=layer.ceil_mode)
        if isinstance(layer, AvgPool2d):
            return torch.nn.AvgPool2d(layer.kernel_size, layer.stride, ceil_mode=layer.ceil_mode)
        if isinstance(layer, Dropout):
            assert layer.p == 0, "PyTorch draws other masks"
            return torch.nn.Identity()
        return {"ReLU": torch.nn.ReLU, "Tanh": torch.nn.Tanh, "Flatten": torch.nn.Flatten}[type(layer).__name__]()

    twins = torch.nn.Sequential()
    for layer in net:
        twins.add_module(layer.name, twin(layer))
    for name, parameter in twins.double().named_parameters():
        parameter.data = torch.from_numpy(to_host(net.params[name]).copy())
    return twins


def train_both(net: Sequential, image: tuple[int, int, int]) -> dict[str, float]:
    """Five steps of the paper's update on three images: the relative differences of the losses and, at the end, of
    every parameter."""
    twins, loss, steps = twin_of(net), SoftmaxCrossEntropy(), 5
    optimizer = SGD(net, lr=0.01)
    velocity = {name: torch.zeros_like(parameter) for name, parameter in twins.named_parameters()}
    worst_loss = 0.0
    for step in range(steps):
        x, labels = signed(step, 3, *image), np.random.default_rng(step).integers(0, 7, 3)
        value = loss.forward(net.forward(batch_last(x), train=True), labels)
        net.backward(loss.backward())
        optimizer.step()
        twins.zero_grad()
        their_loss = torch.nn.functional.cross_entropy(twins(torch.from_numpy(x)), torch.from_numpy(labels))
        their_loss.backward()
        with torch.no_grad():
            for name, parameter in twins.named_parameters():
                velocity[name].mul_(0.9).sub_(0.01 * (0.0005 * parameter + parameter.grad))
                parameter.add_(velocity[name])
        worst_loss = max(worst_loss, abs(value - their_loss.item()) / their_loss.item())
    parameters = {
        name: relative_difference(net.params[name], parameter.detach().numpy())
        for name, parameter in twins.named_parameters()
    }
    assert math.isfinite(worst_loss)
    return {"loss": worst_loss, f"parameters after {steps} steps": max(parameters.values())}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("order", ["paper", "caffenet"])
def test_training_alexnet(groups, order, tables):
    options = {"width": 0.1, "input_size": 99, "initialization": "he", "dropout": 0.0}
    net = alexnet(num_classes=7, groups=groups, order=order, **options).astype("float64")
    for name in ("lrn1", "lrn2"):
        net[name].alpha = 0.1  # visible
    worst = train_both(net, (3, 99, 99))
    report(tables, f"alexnet, {groups} groups, {order}", 1, worst)
    assert max(worst.values()) <= 1e-10


SMALL = {"num_classes": 7, "width": 0.1, "dropout": 0.0}
def strong(net: Sequential) -> Sequential:
    """With He's weights: at Caffe's 0.0001 an image would hardly reach the logits."""
    initialize(net)
    return net


OTHER_MODELS = {
    "alexnet_torchvision": (lambda: alexnet_torchvision(input_size=95, **SMALL), (3, 95, 95)),
    "vgg, 11": (lambda: vgg(11, input_size=32, **SMALL), (3, 32, 32)),
    "vgg, 16": (lambda: vgg(16, input_size=32, **SMALL), (3, 32, 32)),
    "lenet": (lambda: lenet(num_classes=7), (1, 28, 28)),
    "lenet, caffe": (lambda: lenet(num_classes=7, variant="caffe"), (1, 28, 28)),
    "cifar10, quick": (lambda: strong(cifar10_quick(num_classes=7)), (3, 32, 32)),
    "cifar10, full": (lambda: strong(cifar10_full(num_classes=7)), (3, 32, 32)),
    "vgg, cifar": (lambda: vgg_cifar(num_classes=7, width=0.05, dropout=0.0), (3, 32, 32)),
    "lenet, relu, max": (lambda: lenet(num_classes=7, activation="relu", pooling="max"), (1, 28, 28)),
}


@pytest.mark.parametrize("name", OTHER_MODELS)
def test_training_other_models(name, tables):
    make_net, image = OTHER_MODELS[name]
    worst = train_both(make_net().astype("float64"), image)
    report(tables, name, 1, worst)
    assert max(worst.values()) <= 1e-10
