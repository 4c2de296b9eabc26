"""What a program shows at its end: errors as one line, and an exit code, for examples and commands alike."""

import sys
from collections.abc import Callable

from tinynet.errors import BackendError, CheckpointError, DataError, NonFiniteError
from tinynet.files import shown
from tinynet.interruption import Stopped, lasting_output

# What users can do something about; anything else is a fault of the program, and shows where.
ERRORS = BackendError, CheckpointError, DataError, NonFiniteError, ImportError, OSError, ValueError


def run(program: Callable[[], None], interrupted: str = "Interrupted: nothing was saved.") -> None:
    """Calls the program, whose output need not be read to its end. Exit code 1 after an error; after a signal 128 and
    its number, as shells have it. interrupted: what is said where Ctrl-C ends the program at once.
    """
    try:
        with lasting_output():
            program()
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:
        print(f"\n{interrupted}", file=sys.stderr)
        sys.exit(130)
    except ERRORS as error:
        message = shown(error, keep="\n")
        sys.exit(f"error: {message}")
