"""Folders that are committed as a whole, their checksums, and locks."""

import errno
import math
import os
import shutil
import subprocess
import sys

import pytest
from odd_files import NO_FILES

from tinynet.files import (
    CHECKSUMS,
    LOCK,
    OWNER,
    Lock,
    LockedError,
    beside,
    brief,
    check_folder,
    commit_folder,
    is_count,
    is_number,
    parse_json,
    read_json,
    recover,
    shell_word,
    shown,
    write_text,
)


def write(text: str):
    return lambda folder: (folder / "a.txt").write_text(text)


def test_a_folder_appears_as_a_whole_and_is_replaced_as_a_whole(tmp_path):
    for text in ("one", "two"):
        commit_folder(tmp_path / "x", write(text))
        assert (tmp_path / "x" / "a.txt").read_text() == text
        assert [path.name for path in tmp_path.iterdir()] == ["x"]
        check_folder(tmp_path / "x", ["a.txt"])


def test_everything_reaches_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """In this order: the files, the checksums and the folder are synced; the rename; the folder around it is synced."""
    events, fsync, rename = [], os.fsync, type(tmp_path).rename

    def synced(descriptor):
        events.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def renamed(path, target):
        events.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(type(tmp_path), "rename", renamed)
    commit_folder(tmp_path / "x", write("one"))
    place = events.index("rename")
    inside = {(tmp_path / "x" / name).stat().st_ino for name in ("a.txt", CHECKSUMS, ".")}
    assert inside <= set(events[:place]) and tmp_path.stat().st_ino in events[place:]


def test_checksums_are_those_of_sha256sum(tmp_path):
    commit_folder(tmp_path / "x", write("one"))
    checked = subprocess.run(["sha256sum", "-c", CHECKSUMS], cwd=tmp_path / "x", capture_output=True, text=True)
    assert checked.returncode == 0 and checked.stdout == "a.txt: OK\n"


