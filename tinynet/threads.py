"""Threads: those that run tiles and devices, BLAS held to one thread meanwhile, and one call of a network at a time.

Ctrl-C may come between any two steps of the main thread, as it does in a notebook. So what must not be torn apart here
is a single call into C, is the first call of a `finally`, or can be done again; and no lock is held by a `with`, which
Python leaves open, or closes twice, when Ctrl-C meets its end.
"""

import functools
import os
import platform
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from queue import SimpleQueue
from typing import ClassVar, ParamSpec, TypeVar

import numpy  # noqa: F401  (so that its BLAS is there when it is looked for, below)
import threadpoolctl

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def usable_cores() -> int:
    """The cores that this process may use; where the system does not say, on Windows and macOS, those there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """The processor's model, as Linux names it; elsewhere what Python knows of it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


class Worker:
    """A thread that does what it is given, in order, for as long as somebody holds this object.

    Not concurrent.futures: its locks stay held where Ctrl-C meets a submission, and it takes nothing more once the
    interpreter begins to end, when an atexit handler may still want an answer of a network.
    """

    def __init__(self, name: str):
        self._jobs: SimpleQueue = SimpleQueue()
        self._thread = threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True)
        self._thread.start()
        weakref.finalize(self, self._jobs.put, None).atexit = False

    def submit(self, task: Callable, *arguments) -> SimpleQueue:
        """Hands over task(*arguments); the queue that is returned will hold its (result, error)."""
        answer: SimpleQueue = SimpleQueue()
        self._jobs.put((task, arguments, answer))
        return answer

    def wait(self) -> None:
        """Returns when all that was submitted so far is done."""
        answer: SimpleQueue = SimpleQueue()
        self._jobs.put((int, (), answer))
        answer.get()

    def end(self) -> None:
        """Ends the thread after all that was submitted; a job submitted later would never be done."""
        self._jobs.put(None)
        self._thread.join()


def _work(jobs: SimpleQueue) -> None:
    while (job := jobs.get()) is not None:
        task, arguments, answer = job
        try:
            answer.put((task(*arguments), None))
        except BaseException as error:
            answer.put((None, error))
        del job, task, arguments, answer  # what they hold is not kept until the next job


def for_each(action: Callable[[Worker], None], threads: Sequence[Worker]) -> None:
    """action(thread) for all of the threads, however often Ctrl-C comes meanwhile; if it came, it is raised then."""
    left, interrupt = list(threads), None
    while left:
        try:
            action(left[-1])
            left.pop()
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


class Workers:
    """The threads that run one device's tiles: the thread that asks, and `count` - 1 others, begun when needed."""

    def __init__(self, count: int):
        self.count = count
        self._threads: list[Worker] = []

    def _others(self) -> list[Worker]:
        try:
            while len(self._threads) < self.count - 1:
                self._threads.append(Worker(f"tinynet-{len(self._threads)}"))
        except RuntimeError:  # the system has no more, or the interpreter is ending
            pass
        return self._threads

    def run(self, task: Callable, shares: Sequence) -> list:
        """task(share) for each of at most `count` shares, each on a thread of its own and the first on the caller's.

        The results in order. Where one raises, the others are waited for, and the first error is raised.
        """
        threads = self._others()
        own = max(1, len(shares) - len(threads))  # 1, unless threads could not be had
        try:
            answers = [thread.submit(task, share) for thread, share in zip(threads, shares[own:], strict=False)]
            results = [task(share) for share in shares[:own]]
            outcomes = [answer.get() for answer in answers]
        except BaseException:
            for_each(Worker.wait, threads)  # nothing goes on behind the caller's back
            raise
        for result, error in outcomes:
            if error is not None:
                raise error
            results.append(result)
        return results


def in_order(
    task: Callable[..., Result], jobs: Iterable[tuple], workers: int, ahead: int, name: str
) -> Generator[Result, None, None]:
    """task(*job) for each of the jobs, on `workers` threads that begin up to `ahead` jobs early; the results in order.

    An error is raised in its place in the order. Leaving the iterator early ends the threads, each after its job.
    """
    threads = [Worker(f"{name}-{number}") for number in range(workers)]
    waiting: deque[SimpleQueue] = deque()
    left: list[bool] = []

    def unless_left(job: tuple) -> Result | None:
        return None if left else task(*job)

    def following() -> Result:
        result, error = waiting[0].get()
        waiting.popleft()
        if error is not None:
            raise error
        return result

    try:
        for number, job in enumerate(jobs):
            waiting.append(threads[number % workers].submit(unless_left, job))
            if len(waiting) > ahead:
                yield following()
        while waiting:
            yield following()
    finally:
        left.append(True)
        for_each(Worker.end, threads)


