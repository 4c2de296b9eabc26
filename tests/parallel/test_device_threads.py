"""The threads of devices: each its share of the cores, and nothing left of them when a partition is dropped."""

import gc
import threading
import weakref

import pytest
from inputs import normal
from parallel.networks import IMAGE, small_alexnet, training_step, vgg_like

from tinynet import Linear, Sequential, execution
from tinynet.backend import to_device
from tinynet.parallel import partition
from tinynet.parallel.devices import Devices


def all_end(before: set[threading.Thread]) -> bool:
    """Whether the threads that were not there before end: in minutes at most, where the slowest machine needs one
    second.
    """
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        thread.join(300)
    return not set(threading.enumerate()) - before


def one_step(towers) -> None:
    training_step(towers, normal(1, 2, *IMAGE).astype("float32"), normal(2, 2, 5).astype("float32"))


def test_partitions_that_are_dropped_leave_no_threads():
    before = set(threading.enumerate())
    for devices in [2, 4] * 10:
        towers = partition(vgg_like(), devices)
        one_step(towers)
    assert len(set(threading.enumerate()) - before) >= 4
    del towers
    assert all_end(before)


def test_a_partition_that_is_dropped_leaves_no_arrays():
    towers = partition(vgg_like())
    one_step(towers)
    left = [weakref.ref(layer) for tower in towers.towers for layer in tower] + [weakref.ref(towers)]
    del towers
    gc.collect()
    assert [ref for ref in left if ref() is not None] == []


def test_a_network_that_cannot_be_split_leaves_no_threads():
    before = set(threading.enumerate())
    for _ in range(5):
        with pytest.raises(ValueError, match="fc1"):
            partition(Sequential([("fc1", Linear(5, 4))]))
    assert all_end(before)


def test_towers_that_failed_leave_no_threads():
    before = set(threading.enumerate())
    towers = partition(small_alexnet())
    with pytest.raises(ValueError, match="conv1"):
        towers.forward(to_device(normal(1, 2, 2, 67, 67)))
    del towers
    assert all_end(before)


def test_each_device_has_its_own_thread_and_share_of_the_cores(monkeypatch):
    monkeypatch.setattr("tinynet.execution.num_threads", 5)
    devices = Devices(3)
    assert devices.run(lambda rank: execution.workers().count) == [2, 2, 1]
    names = devices.run(lambda rank: threading.current_thread().name)
    assert len(set(names)) == 3
    assert devices.run(lambda rank: threading.current_thread().name) == names, "the same ones every time"
    monkeypatch.setattr("tinynet.execution.num_threads", 1)
    assert Devices(3).run(lambda rank: execution.workers().count) == [1, 1, 1]


def test_devices_have_scratch_memory_of_their_own():
    found = Devices(2).run(lambda rank: execution.scratch("test", (4,), "float32"))
    assert found[0] is not found[1]
