"""A mesh of MPI's ranks: replicas of the network, each of one or more towers, and what they tell each other.

`--mesh 4x2` is four replicas of two towers on eight ranks: rank r has tower r % 2 of replica r // 2. Each replica sees
its share of a batch's images, each tower of it has its part of the layers.
"""

import json
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL

from tinynet import backend, execution
from tinynet.errors import MismatchError
from tinynet.files import shown
from tinynet.parallel.ledger import Ledger
from tinynet.parallel.mpi import MPICommunicator, import_mpi
from tinynet.parallel.partition import MOST
from tinynet.processes import rank_and_size
from tinynet.threads import usable_cores


def parse_mesh(text: str) -> tuple[int, int]:
    """(replicas, towers) of "4x2"; ValueError for anything else."""
    match = re.fullmatch(r"([0-9]{1,6})[x×*]([0-9]{1,6})", text.strip().lower())
    replicas, towers = map(int, match.groups()) if match else (0, 0)
    if replicas < 1 or not 1 <= towers <= MOST:
        raise ValueError(f"--mesh {text}: expected REPLICASxTOWERS, such as 4x1, 1x2 or 4x2")
    return replicas, towers


class Mesh:
    """This process as one of replicas * towers ranks. All ranks make one together, and call the same methods in one
    order.

    one_weird_trick: the scheme of Krizhevsky 2014 (arXiv:1404.5997): convolutions as replicas, of which each has its
    own images, and the linear layers as towers of all of the ranks.

    world, across, within: lines to all ranks; to those that have the same tower of other replicas; to the other towers
    of this replica (with one_weird_trick, to those of the linear layers, which are all ranks).

    ValueError where MPI has started another number of processes, MismatchError where ranks run other versions.
    """

    def __init__(self, replicas: int, towers: int = 1, one_weird_trick: bool = False):
        MPI = import_mpi()
        self.comm = MPI.COMM_WORLD
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        self.replicas, self.towers, self.one_weird_trick = replicas, towers, one_weird_trick
        name = f"--mesh {replicas}x{towers}"
        if one_weird_trick and towers > 1:
            instead = f"--mesh {self.size}x1"
            raise ValueError(f"{name}: --one-weird-trick splits the linear layers over the replicas: {instead}")
        if self.size != replicas * towers:
            started = f"MPI has started {self.size}" if self.size > 1 else "this is one"
            start = f"mpiexec -n {replicas * towers} python -m mpi4py {shown(sys.argv[0])} ..."
            raise ValueError(f"{name}: expected {replicas * towers} processes, {started}: {start}")
        self.replica, self.tower = divmod(self.rank, towers)
        self._of_machine = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.ledger = Ledger(self.size, "rank")  # of which each rank fills its own column: see `whole_ledger`
        self.world = MPICommunicator(self.comm, self.ledger)
        across = self.comm.Split(self.tower, self.rank)
        within = self.comm.Split(0 if one_weird_trick else self.replica, self.rank)
        self.across, self.within = (MPICommunicator(comm, self.ledger, self.rank) for comm in (across, within))
        self.agree("versions", versions())
        self._take_place()

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which logs, saves and draws."""
        return self.rank == 0

    @property
    def leads_machine(self) -> bool:
        """Whether this is the first rank of its machine, which writes files there that all of its ranks read."""
        return self._of_machine.Get_rank() == 0

    def __str__(self) -> str:
        if self.one_weird_trick:
            return f"On {self.size} ranks: convolutions on shares of each batch, linear layers split over all"
        parts = [f"{self.replicas} replicas, each with its share of each batch"] * (self.replicas > 1)
        parts += [f"{self.towers} towers, each with its part of every layer"] * (self.towers > 1)
        return f"On {self.size} rank{'s' * (self.size > 1)}: {' of '.join(parts) or 'one replica of one tower'}"

    # ---- what ranks say ----

    def agree(self, what: str, own: Mapping[str, Any]) -> None:
        """MismatchError, which names what differs, on each rank where something is not what rank 0 has."""
        first = self.world.from_first(dict(own))
        mine = json.loads(json.dumps(dict(own)))
        differing = [name for name in dict.fromkeys([*first, *mine]) if first.get(name) != mine.get(name)]
        if differing:
            pairs = "; ".join(f"{name} {mine.get(name)}, there {first.get(name)}" for name in differing)
            raise MismatchError(shown(f"on {machine()}, other {what} than on rank 0: {pairs}"))

    def whole_ledger(self) -> Ledger:
        """With the columns of all ranks."""
        whole = Ledger(self.size, "rank")
        for rank, column in enumerate(self.world.everyone(self.ledger.column(self.rank))):
            for row in column:
                whole.record(rank, *row)
        return whole

    # ---- this rank's share of its machine ----

    def _take_place(self) -> None:
        """A GPU, or threads: the cores of a machine are shared out among the ranks on it, unless the user says how many
        threads a rank has. Where there are more threads than cores, that is said.
        """
        comm = self._of_machine
        backend.use_device(comm.Get_rank())
        if backend.on_gpu:
            return
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(usable_cores()))
        counts = np.zeros(1 + max([*cores, os.cpu_count() or 1]), np.int64)
        counts[cores] = 1
        users = np.empty((comm.Get_size(), len(counts)), np.int64)
        comm.Allgather(counts, users)
        sharing = users.sum(axis=0)
        if not execution.threads_set:
            execution.use_threads(max(1, int(sum(1 / sharing[core] for core in cores) + 1e-9)))
        threads = np.empty(comm.Get_size(), np.int64)
        comm.Allgather(np.array([execution.num_threads], np.int64), threads)
        there = int(np.count_nonzero(sharing))
        if threads.sum() > there and self.leads_machine:
            much = f"{len(threads)} ranks with {threads.sum()} threads share {there} core{'s' * (there > 1)}"
            slower = "each waits for the others, and waiting takes a core, too"
            print(f"warning: {machine()}: {much}: {slower}", file=sys.stderr)


def machine() -> str:
    """The name of this computer."""
    return import_mpi().Get_processor_name()


def versions() -> dict[str, str]:
    """What all ranks must have alike: what computes, and what decodes images."""
    from tinynet import __version__

    found = {"tinynet": __version__, "NumPy": np.__version__, "Pillow": PIL.__version__}
    return found | {"TINYNET_BACKEND": backend.name} | ({"CuPy": backend.xp.__version__} if backend.on_gpu else {})


def check_alone() -> None:
    """ValueError in one of several processes that nobody has told how to share the work."""
    _, size = rank_and_size()
    if size > 1:
        towers = f" or, for two towers, --mesh {size // 2}x2" if size % 2 == 0 else ""
        alike = f"MPI has started {size} processes, and each would do the same"
        raise ValueError(f"{alike}: say how they share it, --mesh {size}x1{towers}")
