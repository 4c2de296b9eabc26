"""What the page's user changes about a picture and a network, read from JSON; the picture's part is done here."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from tinynet.inspection.what_if import Switches
from tinynet.view import fields

MOST = 16  # covered rectangles
MOST_OFF = 20_000  # channels and units of a layer
MOST_LAYERS = 1_000


@dataclass(frozen=True)
class Changes:
    """A picture mirrored, then turned (degrees, counter-clockwise), then shifted (down, right, in pixels), then covered
    by rectangles (top, left, height, width) of its middle crop; and what of the network is off.
    """

    mirror: bool = False
    turn: float = 0.0
    shift: tuple[int, ...] = (0, 0)
    covered: tuple[tuple[int, ...], ...] = ()
    switches: Switches = field(default_factory=Switches)

    @classmethod
    def read(cls, given: object) -> "Changes":
        """As the page sends them, all fields optional; ValueError for anything else."""
        names = "mirror", "turn", "shift", "covered", "off", "towers_off", "exchange_off"
        wanted = fields.mapping(given, "changes", names)
        off = {
            name: {fields.count(one, f"off {name}") for one in fields.several(channels, f"off {name}", MOST_OFF)}
            for name, channels in fields.mapping(wanted.get("off", {}), "off").items()
        }
        towers = {
            fields.count(tower, "towers_off")
            for tower in fields.several(wanted.get("towers_off", []), "towers_off", MOST_LAYERS)
        }
        exchanges = {
            fields.word(name, "exchange_off")
            for name in fields.several(wanted.get("exchange_off", []), "exchange_off", MOST_LAYERS)
        }
        return cls(
            fields.flag(wanted.get("mirror", False), "mirror"),
            fields.number(wanted.get("turn", 0), "turn", 360),
            fields.whole_numbers(wanted.get("shift", [0, 0]), "shift", 2),
            tuple(
                fields.whole_numbers(one, "covered", 4)
                for one in fields.several(wanted.get("covered", []), "covered", MOST)
            ),
            Switches(off, towers, exchanges),
        )

    def apply(self, picture: np.ndarray, crop: int, mean: np.ndarray) -> np.ndarray:
        """A picture (size, size, C) uint8 with these changes. mean: (size, size, C) uint8, which stands where it is
        covered, and whose mean colour where the picture has moved away.
        """
        picture = picture[:, ::-1] if self.mirror else picture
        if self.turn or any(self.shift):
            picture = self._moved(picture, mean)
        if self.covered:
            edge = (len(picture) - crop) // 2
            picture = picture.copy()
            inside, gray = (image[edge : edge + crop, edge : edge + crop] for image in (picture, mean))
            for top, left, height, width in self.covered:
                rows, columns = slice(max(0, top), max(0, top + height)), slice(max(0, left), max(0, left + width))
                inside[rows, columns] = gray[rows, columns]
        return picture

    def _moved(self, picture: np.ndarray, mean: np.ndarray) -> np.ndarray:
        channels = picture.shape[2]
        colour: Any = tuple(int(value) for value in mean.reshape(-1, channels).mean(axis=0).round())
        image = Image.fromarray(np.ascontiguousarray(picture if channels == 3 else picture[..., 0]))
        down, right = self.shift
        colour = colour if channels == 3 else colour[0]
        moved = image.rotate(self.turn, Image.Resampling.BILINEAR, translate=(right, down), fillcolor=colour)
        return np.asarray(moved).reshape(picture.shape)
