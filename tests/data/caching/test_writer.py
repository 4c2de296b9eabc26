"""Writing a prepared cache: after any interruption the same command goes on, and the files are the same to the byte."""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from systems import posix

from tinynet.commands import prepare
from tinynet.data import DataError, make_dataset, open_dataset
from tinynet.data.caching import writer
from tinynet.data.caching.writer import write_cache
from tinynet.data.stores.cache import read_manifest
from tinynet.files import LockedError

SIZE, CHUNK = 24, 4
CUT = {"images_per_file": 40, "images_per_chunk": CHUNK}
ALL = 4 * (48 + 12)
BAD = 17  # of the training set

# What the tests run in another process: the command, with images that are noted when they are decoded; the worker
# processes import this file too. The file "hold" says after how many finished chunks it is to hold still, its workers
# too, or, with 0, as soon as a worker is being started: what happens then does not depend on the machine's speed.
COMMAND = f"""
import errno, os, sys, time
from pathlib import Path
from tinynet import commands, console
from tinynet.data.caching import journal, workers, writer
from tinynet.data.stores.folders import FolderSplit

here = Path(__file__).parent
decode, sync, add = FolderSplit.load, os.fsync, journal.Journal.add
left = int((here / "hold").read_text()) if (here / "hold").exists() else -1

def hold(over=lambda: False):
    while (here / "hold").exists() and not over():
        time.sleep(0.002)

def add_and_hold(*arguments):
    global left
    add(*arguments)
    left -= 1
    if left == 0:
        (here / "holding").touch()
        hold()

def load(split, index, size):
    with open(here / "decoded", "a") as log:
        print(os.getpid(), split.name(index), file=log)
    if (here / "fatal").exists() and __name__ != "__main__":
        os.kill(os.getpid(), 9)
    if (here / "holding").exists():
        hold(workers._worker._stop.is_set)
    return decode(split, index, size)

def fsync(file):
    if (here / "full").exists() and __name__ != "__main__":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    sync(file)

if left == 0 and __name__ != "__main__":
    (here / "holding").touch()
    hold()
FolderSplit.load, os.fsync, journal.Journal.add = load, fsync, add_and_hold
journal.CHUNKS_BETWEEN_SUMS = 3
writer.write_cache.__kwdefaults__.update(images_per_file=40, images_per_chunk={CHUNK})
if __name__ == "__main__":
    console.run(commands.main)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """192 training and 48 validation images, one of them broken."""
    root = tmp_path_factory.mktemp("writer") / "drawn"
    make_dataset(root, size=30, classes=4, train_per_class=48, val_per_class=12)
    with open(open_dataset(root).train.name(BAD), "r+b") as file:
        file.truncate(300)
    return root


def write(data, out, **options):
    lines = []
    options = CUT | {"max_bad": 0.1, "report": lines.append} | options
    write_cache(data, out, options.pop("size", SIZE), **options)
    return lines


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def expected(folder):
    """What an uninterrupted writer leaves."""
    write(folder, folder.parent / "expected", workers=1)
    return contents(folder.parent / "expected")


class Command:
    """python -m tinynet prepare in a folder, as COMMAND changes it. chunks: after which it holds still."""

    def __init__(self, folder: Path, data: Path, *options, chunks: int | None = None):
        (folder / "command.py").write_text(COMMAND)
        self._hold, self._holding = folder / "hold", folder / "holding"
        for file in (self._hold, self._holding):
            file.unlink(missing_ok=True)
        if chunks is not None:
            self._hold.write_text(str(chunks))
        self.out, self.log = folder / "out", folder / "decoded"
        options = ["--data", data, "--out", self.out, "--size", SIZE, "--max-bad", 0.1, "--workers", 2, *options]
        command = [sys.executable, folder / "command.py", "prepare", *map(str, options)]
        environment = os.environ | {"PYTHONPATH": str(Path(writer.__file__).parents[3])}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def wait(self) -> None:
        """Until it holds still."""
        while not self._holding.exists():
            assert self.process.poll() is None, self.end()
            time.sleep(0.002)

    def go_on(self) -> None:
        self._hold.unlink()

    def journal(self) -> list[dict]:
        journal = self.out / "journal.jsonl"
        lines = journal.read_bytes().split(b"\n")[1:-1] if journal.exists() else []
        return [json.loads(line) for line in lines]

    def end(self) -> tuple[int, str]:
        """Exit code and everything that was printed, once no worker is left: they do not outlive the command."""
        output = "".join(self.process.communicate())
        workers = {int(line.split()[0]) for line in self.decoded()}
        while any(map(alive, workers)):
            time.sleep(0.01)
        return self.process.returncode, output

    def decoded(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def raises(message):
    return pytest.raises(DataError, match=re.escape(message))


@posix
def test_killed_at_random_moments_it_goes_on_and_the_files_are_the_same(folder, expected, tmp_path):
    choose = random.Random(0)
    data = open_dataset(folder)
    finished: set[str] = set()
    for _ in range(5):
        log = tmp_path / "decoded"
        before = len(log.read_text().splitlines()) if log.exists() else 0
        command = Command(tmp_path, folder, chunks=choose.randrange(1, 5))
        command.wait()
        command.process.kill()
        assert command.end()[0] == -signal.SIGKILL
        assert not finished & {line.split()[1] for line in command.decoded()[before:]}
        for record in command.journal():
            name, first, _ = record["chunk"]
            good = [row for row, checksum in enumerate(record["checksums"]) if checksum is not None]
            finished |= {getattr(data, name).name(first + row) for row in good}
        assert len(finished) < ALL - 1
        with open(command.out / "journal.jsonl", "ab") as journal:
            journal.write(b'{"chunk": ["train", 4')  # torn, as a line is that a crash cuts off
    assert finished
    before = len(command.decoded())
    command = Command(tmp_path, folder)
    code, output = command.end()
    assert code == 0, output
    assert "going on: " in output and "images/s" in output and f"bad image: {data.train.name(BAD)}: " in output
    decoded = [line.split()[1] for line in command.decoded()[before:]]
    assert not finished & set(decoded) and len(set(decoded)) == len(decoded) == ALL - len(finished)
    assert contents(command.out) == expected


@posix
@pytest.mark.parametrize(
    ("number", "code", "chunks"), [(signal.SIGINT, 130, 0), (signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 2)]
)
def test_stopped_by_a_signal(folder, expected, tmp_path, number, code, chunks):
    command = Command(tmp_path, folder, chunks=chunks)
    command.wait()
    if chunks:
        with pytest.raises(LockedError, match=f"out is in use by process {command.process.pid}"):
            write(folder, command.out)
    before = len(command.decoded())
    os.killpg(command.process.pid, number)  # as a terminal does: to the workers too
    if not chunks:
        command.go_on()  # a worker that is being started holds the others up
    found, output = command.end()
    if chunks:  # else the others have decoded as many as came before the signal
        assert len(command.decoded()) - before < 2 * CHUNK  # the images under way, and not the chunks
    assert found == code, output
    assert output.endswith("Stopped. What is finished is kept: the same command goes on from there.\n")
    assert "Traceback" not in output
    with raises("not a finished cache: the command that began it, python -m tinynet prepare, goes on with it"):
        open_dataset(command.out)
    lines = write(folder, command.out)
    assert not chunks or re.match(r"going on: \d+ of 240 images are left to decode", lines[1])
    assert contents(command.out) == expected


@pytest.mark.parametrize(
    ("obstacle", "message"),
    [
        ("fatal", "a worker process was killed, most often for want of memory; .* lacks if __name__ == '__main__'"),
        ("full", "No space left on device"),
    ],
)
def test_obstacles_on_the_way(folder, expected, tmp_path, obstacle, message):
    (tmp_path / obstacle).touch()
    command = Command(tmp_path, folder)
    code, output = command.end()
    assert code == 1 and "Traceback" not in output
    message = f"error: {re.escape(str(command.out))}: .*{message}.* What is finished is kept: the same"
    assert re.search(f"^{message}", output, re.M), output
    write(folder, command.out)
    assert contents(command.out) == expected


def test_the_number_of_workers_changes_nothing_and_a_finished_cache_is_left_alone(folder, expected, tmp_path):
    calls = []
    lines = write(folder, tmp_path / "out", workers=3, progress=lambda *call: calls.append(call))
    assert contents(tmp_path / "out") == expected
    assert calls[-1] == (ALL, ALL) and len(calls) == ALL / CHUNK
    assert re.match(r".*/out needs 0\.\d\d GB more, [\d.]+ GB are free", lines[0])
    (tmp_path / "out" / "journal.jsonl").touch()  # as if killed just after the manifest was there
    write(folder, tmp_path / "out")
    assert contents(tmp_path / "out") == expected
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert write(folder, tmp_path / "out") == [f"{tmp_path / 'out'} is complete: nothing to do"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == times


@pytest.mark.parametrize(("name", "images"), [("train", "192 images (0.52%)"), ("val", "48 images (2.08%)")])
def test_too_many_bad_images_stop_it_and_repaired_ones_are_read_again(folder, tmp_path, name, images):
    data, out = shutil.copytree(folder, tmp_path / "data"), tmp_path / "out"
    train, split = open_dataset(data).train, getattr(open_dataset(data), name)
    shutil.copy(train.name(BAD + 1), train.name(BAD))
    path = Path(split.name(BAD))
    content = path.read_bytes()
    path.write_bytes(content[:300])
    for _ in range(2):
        with raises(f"1 of {images} cannot be read, more than the 0.00% that --max-bad (max_bad) allows: {path}: "):
            write(data, out, max_bad=0)
    path.write_bytes(content)
    lines = write(data, out, max_bad=0)
    assert not any("bad image" in line for line in lines)
    write(data, tmp_path / "new", max_bad=0)
    assert contents(out) == contents(tmp_path / "new")
    assert (out / "bad.jsonl").read_text() == ""


def test_chunks_without_a_good_image(folder, tmp_path):
    data, out = shutil.copytree(folder, tmp_path / "data"), tmp_path / "out"
    for index in range(2 * CHUNK, 4 * CHUNK):
        Path(open_dataset(data).train.name(index)).write_bytes(b"")
    write(data, out)
    found = json.loads((out / "cache.json").read_text())["bad"]
    assert found == {"train": 2 * CHUNK + 1, "val": 0} and open_dataset(out).statistics.images == 192 - 2 * CHUNK - 1


def test_a_data_set_that_changes_meanwhile(folder, tmp_path, monkeypatch):
    """Nothing of it is taken for a bad image."""
    describe = writer.describe
    monkeypatch.setattr(writer, "describe", lambda *given: replace(describe(*given), contents="as it was"))
    with raises(f"{folder}: the data set changed while it was prepared"):
        write(folder, tmp_path / "out")
    assert len((tmp_path / "out" / "journal.jsonl").read_text().splitlines()) == 1


def test_chunks_cut_otherwise_are_not_counted_twice(folder, expected, tmp_path):
    command = Command(tmp_path, folder, chunks=10)
    command.wait()
    command.process.kill()
    command.end()
    assert (command.out / "sums.safetensors").exists()
    write(folder, command.out, images_per_chunk=2 * CHUNK)
    assert contents(command.out) == expected


def test_an_image_damaged_in_an_unfinished_cache_is_decoded_again(folder, expected, tmp_path):
    """Of chunks whose sums are not kept: they are read again, and what is read is checked."""
    command = Command(tmp_path, folder, chunks=2)
    command.wait()
    command.process.kill()
    command.end()
    (command.out / "sums.safetensors").unlink(missing_ok=True)
    split, first, _ = command.journal()[0]["chunk"]
    with open(command.out / f"{split}-{first // 40:03}.npy", "r+b") as file:
        file.seek(128 + (first % 40) * SIZE * SIZE * 3 + 100)
        file.write(b"damaged")
    write(folder, command.out)
    assert contents(command.out) == expected


@pytest.mark.parametrize("finished", [True, False])
def test_another_cache_is_never_written_over(folder, expected, tmp_path, finished):
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    for name, content in expected.items():
        (out / name).write_bytes(content)
    if not finished:
        manifest = replace(read_manifest(out), bad=None, digests=None)
        (out / "journal.jsonl").write_text(manifest.to_json() + "\n")
        (out / "cache.json").unlink()
    before = contents(out)
    shutil.copytree(folder, other)
    with raises(f"source {folder}, not {other}; other contents"):
        write(other, out)
    with raises("size 24, not 32"):
        write(folder, out, size=32)
    (folder / "train" / "eel").mkdir()
    try:
        shutil.copy(open_dataset(other).train.name(0), folder / "train" / "eel")
        with raises("other classes; other names; images {'train': 192, 'val': 48}, not {'train': 193, 'val': 48}"):
            write(folder, out)
    finally:
        shutil.rmtree(folder / "train" / "eel")
    assert {name: content for name, content in contents(out).items() if name != ".lock"} == before


def test_a_folder_with_other_things_is_refused(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with raises(f"{tmp_path}: expected a new or empty folder, or a cache begun before; found notes.txt"):
        write(folder, tmp_path)
    assert os.listdir(tmp_path) == ["notes.txt"]
    with raises("notes.txt: expected a folder to write, found a file"):
        write(folder, tmp_path / "notes.txt")
    with raises("looked for a folder, found nothing of that name"):
        write(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_disk_too_small(folder, expected, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=ALL * SIZE * SIZE * 3 - 1))
    with raises("out needs 0.00 GB more, 0.00 GB are free"):
        write(folder, tmp_path / "out")
    monkeypatch.undo()
    write(folder, tmp_path / "out")
    assert contents(tmp_path / "out") == expected


def test_a_damaged_journal_and_a_missing_file_of_pixels(folder, tmp_path):
    command = Command(tmp_path, folder, chunks=1)
    command.wait()
    command.process.kill()
    command.end()
    journal, pixels = command.out / "journal.jsonl", command.out / "train-001.npy"
    content = journal.read_bytes()
    pixels.rename(command.out / "aside")
    with raises(f"No such file or directory: '{pixels}'; remove {command.out} and begin again"):
        write(folder, command.out)
    pixels.symlink_to(command.out / "aside")
    with raises(f"{pixels}: expected a file of the cache's own to write, found a link"):
        write(folder, command.out)
    (command.out / "aside").rename(pixels)
    for damaged in (b"damaged" + content, content + b"{damaged}\n"):
        journal.write_bytes(damaged)
        with raises(f"{journal}: "):
            write(folder, command.out)


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"size": 10001}, {"workers": 0}, {"images_per_chunk": 0}, {"images_per_file": 41}]
)
def test_wrong_options(folder, tmp_path, wrong):
    with pytest.raises(ValueError, match=r"expected size from 1 to 10000 and workers|chunks of . images do not fill"):
        write(folder, tmp_path / "out", **wrong)
    with pytest.raises(ValueError, match="max_bad: expected a share"):
        write(folder, tmp_path / "out", max_bad=2)


def test_the_last_line_can_be_pasted(monkeypatch, capsys):
    monkeypatch.setattr(writer, "write_cache", lambda *given, **named: None)
    monkeypatch.setattr(signal, "signal", lambda *given: None)
    options = {"data": "data", "size": SIZE, "workers": 1, "max_bad": 0.01, "val_share": None}
    for out, word in (("a cache", "'a cache'"), ("caf\udce9\n", r"$'caf\xe9\n'")):
        prepare.run(argparse.Namespace(out=out, **options))
        assert capsys.readouterr().out == f"Train from it with --data {word} --resize {SIZE}\n"


def test_a_share_of_a_folder_of_classes(folder, tmp_path):
    """Through the command, in a folder called train, which is cut only when a share is asked for."""
    command = Command(tmp_path, folder / "train", "--val-share", 0.3)
    code, output = command.end()
    assert code == 0 and "(val_share=0.3)" in output, output
    data, cached = open_dataset(folder / "train", val_share=0.3), open_dataset(command.out)
    assert cached.fingerprint == data.fingerprint and len(cached.val) == len(data.val) > 0.2 * 192
    assert cached.val.load(0, SIZE).tobytes() == data.val.load(0, SIZE).tobytes()
    with raises(f"{command.out}: another prepared cache is there: images "):
        write(folder / "train", command.out, val_share=0.5)
    with raises(f"{folder}: val_share=0.3 would cut a validation set"):
        write(folder, tmp_path / "other", val_share=0.3)
    code, output = Command(tmp_path, folder / "train", "--val-share", 1).end()
    assert code == 1 and output.endswith("error: --val-share 1.0: expected more than 0 and less than 1\n")
