"""An ONNX file as a chain: its nodes in order, each with the constants that it is given.

What the nodes mean is known to onnx_reading.py. A file is not trusted: sizes are looked at before memory is taken, and
nothing but the model's own folder is opened.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinynet.errors import CheckpointError
from tinynet.files import brief_text, check_regular, shown

MOST_NODES = 10_000
MOST_VALUES = 1 << 29  # of all constants together: 2 GiB
MOST_BYTES = 1 << 31  # of a protobuf message


@dataclass(frozen=True)
class Node:
    """An operator of the chain. constants: its inputs but the one that the chain gives, by their place; None for one
    that is left out.
    """

    operator: str
    name: str
    attributes: dict[str, Any]
    constants: dict[int, np.ndarray | None]
    opset: int

    def refuse(self, reason: str) -> CheckpointError:
        """The error that names this node."""
        return CheckpointError(f"{self}: {reason}")

    def only(self, **allowed) -> None:
        """Refuses attributes of other names, and other values of those whose only value is given."""
        for name, value in self.attributes.items():
            if name not in allowed:
                raise self.refuse(f"has the attribute {brief_text(name)}, which is not known")
            expected = allowed[name]
            if expected is not ... and (np.shape(value) != np.shape(expected) or np.any(np.array(value) != expected)):
                raise self.refuse(f"{name} is {brief_text(value)}, expected {brief_text(expected)}")

    def weights(self, place: int, rank: int | None = None) -> np.ndarray:
        """A constant of floating-point numbers, as float32. CheckpointError where it is none, or not finite."""
        array = self.constants.get(place)
        if array is None or array.dtype.kind != "f" or (rank is not None and array.ndim != rank):
            found = "none" if array is None else f"{array.dtype} {brief_text(array.shape)}"
            axes = "" if rank is None else f" of {rank} axes"
            raise self.refuse(f"expected input {place} to be weights{axes}, found {found}")
        repeated = array.size > 0 and not any(array.strides)  # one number, as ConstantOfShape makes them
        if array.size == 0 or not np.isfinite(array[(0,) * array.ndim] if repeated else array).all():
            raise self.refuse(f"input {place} is empty, or holds values that are not finite")
        with np.errstate(over="ignore"):
            converted = np.ascontiguousarray(array, np.float32)
        if not np.isfinite(converted).all():
            raise self.refuse(f"input {place} holds values that are too large for float32")
        return converted

    def __str__(self) -> str:
        return f"{brief_text(self.operator)} {brief_text(self.name)}".strip()


@dataclass(frozen=True)
class Graph:
    """input_shape: of one image, where the file says it. metadata: texts by name, as written beside the graph."""

    nodes: list[Node]
    input_shape: tuple[int, ...] | None
    metadata: dict[str, str]


def read_graph(path: str | Path) -> Graph:
    """CheckpointError for a file that cannot be read, or is no chain of one input and one output."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise ImportError(f"ONNX files need a package: pip install 'tinynet[onnx]' ({error})") from error
    path = Path(path)
    try:
        check_regular(path)
        if path.stat().st_size > MOST_BYTES:
            raise CheckpointError(f"{shown(path)}: larger than a file of ONNX can be")
        model = onnx.ModelProto.FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise CheckpointError(f"{shown(path)}: not a readable ONNX file ({shown(error)})") from error
    try:
        return _graph(model, path.parent)
    except CheckpointError as error:
        raise CheckpointError(f"{shown(path)}: {shown(error)}") from error
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise CheckpointError(f"{shown(path)}: not a valid ONNX file ({shown(str(error)[:200])})") from error


def _graph(model, folder: Path) -> Graph:
    graph = model.graph
    if len(graph.node) > MOST_NODES:
        raise CheckpointError(f"has {len(graph.node):,} nodes, expected {MOST_NODES:,} or fewer")
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1)
    constants = _Constants(folder)
    for tensor in graph.initializer:
        constants.add(tensor.name, tensor)
    if len(graph.sparse_initializer):
        raise CheckpointError("has sparse initializers, which are not read")
    inputs = [one for one in graph.input if one.name not in constants.values]
    if len(inputs) != 1 or len(graph.output) != 1:
        found = f"{len(inputs)} inputs and {len(graph.output)} outputs"
        raise CheckpointError(f"is no chain: expected one input and one output, found {found}")
    nodes = list(_chain(graph, inputs[0].name, constants, opset))
    metadata = {one.key: one.value for one in model.metadata_props}
    return Graph(nodes, _input_shape(inputs[0]), metadata)


def _input_shape(value) -> tuple[int, ...] | None:
    sizes = [one.dim_value for one in value.type.tensor_type.shape.dim][1:]
    return tuple(sizes) if sizes and all(0 < size < 1 << 20 for size in sizes) else None


