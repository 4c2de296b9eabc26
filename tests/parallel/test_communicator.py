"""The operations between devices against plain NumPy, and the place where device threads meet."""

import signal
import threading
import time

import numpy as np
import pytest
from inputs import normal

from tinynet.backend import to_device, to_host
from tinynet.parallel import Communicator, Crossing, DeviceFailedError, Ledger
from tinynet.parallel.communicator import ThreadCommunicator
from tinynet.parallel.devices import Devices, Meeting

COUNTS = [1, 2, 3, 4]


def team_of(count: int) -> tuple[Devices, list[ThreadCommunicator], Ledger]:
    devices, ledger = Devices(count), Ledger(count)
    return devices, devices.run(lambda rank: ThreadCommunicator(rank, ledger, devices.meeting)), ledger


def in_order(arrays) -> np.ndarray:
    """The sum in the order of the devices, rounding as they do."""
    total = arrays[0].copy()
    for array in arrays[1:]:
        total = total + array
    return total


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", COUNTS)
def test_operations(count, dtype):
    """Bit for bit: all devices get the same, the sum taken in the order of the devices."""
    devices, communicators, ledger = team_of(count)
    blocks = [normal(rank, 3, 5, 2).astype(dtype) for rank in range(count)]
    wholes = [normal(10 + rank, 3 * count, 7).astype(dtype) for rank in range(count)]

    def task(rank: int) -> tuple:
        communicator, block, whole = communicators[rank], to_device(blocks[rank]), to_device(wholes[rank])
        assert isinstance(communicator, Communicator)
        assert (communicator.rank, communicator.size) == (rank, count)
        gathered = to_device(np.full((3 * count, 5, 2), np.nan, dtype))
        communicator.all_gather(block, gathered, "conv3")
        scattered = to_device(np.full((3, 7), np.nan, dtype))
        communicator.reduce_scatter(whole, scattered, "conv3", "backward")
        reduced = to_device(np.full(whole.shape, np.nan, dtype))
        communicator.all_reduce(whole, reduced, "fc8")
        communicator.barrier()
        assert (to_host(block) == blocks[rank]).all()
        assert (to_host(whole) == wholes[rank]).all()
        communicator.broadcast(whole, count - 1, "start")
        return tuple(map(to_host, (gathered, scattered, reduced, whole)))

    total = in_order(wholes)
    for rank, (gathered, scattered, reduced, sent) in enumerate(devices.run(task)):
        assert (gathered == np.concatenate(blocks)).all()
        assert (scattered == total[3 * rank : 3 * rank + 3]).all()
        assert (reduced == total).all()
        assert (sent == wholes[-1]).all()
    others, itemsize = count - 1, np.dtype(dtype).itemsize
    assert ledger.crossings == [
        Crossing("conv3", "forward", "all_gather", (others * 30 * itemsize,) * count),
        Crossing("conv3", "backward", "reduce_scatter", (others * 21 * itemsize,) * count),
        Crossing("fc8", "forward", "all_reduce", (others * count * 21 * itemsize,) * count),
        Crossing("start", "forward", "broadcast", (count * 21 * itemsize,) * others + (0,)),
    ]


@pytest.mark.parametrize("count", COUNTS)
def test_broadcast_from_every_root(count):
    devices, communicators, _ = team_of(count)
    for root in range(count):

        def task(rank: int, root=root) -> np.ndarray:
            x = to_device(normal(rank, 4))
            communicators[rank].broadcast(x, root)
            return to_host(x)

        for x in devices.run(task):
            assert (x == normal(root, 4)).all()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_many_operations_with_devices_that_are_late(count, within):
    """Each device dawdles now and then, also between the meeting and its look at the board, and the quick ones go on:
    to write over what they showed, and to show the next."""
    devices, communicators, _ = team_of(count)
    dawdling = np.random.default_rng(count)
    waits = iter(dawdling.choice([0.0] * 9 + [0.001], 20_000))
    meet = devices.meeting.wait

    def meet_and_dawdle() -> None:
        meet()
        time.sleep(next(waits))

    devices.meeting.wait = meet_and_dawdle
    operations = dawdling.integers(0, 4, 200)

    def task(rank: int) -> int:
        communicator, wrong = communicators[rank], 0
        block, scattered = (to_device(np.zeros(2)) for _ in range(2))
        whole, gathered, reduced = (to_device(np.zeros(2 * count)) for _ in range(3))
        ranks = np.arange(count)
        for turn, operation in enumerate(operations):
            time.sleep(next(waits))
            block[...] = turn + rank
            whole[...] = turn + rank
            if operation == 0:
                communicator.all_gather(block, gathered)
                found, expected = gathered, np.repeat(turn + ranks, 2)
            elif operation == 1:
                communicator.reduce_scatter(whole, scattered)
                found, expected = scattered, (turn + ranks).sum()
            elif operation == 2:
                communicator.all_reduce(whole, reduced)
                found, expected = reduced, (turn + ranks).sum()
            else:
                communicator.broadcast(whole, turn % count)
                found, expected = whole, turn + turn % count
            wrong += not (to_host(found) == expected).all()
        return wrong

    assert within(lambda: devices.run(task)) == [0] * count


