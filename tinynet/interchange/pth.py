"""PyTorch's files of weights, .pth and .pt, which are pickles: read by an unpickler that knows tensors and no more.

A pickle is a program. Here it may call what rebuilds a tensor, and OrderedDict; any other name is an error before it
is looked for, so that a hostile file runs nothing and opens nothing. Of both formats: a zip archive (PyTorch 1.6 and
later), and pickles one behind the other with the storages at the end (before).
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from tinynet.errors import CheckpointError
from tinynet.files import brief_text, check_regular, shown

MAGIC = 0x1950A86A20F9469CFC6C  # of the format before zip archives
MOST_PICKLE = 1 << 26  # bytes of a pickle without its storages
TYPES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "|b1",
}  # fmt: skip


def read_pth(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a state_dict by name. CheckpointError for a file that is none, or holds anything but tensors."""
    path = Path(path)
    try:
        check_regular(path)
        with open(path, "rb") as file:
            content = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
        return _tensors(content)
    except CheckpointError as error:
        raise CheckpointError(f"{shown(path)}: {shown(error)}") from error
    except Exception as error:  # an unpickler and zipfile raise what they like
        reason = shown(str(error)[:200]) or type(error).__name__
        raise CheckpointError(f"{shown(path)}: not a readable file of PyTorch's tensors ({reason})") from error


def _tensors(content: Any) -> dict[str, np.ndarray]:
    for key in ("state_dict", "model", "model_state_dict"):  # as training scripts wrap it
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"holds {type(content).__name__}, expected a state_dict, tensors by name")
    found = {}
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            raise CheckpointError(f"{brief_text(name)} is {type(value).__name__}, expected a tensor")
        found[name.removeprefix("module.")] = value  # of DataParallel
    return found


@dataclass(frozen=True)
class _Kind:
    """A type of storage, in place of PyTorch's class: nothing that could be called."""

    dtype: np.dtype


def _no_hooks(*arguments: Any) -> OrderedDict:
    return OrderedDict(*arguments)


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> np.ndarray:
    """A part of a storage, which several tensors may share: values (sizes) at offset + sum of index * stride."""
    if not isinstance(storage, np.ndarray):
        raise CheckpointError("a tensor without a storage")
    size, stride = tuple(map(int, size)), tuple(map(int, stride))
    if len(size) != len(stride) or min((0, int(offset), *size, *stride)) < 0 or len(size) > 32:
        raise CheckpointError(f"a tensor of {brief_text(size)}, steps of {brief_text(stride)}")
    last = int(offset) + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    count = math.prod(size)
    if count and (last >= len(storage) or count > len(storage)):
        raise CheckpointError(f"a tensor of {brief_text(size)} reaches beyond its storage of {len(storage):,} values")
    if not count:
        return np.empty(size, storage.dtype)
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[int(offset) :], size, steps, writeable=False)


def _rebuild_parameter(data: Any, *rest: Any) -> np.ndarray:
    if not isinstance(data, np.ndarray):
        raise CheckpointError("a parameter without a tensor")
    return data


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _no_hooks,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): _Kind(np.dtype(dtype)) for name, dtype in TYPES.items()},
}


