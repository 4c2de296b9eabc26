"""The views of an image that a test averages over: where each is cut out, and how it is mirrored or turned.

Random views, for training, are in crops.py; the average is taken in training/evaluation.py.
"""

from functools import cache
from typing import NamedTuple

import numpy as np


class Symmetry(NamedTuple):
    """One of the eight ways to lay a square on itself: transposed or not, then mirrored along either axis or both."""

    transposed: bool = False  # rows become columns
    upside_down: bool = False  # rows in reverse
    mirrored: bool = False  # columns in reverse

    def mirror(self) -> "Symmetry":
        """This one, then left and right exchanged."""
        return self._replace(mirrored=not self.mirrored)

    def overturn(self) -> "Symmetry":
        """This one, then top and bottom exchanged."""
        return self._replace(upside_down=not self.upside_down)

    def transpose(self) -> "Symmetry":
        """This one, then rows and columns exchanged: what was mirrored is now upside down."""
        return Symmetry(not self.transposed, self.mirrored, self.upside_down)

    def turn(self) -> "Symmetry":
        """This one, then a turn by 90 degrees, counter-clockwise like np.rot90."""
        return self.transpose().overturn()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The image, (side, side, channels), laid so; a view of its memory."""
        image = image.transpose(1, 0, 2) if self.transposed else image
        return image[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]


POSITIONS = ("top left", "top right", "bottom left", "bottom right", "middle")
BASES = {  # (position, symmetry) of each view
    "middle": [("middle", Symmetry())],
    "ten": [(position, symmetry) for symmetry in (Symmetry(), Symmetry().mirror()) for position in POSITIONS],
}
PARTS = {  # what each part adds for a view
    "vertical": lambda symmetry: [symmetry.overturn()],
    "diagonal": lambda symmetry: [symmetry.transpose()],
    "rotations": lambda symmetry: [symmetry.turn(), symmetry.turn().turn(), symmetry.turn().turn().turn()],
}
CHOICES = f"{' or '.join(BASES)}, or one of them followed by any of {', '.join('+' + part for part in PARTS)}"


@cache
def _named(views: str) -> tuple[tuple[str, Symmetry], ...]:
    """(position, symmetry) of each of the views that this name stands for, in their order, each once."""
    base, *parts = views.split("+")
    if base not in BASES or not set(parts) <= set(PARTS):
        raise ValueError(f"views: expected {CHOICES}; got {views!r}")
    found = dict.fromkeys(BASES[base])  # a set that keeps its order
    for part in parts:
        found |= dict.fromkeys((place, added) for place, symmetry in list(found) for added in PARTS[part](symmetry))
    return tuple(found)


def view_count(views: str) -> int:
    """How many views `crops` cuts for this name. ValueError, with the choices, for a name that is none."""
    return len(_named(views))


def crops(image: np.ndarray, crop: int, views: str = "ten") -> np.ndarray:
    """Test views of an image, (height, width, channels), crop pixels square at most: (views, crop, crop, channels).

    "middle": the middle crop. "ten": the paper's ten (section 4.1), the corners (top left, top right, bottom left,
    bottom right) and the middle, then the left-right mirror of each. Either may be followed by parts, taken from left
    to right, each of which adds to all views so far, in their order: "+vertical" the top-bottom mirror of each,
    "+diagonal" the transpose of each, "+rotations" three turns of each, by 90, 180 and 270 degrees counter-clockwise.
    A view that is there already is not added again: "ten+vertical+diagonal" are 40, the eight symmetries of five crops,
    and further parts add nothing.
    """
    image = np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)  # planes mirror faster
    places = dict(zip(POSITIONS, _five(image, crop), strict=True))
    return np.stack([symmetry(places[place]) for place, symmetry in _named(views)])


def _five(image: np.ndarray, crop: int) -> list[np.ndarray]:
    """The crops at the corners and in the middle, in the order of POSITIONS."""
    height, width, _ = image.shape
    bottom, right = height - crop, width - crop
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    return [image[top : top + crop, left : left + crop] for top, left in corners]
