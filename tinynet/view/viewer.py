"""A network that is shown: what it makes of a picture, whole or with something changed. It answers in JSON's terms.

One thread at a time asks it about pictures; see server.py. What a slow answer is no longer wanted for ends between two
layers.
"""

import base64
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tinynet.backend import Array, to_host
from tinynet.data import Batch
from tinynet.data.images.views import BASES, POSITIONS, crops
from tinynet.errors import CheckpointError, DataError, NonFiniteError
from tinynet.files import shown
from tinynet.inspection.explanations import as_colours, as_light
from tinynet.inspection.pictures import first_convolution, hidden_layer
from tinynet.inspection.saliency import grad_cam, input_gradient
from tinynet.inspection.what_if import Switches, WhatIf, towers_of
from tinynet.layers import Conv2d
from tinynet.network import known, leaves
from tinynet.training import Trained
from tinynet.training.evaluation import mean_softmax
from tinynet.view import fields
from tinynet.view.changes import Changes
from tinynet.view.diagram import describe_layers
from tinynet.view.images import Images, Picture

BEST = 5  # guesses
TILE = 64  # pixels of a channel's small picture, at most
SALIENCY = "gradient", "guided", "grad-cam"
GivenUp = Callable[[], bool]


class GivenUpError(Exception):
    """Nobody waits for this answer any more."""


