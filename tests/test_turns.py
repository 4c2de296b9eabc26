"""A network that several threads, processes or copies could reach: one call at a time, and each its own memory."""

import copy
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from small_nets import NETS, X, answer, gradients, make_net

from tinynet import SGD, Linear, ReLU, Sequential, parallel
from tinynet.backend import device_of, on_gpu, to_device, to_host
from tinynet.threads import Worker, one_at_a_time


@pytest.fixture(params=NETS)
def net(request):
    return NETS[request.param]()


# ---- one call at a time ----


ENTRIES = {
    "the net": lambda net: net.forward(to_device(X)),
    "its training": lambda net: net.forward(to_device(X), train=True),
    "its activations": lambda net: net.activations(to_device(X), ["conv1"]),
    "its optimizer": lambda net: SGD(net, lr=0.0).step(),
    "its devices": lambda net: net.on_devices(lambda device: None),
    "a layer": lambda net: net["conv1"].forward(to_device(X)),
    "a part": lambda net: net[:"fc2"].forward(to_device(X)),
}


def slow_layer() -> tuple[ReLU, threading.Event, threading.Event]:
    """A layer whose forward says with the first event that somebody is inside, and stays there until the second."""
    inside, leave = threading.Event(), threading.Event()

    class Slow(ReLU):
        def forward(self, x, train=False):
            inside.set()
            assert leave.wait(60)
            return super().forward(x, train)

    return Slow(), inside, leave


@pytest.mark.parametrize(
    ("devices", "entry"),
    [*((1, entry) for entry in ENTRIES if entry != "its devices"), *((2, entry) for entry in list(ENTRIES)[:5])],
)
def test_a_second_thread_is_refused_while_one_is_inside(devices, entry):
    """Without it, one of them would be given what the other's images led to."""
    slow, inside, leave = slow_layer()
    net = Sequential([("slow", slow), *make_net().layers.items()])
    net = net if devices == 1 else parallel.partition(net, devices)
    call = ENTRIES[entry]
    leave.set()
    call(net)  # whatever it is, it works, for one thread
    inside.clear(), leave.clear()
    first = Worker("first").submit(lambda: to_host(net.forward(to_device(X), train=True)).copy())
    assert inside.wait(60)
    with pytest.raises(RuntimeError, match="another thread is using it"):
        call(net)
    own = copy.deepcopy(net)
    leave.set()
    found, error = first.get()
    assert error is None
    assert np.array_equal(found, to_host(own.forward(to_device(X), train=True))), "a copy's turn is its own"
    call(net)  # it is this thread's turn again


def test_nets_that_share_layers_take_turns():
    """A new head on a part of another net."""
    slow, inside, leave = slow_layer()
    net = Sequential([*make_net().layers.items(), ("slow", slow)])
    other = Sequential([("features", net[:"flatten"]), ("fc", Linear(72, 2))])
    first = Worker("first").submit(net.forward, to_device(X))
    assert inside.wait(60)
    for share in (other, other["features"], other["fc"]):
        with pytest.raises(RuntimeError, match="another thread is using it"):
            share.forward(to_device(X))
    leave.set()
    assert first.get()[1] is None
    other.forward(to_device(X))


def test_threads_that_share_a_net_get_their_own_answer_or_an_error(net):
    inputs = [to_device(X + shift) for shift in range(4)]
    expected = [to_host(net.forward(x)).copy() for x in inputs]
    together = threading.Barrier(4)

    def work(number: int) -> list[bool]:
        right = []
        together.wait()
        while len(right) < 20:  # a share of the turns, however the threads come to them
            try:
                right.append(np.array_equal(to_host(net.forward(inputs[number])), expected[number]))
            except RuntimeError as error:
                assert "another thread is using it" in str(error)
        return right

    threads = [Worker(f"user {number}") for number in range(4)]
    outcomes = [answer.get() for answer in [thread.submit(work, number) for number, thread in enumerate(threads)]]
    assert outcomes == [([True] * 20, None)] * 4


def test_answers_last_and_belong_to_the_caller(net):
    first = net.forward(to_device(X))
    expected = to_host(first).copy()
    second = net.forward(to_device(2 * X))
    assert np.array_equal(to_host(first), expected) and not np.array_equal(to_host(second), expected)


# ---- copies, pickles, forks, and the interpreter's end ----


COPIES = {
    "copy": copy.copy,  # which shares the layers
    "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_answer_as_the_net_does(net, kind):
    expected, right = answer(net), gradients(net)
    twin = COPIES[kind](net)
    assert np.array_equal(answer(twin), expected) and gradients(twin) == right
    if kind != "copy":
        for parameter in twin.params.values():
            with device_of(parameter):
                parameter[...] = 1
        assert not np.array_equal(answer(twin), expected)
    assert np.array_equal(answer(net), expected) and gradients(net) == right


def test_a_copied_layer_has_memory_of_its_own():
    layer = Linear(4, 3)
    first = layer.forward(to_device(X[0, 0, :, :4]))
    expected = to_host(first).copy()
    for twin in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        twin.forward(to_device(2 * X[0, 0, :, :4]))
        assert np.array_equal(to_host(first), expected)


def test_a_pickle_carries_no_scratch_memory(net):
    fresh = len(pickle.dumps(net))
    for train in (False, True):
        net.forward(to_device(np.concatenate([X] * 40)), train)
        assert len(pickle.dumps(net)) < fresh + 500


@pytest.mark.skipif(not hasattr(os, "fork") or on_gpu, reason="needs fork, and a host that may be forked")
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "another thread inside"])
def test_a_forked_child_answers(net, busy):
    expected = answer(net)
    inside, leave, thread = threading.Event(), threading.Event(), Worker("inside")

    @one_at_a_time
    def hold(net) -> None:
        inside.set()
        assert leave.wait(60)

    held = thread.submit(hold, net) if busy else None
    if busy:
        assert inside.wait(60)
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if np.array_equal(answer(net), expected) else 2
        finally:
            os._exit(code)
    leave.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert held is None or held.get() == (None, None)


@pytest.mark.parametrize("used_before", [True, False])
@pytest.mark.parametrize("devices", [1, 2])
def test_a_net_answers_in_an_atexit_handler(devices, used_before):
    command = (
        "import atexit, numpy as np, os\n"
        "os.environ['TINYNET_NUM_THREADS'] = '2'\n"
        "from tinynet import Linear, Sequential, parallel, execution, backend\n"
        "execution.SHARE_WORK = 1\n"
        "net = Sequential([('a', Linear(40, 40)), ('b', Linear(40, 2))])\n"
        f"net = parallel.partition(net, {devices}) if {devices} > 1 else net\n"
        "x = backend.to_device(np.ones((8, 40), 'f'))\n"
        f"{'net.forward(x)' if used_before else ''}\n"
        "atexit.register(lambda: print(net.forward(x).shape))\n"
    )
    emulated = "import emu\n" if "emu" in sys.modules else ""
    result = subprocess.run([sys.executable, "-c", emulated + command], capture_output=True, text=True)
    assert (result.stdout, result.returncode) == ("(8, 2)\n", 0), result.stderr