# ---- BLAS ----


class _Blas:
    """The number of BLAS's threads: one while anybody is inside, what it was before when nobody is."""

    def __init__(self):
        self._libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
        self._before: list[int] | None = None  # None: nothing is to be given back
        self._held = False
        self._inside: set[object] = set()
        self._lock = threading.RLock()

    def enter(self, who: object) -> None:
        self._inside.add(who)
        self._follow()

    def leave(self, who: object) -> None:
        self._inside.discard(who)
        self._follow()

    def after_fork(self) -> None:
        """Nobody is inside in the child: those who were are threads of its parent."""
        self._inside, self._lock = set(), threading.RLock()
        self._follow()

    def _follow(self) -> None:
        """Does what is to be done after a change of who is inside; interrupted anywhere, it can be called again."""
        try:
            self._lock.acquire()
            if self._inside and not self._held:
                if self._before is None:
                    self._before = [library.get_num_threads() for library in self._libraries]
                self._set([1] * len(self._libraries))
                self._held = True
            elif not self._inside and self._before is not None:
                self._set(self._before)
                self._held, self._before = False, None
        finally:
            try:  # noqa: SIM105 (its call would come first)
                self._lock.release()
            except RuntimeError:  # Ctrl-C came before it was acquired
                pass

    def _set(self, counts: list[int]) -> None:
        for library, count in zip(self._libraries, counts, strict=True):
            # threadpoolctl lets only the thread that set a limit first set another; here whoever has the lock may.
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)
            library.set_num_threads(count)


class _Thread(threading.local):
    holds_blas = False  # this thread is inside `hold_blas`


_blas = _Blas()
_thread = _Thread()


def hold_blas(
    function: Callable[Parameters, Result], *arguments: Parameters.args, **options: Parameters.kwargs
) -> Result:
    """function(*arguments, **options), with BLAS held to one thread; a call inside of another one finds it so."""
    if _thread.holds_blas:
        return function(*arguments, **options)
    who = object()
    try:
        _thread.holds_blas = True
        _blas.enter(who)
        return function(*arguments, **options)
    finally:
        _thread.holds_blas = False
        try:
            _blas.leave(who)
        except BaseException:  # Ctrl-C
            _blas.leave(who)
            raise


def single_threaded_blas(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorates a function that calls many small operations, so that BLAS is held to one thread once, not for each."""

    @functools.wraps(function)
    def held(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        return hold_blas(function, *arguments, **options)

    return held


# ---- one call at a time ----


class Turn:
    """Whose turn it is to use what several threads can reach. A copied or pickled one is new, and nobody's."""

    _all: ClassVar["weakref.WeakSet[Turn]"] = weakref.WeakSet()

    def __init__(self):
        self.begin()
        self._all.add(self)

    def begin(self) -> None:
        self.lock = threading.RLock()

    def __reduce__(self) -> tuple:
        return Turn, ()


def one_at_a_time(method: Callable) -> Callable:
    """Decorates a method of an object that has a `_turn` and a `name`: RuntimeError while another thread is inside.

    To wait for that thread would not help: what its call returns lies in memory that this one would write to.
    """

    @functools.wraps(method)
    def alone(self, *arguments, **options):
        lock = self._turn.lock
        try:
            if not lock.acquire(blocking=False):
                raise RuntimeError(
                    f"{self.name or 'network'}: another thread is using it. A network answers one call at a time, since"
                    f" its answers lie in its own memory: give each thread one of its own, copy.deepcopy(net)"
                )
            return method(self, *arguments, **options)
        finally:
            try:  # noqa: SIM105 (its call would come first)
                lock.release()
            except RuntimeError:  # it is another thread's, or Ctrl-C came before it was acquired
                pass

    return alone


def _after_fork() -> None:
    """A forked child has none of its parent's threads, but their locks, which nobody would open again."""
    _blas.after_fork()
    for turn in list(Turn._all):
        turn.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