class Viewer:
    """trained: the network. title: what the page calls it. learned: whether its weights come from training. data: where
    the data set lies, if not where the network found it. DataError for a network that is not for pictures.
    """

    def __init__(self, trained: Trained, title: str, state: str, learned: bool = True, data: str | None = None):
        if trained.channels not in (1, 3) or trained.settings.get("dtype", "uint8") != "uint8":
            raise DataError(f"{shown(trained.path)}: was trained on arrays, and can be asked about no pictures")
        self.trained, self.title, self.state, self.learned, self.version = trained, title, state, learned, 0
        side, channels = trained.settings["crop"], trained.channels
        self.shape = channels, side, side
        self.what_if = WhatIf(trained.net, self.shape, towers_of(trained.net))
        self.images = Images(trained, data, opens=learned)
        self._layers = describe_layers(trained.net, self.shape, self.what_if)
        self._prepare = trained.prepare()
        mean = np.rint(trained.statistics.mean_image).clip(0, 255).astype(np.uint8)
        self._mean = mean.transpose(1, 2, 0)  # (size, size, C)

    def update(self, trained: Trained, state: str) -> None:
        """Takes newer weights of the same network, and leaves all else as it is. CheckpointError for another one."""
        shapes = [[(name, layer.params[key].shape) for name, layer, key in net.parameters()]
                  for net in (self.trained.net, trained.net)]  # fmt: skip
        if shapes[0] != shapes[1] or self.trained.settings["classes"] != trained.settings["classes"]:
            raise CheckpointError(f"{self.title}: another network is there now: open the page anew, with `view`")
        for own, newer in zip(leaves(self.trained.net), leaves(trained.net), strict=True):
            own.params |= newer.params
        self.trained = dataclasses.replace(self.trained, path=trained.path)
        self.state, self.version = state, self.version + 1

    def network(self) -> dict[str, Any]:
        """What the page draws."""
        settings, splits = self.trained.settings, {}
        for name in ("validation", "training"):
            split = self.images.split(name)
            splits[name] = None if self.images.opening else len(split) if split is not None else 0
        convolution = first_convolution(self.trained.net)
        saliency = SALIENCY if any(isinstance(layer, Conv2d) for layer in leaves(self.trained.net)) else SALIENCY[:2]
        return {
            "title": self.title, "model": settings["model"], "trained": self.learned,
            "state": self.state, "version": self.version, "devices": self.what_if.devices,
            "input": {"channels": self.shape[0], "crop": self.shape[1]},
            "classes": len(settings["classes"]), "names": settings["names"], "layers": self._layers,
            "data": {**splits, "problem": self.images.problem},
            "kernels": convolution[0] if convolution else None,
            "neighbours": hidden_layer(self.trained.net)[0], "saliency": saliency,
        }  # fmt: skip

    # ---- a picture through the network ----

    def input(self, picture: Picture, changes: Changes, views: str = "middle") -> tuple[Array, np.ndarray]:
        """The network's input (views, C, crop, crop), and the middle crop that it is made of, (crop, crop, C)."""
        crop = self.shape[1]
        pixels = changes.apply(picture.pixels, crop, self._mean)
        cut = crops(pixels, crop, views)
        images = np.ascontiguousarray(cut.transpose(0, 3, 1, 2))
        one = np.zeros(1, np.int64)
        return self._prepare(Batch(images, one, None, one, len(images))), cut[_middle(views)]

    def outputs(
        self, x: Array, switches: Switches, given_up: GivenUp, wanted: str | None = None, view: int = 0
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The probabilities, (classes,) float32, the mean over the views x, and the output of a layer for one of them.

        GivenUpError, between two layers; NonFiniteError.
        """
        found: list[np.ndarray] = []

        def seen(name: str, y: Array) -> None:
            if given_up():
                raise GivenUpError
            if name == wanted:
                found.append(np.array(to_host(y[view : view + 1]))[0])

        logits = to_host(self.what_if.forward(x, switches, seen))
        probabilities = mean_softmax(logits, len(x))[0].astype(np.float32)
        if not np.isfinite(probabilities).all():
            raise NonFiniteError("what the network gives is not finite")
        return probabilities, found[0] if found else None

    def answer(self, asked: dict, given_up: GivenUp = lambda: False) -> dict[str, Any]:
        """The best guesses about a picture, and, where they are asked for, all classes' probabilities, what the network
        sees of it, the channels of a layer and one of them whole.
        """
        fields.mapping(asked, "answer", ("picture", "changes", "views", "crop", "layer", "channel", "all"))
        picture, changes = self.asked_about(asked)
        views = fields.word(asked.get("views", "middle"), "views", BASES)
        layer, began = asked.get("layer"), time.perf_counter()
        if layer is not None:
            known(fields.word(layer, "layer"), self.what_if.shapes)
        x, crop = self.input(picture, changes, views)
        probabilities, values = self.outputs(x, changes.switches, given_up, layer, _middle(views))
        told = {"version": self.version, "guesses": self.best(probabilities, BEST), "truth": None}
        if picture.label is not None:
            rank = int((probabilities > probabilities[picture.label]).sum()) + 1
            told["truth"] = {**self._guess(probabilities, picture.label), "rank": rank}
        if fields.flag(asked.get("crop", False), "crop"):
            told["crop"] = {"size": len(crop), "channels": crop.shape[2], "pixels": _base64(crop)}
        if fields.flag(asked.get("all", False), "all"):
            told["all"] = _base64(probabilities.astype("<f4"))
        if values is not None:
            told["layer"] = {"name": layer, **_channels(values)}
            if asked.get("channel") is not None:
                told["channel"] = _channel(values, fields.count(asked["channel"], "channel"))
        return {**told, "milliseconds": round(1000 * (time.perf_counter() - began), 1)}

    def asked_about(self, asked: dict) -> tuple[Picture, Changes]:
        """The picture that a request names, and what is to be changed."""
        picture = self.images[fields.word(asked.get("picture"), "picture")]
        return picture, Changes.read(asked.get("changes", {}))

    def best(self, probabilities: np.ndarray, count: int) -> list[dict[str, Any]]:
        """The guesses, the best first."""
        order = (-probabilities).argsort(kind="stable")[:count].tolist()
        return [self._guess(probabilities, label) for label in order]

    def _guess(self, probabilities: np.ndarray, label: int) -> dict[str, Any]:
        about = {"label": label, "class": self.trained.settings["classes"][label], "name": self.name(label)}
        return {**about, "probability": round(float(probabilities[label]), 6)}

    def name(self, label: int) -> str:
        return self.trained.settings["names"][label]

    # ---- what it rests on, what it has learned ----

    def saliency(self, asked: dict, given_up: GivenUp = lambda: False) -> dict[str, Any]:
        """One of SALIENCY for a class, by default the best, about the middle crop. Of the whole network: switches do
        not count.
        """
        fields.mapping(asked, "saliency", ("picture", "changes", "kind", "label"))
        picture, changes = self.asked_about(asked)
        kind, label, net = fields.word(asked.get("kind"), "kind", SALIENCY), asked.get("label"), self.trained.net
        x, _ = self.input(picture, changes)
        if label is None:
            label = int(self.outputs(x, Switches(), given_up)[0].argmax())
        if fields.count(label, "label") >= len(self.trained.settings["classes"]):
            raise ValueError(f"label {label}: the network knows {len(self.trained.settings['classes'])} classes")
        if kind == "grad-cam":
            found = grad_cam(net, x, label)
            if found is None:
                raise ValueError("grad-cam: the network has no convolution")
            light = (found / max(found.max(), 1e-30))[..., None]
        else:
            gradient = input_gradient(net, x, label, guided=kind == "guided")
            light = as_colours(gradient) if kind == "guided" else as_light(gradient)[..., :1]
        pixels = np.rint(255 * light).astype(np.uint8)
        about = {"label": label, "name": self.name(label), "kind": kind}
        return {**about, "shape": pixels.shape[:2], "channels": pixels.shape[2], "pixels": _base64(pixels)}

    def kernels(self) -> dict[str, Any]:
        """Those of the first convolution, each scaled by its own largest absolute value: 128 is zero (figure 3)."""
        first = first_convolution(self.trained.net)
        if first is None:
            raise LookupError("the network has no convolution of 1 or 3 channels")
        weight = np.nan_to_num(to_host(first[1].params["weight"]), posinf=0, neginf=0)
        largest = np.maximum(abs(weight).max(axis=(1, 2, 3), keepdims=True), 1e-12)
        pixels = np.rint(127.5 + 127.5 * weight / largest).astype(np.uint8).transpose(0, 2, 3, 1)  # (K, h, w, C)
        return {"layer": first[0], "shape": weight.shape, "pixels": _base64(pixels)}


def _middle(views: str) -> int:
    """Which of the views is the middle crop."""
    return 0 if views == "middle" else POSITIONS.index("middle")


def _channels(values: np.ndarray) -> dict[str, Any]:
    """A layer's output (K, h, w) or (K,) as small pictures, and which are the strongest: by mean absolute values."""
    maps = values.reshape(len(values), *values.shape[1:] or (1, 1)).astype(np.float32)
    strength = abs(maps).mean(axis=(1, 2), dtype=np.float64)
    step = -(-max(maps.shape[1:]) // TILE)
    if step > 1:  # the mean of step x step values; what is left over at the edges is cut off
        rows, columns = (max(1, side // step) for side in maps.shape[1:])
        across, down = (min(step, side) for side in maps.shape[1:])
        maps = maps[:, : rows * across, : columns * down].reshape(len(maps), rows, across, columns, down).mean((2, 4))
    scale = float(abs(maps).max()) or 1.0
    return {
        "shape": values.shape, "tile": maps.shape[1:], "order": (-strength).argsort(kind="stable").tolist(),
        "strength": strength.round(6).tolist(), "scale": scale,
        "pixels": _base64(np.rint(127 * maps / scale).astype(np.int8)),
    }  # fmt: skip


def _channel(values: np.ndarray, channel: int) -> dict[str, Any]:
    """One channel of (K, h, w) or (K,), whole."""
    if channel >= len(values):
        raise ValueError(f"channel {channel}: expected one from 0 to {len(values) - 1}")
    whole = values[channel].astype("<f4").reshape(values.shape[1:] or (1, 1))
    return {"channel": channel, "shape": whole.shape, "values": _base64(whole)}


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
