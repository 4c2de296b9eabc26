"""Names of files: as bytes, in messages, and a long list of them in little memory: ImageNet's 1.28 million take 50 MB
here, twice that as Python's strings.

Which names: that is known to stores/.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np


def encoded(name: str) -> bytes:
    """A name as bytes. A file's name need not be UTF-8: `decoded` gives it back as it was."""
    return name.encode("utf-8", "surrogateescape")


def decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def shortened(names: Sequence[str], limit: int = 8) -> str:
    """A list for an error's text, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


class PackedNames(Sequence):
    """An unchanging sequence of strings, kept as the bytes of all of them, one after the other, and where each begins.

    text: uint8 (bytes,), UTF-8 (a file's name that is not valid UTF-8 comes back as the same file's name). starts:
    int64 (names + 1,). Both can be written to a file as they are.
    """

    def __init__(self, names: Iterable[str] = ()):
        text, starts = bytearray(), array("q", [0])
        for name in names:
            text += encoded(name)
            starts.append(len(text))
        self.text, self.starts = np.frombuffer(bytes(text), np.uint8), np.array(starts, np.int64)

    @classmethod
    def from_arrays(cls, text: np.ndarray, starts: np.ndarray) -> "PackedNames":
        """ValueError unless the arrays are such as PackedNames has."""
        if (text.dtype, text.ndim, starts.dtype, starts.ndim) != (np.uint8, 1, np.int64, 1) or not len(starts):
            raise ValueError(f"PackedNames: expected uint8 and int64 in a row, got {text.dtype}, {starts.dtype}")
        if starts[0] != 0 or starts[-1] != len(text) or (np.diff(starts) < 0).any():
            raise ValueError(f"PackedNames: expected places from 0 to {len(text)} that go up")
        names = cls()
        names.text, names.starts = text, starts
        return names

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> str:  # type: ignore[override]  # one at a time: nobody needs slices
        if not 0 <= index < len(self):
            raise IndexError(f"name {index} of {len(self)}")
        return decoded(self.text[self.starts[index] : self.starts[index + 1]].tobytes())

    def __iter__(self) -> Iterator[str]:
        text, starts = self.text.tobytes(), self.starts.tolist()
        for start, end in pairwise(starts):
            yield decoded(text[start:end])