class _Tensors(pickle._Unpickler):  # in Python: C's takes memory for any index of its memo
    """load_storage(persistent id) gives a flat array."""

    stack: list

    def __init__(self, file: BinaryIO, load_storage: Callable[[Any], np.ndarray]):
        super().__init__(file, encoding="utf-8")
        self._load_storage = load_storage

    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            wanted = f"{brief_text(module)}.{brief_text(name)}"
            raise CheckpointError(f"asks for {wanted}: only tensors are read, and nothing is run") from None

    def persistent_load(self, pid: Any) -> np.ndarray:
        return self._load_storage(pid)

    def load_build(self) -> None:
        """Leaves an object's state out, which would be written into it: a state_dict's is a note on versions."""
        self.stack.pop()
        if type(self.stack[-1]) is not OrderedDict:
            raise CheckpointError(f"changes {type(self.stack[-1]).__name__}: only tensors are read, and nothing is run")

    dispatch: ClassVar[dict] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        pickles = [name for name in members if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(pickles) != 1:
            raise CheckpointError(f"is a zip archive with {len(pickles)} files data.pkl, expected one")
        folder = pickles[0].removesuffix("data.pkl")
        order = members.get(f"{folder}byteorder")
        if order is not None and _member(archive, order, 16).strip() == b"big":
            raise CheckpointError("was written by a machine whose numbers begin with their large end")
        storages: dict[str, np.ndarray] = {}

        def load(pid: Any) -> np.ndarray:
            kind, key, count = _storage_id(pid)
            if key not in storages:
                member = members.get(f"{folder}data/{key}")
                if member is None or member.file_size < count * kind.dtype.itemsize:
                    raise CheckpointError(f"storage {brief_text(key)} of {count:,} values is not there, or shorter")
                content = _member(archive, member, count * kind.dtype.itemsize)
                storages[key] = np.frombuffer(content, kind.dtype, count)
            return storages[key]

        content = _member(archive, members[pickles[0]], MOST_PICKLE)
        return _Tensors(io.BytesIO(content), load).load()


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """Its content; PyTorch stores files as they are, so nothing can unpack into more than the archive holds."""
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise CheckpointError(f"{brief_text(member.filename)} is compressed, which PyTorch's files are not")
    if member.file_size > max(most, 1 << 10) + 64:
        size = f"{member.file_size:,} bytes, expected {most:,} at most"
        raise CheckpointError(f"{brief_text(member.filename)} has {size}")
    return archive.read(member)


def _storage_id(pid: Any) -> tuple[_Kind, str, int]:
    if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], _Kind)):
        raise CheckpointError(f"storage {brief_text(pid)} is none that is read")
    count = pid[4]
    if not isinstance(count, int) or count < 0 or not isinstance(pid[2], str):
        raise CheckpointError(f"storage {brief_text(pid[2])} of {brief_text(count)} values")
    return pid[1], pid[2], count


def _read_legacy(file: BinaryIO) -> Any:
    """Magic number, version, the writing machine, the objects, the storages' keys, and the storages, each with its
    count before it.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    kinds: dict[str, tuple[_Kind, int]] = {}

    def nothing(pid: Any) -> np.ndarray:
        raise CheckpointError("a storage before the objects")

    if _Tensors(file, nothing).load() != MAGIC:
        raise CheckpointError("neither a zip archive nor of the format before")
    _Tensors(file, nothing).load()
    machine = _Tensors(file, nothing).load()
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise CheckpointError("was written by a machine whose numbers begin with their large end")
    start = file.tell()

    def note(pid: Any) -> np.ndarray:
        kind, key, count = _storage_id(pid)
        if len(pid) > 5 and pid[5] is not None:
            raise CheckpointError(f"storage {brief_text(key)} is a view of another, as PyTorch 0.3 wrote them")
        if count * kind.dtype.itemsize > size:
            raise CheckpointError(f"storage {brief_text(key)} of {count:,} values is larger than the file")
        kinds[key] = kind, count
        return np.zeros(0, kind.dtype) if count == 0 else np.lib.stride_tricks.as_strided(
            np.zeros(1, kind.dtype), (count,), (0,), writeable=False
        )  # fmt: skip

    _Tensors(file, note).load()  # what there is, before the storages can be found
    keys = _Tensors(file, nothing).load()
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(kinds):
        raise CheckpointError("its storages are not those of its tensors")
    storages = {}
    for key in keys:
        kind, count = kinds[key]
        if int.from_bytes(file.read(8), "little") != count:
            raise CheckpointError(f"storage {brief_text(key)} has not the {count:,} values that its tensors want")
        content = file.read(count * kind.dtype.itemsize)
        if len(content) < count * kind.dtype.itemsize:
            raise CheckpointError(f"ends in storage {brief_text(key)}")
        storages[key] = np.frombuffer(content, kind.dtype, count)
    file.seek(start)
    return _Tensors(file, lambda pid: storages[_storage_id(pid)[1]]).load()
