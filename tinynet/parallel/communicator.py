"""How devices talk: the operations that exchange layers call, and the communicator of the devices of one process.

Whatever can be a device becomes one by another subclass of Communicator; the layers do not know which it is. Arrays are
C-contiguous and batch-last; sums are taken in the order of the devices, so that all devices get the same bits.
"""

from abc import ABC, abstractmethod

from tinynet.backend import Array, here, record_event, wait_for_event, xp
from tinynet.parallel.devices import Meeting
from tinynet.parallel.ledger import Ledger


class Communicator(ABC):
    """One device's line to the others: `rank` of `size`. Every device calls the same operations in the same order.

    Each operation is noted in the ledger, in the column of this device (default: `rank`), with the layer and the
    direction that it was called for.
    """

    def __init__(self, rank: int, size: int, ledger: Ledger, column: int | None = None):
        self.rank, self.size, self.ledger = rank, size, ledger
        self._column = rank if column is None else column

    def all_gather(self, block: Array, out: Array, layer: str = "", direction: str = "forward") -> None:
        """out (size * A, ...) = the blocks (A, ...) of all devices, in their order."""
        self._all_gather(block, out)
        self.note(layer, direction, "all_gather", (self.size - 1) * block.nbytes)

    def reduce_scatter(self, whole: Array, out: Array, layer: str = "", direction: str = "forward") -> None:
        """out (A, ...) = this device's block of the sum of all devices' `whole` (size * A, ...)."""
        self._reduce_scatter(whole, out)
        self.note(layer, direction, "reduce_scatter", (self.size - 1) * out.nbytes)

    def all_reduce(self, x: Array, out: Array, layer: str = "", direction: str = "forward") -> None:
        """out = the sum of all devices' x; `out` must not be x."""
        received = self._all_reduce(x, out)
        self.note(layer, direction, "all_reduce", received)

    def broadcast(self, x: Array, root: int = 0, layer: str = "", direction: str = "forward") -> None:
        """x of every device becomes that of device `root`."""
        self._broadcast(x, root)
        self.note(layer, direction, "broadcast", x.nbytes if self.rank != root else 0)

    @abstractmethod
    def barrier(self) -> None:
        """Waits until every device is here."""

    def note(self, layer: str, direction: str, operation: str, received: int) -> None:
        self.ledger.record(self._column, layer, direction, operation, received)

    @abstractmethod
    def _all_gather(self, block, out) -> None: ...

    @abstractmethod
    def _reduce_scatter(self, whole, out) -> None: ...

    @abstractmethod
    def _all_reduce(self, x, out) -> int:
        """Returns the bytes that this device got from the others, which depend on the way that the sum is taken."""

    @abstractmethod
    def _broadcast(self, x, root: int) -> None: ...


class ThreadCommunicator(Communicator):
    """Devices of one process: CPU threads that read each other's memory, or GPUs that copy from each other.

    Every operation is: show your array, read the others', and wait until the others have read yours. On GPUs an event
    says when an array is ready to be read, and another when the reading is done.
    """

    def __init__(self, rank: int, ledger: Ledger, meeting: Meeting):
        super().__init__(rank, meeting.size, ledger)
        self._meeting = meeting

    def _show(self, array) -> list:
        """Everybody's arrays, where they lie, in the order of the devices; ready for work that is queued after."""
        arrays, events = zip(*self._meeting.show(self.rank, (array, record_event())), strict=True)
        self._wait_for(events)
        return list(arrays)

    def _wait_until_read(self) -> None:
        self._wait_for(self._meeting.show(self.rank, record_event()))

    def _wait_for(self, events) -> None:
        for rank, event in enumerate(events):
            if rank != self.rank:
                wait_for_event(event)

    def _all_gather(self, block, out) -> None:
        for rank, array in enumerate(self._show(block)):
            out[rank * len(block) : (rank + 1) * len(block)] = here(array)
        self._wait_until_read()

    def _reduce_scatter(self, whole, out) -> None:
        own = slice(self.rank * len(out), (self.rank + 1) * len(out))
        self._sum([array[own] for array in self._show(whole)], out)
        self._wait_until_read()

    def _all_reduce(self, x, out) -> int:
        self._sum(self._show(x), out)
        self._wait_until_read()
        return (self.size - 1) * x.nbytes

    def _broadcast(self, x, root: int) -> None:
        source = self._show(x)[root]
        if self.rank != root:
            x[...] = here(source)
        self._wait_until_read()

    def barrier(self) -> None:
        self._meeting.wait()

    @staticmethod
    def _sum(arrays: list, out) -> None:
        out[...] = here(arrays[0])
        for array in arrays[1:]:
            xp.add(out, here(array), out=out)