def test_a_barrier_waits_for_all(within):
    devices, communicators, _ = team_of(3)
    arrived = []

    def task(rank: int) -> int:
        time.sleep(0.02 * rank)
        arrived.append(rank)
        communicators[rank].barrier()
        return len(arrived)

    assert within(lambda: devices.run(task)) == [3, 3, 3]


def test_results_come_in_the_order_of_the_devices():
    def task(rank: int) -> int:
        time.sleep(0.01 * (3 - rank))
        return rank

    assert Devices(3).run(task) == [0, 1, 2]


# ---- when a device fails ----


@pytest.mark.parametrize("error", [ValueError("here"), KeyboardInterrupt(), SystemExit(3), StopIteration("end")])
@pytest.mark.parametrize("failing", [0, 2])
def test_the_first_error_frees_those_who_wait(failing, error, within):
    devices, communicators, _ = team_of(3)

    def task(rank: int) -> None:
        communicators[rank].barrier()
        if rank == failing:
            raise error
        communicators[rank].all_reduce(to_device(np.ones(2)), to_device(np.ones(2)))

    with pytest.raises(type(error)) as raised:
        within(lambda: devices.run(task))
    assert raised.value is error
    assert within(lambda: devices.run(lambda rank: communicators[rank].barrier() or rank)) == [0, 1, 2]


def test_the_first_of_several_errors_counts(within):
    devices = Devices(3)

    def task(rank: int) -> None:
        while rank != 1 and devices.meeting.error is None:
            time.sleep(0.001)
        raise ValueError(f"device {rank}")

    with pytest.raises(ValueError, match="device 1"):
        within(lambda: devices.run(task))


def test_a_device_that_comes_late_is_sent_away_too(within):
    devices, communicators, _ = team_of(2)
    seen = []

    def task(rank: int) -> None:
        if rank == 0:
            raise ValueError("at once")
        time.sleep(0.1)
        try:
            communicators[rank].barrier()
        except DeviceFailedError as error:
            seen.append(error)
            raise

    with pytest.raises(ValueError, match="at once"):
        within(lambda: devices.run(task))
    assert "another device failed" in str(seen[0])


def test_boards_are_in_step_again_after_an_error(within):
    """One device has met the others an odd number of times more often than the other when the error comes."""
    meeting_error = RuntimeError("between")
    devices = Devices(2)

    def task(rank: int) -> list:
        devices.meeting.show(rank, "first")
        if rank == 0:
            raise meeting_error
        return devices.meeting.show(rank, "second")

    with pytest.raises(RuntimeError, match="between"):
        within(lambda: devices.run(task))
    for turn in range(3):
        shown = within(lambda turn=turn: devices.run(lambda rank: devices.meeting.show(rank, (turn, rank))))
        assert shown == [[(turn, 0), (turn, 1)]] * 2


def test_an_interrupt_of_the_one_who_waits_stops_the_devices():
    """Ctrl-C reaches the main thread; the devices are free again before it goes on."""
    devices, communicators, _ = team_of(2)
    ended, other = [], threading.Event()

    def task(rank: int) -> None:
        try:
            if rank == 1:
                other.set()
            else:
                other.wait()  # the main thread has started all, and waits
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                time.sleep(0.2)
            communicators[rank].barrier()
            time.sleep(0.1)
            communicators[rank].barrier()
        finally:
            ended.append(rank)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C
    try:
        with pytest.raises(KeyboardInterrupt):
            devices.run(task)
    finally:
        signal.signal(signal.SIGINT, before)
    assert sorted(ended) == [0, 1]
    assert devices.run(lambda rank: communicators[rank].barrier() or rank) == [0, 1]


def test_an_interrupt_while_the_devices_start(monkeypatch, within):
    """Only some of them have their task then; they must not wait for the others."""
    devices, communicators, _ = team_of(2)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(devices._threads[1], "submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            within(lambda: devices.run(lambda rank: communicators[rank].barrier()))
    assert devices.run(lambda rank: communicators[rank].barrier() or rank) == [0, 1]


def test_meeting_alone():
    meeting = Meeting(1)
    assert meeting.show(0, "a") == ["a"]
    meeting.fail(ValueError("x"))
    meeting.fail(ValueError("y"))
    assert str(meeting.error) == "x"
    with pytest.raises(DeviceFailedError):
        meeting.wait()
    meeting.reset()
    assert meeting.error is None
    assert meeting.show(0, "b") == ["b"]
