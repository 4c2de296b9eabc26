"""Threads, and Ctrl-C wherever it comes: nothing is left behind, nothing goes on, and no answer is wrong."""

import sys
import threading

import numpy as np
import pytest
import threadpoolctl
from small_nets import NETS, answer, blas_threads, gradients

from tinynet import SGD, execution
from tinynet.backend import on_gpu
from tinynet.threads import Worker, Workers, for_each, in_order


@pytest.fixture(params=NETS)
def net(request):
    return NETS[request.param]()


# ---- Ctrl-C ----


class CtrlC:
    """KeyboardInterrupt at the n-th of the places in this thread where Python looks for signals: where a function of
    Python's begins, and where a call has returned.
    """

    def __init__(self, place: int):
        self._left = place

    def __call__(self, frame, event: str, argument) -> None:
        self._left -= event in ("call", "c_return")
        if self._left == 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    def __enter__(self) -> None:
        sys.setprofile(self)

    def __exit__(self, *exception) -> None:
        sys.setprofile(None)


def interrupted(task, place: int) -> bool:
    """Whether Ctrl-C came before the task had ended."""
    try:
        with CtrlC(place):
            task()
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ctrl-C in a weak reference's callback
@pytest.mark.skipif(on_gpu, reason="the same code, and thousands of steps")
def test_ctrl_c_at_any_place_leaves_nothing_behind(net, monkeypatch):
    """BLAS has its threads back, every thread is idle, and the net answers, also to another thread."""
    monkeypatch.setattr(execution, "SHARE_WORK", 1)  # small as it is, the work is shared out
    monkeypatch.setattr(execution, "_everyone", Workers(2))
    optimizer = SGD(net, lr=0.0, weight_decay=0.0)  # an update that was interrupted is not the matter here
    expected, right = answer(net), gradients(net)

    def step() -> None:
        gradients(net)
        optimizer.step()
        answer(net)

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before, place = blas_threads(), 0
        while interrupted(step, place := place + 1):
            assert blas_threads() == before, place
            if place % 50 == 0:
                assert gradients(net) == right, place
                with_another_thread = Worker("another")
                found, error = with_another_thread.submit(answer, net).get()
                assert error is None and np.array_equal(found, expected), place
        assert blas_threads() == before
    assert place > 200  # there were so many places
    assert np.array_equal(answer(net), expected)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_while_results_are_awaited_ends_the_threads():
    """A notebook's loader, interrupted: concurrent.futures waits for ever at some of these places."""
    place, hit = 0, True
    while hit:
        place += 1
        results = in_order(lambda number: number**2, ((number,) for number in range(12)), 2, 4, "awaited")
        found = [next(results)]
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("awaited")]
        assert len(threads) == 2
        hit = interrupted(lambda results=results, found=found: found.extend(results), place)
        results.close()
        assert found == [number**2 for number in range(len(found))] and (hit or len(found) == 12)
        for thread in threads:  # where Ctrl-C came while they were being ended, they end with the iterator
            thread.join(60)
            assert not thread.is_alive(), place
    assert place > 50  # there were so many places


def test_ctrl_c_while_threads_are_waited_for_is_raised_when_all_have_ended():
    """However often it comes, and whatever else there was to say."""
    ended, threads = [], [Worker("a"), Worker("b")]
    times = {thread: 3 for thread in threads}

    def interrupted_twice(thread: Worker) -> None:
        times[thread] -= 1
        if times[thread]:
            raise KeyboardInterrupt
        ended.append(thread)

    with pytest.raises(KeyboardInterrupt):
        for_each(interrupted_twice, threads)
    assert ended == threads[::-1]
    results = in_order(lambda number: number, ((number,) for number in range(9)), 1, 4, "awaited")
    next(results)
    assert interrupted(results.close, 3)  # at the end of a loop that was left, where nothing else is on its way


def test_jobs_that_nobody_waits_for_are_not_begun():
    done, go_on = [], threading.Event()

    def job(number: int) -> int:
        assert number == 0 or go_on.wait(60)
        done.append(number)
        return number

    results = in_order(job, ((number,) for number in range(20)), 1, 8, "left")
    assert next(results) == 0
    closing = Worker("closing").submit(results.close)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("left")]
    go_on.set()
    assert closing.get() == (None, None)
    assert len(done) < 20 and not any(thread.is_alive() for thread in threads)


def test_without_threads_the_caller_does_all(monkeypatch):
    def refuse(name: str) -> Worker:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("tinynet.threads.Worker", refuse)
    assert Workers(3).run(sum, [[1, 2], [3], [4, 5]]) == [3, 3, 9]
