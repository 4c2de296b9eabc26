"""The pictures that the page shows and asks about: those that users bring, and those of the run's data set."""

import io
import itertools
import secrets
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tinynet.data import Dataset, Split
from tinynet.data.images.decoding import decode_content
from tinynet.files import shown
from tinynet.inspection.pictures import data_of
from tinynet.training import Trained

KEPT = 64  # pictures; older ones are forgotten
THUMBNAIL = 96  # pixels


@dataclass(frozen=True)
class Picture:
    """pixels: (size, size, C) uint8, cut as in the network's training; label: its true class, where that is known."""

    pixels: np.ndarray
    name: str = ""
    label: int | None = None


class UnknownPictureError(LookupError):
    """The page asks about a picture that is not, or no longer, kept."""


class Images:
    """Pictures by names, for any number of threads, and the splits "training" and "validation".

    The data set is opened on a thread of its own, which may take a while. data: where it lies, if not where the network
    found it. opens: whether there is one at all.
    """

    def __init__(self, trained: Trained, data: str | None = None, opens: bool = True):
        self._size, self._channels = trained.settings["resize"], trained.channels
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._numbers, self._lock = itertools.count(1), threading.Lock()
        self._prefix = f"{secrets.token_hex(4)}-"  # a page that is still open knows another server's pictures
        self.problem, self.opening = "", opens  # why there is no data set; whether it is being opened
        self._splits: dict[str, Split] = {}
        if opens:
            threading.Thread(target=self._open, args=(trained, data), daemon=True, name="tinynet-data").start()

    def _open(self, trained: Trained, data: str | None) -> None:
        try:
            dataset: Dataset = data_of(trained, data)
            self._splits = {"training": dataset.train, "validation": dataset.val}
        except Exception as error:  # whatever it is, the page goes on without
            print(f"No pictures of the data set: {shown(error, keep=chr(10))}", file=sys.stderr)
            first, root = str(error).partition("\n")[0], data or trained.settings.get("data")
            self.problem = shown(first.removeprefix(f"{root}: "))  # the page shows no paths of the machine
        finally:
            self.opening = False

    # ---- pictures ----

    def add(self, picture: Picture) -> str:
        with self._lock:
            name = f"{self._prefix}{next(self._numbers)}"
            self._kept[name] = picture
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return name

    def __getitem__(self, name: str) -> Picture:
        with self._lock:
            if name not in self._kept:
                raise UnknownPictureError(f"no picture {name[:20]!r} is kept: bring it again")
            self._kept.move_to_end(name)
            return self._kept[name]

    def decode(self, data: bytes) -> Picture:
        """A picture that somebody brings; DataError for what is none."""
        return Picture(decode_content(data, self._size, "the picture", self._channels))

    # ---- the data set ----

    def split(self, name: str) -> Split | None:
        """None while it is being opened, and where there is none."""
        return self._splits.get(name)

    def sample(self, split: str, index: int) -> Picture:
        """An image of a split; DataError where it cannot be read, LookupError where there is none."""
        images = self._images(split, index)
        return Picture(images.load(index, self._size), images.name(index), int(images.labels[index]))

    def thumbnail(self, split: str, index: int) -> bytes:
        """An image of a split as a small PNG."""
        images = self._images(split, index)
        pixels = images.load(index, getattr(images, "size", THUMBNAIL))
        file = io.BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
        return file.getvalue()

    def _images(self, split: str, index: int) -> Split:
        images = self._splits.get(split)
        if images is None:
            raise LookupError(f"there are no {split} images" + (f": {self.problem}" if self.problem else ""))
        if not 0 <= index < len(images):
            raise LookupError(f"{split} image {index}: there are {len(images):,}")
        return images
