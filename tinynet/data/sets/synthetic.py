"""A small data set drawn in code: JPEG files in ImageNet's folder layout whose classes are shapes and
patterns.

Every class takes its colours from the same distribution, so that colour says nothing; place, size, rotation,
background, light and noise vary. It stands in for real photos where there are none, and is as deterministic
as Pillow's version.
"""

import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tinynet.data.reading import cache_folder, read_file
from tinynet.errors import DataError
from tinynet.files import parse_json
from tinynet.random import stream

MARKER = "synthetic.json"
VERSION = 1  # to be raised when the drawing changes, so that cached data sets are drawn again
SUPERSAMPLING = 3  # masks are drawn this much larger and then averaged, for smooth edges

Polygons = list[
    tuple[np.ndarray, int]
]  # vertices (n, 2) in a square of -1 to 1, x to the right and y down; 255 draws, 0 erases


@dataclass(frozen=True)
class Figure:
    """A class: how to draw it, and by how many degrees it may be turned either way and still be itself."""

    draw: Callable[[np.random.Generator], Polygons]
    turn: float = 180.0


def _circle(radius: float = 1.0, x: float = 0.0, y: float = 0.0, fill: int = 255) -> tuple[np.ndarray, int]:
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1), fill


def _rectangle(left: float, top: float, right: float, bottom: float) -> tuple[np.ndarray, int]:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)]), 255


def _disc(generator: np.random.Generator) -> Polygons:
    return [_circle()]


def _ring(generator: np.random.Generator) -> Polygons:
    return [_circle(), _circle(generator.uniform(0.5, 0.72), fill=0)]


def _crescent(generator: np.random.Generator) -> Polygons:
    return [_circle(), _circle(generator.uniform(0.75, 0.9), x=generator.uniform(0.45, 0.6), fill=0)]


def _square(generator: np.random.Generator) -> Polygons:
    return [_rectangle(-0.85, -0.85, 0.85, 0.85)]


def _triangle(generator: np.random.Generator) -> Polygons:
    return [(np.array([(0, -1), (0.95, 0.75), (-0.95, 0.75)]), 255)]


def _star(generator: np.random.Generator) -> Polygons:
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, generator.uniform(0.36, 0.45), 1.0)
    return [(np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1), 255)]


def _cross(generator: np.random.Generator) -> Polygons:
    arm = generator.uniform(0.22, 0.34)
    return [_rectangle(-1, -arm, 1, arm), _rectangle(-arm, -1, arm, 1)]


def _horizontal_stripes(generator: np.random.Generator) -> Polygons:
    count = int(generator.integers(3, 6))
    edges = np.linspace(-1, 1, 2 * count)
    return [_rectangle(-1, top, 1, bottom) for top, bottom in zip(edges[::2], edges[1::2], strict=True)]


def _vertical_stripes(generator: np.random.Generator) -> Polygons:
    return _turned(_horizontal_stripes(generator), 90)


def _diagonal_stripes(generator: np.random.Generator) -> Polygons:
    """Falling to either side, so that a mirrored image keeps its class."""
    return _turned(_horizontal_stripes(generator), generator.choice([-45, 45]))


def _checkerboard(generator: np.random.Generator) -> Polygons:
    """Four by four squares, half of them drawn."""
    squares = [(x, y) for x in range(-2, 2) for y in range(-2, 2) if (x + y) % 2 == 0]
    return [_rectangle(x / 2, y / 2, (x + 1) / 2, (y + 1) / 2) for x, y in squares]


def _dots(generator: np.random.Generator) -> Polygons:
    count = int(generator.integers(4, 6))
    radius = generator.uniform(0.55, 0.7) / count
    centres = (np.arange(count) + 0.5) * 2 / count - 1
    return [_circle(radius, x, y) for x in centres for y in centres]


def _turned(polygons: Polygons, degrees: float) -> Polygons:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    rotation = np.array([(cosine, sine), (-sine, cosine)])
    return [(vertices @ rotation, fill) for vertices, fill in polygons]


FIGURES = {
    "checkerboard": Figure(_checkerboard),
    "crescent": Figure(_crescent),
    "cross": Figure(_cross),
    "diagonal_stripes": Figure(_diagonal_stripes, turn=10),
    "disc": Figure(_disc),
    "dots": Figure(_dots),
    "horizontal_stripes": Figure(_horizontal_stripes, turn=10),
    "ring": Figure(_ring),
    "square": Figure(_square),
    "star": Figure(_star),
    "triangle": Figure(_triangle),
    "vertical_stripes": Figure(_vertical_stripes, turn=10),
}


def drawn_folder() -> Path:
    """Where the data set is drawn when nobody says where: in the user's caches, or for want of a home in ./runs."""
    return cache_folder("synthetic") or Path("runs") / "synthetic"


