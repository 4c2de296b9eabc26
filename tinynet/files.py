"""Files that survive what happens to long runs: files and folders written as a whole, checksums, locks.

A kill at any moment, a full disk or a flipped bit leaves what was there before, or is found out when it is read; and
what others have put in the way (a pipe, a link, brackets without end) is an error, never a hang.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import platform
import re
import secrets
import shlex
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import filelock

LOCK, OWNER = ".lock", ".lock-owner"  # the file that is locked, and the one that says by whom
REPLACED = ".replaced"
BESIDE = re.compile(r"\.[0-9a-f]{16}\.partial")  # what is not yet whole
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


def shell_word(path: str | Path) -> str:
    """A path as one word of a POSIX shell's command line, to be copied from a message."""
    text = str(path)
    if os.name == "nt" and shown(text) == text:
        return f'"{text}"' if re.search(r"[\s&^%()]", text) else text
    if shown(text) == text:
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{shown(escaped)}'"  # which bash and zsh know: in it \xe9 is a byte, and \n a newline


# ---- small files ----


def beside(path: Path) -> Path:
    """A new name in the same folder, for what is to be renamed to `path` once it is whole.

    Nobody can know it and put a link there, and it is short, however long the name of `path` is.
    """
    return path.with_name(f".{secrets.token_hex(8)}.partial")


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A context in which a file is written under the name that it gives; at its end it gets the name `path`, in place
    of what was there, of which a link is not followed. OSError when it cannot be written; all is as it was then.
    """
    partial = beside(path)
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # the error that led here says more
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a file as a whole; OSError when it cannot be written."""
    with written_whole(path) as partial, open(partial, "x", encoding="utf-8") as file:
        file.write(text)


def check_output(option: str, path: str | None, suffixes: Sequence[str] = ("",)) -> None:
    """ValueError or OSError, before long work, where a file could not be written there later, or has another suffix.
    option: what the user has named it with; None is nothing to write.
    """
    if path is None:
        return
    folder, what = Path(path).absolute().parent, f"{option} {shown(path)}"
    if not path.lower().endswith(tuple(suffixes)):
        raise ValueError(f"{what}: expected a name that ends in {' or '.join(suffixes)}")
    if os.path.isdir(path):
        raise ValueError(f"{what}: expected a file, found a folder")
    if not os.path.isdir(folder):
        raise ValueError(f"{what}: no such folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{what}: cannot be written: {shown(error)}") from error


def no_link(path: str, flags: int) -> int:
    """An opener for `open`, of files that are added to: what a link leads to is somebody else's, and an OSError."""
    if os.path.islink(path):
        raise OSError(errno.ELOOP, "expected a file, found a link", str(path))
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)  # if one was put there just now


def check_regular(path: str | Path) -> None:
    """OSError unless `path` is an ordinary file or a link to one: a pipe would be waited for without end."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        found = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise OSError(errno.EINVAL, f"expected a file, found {found}", str(path))


def parse_json(text: str | bytes) -> Any:
    """json.loads, for text of unknown origin: whatever is wrong with it is a ValueError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None


def read_json(path: Path) -> Any:
    """What a JSON file holds; OSError when it cannot be read, ValueError when it is no JSON."""
    check_regular(path)
    return parse_json(path.read_bytes())


def is_count(value: object) -> TypeGuard[int]:
    """Whether a value from JSON is a whole number from 0 on, of a size that something can be counted to."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value from JSON is a finite number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def brief(value: object) -> str:
    """A value from JSON as a message names it."""
    simple = value is None or isinstance(value, str | int | float)
    text = repr(value) if simple else f"a {type(value).__name__}"
    return shown(text if len(text) <= 50 else f"{text[:50]} ...")


def brief_text(text: object) -> str:
    """Words that come from a file, fit for a sentence."""
    text = str(text)
    return shown(text if len(text) <= 300 else f"{text[:300]} ...")


# ---- folders ----


def commit_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Makes `folder` of the files that `write(beside)` puts into the folder `beside`: all of them or none.

    They are written beside, with their checksums, reach the disk, and appear under their name by one rename. A folder
    of this name that is there already is replaced; `recover` undoes what a kill left of that. OSError when something
    cannot be written; nothing has changed then, unless it was the parent's list of names that could not reach the disk.
    """
    partial, replaced = beside(folder), folder.with_name(f".{folder.name}{REPLACED}")
    try:
        partial.mkdir(parents=True)
        write(partial)
        files = sorted(partial.iterdir())
        lines = [f"{_digest(file)}  {file.name}\n" for file in files]
        (partial / CHECKSUMS).write_text("".join(lines), encoding="utf-8")
        for file in (*files, partial / CHECKSUMS, partial):
            sync(file)
        if folder.exists():  # a folder cannot be renamed over another one that is not empty
            remove(replaced)
            folder.rename(replaced)
        try:
            partial.rename(folder)
        except OSError:
            with contextlib.suppress(OSError):
                replaced.rename(folder)
            raise
        for parent in folder.parents[:2]:
            sync(parent)
        remove(replaced)
    finally:
        remove(partial)


