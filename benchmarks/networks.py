"""The networks of the benchmarks: tinynet's own, their training step, and the description that the peers build from.

A description is one row for each layer, read from tinynet's network, so that what the peers compute is the same by
construction. It is made in a worker process of its own: a peer's process never holds tinynet's weights.
"""

import argparse
import math
from collections.abc import Callable
from typing import NamedTuple

import common
import numpy as np

TITLES = {
    "alexnet": "AlexNet (LRN inside each tower)",
    "caffenet": "CaffeNet (pooling before LRN)",
    "alexnet_torchvision": "torchvision's AlexNet (one tower, no LRN)",
    "vgg16": "VGG-16",
    "lenet": "LeNet-5",
    "lenet_caffe": "Caffe's LeNet",
    "cifar10_quick": "CIFAR-10's quick net",
    "cifar10_full": "CIFAR-10's full net (LRN within channels)",
}
INPUT_SHAPES = {model: (3, 227, 227) for model in ("alexnet", "caffenet")}
INPUT_SHAPES |= {model: (3, 224, 224) for model in ("alexnet_torchvision", "vgg16")}
INPUT_SHAPES |= {model: (1, 28, 28) for model in ("lenet", "lenet_caffe")}
INPUT_SHAPES |= {model: (3, 32, 32) for model in ("cifar10_quick", "cifar10_full")}

SETTINGS = {  # what a row holds beside name, kind and shapes
    "Conv2d": ("kernel_size", "stride", "padding", "groups"),
    "MaxPool2d": ("kernel_size", "stride", "ceil_mode"),
    "AvgPool2d": ("kernel_size", "stride", "ceil_mode"),
    "LocalResponseNorm": ("size", "alpha", "beta", "k", "groups", "average", "within_channel"),
    "Dropout": ("p",),
}


class Product(NamedTuple):
    """(rows, depth) @ (depth, columns), made once for each group."""

    rows: int
    depth: int
    columns: int
    groups: int


def add_model_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", choices=list(TITLES), default="alexnet", help="default: alexnet")


def make(model: str, **options):
    """tinynet's network of this name; options: its own, such as width."""
    from tinynet import models

    if model == "caffenet":
        return models.alexnet(order="caffenet", **options)
    if model == "lenet_caffe":
        return models.lenet(variant="caffe", **options)
    if model.startswith("cifar10"):
        return models.build(model, **options)
    if model == "vgg16":
        return models.vgg(16, **options)
    return getattr(models, model)(**options)


def describe(net, input_shape: tuple[int, ...]) -> list[dict]:
    """One row for each layer: name, kind (the class), shapes of one image's input and output, and SETTINGS."""
    rows = []
    for layer in net:
        kind, output_shape = type(layer).__name__, layer.output_shape(input_shape)
        row = {"name": layer.name, "kind": kind, "input_shape": input_shape, "output_shape": output_shape}
        rows.append(row | {setting: getattr(layer, setting) for setting in SETTINGS.get(kind, ())})
        input_shape = output_shape
    return rows


def description_worker(args: argparse.Namespace) -> dict:
    net = make(args.model)
    weights = sum(parameter.nbytes for parameter in net.params.values())
    return {"rows": describe(net, INPUT_SHAPES[args.model]), "weight_bytes": weights}


def product(row: argparse.Namespace, batch_size: int) -> Product | None:
    """The matrix product of a layer's forward pass; None for a layer that makes none."""
    if row.kind == "Linear":
        return Product(*row.output_shape, *row.input_shape, batch_size, 1)
    if row.kind != "Conv2d":
        return None
    channels, height, width = row.output_shape
    depth = row.input_shape[0] // row.groups * math.prod(row.kernel_size)
    return Product(channels // row.groups, depth, height * width * batch_size, row.groups)


# ---- tinynet's work ----


def images(input_shape: tuple[int, ...], batch_size: int) -> np.ndarray:
    """Random images (N, C, H, W) in tinynet's memory order, the batch innermost."""
    batch_last = np.random.default_rng(0).standard_normal((*input_shape, batch_size), np.float32)  # (C, H, W, N)
    return batch_last.transpose(3, 0, 1, 2)


def batch(net, input_shape: tuple[int, ...], batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels."""
    labels = np.random.default_rng(1).integers(0, *net.output_shape(input_shape), batch_size)
    return images(input_shape, batch_size), labels


def training_step(net, input_shape: tuple[int, ...], batch_size: int) -> Callable[[], None]:
    """A training step on random images and labels, as a function without arguments."""
    from tinynet import SGD, SoftmaxCrossEntropy

    loss, optimizer = SoftmaxCrossEntropy(), SGD(net, common.LEARNING_RATE)
    x, labels = batch(net, input_shape, batch_size)

    def step() -> None:
        loss.forward(net.forward(x, train=True), labels)
        net.backward(loss.backward())
        optimizer.step()

    return step


def tinynet_worker(args: argparse.Namespace) -> dict:
    """Seconds of the training step, or of the forward pass alone without args.train."""
    net, input_shape = make(args.model), INPUT_SHAPES[args.model]
    if args.train:
        step = training_step(net, input_shape, args.batch_size)
    else:
        x = images(input_shape, args.batch_size)

        def step() -> None:
            net.forward(x)

    return {"seconds": common.timed(step, args.steps, args.seconds)}
