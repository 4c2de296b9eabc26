"""The devices of one process: a thread that drives each of them, and the place where those threads meet."""

import os
import threading
from collections.abc import Callable

from tinynet import backend, execution
from tinynet.execution import work_with
from tinynet.threads import Turn, Worker, Workers, for_each, one_at_a_time


class DeviceFailedError(RuntimeError):
    """Another device failed, so this one gave up waiting for it; that device's own error is the one to read."""


class Meeting:
    """Where device threads wait for each other: a place for what each one shows, and the first error of any of them."""

    def __init__(self, size: int):
        self.size = size
        self.reset()

    def __reduce__(self) -> tuple:
        return Meeting, (self.size,)  # a copy is one where nobody has met yet

    def reset(self) -> None:
        """Ready for a new start, once no device is under way. Locks are new ones: Ctrl-C may have left one closed, and
        in a process that was forked those who held them do not exist.
        """
        self.error: BaseException | None = None
        self._barrier = threading.Barrier(self.size)
        self._lock = threading.Lock()
        # Two boards in turn: a quick device may show its next thing while a slow one still reads the board before,
        # but not the one after that, since the slow one has to come to the next meeting first.
        self._boards: list[list] = [[None] * self.size, [None] * self.size]
        self._turns = [0] * self.size

    def show(self, rank: int, what) -> list:
        """Shows `what` to the others, waits for all, and returns what everybody shows, in the order of the devices.

        DeviceFailedError at once when a device has failed.
        """
        board = self._boards[self._turns[rank] % 2]
        self._turns[rank] += 1
        board[rank] = what
        self.wait()
        return list(board)

    def wait(self) -> None:
        """Waits for all devices; DeviceFailedError at once when one of them has failed."""
        try:
            self._barrier.wait()
        except threading.BrokenBarrierError:
            raise DeviceFailedError("another device failed") from None

    def fail(self, error: BaseException) -> None:
        """Keeps the first error and sends everybody away who waits, now or later."""
        with self._lock:
            self.error = self.error or error
        self._barrier.abort()


class Devices:
    """`count` devices, each with a thread of its own that does all of its work.

    On the CPU a device is a share of the cores, with BLAS held to that share; on GPUs, device d is the GPU of that
    number (modulo the number of GPUs there are). Copied, pickled or in a forked process, they get threads of their own.
    """

    name = "network on several devices"

    def __init__(self, count: int):
        self.count = count
        self.meeting = Meeting(count)
        self._turn = Turn()
        self._begin()

    def _begin(self) -> None:
        # Where the cores do not divide evenly, the first devices have one more.
        each, more = divmod(execution.num_threads, self.count)
        shares = [max(1, each + (rank < more)) for rank in range(self.count)]
        self._threads = [Worker(f"tinynet-device-{rank}") for rank in range(self.count)]
        for rank, thread in enumerate(self._threads):
            thread.submit(_take_place, rank, shares[rank])
        self._process = os.getpid()  # at last: Ctrl-C may come before

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_threads"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= state
        self._begin()

    @one_at_a_time
    def run(self, task: Callable[[int], object]) -> list:
        """task(rank) on every device's thread, at the same time; the results in order.

        When a task raises, the devices that wait for its device are sent away at once, and the first error is raised
        with its own traceback once all threads are free again.
        """
        if self._process != os.getpid():  # forked: the threads stayed behind
            self._begin()
        self.meeting.reset()

        def guarded(rank: int) -> object:
            try:
                return task(rank)
            except BaseException as error:
                self.meeting.fail(error)
                raise

        try:
            answers = [thread.submit(guarded, rank) for rank, thread in enumerate(self._threads)]
            outcomes = [answer.get() for answer in answers]
        except BaseException as error:  # Ctrl-C: no device goes on behind the caller's back
            self.meeting.fail(error)
            for_each(Worker.wait, self._threads)
            raise
        if self.meeting.error is not None:
            raise self.meeting.error
        return [result for result, _ in outcomes]


def _take_place(rank: int, threads: int) -> None:
    """What a device's thread does first."""
    backend.use_device(rank)
    work_with(Workers(threads))