def remove(path: Path) -> None:
    """Deletes a file, a link (not what it leads to) or a folder, if it is there and can be deleted."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def recover(parent: Path) -> None:
    """Makes good what the end of a process left in `parent`: folders that were about to be replaced get their names
    back, and what was half written goes. Only who has the lock may do it.
    """
    for replaced in parent.glob(f".*{REPLACED}"):
        folder = parent / replaced.name.removeprefix(".").removesuffix(REPLACED)
        if not folder.exists():
            replaced.rename(folder)
    for partial in parent.glob(".*.partial"):
        if BESIDE.fullmatch(partial.name):  # else it is somebody else's
            remove(partial)


def check_folder(folder: Path, names: Iterable[str]) -> None:
    """ValueError that names which of a committed folder's files, `names`, is missing or not as it was written."""
    try:
        check_regular(folder / CHECKSUMS)
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
        expected = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError) as error:
        raise ValueError(f"{shown(folder / CHECKSUMS)}: cannot be read ({error})") from error
    for name in names:
        try:
            found = _digest(folder / name)
        except OSError as error:
            raise ValueError(f"{shown(folder / name)}: cannot be read ({error.strerror})") from error
        if found != expected.get(name):
            raise ValueError(f"{shown(folder / name)}: damaged, its checksum is not the one it was written with")


def _digest(file: Path) -> str:
    check_regular(file)
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, has reached the disk; Windows has no such thing for folders."""
    folder = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)  # Windows writes back what may be written to
    except PermissionError:
        if folder:
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not folder or error.errno not in (errno.EBADF, errno.EINVAL, errno.ENOTSUP):  # some file systems refuse
            raise
    finally:
        os.close(descriptor)


# ---- locks ----


class LockedError(OSError):
    """Another process works in the same folder."""


class Lock:
    """Holds a folder for this process alone, until `release` or its end, however it ends; a context manager.

    LockedError, with the number of the process that has it, when there is one; OSError when the folder can have no
    lock.
    """

    def __init__(self, folder: Path):
        self._file, self._owner = folder / LOCK, folder / OWNER
        if os.path.lexists(self._file) and not stat.S_ISREG(os.lstat(self._file).st_mode):
            raise OSError(errno.EINVAL, "expected a file to lock, found something else", str(self._file))
        self._lock = filelock.FileLock(self._file, thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise LockedError(f"{shown(folder)} is in use by {self._holder()}") from None
        self._process, self._identity = os.getpid(), _identity(self._file)
        with contextlib.suppress(OSError):  # a full disk: who has the lock is not said then
            write_text(self._owner, f"process {self._process} on {platform.node()}")

    def _holder(self) -> str:
        try:
            check_regular(self._owner)
            with open(self._owner, encoding="utf-8", errors="replace") as file:
                return shown(file.read(300)) or "another process"
        except OSError:
            return "another process"

    def lost(self) -> bool:
        """Whether the folder is no longer the one that was locked: it was moved or deleted, whatever is there now."""
        try:
            return _identity(self._file) != self._identity
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:  # nobody knows: a disk, or a network, that does not answer
            return False

    def release(self) -> None:
        """Leaves the folder to others. It raises nothing: an error that led here is told before one of a lock."""
        if os.getpid() != self._process:  # a forked child has no lock to release
            return
        with contextlib.suppress(OSError):
            if not self.lost():
                self._owner.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._lock.release()

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *exception) -> None:
        self.release()


def _identity(file: Path) -> tuple[int, int]:
    state = os.stat(file)
    return state.st_dev, state.st_ino
