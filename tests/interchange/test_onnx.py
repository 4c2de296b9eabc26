"""ONNX out and in: onnxruntime computes what our networks do, and the other way round.

Without onnxruntime what is written is read again, and operators are compared with the standard's reference in Python,
which is wrong for normalisation and, in earlier versions, for auto_pad.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from inputs import relative_difference
from interchange.chains import forward, random_chain
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tinynet import CheckpointError, LocalResponseNorm, ReLU, Sequential, initializers, models
from tinynet.interchange import read_onnx, write_onnx
from tinynet.layers.layer import Layer

MODELS = {
    "alexnet": ({"width": 0.06, "input_size": 67}, (3, 67, 67)),
    "alexnet_torchvision": ({"width": 0.06, "input_size": 67}, (3, 67, 67)),
    "vgg": ({"depth": 11, "width": 0.05, "input_size": 32}, (3, 32, 32)),
    "vgg_cifar": ({"depth": 11, "width": 0.05}, (3, 32, 32)),
    "lenet": ({}, (1, 28, 28)),
    "cifar10_quick": ({}, (3, 32, 32)),
}


def evaluate(path: Path, x: np.ndarray) -> np.ndarray:
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install onnxruntime")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def images(shape: tuple, seed: int = 0, count: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_written_and_read_again(tmp_path, name):
    arguments, shape = MODELS[name]
    net = models.build(name, **arguments)
    initializers.initialize(net, 1)
    path, x = tmp_path / "net.onnx", images(shape)
    write_onnx(net, path, shape, classes=["a", "b"])
    expected = forward(net, x)
    again = read_onnx(path)
    assert list(again.layers) == list(net.layers) and relative_difference(forward(again, x), expected) < 1e-5
    model = onnx.load(path)
    assert json.loads(model.metadata_props[0].value) == ["a", "b"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert relative_difference(evaluate(path, x), expected) < 1e-5


@pytest.mark.parametrize("seed", range(60))
def test_random_chains(tmp_path, seed):
    net, shape = random_chain(seed)
    path, x = tmp_path / "net.onnx", images(shape, seed)
    write_onnx(net, path, shape)
    expected = forward(net, x)
    assert relative_difference(forward(read_onnx(path), x), expected) < 1e-5, net
    assert relative_difference(evaluate(path, x), expected) < 1e-5, net


def test_what_is_read_trains_on(tmp_path):
    from tinynet import SGD, SoftmaxCrossEntropy
    from tinynet.backend import to_device

    net = models.lenet()
    write_onnx(net, tmp_path / "net.onnx", (1, 28, 28))
    again, loss, x = read_onnx(tmp_path / "net.onnx"), SoftmaxCrossEntropy(), to_device(images((1, 28, 28), 0, 8))
    optimizer, labels = SGD(again, 0.05), np.arange(8)
    losses = []
    for _ in range(20):
        losses.append(loss.forward(again.forward(x, train=True), labels))
        again.backward(loss.backward())
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


class Own(Layer):
    def forward(self, x, train=False):
        return x


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (LocalResponseNorm(3, within_channel=True), "odd: ONNX normalises over channels only"),
        (LocalResponseNorm(4), "odd: windows of 4 channels lie otherwise in ONNX"),
        (Own(), "odd: .*ONNX has no such layer"),
    ],
)
def test_layers_that_onnx_has_not_are_named(tmp_path, layer, message):
    with pytest.raises(CheckpointError, match=message):
        write_onnx(Sequential([("relu", ReLU()), ("odd", layer)]), tmp_path / "net.onnx", (4, 5, 5))
    assert not (tmp_path / "net.onnx").exists()


def test_the_light_models_of_the_package():
    """Their weights come from ConstantOfShape, and a pool of one pads on one side."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    found = {}
    for path in sorted(folder.glob("*.onnx")):
        try:
            found[path.stem.removeprefix("light_")] = read_onnx(path)
        except CheckpointError as error:
            assert "no chain" in str(error), path
    assert set(found) == {"bvlc_alexnet", "vgg19", "zfnet512"}
    net = found["bvlc_alexnet"]
    assert net.output_shape((3, 224, 224)) == (1000,) and net["pool3"].output_shape((256, 12, 12)) == (256, 6, 6)
    assert net["conv2"].groups == 2 and net["lrn1"].k == 1.0


# ---- models made by hand, one operator at a time ----


def model(nodes: list, constants: dict, shape: tuple | None = (3, 6, 6), opset: int = 13) -> bytes:
    value = helper.make_tensor_value_info
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    given = value("x", TensorProto.FLOAT, ["N", *(shape or ("C", "H", "W"))])
    graph = helper.make_graph(nodes, "g", [given], [value("y", TensorProto.FLOAT, None)], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]).SerializeToString()


def node(operator: str, *constants: str, inputs=("x",), outputs=("y",), **attributes):
    return helper.make_node(operator, [*inputs, *constants], list(outputs), **attributes)


