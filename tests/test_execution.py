"""Tiles, threads and lasting memory."""

import copy
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl

from tinynet import SGD, SoftmaxCrossEntropy, execution, models, threads
from tinynet.backend import on_gpu, to_device, to_host, xp
from tinynet.operations import elementwise


@pytest.mark.parametrize("length", [1, 2, 7, 1000])
@pytest.mark.parametrize("bytes_each", [1, 4096, 10**9])
def test_tiles_cover_everything_once(length, bytes_each):
    tiles = execution.tiles(length, bytes_each, 2**16)
    assert [i for tile in tiles for i in range(tile.start, tile.stop)] == list(range(length))
    sizes = [tile.stop - tile.start for tile in tiles]
    assert all(size == 1 or size * bytes_each <= 2**16 + bytes_each for size in sizes)
    assert max(sizes) - min(sizes) <= 1


def test_results_come_in_the_order_of_the_shares():
    shares = execution.run_shares(list, list(range(11)))
    assert [tile for share in shares for tile in share] == list(range(11))
    assert len(shares) == min(11, execution.num_threads)


def test_every_tile_runs_once():
    seen = []
    execution.run(seen.append, list(range(37)))
    assert sorted(seen) == list(range(37))
    execution.run(seen.append, [])
    assert len(seen) == 37


def test_an_error_in_any_share_is_raised_after_all_have_ended():
    for bad in (0, 9):
        ended = []

        def task(tile, bad=bad, ended=ended):
            if tile == bad:
                raise ZeroDivisionError(str(tile))
            ended.append(tile)

        with pytest.raises(ZeroDivisionError, match=str(bad)):
            execution.run(task, list(range(10)))
        assert len(ended) >= (0 if execution.num_threads == 1 else 10 // 2 - 1)


def blas_threads() -> list[int]:
    """Of NumPy's BLAS, and of any that was there before tinynet: SciPy brings one of its own, that no tile calls."""
    held = {library.filepath for library in threads._blas._libraries}
    return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["filepath"] in held]


def test_blas_is_held_to_one_thread_inside_and_given_back():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        inside = []
        execution.run(lambda tile: inside.extend(blas_threads()), [0, 1, 2])
        assert set(inside) <= {1}
        with pytest.raises(ZeroDivisionError):
            execution.run(lambda tile: 1 / 0, [0, 1])
        assert blas_threads() == before


@pytest.mark.parametrize("first_to_leave", ["main", "other"])
def test_blas_is_held_whichever_threads_run_tiles(first_to_leave):
    """Two threads of the process in the middle of their tiles at once, whichever of them enters or leaves first."""
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before, inside = blas_threads(), []
        entered, leave = threading.Event(), threading.Event()

        def wait_inside(tile) -> None:
            inside.extend(blas_threads())
            entered.set()
            assert leave.wait(10)
            inside.extend(blas_threads())

        with ThreadPoolExecutor(1) as thread:
            other = thread.submit(execution.run, wait_inside, [0])
            assert entered.wait(10)
            if first_to_leave == "other":

                def let_other_leave(tile) -> None:
                    leave.set()
                    other.result(10)
                    inside.extend(blas_threads())

                execution.run(let_other_leave, [0])
            else:
                execution.run(lambda tile: inside.extend(blas_threads()), [0])
                leave.set()
                other.result(10)
        assert set(inside) <= {1}
        assert blas_threads() == before


def test_nets_in_several_threads_give_the_bits_that_they_give_alone():
    def train(seed: int) -> dict:
        net = models.alexnet(4, width=0.06, input_size=67, initialization="he", seed=seed)
        loss, optimizer = SoftmaxCrossEntropy(), SGD(net, 0.01)
        x = to_device(np.random.default_rng(seed).standard_normal((8, 3, 67, 67)).astype(np.float32))
        for _ in range(3):
            loss.forward(net.forward(x, train=True), np.arange(8) % 4)
            net.backward(loss.backward())
            optimizer.step()
        return {name: to_host(parameter).tobytes() for name, parameter in net.params.items()}

    alone = [train(seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(train, range(3))) == alone


@pytest.mark.skipif(not hasattr(os, "fork") or on_gpu, reason="needs fork, and a host that may be forked")
def test_a_forked_child_computes():
    command = (
        "import os, tinynet, tinynet.execution as e, threading\n"
        "e.run(lambda tile: None, [0, 1, 2])\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    seen = []\n"
        "    e.run(seen.append, [0, 1, 2])\n"
        "    os._exit(len(seen))\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", command], capture_output=True, text=True)
    assert result.stdout == "3\n", result.stderr


def test_arrays_that_would_be_copied_are_refused():
    x = xp.zeros((4, 6), xp.float32)
    with pytest.raises(ValueError, match="C-contiguous"):
        elementwise.run_flat(lambda x: None, x.T)


def test_run_flat_sees_every_element_once():
    x = xp.arange(300_000, dtype=xp.float32).reshape(3, 100, 1000)
    y = xp.empty_like(x)
    elementwise.run_flat(lambda x, y: xp.multiply(x, 2, out=y), x, y)
    assert np.array_equal(to_host(y), 2 * to_host(x))


def test_memory_lasts_and_grows():
    memory = execution.Memory()
    large = memory.array("x", (4, 8), xp.float32)
    assert memory.array("x", (4, 8), xp.float32) is large
    small = memory.array("x", (4, 6), xp.float32)
    assert small.shape == (4, 6) and small.flags.c_contiguous and xp.shares_memory(small, large)
    wide = memory.array("x", (4, 4), xp.float64)
    assert wide.dtype == xp.float64 and xp.shares_memory(wide, large)
    assert memory.array("x", (40, 8), xp.float32).shape == (40, 8)
    assert not xp.shares_memory(memory.array("y", (4, 8), xp.float32), wide)
    assert not xp.shares_memory(copy.deepcopy(memory).array("x", (4, 8), xp.float32), wide)


def test_scratch_belongs_to_one_thread():
    mine = execution.scratch("x", (8,), xp.float32)
    theirs = []
    thread = threading.Thread(target=lambda: theirs.append(execution.scratch("x", (8,), xp.float32)))
    thread.start()
    thread.join()
    assert execution.scratch("x", (8,), xp.float32) is mine
    assert not xp.shares_memory(mine, theirs[0])


@pytest.mark.skipif(on_gpu, reason="one thread queues all of a GPU's work")
def test_little_work_wakes_no_thread(monkeypatch):
    monkeypatch.setattr(execution, "_everyone", execution.Workers(4))
    seen = []
    execution.run(lambda tile: seen.append(threading.current_thread()), [0, 1, 2, 3], work=10)
    assert set(seen) == {threading.current_thread()}
    execution.run(lambda tile: seen.append(threading.current_thread()), [0, 1, 2, 3])
    assert len(set(seen)) > 1
    assert [execution.shares(work) for work in (0, 10, 2 * execution.SHARE_WORK, 10**12)] == [1, 1, 2, 4]
