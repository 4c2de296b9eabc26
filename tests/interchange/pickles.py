"""Files as PyTorch writes them, made without PyTorch: pickles of state_dicts, with the storages beside or behind."""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C


class _Global:
    """Stands for a name of PyTorch's in a pickle."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class _Storage:
    def __init__(self, key: str, array: np.ndarray):
        self.key, self.array = key, array


class _Tensor:
    def __init__(self, storage: _Storage, offset: int, size: tuple, stride: tuple):
        self.arguments = storage, offset, size, stride, False, OrderedDict()


class _Pickler(pickle._Pickler):
    """In Python, so that a name can be written that cannot be imported."""

    def __init__(self, file, legacy: bool):
        super().__init__(file, protocol=2)
        self.legacy = legacy

    def persistent_id(self, value):
        if not isinstance(value, _Storage):
            return None
        kind = {"f": "Float", "d": "Double", "e": "Half", "q": "Long"}[value.array.dtype.char.replace("l", "q")]
        count = value.array.size
        identity = ("storage", _Global("torch", f"{kind}Storage"), value.key, "cpu", count)
        return (*identity, None) if self.legacy else identity

    def save(self, value, save_persistent_id=True):
        if isinstance(value, _Global):
            self.write(f"c{value.module}\n{value.name}\n".encode())
        elif isinstance(value, _Tensor):
            self.save(_Global("torch._utils", "_rebuild_tensor_v2"))
            self.save(value.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


def tensors(arrays: dict[str, np.ndarray]) -> OrderedDict:
    """A state_dict of these arrays, each with a storage of its own."""
    found = OrderedDict()
    for key, (name, array) in enumerate(arrays.items()):
        array = np.array(array, order="C")
        stride = tuple(step // array.itemsize for step in array.strides)
        found[name] = _Tensor(_Storage(str(key), array.reshape(-1)), 0, array.shape, stride)
    return found


def part(array: np.ndarray, offset: int, size: tuple, stride: tuple, key: str = "0") -> _Tensor:
    """A tensor that is a part of a storage."""
    return _Tensor(_Storage(key, array.reshape(-1)), offset, size, stride)


def _storages(content) -> dict[str, np.ndarray]:
    values = content.values() if isinstance(content, dict) else ()
    return {one.arguments[0].key: one.arguments[0].array for one in values if isinstance(one, _Tensor)}


def pickled(content, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    _Pickler(file, legacy).dump(content)
    return file.getvalue()


def write_zip(path: Path, content, program: bytes | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(content) if program is None else program)
        archive.writestr("archive/byteorder", "little")
        for key, array in _storages(content).items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
    return path


def write_legacy(path: Path, content, program: bytes | None = None) -> Path:
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    with open(path, "wb") as file:
        for one in (MAGIC, 1001, machine):
            pickle.dump(one, file, protocol=2)
        file.write(pickled(content, legacy=True) if program is None else program)
        storages = _storages(content)
        pickle.dump(sorted(storages), file, protocol=2)
        for key in sorted(storages):
            file.write(storages[key].size.to_bytes(8, "little") + storages[key].tobytes())
    return path
