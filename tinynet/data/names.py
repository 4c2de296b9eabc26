"""A long list of names in little memory: ImageNet's 1.28 million take 50 MB here, twice that as Python's strings.

Which names: that is known to the stores (folders.py, archives.py, parquet.py).
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np


class PackedNames(Sequence):
    """An unchanging sequence of strings, kept as the bytes of all of them, one after the other, and where each begins.

    text: uint8 (bytes,), UTF-8 (a file's name that is not valid UTF-8 comes back as the same file's name). starts:
    int64 (names + 1,). Both can be written to a file as they are.
    """

    def __init__(self, names: Iterable[str] = ()):
        text, starts = bytearray(), array("q", [0])
        for name in names:
            text += name.encode("utf-8", "surrogateescape")
            starts.append(len(text))
        self.text, self.starts = np.frombuffer(bytes(text), np.uint8), np.array(starts, np.int64)

    @classmethod
    def from_arrays(cls, text: np.ndarray, starts: np.ndarray) -> "PackedNames":
        names = cls()
        names.text, names.starts = text, starts
        return names

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(f"name {index} of {len(self)}")
        return self.text[self.starts[index] : self.starts[index + 1]].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        text, starts = self.text.tobytes(), self.starts.tolist()
        for start, end in pairwise(starts):
            yield text[start:end].decode("utf-8", "surrogateescape")