def _chain(graph, current: str, constants: "_Constants", opset: int) -> Iterator[Node]:
    """The nodes from the input to the output; those that make constants are left out."""
    from onnx.helper import get_attribute_value

    users: dict[str, list] = {}
    for node in graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise CheckpointError(f"{brief_text(node.op_type)} {brief_text(node.name)}: of {brief_text(node.domain)}")
        if constants.made_by(node):
            continue
        for name in dict.fromkeys(node.input):
            users.setdefault(name, []).append(node)
    end, seen = graph.output[0].name, 0
    while current != end:
        following = users.get(current, [])
        seen += 1
        if len(following) != 1 or seen > len(graph.node):
            found = ", ".join(brief_text(node.op_type) for node in following[:3]) or "nothing"
            raise CheckpointError(f"is no chain: {brief_text(current)} goes to {found}, expected one node")
        [node] = following
        if not node.output or list(node.input).count(current) != 1 or any(name in users for name in node.output[1:]):
            raise CheckpointError(f"{brief_text(node.op_type)} {brief_text(node.name)}: is no link of a chain")
        given = {}
        for place, name in enumerate(node.input):
            if name == current:
                continue
            if name and name not in constants.values:
                raise CheckpointError(f"{brief_text(node.op_type)} {brief_text(node.name)}: {brief_text(name)} "
                                      "is no constant, so this is no chain")  # fmt: skip
            given[place] = constants.array(name) if name else None
        attributes = {one.name: get_attribute_value(one) for one in node.attribute}
        yield Node(node.op_type, node.name, attributes, given, opset)
        current = node.output[0]


class _Constants:
    """Arrays by name, made when they are asked for."""

    def __init__(self, folder: Path):
        self.values: dict[str, Any] = {}
        self._folder, self._count = folder, 0

    def add(self, name: str, value) -> None:
        self.values[name] = value

    def made_by(self, node) -> bool:
        """Whether the node makes a constant, which is known then."""
        attributes = {one.name: one for one in node.attribute}
        if node.op_type == "Constant" and len(node.output) == 1:
            if "value" in attributes:
                self.add(node.output[0], attributes["value"].t)
                return True
            for kind in ("f", "i", "floats", "ints"):
                name = {"f": "value_float", "i": "value_int"}.get(kind, f"value_{kind}")
                if name in attributes:
                    self.add(node.output[0], np.array(getattr(attributes[name], kind)))
                    return True
        if node.op_type == "ConstantOfShape" and len(node.output) == 1 and node.input[0] in self.values:
            shape = tuple(int(size) for size in self.array(node.input[0]))
            value = self._array(attributes["value"].t) if "value" in attributes else np.zeros(1, np.float32)
            self._take(shape)
            self.add(node.output[0], np.broadcast_to(value.reshape(-1)[:1], shape))
            return True
        if node.op_type == "Identity" and node.input[0] in self.values:
            self.add(node.output[0], self.values[node.input[0]])
            return True
        return False

    def array(self, name: str) -> np.ndarray:
        value = self.values[name]
        if not isinstance(value, np.ndarray):
            value = self.values[name] = self._array(value)
        return value

    def _take(self, shape: tuple[int, ...]) -> None:
        if any(size < 0 for size in shape):
            raise CheckpointError(f"a constant of the shape {brief_text(shape)}")
        self._count += math.prod(shape)
        if self._count > MOST_VALUES:
            raise CheckpointError(f"its constants have more than {MOST_VALUES:,} values")

    def _array(self, tensor) -> np.ndarray:
        import onnx

        shape = tuple(tensor.dims)
        self._take(shape)
        if tensor.data_type not in (1, 6, 7, 10, 11):  # float, int32, int64, float16, double
            kind = f"of type {tensor.data_type}, which is not read"
            raise CheckpointError(f"constant {brief_text(tensor.name)} is {kind}")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            return self._external(tensor, shape)
        size = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
        if tensor.HasField("raw_data"):
            stored = len(tensor.raw_data) // size
        else:
            kinds = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data)
            stored = max(map(len, kinds))
        if stored != math.prod(shape):
            held = f"has {stored:,} values, and the shape {brief_text(shape)}"
            raise CheckpointError(f"constant {brief_text(tensor.name)}: {held}")
        return onnx.numpy_helper.to_array(tensor)

    def _external(self, tensor, shape: tuple[int, ...]) -> np.ndarray:
        """From a file beside the model, and nowhere else."""
        import onnx

        entries = {one.key: one.value for one in tensor.external_data}
        location = entries.get("location", "")
        name = f"constant {brief_text(tensor.name)}: its file {brief_text(location)}"
        path = self._folder / location
        if not location or os.path.isabs(location) or not path.resolve().is_relative_to(self._folder.resolve()):
            raise CheckpointError(f"{name} is not in the model's folder")
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).newbyteorder("<")
        count, offset = math.prod(shape), int(entries.get("offset", 0))
        try:
            check_regular(path)
            if offset < 0 or offset + count * dtype.itemsize > path.stat().st_size:
                raise CheckpointError(f"{name} ends before {offset + count * dtype.itemsize:,} bytes")
            return np.fromfile(path, dtype, count, offset=offset).reshape(shape)
        except OSError as error:
            raise CheckpointError(f"{name} cannot be read ({shown(error)})") from error
