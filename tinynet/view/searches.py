"""What the page finds in the run's images bit by bit: the mistakes that the network is surest of, and the training
images nearest to a picture. Each call works for a moment and says how far it is, so that nothing else has to wait.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinynet.data import Split
from tinynet.errors import DataError
from tinynet.inspection.pictures import NEAREST, SEARCHED, hidden_layer
from tinynet.inspection.what_if import Switches
from tinynet.random import stream
from tinynet.view import fields
from tinynet.view.changes import Changes
from tinynet.view.images import Picture
from tinynet.view.viewer import GivenUp, Viewer

MOMENT = 0.1  # seconds
MOST = 50  # mistakes
SHOWN = 8  # images of which the guesses are shown while a run is under way


class Searches:
    """Over what a viewer's network says; begun anew when it has got other weights."""

    def __init__(self, viewer: Viewer):
        self._viewer, self._version = viewer, -1
        self._orders: dict[str, list[int]] = {}
        self._begin()

    def _begin(self) -> None:
        """Forgets what was found with other weights."""
        if self._version != self._viewer.version:
            self._version = self._viewer.version
            self._found: list[tuple[float, int, int, int]] = []  # probability, index, label, answer
            self._features: list[np.ndarray] = []
            self._nearby: list[int] = []  # the training images that these are of
            self._done = {"validation": 0, "training": 0}

    def _order(self, name: str, split: Split) -> list[int]:
        """SEARCHED images of a split or fewer, drawn by a seed; drawn once, since a split may have a million."""
        if name not in self._orders:
            self._orders[name] = stream(0, "view").permutation(len(split))[:SEARCHED].tolist()
        return self._orders[name]

    def _probabilities(self, picture: Picture, given_up: GivenUp) -> np.ndarray:
        """By the whole network, of the picture as it is."""
        x, _ = self._viewer.input(picture, Changes())
        return self._viewer.outputs(x, Switches(), given_up)[0]

    def _walk(self, name: str) -> Iterator[tuple[int, Picture]]:
        """The images of a split that can be read, as long as a moment lasts; called again, it goes on."""
        split = self._viewer.images.split(name)
        if split is None:
            raise LookupError(f"there are no {name} images: {self._viewer.images.problem}")
        began = time.perf_counter()
        order = self._order(name, split)
        while self._done[name] < len(order) and time.perf_counter() - began < MOMENT:
            index = order[self._done[name]]
            try:
                picture = self._viewer.images.sample(name, index)
            except DataError:  # passed over
                self._done[name] += 1
                continue
            yield index, picture
            self._done[name] += 1

    def _total(self, name: str) -> int:
        split = self._viewer.images.split(name)
        return min(SEARCHED, len(split)) if split is not None else 0

    def mistakes(self, given_up: GivenUp = lambda: False) -> dict[str, Any]:
        """The validation images that got a wrong answer, those with the highest probability of it first."""
        self._begin()
        viewer = self._viewer
        for index, picture in self._walk("validation"):
            probabilities = self._probabilities(picture, given_up)
            answer = int(probabilities.argmax())
            if answer != picture.label and picture.label is not None:
                self._found.append((float(probabilities[answer]), index, picture.label, answer))
        surest = sorted(self._found, key=lambda one: (-one[0], one[1]))[:MOST]
        mistakes = [
            {"index": index, "label": label, "name": viewer.name(label), "answer": viewer.name(answer),
             "probability": round(probability, 6)}
            for probability, index, label, answer in surest
        ]  # fmt: skip
        return {"done": self._done["validation"], "total": self._total("validation"), "mistakes": mistakes}

    def neighbours(self, asked: dict, given_up: GivenUp = lambda: False) -> dict[str, Any]:
        """The training images whose outputs of the last hidden layer are nearest to the picture's (figure 4 right)."""
        self._begin()
        fields.mapping(asked, "neighbours", ("picture", "changes"))
        viewer = self._viewer
        picture, changes = viewer.asked_about(asked)
        for index, other in self._walk("training"):
            self._features.append(self._feature(other, Changes(), given_up))
            self._nearby.append(index)
        total, done = self._total("training"), self._done["training"]
        told = {"layer": hidden_layer(viewer.trained.net)[0], "done": done, "total": total, "nearest": None}
        if done < total:
            return told
        if not self._nearby:  # none of them can be read
            return {**told, "nearest": []}
        distances = np.linalg.norm(np.stack(self._features) - self._feature(picture, changes, given_up), axis=1)
        split = viewer.images.split("training")
        assert split is not None
        nearest = []
        for place in distances.argsort(kind="stable")[:NEAREST].tolist():
            label = int(split.labels[self._nearby[place]])
            one = {"index": self._nearby[place], "label": label, "name": viewer.name(label)}
            nearest.append({**one, "distance": round(float(distances[place]), 4)})
        return {**told, "nearest": nearest}

    def _feature(self, picture: Picture, changes: Changes, given_up: GivenUp) -> np.ndarray:
        """What the last linear layer sees of it, (numbers,)."""
        x, _ = self._viewer.input(picture, changes)
        _, values = self._viewer.outputs(x, changes.switches, given_up, hidden_layer(self._viewer.trained.net)[1])
        assert values is not None
        return values.reshape(-1)

    def guesses(self, given_up: GivenUp = lambda: False) -> dict[str, Any]:
        """The three best guesses about some validation images, the same ones each time."""
        viewer, images = self._viewer, []
        split = viewer.images.split("validation")
        count = 0 if split is None else len(split)
        for index in sorted({int(one) for one in np.linspace(0, max(0, count - 1), min(SHOWN, count))}):
            try:
                picture = viewer.images.sample("validation", index)
            except DataError:
                continue
            probabilities = self._probabilities(picture, given_up)
            label = picture.label or 0
            one = {"index": index, "label": label, "name": viewer.name(label)}
            images.append({**one, "guesses": viewer.best(probabilities, 3)})
        return {"version": viewer.version, "images": images}