def test_an_error_while_writing_leaves_what_was_there(tmp_path):
    commit_folder(tmp_path / "x", write("one"))

    def fail(folder):
        (folder / "a.txt").write_text("half")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        commit_folder(tmp_path / "x", fail)
    assert (tmp_path / "x" / "a.txt").read_text() == "one" and [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_is_wrong_with_a_folder_is_named(tmp_path):
    folder = tmp_path / "x"
    commit_folder(folder, write("one"))
    with pytest.raises(ValueError, match=r"b\.txt: cannot be read"):
        check_folder(folder, ["a.txt", "b.txt"])
    (folder / "a.txt").write_text("oNe")
    with pytest.raises(ValueError, match=r"a\.txt: damaged"):
        check_folder(folder, ["a.txt"])
    (folder / CHECKSUMS).write_text("")
    with pytest.raises(ValueError, match=r"a\.txt: damaged"):
        check_folder(folder, ["a.txt"])
    (folder / CHECKSUMS).unlink()
    with pytest.raises(ValueError, match="SHA256SUMS: cannot be read"):
        check_folder(folder, ["a.txt"])


def test_what_is_planted_in_the_way_is_not_followed(tmp_path):
    """Links under the names that were, and are, used on the way to a file or a folder."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "a.txt").write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    commit_folder(folder / "x", write("one"))
    for name in (".x.partial", ".x.replaced"):
        (folder / name).symlink_to(victim)
    (folder / ".t.partial").symlink_to(victim / "a.txt")
    commit_folder(folder / "x", write("two"))
    write_text(folder / "t", "three")
    assert (folder / "x" / "a.txt").read_text() == "two" and (folder / "t").read_text() == "three"
    assert (victim / "a.txt").read_text() == "precious" and [path.name for path in victim.iterdir()] == ["a.txt"]


def test_a_text_is_written_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / ("n" * 250)
    write_text(path, "one")
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*nnnn"):
        write_text(path, "two")
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_what_the_end_of_a_process_left_is_made_good(tmp_path):
    commit_folder(tmp_path / "x", write("one"))
    (tmp_path / "x").rename(tmp_path / ".x.replaced")
    left = [beside(tmp_path / "x"), beside(tmp_path / "y")]
    left[0].mkdir()
    write("half")(left[0])
    left[1].write_text("half")
    (tmp_path / ".download.partial").write_text("somebody else's")
    recover(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".download.partial", "x"]


@pytest.mark.parametrize("make", NO_FILES)
def test_what_is_no_file_is_an_error_and_no_hang(tmp_path, make):
    folder = tmp_path / "x"
    for name in (CHECKSUMS, "a.txt"):
        commit_folder(folder, write("one"))
        (folder / name).unlink()
        make(folder / name)
        with pytest.raises(ValueError, match=f"{name}: cannot be read .*expected a file, found a"):
            check_folder(folder, ["a.txt"])
        with pytest.raises(OSError, match="expected a file, found a"):
            read_json(folder / name)


@pytest.mark.parametrize("text", ["[" * 5000, '{"a":' * 5000, "9" * 5000, "", "{", b"\xff\xfe\x00\x01", b"\xff"])
def test_text_that_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_numbers_from_json():
    assert [value for value in (0, 7, -1, 2**60, 1.0, True, None, "1", []) if is_count(value)] == [0, 7]
    values = [0, -1.5, True, math.nan, math.inf, 10**400, None, "1", []]
    assert [value for value in values if is_number(value)] == [0, -1.5]
    assert brief([[]]) == "a list" and brief("a\n" + "b" * 99) == r"'a\n" + "b" * 46 + " ..." and brief(1.5) == "1.5"


NAMES = ["plain", "two words", "it's", "a;b", "new\nline", os.fsdecode(b"caf\xe9 it's \\"), "x\x1b[2J"]


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_reads_a_path_back(tmp_path, name):
    word = shell_word(name)
    assert word.isprintable()
    found = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout
    assert found == os.fsencode(name)


HOLD = "import pathlib, sys; from tinynet.files import Lock; lock = Lock(pathlib.Path(sys.argv[1])); print('held'); "
HOLD += "sys.stdout.flush(); input()"


def test_a_lock_names_its_owner_and_ends_with_it(tmp_path):
    command, host = [sys.executable, "-c", HOLD, str(tmp_path)], os.environ | {"TINYNET_BACKEND": "numpy"}
    holder = subprocess.Popen(command, env=host, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=f"in use by process {holder.pid}"):
            Lock(tmp_path)
    finally:
        holder.kill()
        holder.communicate()
    with Lock(tmp_path), pytest.raises(LockedError, match=f"in use by process {os.getpid()}"):
        Lock(tmp_path)
    Lock(tmp_path).release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_a_forked_child_neither_keeps_nor_releases_a_lock(tmp_path):
    lock = Lock(tmp_path)
    child = os.fork()
    if not child:
        lock.release()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    with pytest.raises(LockedError):
        Lock(tmp_path)
    lock.release()
    Lock(tmp_path).release()


@pytest.mark.parametrize("make", [*NO_FILES, lambda path: path.symlink_to("victim")])
def test_only_a_file_can_be_locked(tmp_path, make):
    (tmp_path / "victim").write_text("precious")
    make(tmp_path / ".lock")
    with pytest.raises(OSError, match="expected a file to lock"):
        Lock(tmp_path)
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.parametrize("make", NO_FILES)
def test_who_has_a_lock_may_be_unknown(tmp_path, make):
    with Lock(tmp_path):
        (tmp_path / OWNER).unlink()
        make(tmp_path / OWNER)
        with pytest.raises(LockedError, match=r"in use by another process$"):
            Lock(tmp_path)


def test_a_full_disk_keeps_nobody_from_a_lock(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with Lock(tmp_path), pytest.raises(LockedError, match=r"in use by another process$"):
        Lock(tmp_path)


def test_an_error_is_told_before_that_of_a_lock(tmp_path, monkeypatch):
    lock = Lock(tmp_path)

    def fail(*arguments, **options):
        raise OSError("stale")

    with monkeypatch.context() as patch:
        patch.setattr(lock._lock, "release", fail)
        with pytest.raises(ValueError, match="the first"), lock:
            raise ValueError("the first")
    lock.release()


@pytest.mark.parametrize("what", ["moved", "deleted", "replaced", "its lock deleted"])
def test_a_lock_knows_that_its_folder_is_gone(tmp_path, what):
    folder = tmp_path / "x"
    folder.mkdir()
    with Lock(folder) as lock:
        assert not lock.lost()
        if what == "its lock deleted":
            (folder / LOCK).unlink()
        else:
            folder.rename(tmp_path / "y")
        if what == "deleted":
            shutil.rmtree(tmp_path / "y")
        if what == "replaced":
            folder.mkdir()
            other = Lock(folder)
        assert lock.lost()
    if what == "replaced":  # whose owner is still told
        with pytest.raises(LockedError, match=f"in use by process {os.getpid()}"):
            Lock(folder)
        other.release()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain name.jpg", "plain name.jpg"),
        ("Müller 猫 🐱", "Müller 猫 🐱"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("x\x1b]0;P\x07\x1b[2J\nwarning: forged.jpg", "x\\x1b]0;P\\x07\\x1b[2J\\nwarning: forged.jpg"),
        ("a\rb\tc\x85d\u2028e\u202ef\ud800", "a\\rb\\tc\\x85d\\u2028e\\u202ef\\ud800"),
    ],
)
def test_what_does_not_print_is_escaped(name, expected):
    assert shown(name) == expected
    assert shown("a\n" + name.replace("\n", ""), keep="\n") == "a\n" + expected.replace("\\n", "")
    shown(name).encode("utf-8")
