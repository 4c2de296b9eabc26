"""Folders that are committed as a whole, their checksums, and locks."""

import os
import subprocess
import sys

import pytest

from tinynet.files import CHECKSUMS, Lock, LockedError, check_folder, commit_folder, shown


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
    with Lock(tmp_path), pytest.raises(LockedError, match="in use"):
        Lock(tmp_path)
    Lock(tmp_path).release()


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
