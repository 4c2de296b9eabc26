"""A run on the ranks of a mesh: the batches that they share, and what rank 0 reads and writes for all of them."""

import argparse
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tinynet.data import Batch, Loader, Statistics
from tinynet.data.statistics import Sums
from tinynet.errors import CheckpointError
from tinynet.interruption import StopSignals
from tinynet.parallel.mesh import Mesh, check_alone, parse_mesh
from tinynet.processes import silence
from tinynet.training.checkpoint import Checkpoint, whole_state
from tinynet.training.folder import RunFolder, going_on
from tinynet.weights import whole_parameters


def mesh_of(typed: argparse.Namespace) -> Mesh | None:
    """The mesh that the user asked for. ValueError where processes were started that nobody shares work out to."""
    if not getattr(typed, "mesh", None):
        check_alone()
        return None
    return Mesh(*parse_mesh(typed.mesh), typed.one_weird_trick)


@contextmanager
def speaking(mesh: Mesh | None) -> Iterator[None]:
    """A context in which rank 0 alone prints."""
    with nullcontext() if mesh is None or mesh.leads else silence(errors=False):
        yield


def agreed(mesh: Mesh | None, stop: StopSignals, due: bool = False) -> tuple[signal.Signals | None, bool]:
    """The signal that has come, to whichever rank, and whether rank 0 says that a checkpoint is due."""
    if mesh is None:
        return stop.received, due
    told = mesh.world.numbers([stop.received or 0, due]).astype(int)
    number = next((number for number in told[:, 0].tolist() if number), 0)
    received = signal.Signals(number) if number else None  # not stop.received: another may have come since it was told
    if stop.received is None:
        stop.received = received
    return received, bool(told[0, 1])


# ---- what they read ----


class SharedLoader(Loader):
    """A Loader of which each rank reads its own share of every batch, as pixels.

    Ranks that compute on the same images, as the towers of a replica do, then give each other what they have read. What
    cannot be read is known to all, and counts as it does in one process. The options are Loader's.
    """

    def __init__(self, mesh: Mesh, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options | {"share": (mesh.rank, mesh.size)})
        self._mesh = mesh

    def _finished(self, batch: Batch, failures: dict[int, str]) -> Batch:
        mesh = self._mesh
        told = mesh.world.numbers([len(batch.labels) - len(failures), len(failures)]).astype(int)
        if told[:, 1].any():
            bad = [(int(batch.indices[position]), reason) for position, reason in failures.items()]
            for index, reason in itertools.chain(*mesh.world.everyone(bad)):
                self._bad.add(index, reason)
            batch = batch.without(list(failures))
        counts = told[:, 0].reshape(mesh.replicas, mesh.towers)
        of_replicas = tuple(counts.sum(axis=1).tolist())
        if not sum(of_replicas):
            return batch
        if mesh.towers > 1:
            batch = self._gathered(batch, counts[mesh.replica].tolist())
        if not len(batch.images):
            batch = self._stand_in(batch)
        if mesh.one_weird_trick:  # every rank has an answer for every image
            labels, indices = (
                mesh.world.gather_rows(rows[: of_replicas[mesh.replica]], of_replicas)
                for rows in (batch.labels, batch.indices)
            )
            batch = replace(batch, labels=labels, indices=indices)
        return replace(batch, part=(mesh.replica, of_replicas))

    def _gathered(self, batch: Batch, counts: list[int]) -> Batch:
        """The batch of a replica, of which each tower has read a part."""
        gather, pictures = self._mesh.within.gather_rows, [batch.views * count for count in counts]
        shifts = None if batch.shifts is None else gather(batch.shifts, pictures)
        labels, indices = gather(batch.labels, counts), gather(batch.indices, counts)
        return replace(batch, images=gather(batch.images, pictures), shifts=shifts, labels=labels, indices=indices)

    def _stand_in(self, batch: Batch) -> Batch:
        """One black image, for a replica to which there is none left of a small batch: see Ranks.take_part."""
        images = np.zeros((batch.views, *batch.images.shape[1:]), batch.images.dtype)
        shifts = None if batch.shifts is None else np.zeros((batch.views, 3), np.float32)
        one = np.zeros(1, np.int64)
        return replace(batch, images=images, shifts=shifts, labels=one, indices=one)


