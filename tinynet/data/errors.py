"""The error of the data room: something about the images on disk is not as it should be.

It has its own file because finding the images, decoding them and drawing synthetic ones all raise it.
"""

from tinynet.files import shown

LONGEST = 4000  # characters of a line; a name may have a million


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
