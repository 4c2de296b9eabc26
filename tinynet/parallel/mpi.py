"""MPI's ranks as devices: their communicator, and sums that are under way while a rank goes on to compute.

Every exchange is a collective operation of MPI's own on buffers where they lie. A sum is an Alltoall, which brings each
rank everybody's part of one block, an addition in the order of the ranks, and an Allgather: MPI_Allreduce may choose
another order from one message size, library or machine to the next, and two runs would differ in their last bits.
"""

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinynet.backend import Array, finish, on_gpu, pinned, xp
from tinynet.execution import Memory
from tinynet.parallel.communicator import Communicator
from tinynet.parallel.ledger import Ledger


def import_mpi() -> Any:
    """mpi4py.MPI, which starts MPI when it is imported first; ImportError that says how to install it."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: no MPI library is found
        raise ImportError(f"several processes need MPI: pip install 'tinynet[mpi]' ({error})") from error
    return MPI


def takes_gpu_arrays(comm: Any) -> bool:
    """Whether this MPI reads and writes the memory of NVIDIA's GPUs: what its info says since MPI 4.1."""
    kinds = comm.Get_info().Get("mpi_memory_alloc_kinds") or ""
    return any(kind.split(":")[0] == "cuda" for kind in kinds.split(","))


class MPICommunicator(Communicator):
    """A rank's line to the others of an MPI communicator `comm`.

    NumPy's arrays are sent and received in place, CuPy's too where MPI is CUDA-aware, else through pinned memory of the
    host. seconds: spent inside of MPI so far. All calls come from one thread.
    """

    def __init__(self, comm: Any, ledger: Ledger, column: int | None = None):
        super().__init__(comm.Get_rank(), comm.Get_size(), ledger, column)
        self.comm, self.seconds = comm, 0.0
        self.in_place: Any = import_mpi().IN_PLACE
        self._direct = not on_gpu or takes_gpu_arrays(comm)
        self.xp = xp if self._direct else np  # of the buffers that MPI sees
        self._empty: Any = xp.empty if self._direct else pinned
        self._memory = Memory(self._empty)

    def __reduce__(self) -> tuple:
        raise TypeError("a network on MPI's ranks cannot be copied or pickled: its other parts are in other processes")

    # ---- buffers ----

    def _outgoing(self, name: str, array: Array) -> Array:
        """What MPI is to send: the array (contiguous), or its copy on the host."""
        if self._direct:
            return array
        return array.get(out=self._memory.array(name, array.shape, array.dtype))

    def _incoming(self, name: str, array: Array) -> Array:
        """Where MPI is to write what becomes `array`, once it has `_arrived`."""
        return array if self._direct else self._memory.array(name, array.shape, array.dtype)

    def _arrived(self, buffer: Array, array: Array) -> None:
        if buffer is not array:
            array.set(buffer)

    def staged(self, name: str, array: Array) -> Array:
        """The array, or a copy in the host's memory that `fetch` brings back: for exchanges that go on for a while."""
        return array if self._direct else self._outgoing(f"staged {name}", array)

    def fetch(self, name: str, array: Array) -> None:
        self._arrived(array if self._direct else self._incoming(f"staged {name}", array), array)

    def scratch(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """Memory for a message, until the next request for `name`."""
        return self._memory.array(name, shape, dtype)

    def empty_like(self, array: Array) -> Array:
        """The same for as long as it is wanted."""
        return self._empty(array.shape, array.dtype)

    # ---- a Communicator's operations ----

    def _all_gather(self, block, out) -> None:
        source, target = self._outgoing("block", block), self._incoming("out", out)
        self.call(self.comm.Allgather, source, target)
        self._arrived(target, out)

    def _reduce_scatter(self, whole, out) -> None:
        source, target = self._outgoing("whole", whole), self._incoming("out", out)
        received = self.scratch("received", (self.size, *out.shape), out.dtype)
        self.call(self.comm.Alltoall, source, received)
        self.add_up(received, target)
        self._arrived(target, out)

    def _all_reduce(self, x, out) -> int:
        out[...] = x
        flat, size = out.reshape(-1), -(-x.size // self.size) * self.size
        in_place = self._direct and size == x.size
        sums = flat if in_place else self.scratch("sums", (size,), x.dtype)
        if not in_place:
            sums[: x.size], sums[x.size :] = self._outgoing("x", flat), 0
        blocks = self.scratch("received", (self.size, size // self.size), x.dtype)
        self.call(self.comm.Alltoall, sums, blocks)
        self.add_up(blocks, sums.reshape(blocks.shape)[self.rank])
        self.call(self.comm.Allgather, self.in_place, sums)
        if not in_place:
            out[...] = xp.asarray(sums[: x.size]).reshape(x.shape)
        return 2 * (self.size - 1) * blocks[0].nbytes

    def _broadcast(self, x, root: int) -> None:
        buffer = self._outgoing("x", x)
        self.call(self.comm.Bcast, buffer, root)
        if self.rank != root:
            self._arrived(buffer, x)

    def barrier(self) -> None:
        self.comm.Barrier()

    # ---- what lies on the host: numbers, whole arrays, and anything that JSON can hold ----

    def numbers(self, own: Sequence[float]) -> np.ndarray:
        """(ranks, n) float64: the n numbers of every rank."""
        return self.gather_host(np.array(own, np.float64))

    def everyone(self, own: Any) -> list:
        """What every rank says, anything that JSON can hold, in the order of the ranks."""
        message = np.frombuffer(json.dumps(own).encode(), np.uint8)
        sizes = self.numbers([len(message)])[:, 0].astype(int).tolist()
        told = self.gather_rows(message, sizes)
        ends = np.cumsum(sizes)
        return [json.loads(told[end - size : end].tobytes()) for size, end in zip(sizes, ends, strict=True)]

    def from_first(self, value: Any = None) -> Any:
        """What rank 0 says, anything that JSON can hold; what others would say does not matter."""
        message = np.array(bytearray(json.dumps(value).encode()))
        size = np.array([len(message)], np.int64)
        self.comm.Bcast(size, 0)
        message = message if self.rank == 0 else np.empty(size[0], np.uint8)
        self.comm.Bcast(message, 0)
        return json.loads(message.tobytes())

    def arrays_from_first(self, arrays: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """Rank 0's arrays on the host, by name."""
        about = {name: [array.shape, array.dtype.str] for name, array in (arrays or {}).items()}
        found = {}
        for name, (shape, dtype) in self.from_first(about).items():
            own = arrays is not None and self.rank == 0
            array = np.ascontiguousarray(arrays[name]) if own else np.empty(shape, dtype)  # type: ignore[index]
            self.comm.Bcast(array, 0)
            found[name] = array
        return found

    def gather_host(self, array: np.ndarray) -> np.ndarray:
        """(ranks, ...): the arrays of all ranks, of one shape and dtype."""
        array = np.ascontiguousarray(array)
        told = np.empty((self.size, *array.shape), array.dtype)
        self.timed(self.comm.Allgather, array, told)
        return told

    def gather_rows(self, rows: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        """The rows of all ranks, one below the other: arrays (counts[rank], ...) of one dtype."""
        rows = np.ascontiguousarray(rows)
        told = np.empty((sum(counts), *rows.shape[1:]), rows.dtype)
        sizes = [count * (told.nbytes // max(1, len(told))) for count in counts]
        self.timed(self.comm.Allgatherv, rows.view(np.uint8).reshape(-1), (told.view(np.uint8).reshape(-1), sizes))
        return told

    # ---- what they are made of ----

    def call(self, operation: Any, *arguments: Any) -> Any:
        """An operation of MPI's that reads arrays, once what was queued on the device is done."""
        if self.xp is not np:
            finish()
        return self.timed(operation, *arguments)

    def timed(self, operation: Any, *arguments: Any) -> Any:
        before = time.perf_counter()
        try:
            return operation(*arguments)
        finally:
            self.seconds += time.perf_counter() - before

    def add_up(self, blocks: Array, out: Array) -> None:
        """out = the sum of the ranks' blocks (size, ...), in their order."""
        if self.size == 1:
            self.xp.copyto(out, blocks[0])
            return
        self.xp.add(blocks[0], blocks[1], out=out)
        for block in blocks[2:]:
            self.xp.add(out, block, out=out)


class Summations:
    """Sums over all ranks that are under way while the caller computes, each of a flat array whose length they divide.

    They go on where MPI is called: `test` does what can be done now, and `wait` returns when all sums are there. MPI
    wants all ranks to begin their collective operations in one order, whatever has arrived where: so the exchanges
    before the additions have a communicator of their own, those after them another, and on each the order is that of
    the calls of `start`.
    """

    def __init__(self, communicator: MPICommunicator):
        self._communicator = communicator
        self._scattering, self._gathering = communicator.comm.Dup(), communicator.comm.Dup()
        self._scattered: deque[tuple[Any, Array, Array]] = deque()  # request, array, the blocks that come
        self._gathered: list[Any] = []

    def start(self, whole: Array, received: Array) -> int:
        """Begins to add up `whole` in place. received: memory of the same size, in use as `whole` is until `wait`.

        Returns the bytes that this rank will get from the others.
        """
        communicator = self._communicator
        blocks = received.reshape(communicator.size, -1)
        request = communicator.call(self._scattering.Ialltoall, whole, blocks)
        self._scattered.append((request, whole, blocks))
        return 2 * (communicator.size - 1) * blocks[0].nbytes

    def test(self) -> None:
        """Looks what has arrived, and goes on with it."""
        timed = self._communicator.timed
        while self._scattered and timed(self._scattered[0][0].Test):
            self._add()
        self._gathered = [request for request in self._gathered if not timed(request.Test)]

    def wait(self) -> None:
        """Returns when every sum is in its place."""
        timed = self._communicator.timed
        while self._scattered:
            timed(self._scattered[0][0].Wait)
            self._add()
        while self._gathered:
            timed(self._gathered.pop(0).Wait)

    def _add(self) -> None:
        """The first of those that wait has everybody's blocks."""
        communicator = self._communicator
        _, whole, blocks = self._scattered.popleft()
        communicator.add_up(blocks, whole.reshape(blocks.shape)[communicator.rank])
        self._gathered.append(communicator.call(self._gathering.Iallgather, communicator.in_place, whole))