WEIGHT = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
MATRIX = np.random.default_rng(2).standard_normal((108, 5)).astype(np.float32)
FLAT = node("Flatten", outputs=("f",))
GOOD = {
    "weights as double": ([node("Conv", "w")], {"w": WEIGHT.astype(np.float64)}),
    "auto_pad": ([node("Conv", "w", auto_pad="SAME_UPPER", strides=[2, 2])], {"w": WEIGHT}),
    "auto_pad, lower": ([node("Conv", "w", auto_pad="SAME_LOWER", strides=[2, 2])], {"w": WEIGHT}),
    "pads of four": ([node("Conv", "w", pads=[0, 1, 2, 1])], {"w": WEIGHT}),
    "pool on one side": ([node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])], {}),
    "average without padding": ([node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], {}),
    "average with padding": ([node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)], {}),
    "over all": ([node("GlobalAveragePool")], {}),
    "Gemm, not transposed": ([FLAT, node("Gemm", "b", inputs=("f",), alpha=0.5)], {"b": MATRIX}),
    "Gemm with one bias": (
        [FLAT, node("Gemm", "b", "c", inputs=("f",), beta=2.0)], {"b": MATRIX, "c": np.array([3], np.float32)},
    ),
    "MatMul": ([FLAT, node("MatMul", "b", inputs=("f",))], {"b": MATRIX}),
    "MatMul and Add": (
        [FLAT, node("MatMul", "b", inputs=("f",), outputs=("m",)), helper.make_node("Add", ["c", "m"], ["y"])],
        {"b": MATRIX, "c": MATRIX[:1]},
    ),
    "Reshape to -1": ([node("Reshape", "s")], {"s": np.array([0, -1], np.int64)}),
    "Reshape of one image": ([node("Reshape", "s")], {"s": np.array([2, 108], np.int64)}),
    "Identity": ([node("Identity", outputs=("i",)), node("Relu", inputs=("i",))], {}),
    "Dropout with a mask": ([node("Dropout", "r", outputs=("y", "mask"))], {"r": np.array(0.4, np.float32)}),
    "Softmax over the last": ([FLAT, node("Softmax", inputs=("f",), axis=-1)], {}),
    "LRN": ([node("LRN", size=3, alpha=0.5, beta=0.6, bias=1.5)], {}),
    "a constant node": (
        [helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(WEIGHT)), node("Conv", "w")], {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GOOD)
def test_operators(tmp_path, case):
    path, x = tmp_path / "net.onnx", images((3, 6, 6))
    path.write_bytes(model(*GOOD[case]))
    found = forward(read_onnx(path), x)
    expected = (
        evaluate(path, x)
        if case.startswith(("LRN", "auto_pad"))
        else ReferenceEvaluator(str(path)).run(["y"], {"x": x})[0]
    )
    assert found.shape == expected.shape and relative_difference(found, expected) < 1e-5


def test_old_opsets(tmp_path):
    """Reshape with its shape as an attribute, dropout with its ratio as one, Gemm and Add that say they broadcast."""
    nodes = [
        node("Dropout", outputs=("d",), ratio=0.5, is_test=1, consumed_inputs=[0]),
        node("Reshape", inputs=("d",), outputs=("f",), shape=[0, -1]),
        node("Gemm", "b", "c", inputs=("f",), broadcast=1),
    ]
    nodes[0].attribute.remove(next(one for one in nodes[0].attribute if one.name == "consumed_inputs"))
    path, x = tmp_path / "net.onnx", images((3, 6, 6))
    path.write_bytes(model(nodes, {"b": MATRIX, "c": MATRIX[0]}, opset=3))
    assert relative_difference(forward(read_onnx(path), x), x.reshape(2, -1) @ MATRIX + MATRIX[0]) < 1e-5


