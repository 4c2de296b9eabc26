"""The ONNX standard's own test cases for the operators that tinynet has, taken from the installed onnx package.

Each operator's cases are expressed with our layers where these can do it; a case that they cannot express is skipped
with its reason, and the table at the end of the test run counts both.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.backend.test.case.node import collect_testcases

from tinynet.backend import to_device, to_host
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
    dropout,
)
from tinynet.losses import SoftmaxCrossEntropy


class NotExpressible(Exception):
    """Why tinynet's layers cannot do what a case asks for."""


@dataclass
class Case:
    """One node with its inputs and the outputs that the standard expects."""

    name: str
    operator: str
    opset: int
    attributes: dict
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]


# ---- where the cases come from ----


def case_of(name: str, model: onnx.ModelProto, inputs: list, outputs: list) -> Case | None:
    """The case of a model that is a single node of an operator that we have; None for others."""
    if len(model.graph.node) != 1 or model.graph.node[0].op_type not in EXPRESSED:
        return None
    (node,) = model.graph.node
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return Case(name, node.op_type, model.opset_import[0].version, attributes, inputs, outputs)


def node_cases() -> Iterator[Case | None]:
    """The cases that the standard's own definition of its operators builds in memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other operators' cases overflow on purpose
        cases = collect_testcases(None)
    for case in cases:
        yield case_of(case.name, case.model, *case.data_sets[0])


def cases_on_disk() -> Iterator[Case | None]:
    """The cases made with PyTorch that the package holds as files: grouped and strided convolutions among them."""

    def read(folder: Path, kind: str) -> list[np.ndarray]:
        files = sorted(folder.glob(f"test_data_set_0/{kind}_*.pb"), key=lambda file: int(file.stem.split("_")[1]))
        return [onnx.numpy_helper.to_array(onnx.TensorProto.FromString(file.read_bytes())) for file in files]

    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for kind in ("pytorch-converted", "pytorch-operator"):
        for folder in sorted((data / kind).iterdir()):
            model = onnx.load(folder / "model.onnx")
            inputs = read(folder, "input")
            if len(inputs) < len(model.graph.input):  # weights are in the model, and in some cases also among the files
                inputs += [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
            yield case_of(folder.name, model, inputs, read(folder, "output"))


@pytest.fixture(scope="module")
def cases() -> dict[str, list[Case]]:
    """All cases by operator."""
    found = {operator: [] for operator in EXPRESSED}
    for case in [*node_cases(), *cases_on_disk()]:
        if case is not None:
            found[case.operator].append(case)
    return found


# ---- operators in terms of our layers: each returns pairs (ours, the standard's) ----

Pairs = list[tuple[np.ndarray, np.ndarray]]


def evaluate(layer, x: np.ndarray, train: bool = False) -> np.ndarray:
    return to_host(layer.forward(to_device(np.ascontiguousarray(x)), train)).copy()


def as_images(x: np.ndarray) -> np.ndarray:
    """(N, C, W) as (N, C, 1, W), a one-dimensional window being a flat two-dimensional one."""
    if x.ndim not in (3, 4):
        raise NotExpressible(f"{x.ndim - 2} spatial dimensions")
    return x if x.ndim == 4 else x[:, :, None]


def windows(case: Case, size: tuple[int, int]) -> dict:
    """kernel_size, stride and padding ((top, bottom), (left, right)) for images of `size`."""
    attributes = case.attributes
    if set(attributes.get("dilations", [1])) != {1}:
        raise NotExpressible("dilated windows")
    dimensions = len(attributes["kernel_shape"])
    kernel = [1] * (2 - dimensions) + list(attributes["kernel_shape"])
    stride = [1] * (2 - dimensions) + list(attributes.get("strides", [1] * dimensions))
    pads = attributes.get("pads", [0] * 2 * dimensions)
    padding = [(0, 0)] * (2 - dimensions) + list(zip(pads[:dimensions], pads[dimensions:], strict=True))
    automatic = attributes.get("auto_pad", b"NOTSET")
    if automatic in (b"SAME_UPPER", b"SAME_LOWER"):
        totals = [max(0, (math.ceil(n / s) - 1) * s + k - n) for n, s, k in zip(size, stride, kernel, strict=True)]
        padding = [(total // 2, total - total // 2) for total in totals]
        padding = padding if automatic == b"SAME_UPPER" else [(after, before) for before, after in padding]
    return {"kernel_size": tuple(kernel), "stride": tuple(stride), "padding": tuple(padding)}


def conv(case: Case) -> Pairs:
    x, weight = (as_images(array) for array in case.inputs[:2])
    groups, bias = case.attributes.get("group", 1), len(case.inputs) == 3
    layer = Conv2d(x.shape[1], len(weight), **windows(case, x.shape[2:]), groups=groups, bias=bias)
    layer.params["weight"][...] = to_device(weight)
    if bias:
        layer.params["bias"][...] = to_device(case.inputs[2])
    return [(evaluate(layer, x), as_images(case.outputs[0]))]


def pool(case: Case, layer_class: type, **options) -> tuple:
    """(the layer, its input)."""
    x = as_images(case.inputs[0])
    if x.dtype != np.float32:
        raise NotExpressible(f"{x.dtype} arithmetic")
    if case.operator.startswith("Global"):
        return layer_class(x.shape[2:]), x
    settings = windows(case, x.shape[2:])
    padding = settings["padding"]
    if any(2 * max(p) > k for p, k in zip(padding, settings["kernel_size"], strict=True)):
        raise NotExpressible("padding of more than half of the kernel")
    ceil_mode = bool(case.attributes.get("ceil_mode", 0))
    return layer_class(**settings, ceil_mode=ceil_mode, **options), x


def max_pool(case: Case) -> Pairs:
    layer, x = pool(case, MaxPool2d)
    y = evaluate(layer, x, train=True)
    pairs = [(y, as_images(case.outputs[0]))]
    if len(case.outputs) == 2 and not case.attributes.get("storage_order"):  # where the gradient has to go
        dx = np.zeros(x.size, np.float32)
        np.add.at(dx, case.outputs[1].reshape(-1), np.arange(1, y.size + 1, dtype=np.float32))
        dy = np.arange(1, y.size + 1, dtype=np.float32).reshape(y.shape)
        pairs.append((to_host(layer.backward(to_device(dy))), dx.reshape(x.shape)))
    return pairs


def average_pool(case: Case) -> Pairs:
    include = bool(case.attributes.get("count_include_pad", 0))
    options = {} if case.operator.startswith("Global") else {"count_include_pad": include}
    layer, x = pool(case, AvgPool2d, **options)
    return [(evaluate(layer, x), as_images(case.outputs[0]))]


def lrn(case: Case) -> Pairs:
    settings = case.attributes
    layer = LocalResponseNorm(
        size=settings["size"],
        alpha=settings.get("alpha", 1e-4),
        beta=settings.get("beta", 0.75),
        k=settings.get("bias", 1.0),
        average=True,
    )
    return [(evaluate(layer, case.inputs[0]), case.outputs[0])]


def gemm(case: Case) -> Pairs:
    """alpha * A @ B + beta * C: A is the batch; alpha and beta go into the weights, as Linear has none."""
    a, b, c = (*case.inputs, np.zeros(1, np.float32))[:3]
    a = a.T if case.attributes.get("transA") else a
    weight = case.attributes.get("alpha", 1.0) * (b if case.attributes.get("transB") else b.T)
    if c.size not in (1, len(weight)):
        raise NotExpressible("another bias for every image")
    layer = Linear(*weight.shape[::-1])
    layer.params["weight"][...] = to_device(weight)
    layer.params["bias"][...] = to_device(case.attributes.get("beta", 1.0) * c.reshape(-1))
    return [(evaluate(layer, a), case.outputs[0])]


def softmax(case: Case) -> Pairs:
    """The given axis takes the place of our axis 1; until opset 13 it was all axes from the given one on."""
    (x,), (y,) = case.inputs, case.outputs
    axis = case.attributes.get("axis", -1 if case.opset >= 13 else 1)
    if case.opset < 13:
        rows = math.prod(x.shape[:axis])
        return [(evaluate(Softmax(), x.reshape(rows, -1)), y.reshape(rows, -1))]
    x, y = (np.moveaxis(array, axis, 1 if array.ndim > 1 else 0) for array in (x, y))
    return [(evaluate(Softmax(), x), y)]


def dropout_with_the_mask_of_the_case(case: Case) -> Pairs:
    x, y, *mask = case.inputs[0], case.outputs[0], *case.outputs[1:]
    ratio = float(case.inputs[1]) if len(case.inputs) > 1 else 0.5
    train = len(case.inputs) == 3 and bool(case.inputs[2])
    if not train:
        return [(evaluate(Dropout(ratio), x), y)]
    kept = mask[0] if mask else y != 0

    class Drawn:
        """In place of a named stream: values that keep what the case keeps, in batch-last order."""

        def random(self, shape, dtype):
            drawn = np.moveaxis(np.where(kept, 1, 0).astype(dtype), 0, -1).copy(order="C")  # (N, ...) -> (..., N)
            assert drawn.shape == shape
            return drawn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dropout, "stream", lambda *names: Drawn())
        return [(evaluate(Dropout(ratio), x, train=True), y)]


def flatten(case: Case) -> Pairs:
    (x,), (y,) = case.inputs, case.outputs
    if case.attributes.get("axis", 1) % x.ndim != 1:
        raise NotExpressible("another axis than the first stays")
    return [(evaluate(Flatten(), x), y)]


def elementwise(layer_class: type) -> Callable[[Case], Pairs]:
    return lambda case: [(evaluate(layer_class(), case.inputs[0]), case.outputs[0])]


def softmax_cross_entropy(case: Case) -> Pairs:
    """Every pixel of (N, classes, ...) becomes an image; a loss for each alone comes from batches of one."""
    if len(case.inputs) == 3:
        raise NotExpressible("weights of classes")
    if "ignore_index" in case.attributes:
        raise NotExpressible("ignored labels")
    logits, labels = case.inputs
    logits = np.moveaxis(logits, 1, -1).reshape(-1, logits.shape[1])  # (N, classes, ...) -> (N', classes)
    labels = labels.reshape(-1)
    loss, reduction = SoftmaxCrossEntropy(), case.attributes["reduction"]
    if reduction == b"none":
        logits, labels = logits[:300], labels[:300]  # one case has thousands of pixels
        images = zip(logits[:, None], labels[:, None], strict=True)
        value = np.array([loss.forward(to_device(image), label) for image, label in images])
    else:
        value = np.array(loss.forward(to_device(logits), labels)) * (len(labels) if reduction == b"sum" else 1)
    pairs = [(value, case.outputs[0].reshape(-1)[: len(logits)].reshape(value.shape))]
    if len(case.outputs) == 2:
        log_probabilities = np.moveaxis(case.outputs[1], 1, -1).reshape(-1, logits.shape[1])[: len(logits)]
        pairs.append((np.log(evaluate(Softmax(), logits)), log_probabilities))
    return pairs


EXPRESSED: dict[str, tuple[Callable[[Case], Pairs], int]] = {  # how, and how many cases must run at least
    "Conv": (conv, 20),
    "MaxPool": (max_pool, 10),
    "GlobalMaxPool": (max_pool, 2),
    "AveragePool": (average_pool, 8),
    "GlobalAveragePool": (average_pool, 2),
    "LRN": (lrn, 2),
    "Gemm": (gemm, 10),
    "Softmax": (softmax, 7),
    "Dropout": (dropout_with_the_mask_of_the_case, 12),
    "Relu": (elementwise(ReLU), 1),
    "Tanh": (elementwise(Tanh), 2),
    "Sigmoid": (elementwise(Sigmoid), 2),
    "Flatten": (flatten, 3),
    "SoftmaxCrossEntropyLoss": (softmax_cross_entropy, 8),
}


ROUNDED = {"test_averagepool_2d_ceil_last_window_starts_on_pad"}  # its expected values are written with four digits


@pytest.mark.parametrize("operator", EXPRESSED)
def test_cases_of(operator, cases, tables):
    express, at_least = EXPRESSED[operator]
    skipped: dict[str, list[str]] = {}
    failed, run, worst = [], 0, 0.0
    for case in cases[operator]:
        try:
            pairs = express(case)
        except NotExpressible as reason:
            skipped.setdefault(str(reason), []).append(case.name)
            continue
        run += 1
        for ours, expected in pairs:
            tolerance = 1e-3 if case.name in ROUNDED else 1e-5
            if ours.shape != expected.shape or not np.allclose(ours, expected, rtol=tolerance, atol=1e-6):
                failed.append(f"{case.name}: got {ours}, expected {expected}")
            elif case.name not in ROUNDED:
                worst = max(worst, float(abs(ours - expected).max()))
    lines = tables.setdefault("ONNX cases: run, passed, skipped; largest difference (float32)", [])
    count = sum(map(len, skipped.values()))
    lines.append(f"{operator:24} {run:4} {run - len(failed):4} {count:4}   {worst:.1e}")
    lines += [f"    skipped, {reason}: {', '.join(names)}" for reason, names in skipped.items()]
    assert not failed, "\n".join(failed)
    assert run >= at_least, f"only {run} cases of {operator} ran"
