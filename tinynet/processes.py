"""What a process knows of the others of its job under MPI: which rank it is, who speaks, and how to end them all.

MPI is started here only where the user has said so, `python -m mpi4py`; else parallel/mesh.py does it.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

# What the starters of MPI's processes (Hydra and others with PMI, Open MPI) tell each of them.
TOLD = ("PMI_RANK", "PMI_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")


def mpi() -> Any:
    """The module mpi4py.MPI where MPI has been started and not ended yet, else None."""
    if "mpi4py.run" in sys.modules:
        from mpi4py import MPI  # noqa: F401  (which starts it)
    module = sys.modules.get("mpi4py.MPI")
    return module if module is not None and module.Is_initialized() and not module.Is_finalized() else None


def rank_and_size() -> tuple[int, int]:
    """(0, 1) for a process of its own."""
    if module := mpi():
        return module.COMM_WORLD.Get_rank(), module.COMM_WORLD.Get_size()
    for names in TOLD:
        rank, size = (os.environ.get(name, "") for name in names)
        if rank.isdecimal() and size.isdecimal() and "SLURM_PROCID" not in os.environ:  # srun may start unrelated ones
            return int(rank), int(size)
    return 0, 1


@contextlib.contextmanager
def silence(errors: bool = True) -> Iterator[None]:
    """A context in which nothing that is printed is seen; with `errors` nothing that goes to stderr either."""
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        if errors:
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


@contextlib.contextmanager
def first_speaks() -> Iterator[None]:
    """What is done in here by all processes is done by rank 0 first, and nothing that others print is seen: for a
    mistake that all of them complain about.
    """
    module = mpi()
    if module is None or module.COMM_WORLD.Get_size() == 1:
        yield
    elif module.COMM_WORLD.Get_rank() == 0:
        try:
            yield
        finally:
            module.COMM_WORLD.Barrier()
    else:
        module.COMM_WORLD.Barrier()
        with silence():
            yield


def abort(code: int) -> None:
    """Ends all processes of the job at once, whatever they wait for, with this exit code; alone, does nothing."""
    module = mpi()
    if module and module.COMM_WORLD.Get_size() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        module.COMM_WORLD.Abort(code)