def make_dataset(
    root: str | Path,
    size: int = 96,
    classes: int = 12,
    train_per_class: int = 250,
    val_per_class: int = 50,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw the data set at `root` (train/<class>/0001.jpg, val/<class>/...; shorter side `size` pixels) and
    return `root`.

    A complete one with the same settings is reused at once; another one drawn here is replaced, anything else
    at `root` is an error (DataError). `progress(done, total)` is called as images are finished.
    """
    root = Path(root)
    if not 2 <= classes <= len(FIGURES) or min(train_per_class, val_per_class) < 1 or size < 16:
        raise ValueError(
            f"make_dataset: expected 2 to {len(FIGURES)} classes, 1 or more images per class and a size "
            f"of 16 or more, got {classes}, {train_per_class}, {val_per_class} and {size}"
        )
    counts = {"train": train_per_class, "val": val_per_class}
    settings = {
        "version": VERSION,
        "size": size,
        "classes": list(FIGURES)[:classes],
        "counts": counts,
        "seed": seed,
    }
    if _is_complete(root, settings):
        return root
    if root.exists() and not (root / MARKER).exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(
            f"{root}: looked for an empty folder or a synthetic data set with its {MARKER}, found neither"
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    # Drawn beside and put in place by a rename: whatever interrupts it, `root` is a whole data set or none.
    with tempfile.TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as workshop:
        fresh = Path(workshop) / "fresh"
        _draw_all(fresh, settings, progress)
        (fresh / MARKER).write_text(json.dumps(settings, indent=2) + "\n")
        if _is_complete(root, settings):  # another run was quicker, and may be reading its own already
            return root
        if root.exists():
            root.rename(Path(workshop) / "replaced")
        fresh.rename(root)
    return root


def _is_complete(root: Path, settings: dict) -> bool:
    """Whether the marker has these settings and no image is missing."""
    try:
        found = parse_json(read_file(root / MARKER))
        return found == settings and all(
            len(list((root / split / name).glob("*.jpg"))) == count
            for split, count in settings["counts"].items()
            for name in settings["classes"]
        )
    except (DataError, OSError, ValueError):
        return False


def _draw_all(root: Path, settings: dict, progress: Callable[[int, int], None] | None) -> None:
    tasks = [
        (split, name, number)
        for split, count in settings["counts"].items()
        for name in settings["classes"]
        for number in range(1, count + 1)
    ]
    for split in settings["counts"]:
        for name in settings["classes"]:
            (root / split / name).mkdir(parents=True)

    def draw(task: tuple[str, str, int]) -> None:
        split, name, number = task
        image = draw_image(FIGURES[name], settings["size"], stream(settings["seed"], "synthetic", *task))
        image.save(root / split / name / f"{number:04d}.jpg", quality=90)

    with ThreadPoolExecutor(2, "tinynet-synthetic") as pool:
        for done, _ in enumerate(pool.map(draw, tasks), start=1):
            if progress:
                progress(done, len(tasks))


def draw_image(figure: Figure, size: int, generator: np.random.Generator) -> Image.Image:
    """One image with the figure somewhere on it; the shorter side is `size` pixels, the longer up to a
    third more.
    """
    sides = [size, round(size * generator.uniform(1, 1.33))]
    width, height = sides if generator.random() < 0.4 else sides[::-1]
    background, foreground = _colours(generator)
    image = _scene(width, height, background, generator)

    radius = size * generator.uniform(0.28, 0.4)
    freedom = 0.5 * (size / 2 - radius)
    centre = generator.uniform(
        (width / 2 - freedom, height / 2 - freedom), (width / 2 + freedom, height / 2 + freedom)
    )
    stretch = generator.uniform(0.88, 1.12)
    polygons = [(vertices * (stretch, 1 / stretch), fill) for vertices, fill in figure.draw(generator)]
    polygons = _turned(polygons, generator.uniform(-figure.turn, figure.turn))
    mask = _mask(width, height, [(vertices * radius + centre, fill) for vertices, fill in polygons])
    image += mask * (_gradient(width, height, foreground, generator) - image)

    image = (image - 128) * generator.uniform(0.7, 1.1) + 128 + generator.uniform(-25, 25)
    image += generator.normal(0, generator.uniform(2, 12), image.shape)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def _colours(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two colours (2, 3) for the background's gradient and two for the figure's, each of the one far from
    each of the other.
    """
    while True:
        pairs = generator.uniform(20, 235, size=(2, 1, 3)) + generator.uniform(-25, 25, size=(2, 2, 3))
        background, foreground = pairs
        if np.linalg.norm(background[:, None] - foreground, axis=2).min() > 110:
            return background, foreground


def _gradient(width: int, height: int, colours: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """From the one colour to the other along a random direction: float (height, width, 3)."""
    angle = generator.uniform(0, 2 * np.pi)
    along = np.cos(angle) * np.linspace(-1, 1, width) + np.sin(angle) * np.linspace(-1, 1, height)[:, None]
    share = (along[..., None] / np.sqrt(2) + 1) / 2  # (height, width, 1), 0 to 1
    return colours[0] + share * (colours[1] - colours[0])


def _scene(width: int, height: int, colours: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The background: a gradient, and on it some faint triangles, quadrangles and splinters; float
    (height, width, 3).
    """
    image = Image.fromarray(_gradient(width, height, colours, generator).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(generator.integers(4, 12)):
        extent = generator.uniform(0.03, 0.3, size=2) * height
        corners = generator.uniform(-1, 1, size=(int(generator.integers(3, 5)), 2)) * extent
        vertices = corners + generator.uniform((0, 0), (width, height))
        fill = (*generator.integers(0, 256, size=3).tolist(), int(generator.integers(25, 110)))
        draw.polygon(vertices.ravel().tolist(), fill=fill)
    return np.asarray(image, dtype=np.float64)


def _mask(width: int, height: int, polygons: Polygons) -> np.ndarray:
    """Polygons in pixels as a mask (height, width, 1) of 0 to 1."""
    mask = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    draw = ImageDraw.Draw(mask)
    for vertices, fill in polygons:
        draw.polygon((vertices * SUPERSAMPLING).ravel().tolist(), fill=fill)
    return np.asarray(mask.reduce(SUPERSAMPLING))[..., None] / 255
