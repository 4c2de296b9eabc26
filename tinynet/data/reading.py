"""How files of a data set are opened: never what hangs (a pipe, a device), never more than belongs there.

What is in them is known to the files that call this one. Where caches of the user's lie is said here too.
"""

import os
import stat
import threading
from io import BufferedIOBase, FileIO, RawIOBase
from pathlib import Path

import numpy as np

from tinynet.errors import DataError

LONGEST_LIST = 1 << 28  # bytes of a text that tells labels or names; ImageNet's own have 2 million
PIECE = 1 << 20  # bytes that are read at a time into an array

_seeking = threading.Lock()


def open_file(path: str | os.PathLike) -> FileIO:
    """A file to be read, unbuffered. DataError for what is none, such as a pipe, which would wait for ever; OSError."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # open has its own word for folders
        raise DataError(f"{os.fspath(path)}: expected a file, found a pipe, a socket or a device")
    return open(path, "rb", buffering=0)


def read_at(file: FileIO, length: int, offset: int) -> bytes:
    """So many bytes from this place, or fewer at the file's end; any number of threads may read at once. OSError."""
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), length, offset)
    with _seeking:  # Windows has no call for both
        file.seek(offset)
        return file.read(length)


def read_file(path: str | os.PathLike, most: int = LONGEST_LIST) -> bytes:
    """A file's bytes; DataError when there are more than `most`; OSError."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise DataError(f"{os.fspath(path)}: expected {most} bytes at most, found {size}")
        return file.read()


def read_text(path: str | os.PathLike) -> str:
    """A list that people may have written: UTF-8 with or without a mark of the byte order; other bytes are kept as they
    are in names of files.
    """
    return read_file(path).decode("utf-8-sig", "surrogateescape")


def fill(file: RawIOBase | BufferedIOBase, array: np.ndarray) -> int:
    """Fills an array, uint8 (bytes,), C order, from where the file stands; how many bytes there were. Memory that was
    only asked for is touched no further than the file goes.
    """
    done = 0
    while done < len(array) and (count := file.readinto(array[done : done + PIECE].data)):
        done += count
    return done


def cache_folder(name: str) -> Path | None:
    """A folder of the user's for what can be made again at any time; None for a user without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinynet" / name
    except RuntimeError:  # no HOME, and a number that belongs to no user, as in a container
        return None
