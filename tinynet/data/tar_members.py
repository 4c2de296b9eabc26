"""The members of a tar archive, one after the other, in bounded time and memory whatever the archive says of itself.

tarfile reads the headers. It believes all of them: a size below zero leads backwards for ever, a header of 8 GB is read
whole. So it sees the archive through a window that only goes forward and gives out little at a time.
"""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from tinynet.errors import DataError

BLOCK = 512  # bytes: tar's unit
MOST_PADDING = 1 << 20  # bytes of zeros that may end an archive: tar itself pads to 10 or 20 kB
MOST_HEADERS = 1 << 15  # bytes of all headers of a member: its long name, its attributes
LONGEST_NAME = 4096  # bytes, Linux's longest path


def tar_members(file: BinaryIO, name: str, start: int, end: int) -> Iterator[tarfile.TarInfo]:
    """tarfile's members of an uncompressed archive that lies in `file` from `start` to `end`; offset_data counts from
    the file's beginning.

    They follow one another and none reaches into the next. DataError, with `name`, for an archive that is truncated or
    broken, or whose members are sparse or have headers that no real archive has.
    """
    window = _Window(file, start, end)
    try:
        yield from _walked(window)
    except (DataError, OSError):
        raise
    except Exception as error:  # tarfile has many kinds for broken headers; RecursionError for a chain of a thousand
        raise DataError(
            f"{name}: truncated or broken, or no (uncompressed) tar archive: {error}; it has {end - start} bytes. "
            f"Compare its size or checksum with the source's, and download it again"
        ) from error


def _walked(window: "_Window") -> Iterator[tarfile.TarInfo]:
    """tarfile stops without a word at the first header that it cannot read, and at the first zeros: where it stopped is
    checked here.
    """
    behind = window.start
    with tarfile.open(  # type: ignore[call-overload]  # whose files can write and be closed: to read, it does neither
        fileobj=window, mode="r:", encoding="utf-8", errors="surrogateescape"
    ) as archive:
        while True:
            window.left = MOST_HEADERS
            member = archive.next()
            if member is None:
                break
            archive.members.clear()  # it would keep them all: 1 kB each
            archive.pax_headers.clear()  # of all later members: none that matters here
            if member.issparse() or len(member.name) > LONGEST_NAME or member.size < 0 or member.offset < behind:
                raise tarfile.ReadError(f"{member.name[:80]} is sparse, or its size, place or name cannot be")
            behind = member.offset_data + -(-member.size // BLOCK) * BLOCK
            if member.offset_data + member.size > window.end:
                raise tarfile.ReadError(f"{member.name} goes on beyond the end")
            yield member
        rest = window.rest(behind)  # and not archive.offset: a header that it refused may have moved that
    if len(rest) < BLOCK or any(rest) or len(rest) > MOST_PADDING:  # a hole in a download is all zeros, too
        place = behind - window.start
        raise tarfile.ReadError(f"at byte {place} neither a further file nor the archive's end")


class _Window:
    """A part of a file, for tarfile: read forward only, `left` bytes in all until that is set again."""

    def __init__(self, file: BinaryIO, start: int, end: int):
        self.start, self.end, self.left = start, end, MOST_HEADERS
        self._file, self._position = file, start

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position - 1:  # tarfile looks at the last byte of what it passed over
            raise tarfile.ReadError("a header leads backwards")
        self._position = position

    def rest(self, position: int) -> bytes:
        """What is left at `position`, and of that no more than may be padding."""
        self._position, self.left = position, MOST_PADDING + 1
        return self.read(MOST_PADDING + 1)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise tarfile.ReadError(f"a header of {size} bytes")
        size = max(0, min(size, self.end - self._position))
        self._file.seek(min(self._position, self.end))
        content = self._file.read(size)
        self._position += len(content)
        self.left -= len(content)
        return content
