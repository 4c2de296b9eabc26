"""The batches of a run: its loaders, and the mean image that is subtracted, measured or known from before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinynet.data import Dataset, Loader, Prepare, Statistics, measure
from tinynet.data.dataset import dtype_of
from tinynet.data.stores.arrays import ArraySplit
from tinynet.errors import DataError
from tinynet.files import shown
from tinynet.parallel import Mesh
from tinynet.training.progress import Counter
from tinynet.training.settings import RunSettings
from tinynet.training.sharing import SharedLoader, shared_measuring


@dataclass(frozen=True)
class Batches:
    """What a run trains on, `train`, and is tested on: `val`, the middle crop, and `ten` views; prepare(batch) is the
    net's input.
    """

    train: Loader
    val: Loader
    ten: Loader
    prepare: Prepare
    statistics: Statistics

    @property
    def left_out(self) -> dict[str, dict[int, str]]:
        """The images that could not be read, for each split what Loader.bad holds."""
        return {"train": self.train.bad, "val": self.val.bad}


def check_images(data: Dataset, settings: RunSettings) -> None:
    """DataError or ValueError where the images cannot be had as the settings want them."""
    root, size = shown(data.root), getattr(data.train, "size", settings.resize)
    if size != settings.resize:
        raise DataError(f"{root} was prepared at {size} x {size}: train with --resize {size}, or prepare it again")
    if settings.channels not in (None, data.channels):
        of = f"{data.channels} channel{'s' * (data.channels != 1)}"
        raise DataError(f"{root}: has images of {of}, asked for {settings.channels}")
    for split in (data.train, data.val):
        if isinstance(split, ArraySplit):
            split.check(settings.resize)


def measured(
    data: Dataset, settings: RunSettings, workers: int, check: Callable[[], None], on_bad: Callable[[str, str], None],
    mesh: Mesh | None = None,
) -> Statistics:  # fmt: skip
    """The training set's statistics; those that a prepared cache has, when they are of all images.

    check: called on the way, and may end it by raising.
    """
    if data.statistics is not None and settings.measure_images is None:
        return data.statistics
    print("Measuring the mean image and the principal components of colour ...", flush=True)
    counter = Counter("measuring")

    def counted(done: int, total: int) -> None:
        counter(done, total)
        check()

    limit, bad = settings.measure_images, settings.max_bad
    shared = shared_measuring(mesh)
    return measure(data.train, settings.resize, limit, max(1, workers), settings.seed, counted, bad, on_bad, **shared)


def unit_scale(data: Dataset, statistics: Statistics) -> float:
    """What makes the deviation of pixels 1; bytes that hardly differ stay as they are."""
    return 1 / max(statistics.pixel_deviation, 1.0 if dtype_of(data.train) == np.uint8 else 1e-6)


def make_batches(
    data: Dataset, settings: RunSettings, workers: int, statistics: Statistics, scale: float | Sequence[float], net,
    on_bad: Callable[[str, str], None], left_out: Mapping[str, Mapping[int, str]], random: Mapping[str, Any] | None,
    mesh: Mesh | None = None,
) -> Batches:  # fmt: skip
    """left_out: as Batches has it, of a run that goes on. random: what Loader takes for training images alone; None
    trains on their middle crops.
    """
    views = "shuffled" if random is None else "random"
    s, kind = settings, Loader if mesh is None else partial(SharedLoader, mesh)

    def loader(split: str, batch_size: int, views: str, **more: Any) -> Loader:
        common: dict[str, Any] = {"seed": s.seed, "workers": workers, "max_bad": s.max_bad, "on_bad": on_bad}
        bad = left_out.get(split)
        return kind(getattr(data, split), batch_size, s.resize, s.crop, views, known_bad=bad, **common, **more)

    return Batches(
        train=loader("train", s.batch_size, views, statistics=statistics, **(random or {})),
        val=loader("val", s.batch_size, "middle"),
        ten=loader("val", max(1, s.batch_size // 10), "ten"),
        prepare=Prepare(statistics, s.crop, scale, net),
        statistics=statistics,
    )