def shared_measuring(mesh: Mesh | None) -> dict[str, Any]:
    """The options of `measure` by which each rank looks at its share of the images, and all know the whole."""
    if mesh is None:
        return {}

    def join(sums: Sums, bad: dict[int, str]) -> dict[int, str]:
        for own in (sums.pixel_sums, sums.products):
            own[...] = mesh.world.gather_host(own).sum(axis=0)  # in the order of the ranks
        sums.images = int(mesh.world.numbers([sums.images]).sum())
        return dict(itertools.chain(*mesh.world.everyone(list(bad.items()))))

    return {"share": (mesh.rank, mesh.size), "join": join}


def in_turn(mesh: Mesh | None, task: Callable[[], object]) -> None:
    """task() on every rank: first on rank 0, then on the first of each machine, then on the others, which find what it
    has written, on whatever disks their machines share.
    """
    if mesh is None:
        task()
        return
    own = 0 if mesh.leads else 1 if mesh.leads_machine else 2
    for turn in range(3):
        if turn == own:
            task()
        mesh.world.barrier()


# ---- the run's folder, which is rank 0's ----


class NoFolder:
    """The folder of a run as the other ranks have it: nothing is read or written there. See RunFolder."""

    path = Path(os.devnull)
    unsaved: CheckpointError | None = None

    def save(self, net, optimizer, statistics: Statistics, state: dict) -> None:
        whole_state(net, optimizer)  # where all ranks meet

    def finish(self, net, statistics: Statistics, settings: dict) -> None:
        whole_parameters(net)

    def logged(self) -> ExitStack:
        return ExitStack()

    def contents(self) -> list[str]:
        return []

    def due(self) -> bool:
        return False

    keep_folder = due

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name not in ("start", "describe", "log", "warn", "bad_image", "pass_over", "unfinish", "close"):
            raise AttributeError(name)
        return lambda *arguments, **options: None


def shared_going_on(
    mesh: Mesh | None, typed: argparse.Namespace, stack: ExitStack
) -> tuple[RunFolder | NoFolder | None, Checkpoint | None, list[str]]:
    """See going_on. Other ranks than 0 need not see the run's folder: they are told what is in its checkpoint."""
    if mesh is None:
        return going_on(typed, stack)
    found: RunFolder | NoFolder | None = NoFolder()
    checkpoint, damaged = None, list[str]()
    if mesh.leads:
        found, checkpoint, damaged = going_on(typed, stack)
    return found, _told(mesh, checkpoint), damaged


def _told(mesh: Mesh, checkpoint: Checkpoint | None) -> Checkpoint | None:
    """Rank 0's checkpoint."""
    names = ("settings", "history", "step", "epoch", "running", "left_out")
    own = {name: getattr(checkpoint, name) for name in names} | {"path": str(checkpoint.path)} if checkpoint else None
    about = mesh.world.from_first(own)
    if about is None:
        return None
    tell = mesh.world.arrays_from_first
    if checkpoint:
        for arrays in (checkpoint.weights, checkpoint.velocity, checkpoint.statistics.to_arrays()):
            tell(arrays)
        return checkpoint
    weights, velocity, statistics = tell(), tell(), Statistics.from_arrays(tell())
    left_out = {split: {int(image): why for image, why in bad.items()} for split, bad in about["left_out"].items()}
    about |= {"left_out": left_out, "path": Path(about["path"])}
    return Checkpoint(weights=weights, velocity=velocity, statistics=statistics, **about)
