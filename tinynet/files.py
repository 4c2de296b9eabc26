"""Files that survive what happens to long runs: folders committed as a whole, checksums, locks.

A kill at any moment, a full disk or a flipped bit leaves what was there before, or is found out when it is read.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

LOCK = ".lock"
REPLACED = ".replaced"
CHECKSUMS = "SHA256SUMS"  # in the format of sha256sum: `sha256sum -c SHA256SUMS` checks a folder too


def shown(text: object, keep: str = "") -> str:
    """A name or a message that holds some, fit for a terminal, a log, a picture or a table.

    What does not print is escaped: control characters (a name may hold a terminal's escape sequences, or a newline and
    a forged second line), characters that turn the direction of writing, and bytes that are not UTF-8, which come as
    surrogates: b"caf\\xe9" is shown as caf\\xe9. keep: characters that stay, such as the newlines of a longer message.
    """
    return "".join(one if one.isprintable() or one in keep else _escaped(one) for one in str(text))


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else ascii(character)[1:-1]


class LockedError(OSError):
    """Another process works in the same folder."""


def commit_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Makes `folder` of the files that `write(beside)` puts into the folder `beside`: all of them or none.

    They are written beside, with their checksums, reach the disk, and appear under their name by one rename. A folder
    of this name that is there already is replaced; `recover` undoes what a kill left of that. OSError when something
    cannot be written; nothing has changed then, unless it was the parent's list of names that could not reach the disk.
    """
    beside, replaced = folder.with_name(f".{folder.name}.partial"), folder.with_name(f".{folder.name}{REPLACED}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        write(beside)
        files = sorted(beside.iterdir())
        lines = [f"{_digest(file)}  {file.name}\n" for file in files]
        (beside / CHECKSUMS).write_text("".join(lines), encoding="utf-8")
        for file in (*files, beside / CHECKSUMS, beside):
            sync(file)
        if folder.exists():  # a folder cannot be renamed over another one that is not empty
            shutil.rmtree(replaced, ignore_errors=True)
            folder.rename(replaced)
        try:
            beside.rename(folder)
        except OSError:
            recover(folder.parent)
            raise
        for parent in folder.parents[:2]:
            sync(parent)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def recover(parent: Path) -> None:
    """Gives folders in `parent` their names back that were about to be replaced when the process ended."""
    for replaced in parent.glob(f".*{REPLACED}"):
        folder = parent / replaced.name.removeprefix(".").removesuffix(REPLACED)
        if not folder.exists():
            replaced.rename(folder)


def check_folder(folder: Path, names: Iterable[str]) -> None:
    """ValueError that names which of a committed folder's files, `names`, is missing or not as it was written."""
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
        expected = dict(reversed(line.split("  ", 1)) for line in lines)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / CHECKSUMS}: cannot be read ({error})") from error
    for name in names:
        try:
            found = _digest(folder / name)
        except OSError as error:
            raise ValueError(f"{folder / name}: cannot be read ({error.strerror})") from error
        if found != expected.get(name):
            raise ValueError(f"{folder / name}: damaged, its checksum is not the one it was written with")


def _digest(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Lock:
    """Holds a folder for this process alone, until `release` or its end, however it ends; a context manager.

    LockedError, with the number of the process that has it, when there is one.
    """

    def __init__(self, folder: Path):
        import fcntl  # not on Windows

        # opened without truncating: the file says who has the lock
        self._file = open(folder / LOCK, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            owner = self._file.read().strip() or "another process"
            self._file.close()
            raise LockedError(f"{folder} is in use by {owner}") from None
        with contextlib.suppress(OSError):  # a full disk: who has the lock is not said then
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {os.uname().nodename}")
            self._file.flush()

    def release(self) -> None:
        self._file.close()

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *exception) -> None:
        self.release()