BAD = {
    "Gelu": ([node("Gelu", approximate="none")], {}, "Gelu: tinynet has no such operator"),
    "two ways": (
        [node("Relu", outputs=("r",)), helper.make_node("Add", ["r", "x"], ["y"])], {}, "no chain: x goes to Relu, Add",
    ),
    "holes": ([node("Conv", "w", dilations=[2, 2])], {"w": WEIGHT}, "windows with holes"),
    "an attribute": ([node("Relu", alpha=2.0)], {}, "Relu: has the attribute alpha"),
    "NaN": ([node("Conv", "w")], {"w": np.full_like(WEIGHT, np.nan)}, "values that are not finite"),
    "other channels": ([node("Conv", "w")], {"w": WEIGHT[:, :2].copy()}, r"expected input \(N, 2, H, W\)"),
    "no weights": ([node("Conv", "w")], {}, "w is no constant, so this is no chain"),
    "whole numbers": ([node("Conv", "w")], {"w": WEIGHT.astype(np.int64)}, "expected input 1 to be weights"),
    "an even LRN": ([node("LRN", size=4)], {}, "size 4 is even"),
    "a product": ([node("Mul", "c")], {"c": np.array([1.0, 2.0], np.float32)}, "expected a product with one number"),
    "an addition": ([node("Add", "c")], {"c": np.ones(1, np.float32)}, "expected right behind a MatMul"),
    "another reshape": ([node("Reshape", "s")], {"s": np.array([0, 3, 36], np.int64)}, "expected .batch, features."),
    "Softmax of maps": ([node("Softmax", axis=1)], {}, "of feature maps"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_named(tmp_path, case):
    nodes, constants, message = BAD[case]
    path = tmp_path / "net.onnx"
    path.write_bytes(model(nodes, constants))
    with pytest.raises(CheckpointError, match=message) as raised:
        read_onnx(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_newer_and_older_opsets_are_named(tmp_path):
    path = tmp_path / "net.onnx"
    for opset in (2, 99):
        path.write_bytes(model([node("Relu")], {}, opset=opset))
        with pytest.raises(CheckpointError, match=f"Relu: of opset {opset}, expected 3 to 28"):
            read_onnx(path)


def external(tmp_path: Path, location: str, **more: str) -> Path:
    made = onnx.ModelProto.FromString(model([node("Conv", "w")], {"w": WEIGHT}))
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    (tmp_path / "net.onnx").write_bytes(made.SerializeToString())
    return tmp_path / "net.onnx"


def test_weights_beside_the_model_and_nowhere_else(tmp_path):
    folder, x = tmp_path / "inside", images((3, 6, 6))
    folder.mkdir()
    (folder / "w.bin").write_bytes(b"12345678" + WEIGHT.tobytes())
    (tmp_path / "w.bin").write_bytes(b"12345678" + WEIGHT.tobytes())
    net = read_onnx(external(folder, "w.bin", offset="8"))
    assert forward(net, x).shape == (2, 4, 4, 4)
    for location in ("../w.bin", str(tmp_path / "w.bin"), "", "nowhere.bin", "/dev/zero"):
        with pytest.raises(CheckpointError, match=r"is not in the model's folder|cannot be read"):
            read_onnx(external(folder, location))
    for more in ({"offset": "100"}, {"offset": "-1"}, {"offset": str(1 << 60)}, {"offset": "x"}):
        with pytest.raises(CheckpointError, match=r"ends before|not a valid ONNX file"):
            read_onnx(external(folder, "w.bin", **more))


@pytest.mark.parametrize("shape", [[1 << 40, 1 << 20], [-1, 3], [1 << 29, 2], [4, 3, 3]])
def test_shapes_that_lie(tmp_path, shape):
    for constants in (False, True):
        made = onnx.ModelProto.FromString(model([node("Conv", "w")], {"w": WEIGHT}))
        if constants:
            del made.graph.initializer[:]
            made.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "s"))
            made.graph.node.insert(0, helper.make_node("ConstantOfShape", ["s"], ["w"]))
        else:
            del made.graph.initializer[0].dims[:]
            made.graph.initializer[0].dims.extend([abs(size) for size in shape])
        (tmp_path / "net.onnx").write_bytes(made.SerializeToString())
        with pytest.raises(CheckpointError):
            read_onnx(tmp_path / "net.onnx")


def test_too_many_nodes_and_circles(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(model([node("Relu", outputs=(f"y{number}",)) for number in range(10_001)], {}))
    with pytest.raises(CheckpointError, match="has 10,001 nodes, expected 10,000 or fewer"):
        read_onnx(path)
    circle = [
        node("Relu", outputs=("a",)),
        node("Tanh", inputs=("a",), outputs=("b",)),
        node("Relu", inputs=("b",), outputs=("a",)),
    ]
    path.write_bytes(model(circle, {}))
    with pytest.raises(CheckpointError, match="no chain"):
        read_onnx(path)


@pytest.mark.parametrize("dynamo", [False, True])
def test_what_pytorch_exports(tmp_path, dynamo):
    """By its exporter of before, and by the one of today; torchvision's networks flatten behind an average pool."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("onnxscript", reason="PyTorch's exporter needs onnxscript")
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 5, stride=2, padding=2), torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2),
         torch.nn.Conv2d(6, 8, 3, padding=1, groups=2, bias=False), torch.nn.Tanh(),
        torch.nn.AdaptiveAvgPool2d((4, 4)), torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(128, 10),
        torch.nn.Sigmoid(), torch.nn.Linear(10, 4), torch.nn.Softmax(1),
    ).eval()  # fmt: skip
    x = torch.randn(2, 3, 36, 36)
    with torch.no_grad():
        expected = net(x).numpy()
    torch.onnx.export(net, (x,), str(tmp_path / "net.onnx"), dynamo=dynamo)
    found = read_onnx(tmp_path / "net.onnx")
    assert relative_difference(forward(found, x.numpy()), expected) < 1e-5
