"""The errors that users can do something about, each with a message that says what; console.py makes a line of it.

They have a file of their own so that a program can tell them apart before it has imported what raises them. Others are
ValueError and TypeError for what an argument cannot be, and OSError.
"""

import difflib
from collections.abc import Iterable

from tinynet.files import shown

LONGEST = 4000  # characters of a line; a name may have a million


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """" (did you mean conv1?)", for the end of a sentence about a name that is not there; nothing where none is near,
    whatever its letters' case.
    """
    folded = {one.casefold(): one for one in names}
    near = difflib.get_close_matches(str(name).casefold(), folded, 1)
    return f" (did you mean {folded[near[0]]}?)" if near else ""


class BackendError(RuntimeError):
    """The backend that TINYNET_BACKEND names is unknown, not installed or does not work."""


class CheckpointError(RuntimeError):
    """A file of weights is missing, damaged, or belongs to another network."""


class DataError(RuntimeError):
    """A data set or an image that cannot be used; the message names the file or folder.

    lines: the message, and perhaps further ones below it. Each is shown on one line: names of files and members, and
    what libraries say of them, may hold newlines and a terminal's escape sequences.
    """

    def __init__(self, *lines: object):
        super().__init__(*lines)

    def __str__(self) -> str:
        texts = [str(line) for line in self.args]
        return "\n".join(shown(text if len(text) <= LONGEST else f"{text[:LONGEST]} ...") for text in texts)


class MismatchError(RuntimeError):
    """The processes of one job differ in what they must have alike: versions, settings or images."""


class NonFiniteError(RuntimeError):
    """The loss of a step, or a weight, is not a number or infinite."""
