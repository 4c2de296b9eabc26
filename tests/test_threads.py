"""Threads and Ctrl-C: wherever it comes, nothing is left behind; and several threads, processes and copies of a net."""

import copy
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import threadpoolctl

from tinynet import SGD, Conv2d, Flatten, Linear, ReLU, Sequential, SoftmaxCrossEntropy, execution, parallel
from tinynet.backend import device_of, on_gpu, to_device, to_host
from tinynet.threads import Worker, Workers, for_each, in_order, one_at_a_time

X = np.random.default_rng(0).standard_normal((3, 4, 6, 5)).astype("float32")
LABELS = np.array([0, 2, 1])


def make_net() -> Sequential:
    layers = [
        ("conv1", Conv2d(4, 6, 3, groups=2)),
        ("relu1", ReLU(inplace=True)),
        ("flatten", Flatten()),
        ("fc2", Linear(72, 8)),
        ("fc3", Linear(8, 3)),
    ]
    return Sequential(layers)


NETS = {"one device": make_net, "two devices": lambda: parallel.partition(make_net(), 2)}


@pytest.fixture(params=NETS)
def net(request):
    return NETS[request.param]()


def answer(net) -> np.ndarray:
    return to_host(net.forward(to_device(X))).copy()


def gradients(net) -> dict[str, bytes]:
    loss = SoftmaxCrossEntropy()
    loss.forward(net.forward(to_device(X), train=True), LABELS)
    net.backward(loss.backward())
    return {name: to_host(gradient).tobytes() for name, gradient in net.grads.items()}


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


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


@pytest.mark.parametrize(
    ("devices", "entry"),
    [*((1, entry) for entry in ENTRIES if entry != "its devices"), *((2, entry) for entry in list(ENTRIES)[:5])],
)
def test_a_second_thread_is_refused_while_one_is_inside(devices, entry):
    """Without it, one of them would be given what the other's images led to."""
    inside, leave = threading.Event(), threading.Event()

    class Slow(ReLU):
        def forward(self, x, train=False):
            inside.set()
            assert leave.wait(60)
            return super().forward(x, train)

    net = Sequential([("slow", Slow()), *make_net().layers.items()])
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
    inside, leave = threading.Event(), threading.Event()

    class Slow(ReLU):
        def forward(self, x, train=False):
            inside.set()
            assert leave.wait(60)
            return super().forward(x, train)

    net = Sequential([*make_net().layers.items(), ("slow", Slow())])
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
