"""What a program shows at its end: errors as one line, and an exit code, for examples and commands alike."""

import sys
import time
import traceback
from collections.abc import Callable

from tinynet.errors import BackendError, CheckpointError, DataError, MismatchError, NonFiniteError
from tinynet.files import shown
from tinynet.interruption import Stopped, lasting_output
from tinynet.processes import abort, rank_and_size

# What users can do something about; anything else is a fault of the program, and shows where.
ERRORS = BackendError, CheckpointError, DataError, MismatchError, NonFiniteError, ImportError, OSError, ValueError


def run(program: Callable[[], None], interrupted: str = "Interrupted: nothing was saved.") -> None:
    """Calls the program, whose output need not be read to its end. Exit code 1 after an error; after a signal 128 and
    its number, as shells have it. interrupted: what is said where Ctrl-C ends the program at once.

    Of several processes under MPI, what ends one ends all.
    """
    try:
        with lasting_output():
            program()
    except Stopped as stopped:
        _end(stopped.exit_code)
    except KeyboardInterrupt:
        _end(130, f"\n{interrupted}")
    except ERRORS as error:
        message = shown(error, keep="\n")
        _end(1, f"error: {message}")
    except Exception:
        if rank_and_size()[1] == 1:
            raise
        _end(1, traceback.format_exc())


def _end(code: int, message: str = "") -> None:
    """Of several processes each says which it is; rank 0 first, which often has the same to say and then ends all."""
    rank, size = rank_and_size()
    if size == 1 and code == 1:
        sys.exit(message)  # which prints it
    if rank > 0:
        time.sleep(0.5)
    if message:
        # one piece, which what other processes write cannot come into
        sys.stderr.write(f"rank {rank}: {message}\n" if size > 1 else f"{message}\n")
    abort(code)
    sys.exit(code)
