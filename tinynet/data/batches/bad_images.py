"""The account of images that cannot be read: each is named once, and when there are too many, work stops.

What makes an image bad is decided where it is read, by raising DataError.
"""

import logging
from collections.abc import Callable, Mapping

from tinynet.data.dataset import Split
from tinynet.errors import DataError
from tinynet.files import shown

NAMED = 5  # how many of the bad images the final error names


class BadImages:
    """The bad images of a split, as they turn up.

    on_bad(name, reason) is called once for each, whatever the number of epochs; without it, each is a warning of the
    logger "tinynet.data.bad_images", which Python prints to stderr unless told otherwise: never silent, and unlike
    Python's warnings never merged or turned into an error. When more than the share `max_bad` (0 to 1) of the
    split's images are bad, DataError; with 0, at the first. One bad image is let by whatever its share, unless it is 0
    or there is no other. known: `reasons` of a run that goes on, which count.
    """

    def __init__(
        self,
        split: Split,
        max_bad: float = 0.01,
        on_bad: Callable[[str, str], None] | None = None,
        known: Mapping[int, str] | None = None,
    ):
        if not 0 <= max_bad <= 1:
            raise ValueError(f"max_bad: expected a share of the images from 0 to 1, got {max_bad}")
        # by the image's position in the split, in the order of their turning up
        self.reasons = {index: reason for index, reason in (known or {}).items() if 0 <= index < len(split)}
        self._split, self._max_bad, self._report = split, max_bad, on_bad or _log

    def add(self, index: int, reason: str) -> None:
        """Counts image `index`, with the message of its DataError; one that was counted before counts no more."""
        if index in self.reasons:
            return
        name = self._split.name(index)
        self.reasons[index] = reason.removeprefix(f"{name}: ").removeprefix(f"{shown(name)}: ")
        self._report(name, self.reasons[index])
        count, share = len(self.reasons), len(self.reasons) / len(self._split)  # 29 of 100 are not more than 0.29
        if share > self._max_bad and (count > 1 or self._max_bad == 0 or share == 1):
            raise DataError(self._too_many())

    def _too_many(self) -> str:
        count = len(self.reasons)
        lines = [shown(f"{self._split.name(index)}: {reason}") for index, reason in list(self.reasons.items())[:NAMED]]
        more = f"; and {count - NAMED} more" if count > NAMED else ""
        return (
            f"{count} of {len(self._split)} images ({count / len(self._split):.2%}) cannot be read, more than the "
            f"{self._max_bad:.2%} that --max-bad (max_bad) allows: {'; '.join(lines)}{more}"
        )


def _log(name: str, reason: str) -> None:
    logging.getLogger("tinynet.data.bad_images").warning("left out %s: %s", shown(name), shown(reason))
