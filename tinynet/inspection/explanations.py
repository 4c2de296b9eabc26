"""A page on one image: what a trained network sees in it, and what that rests on. The measures are in saliency.py."""

from pathlib import Path

import numpy as np

from tinynet.backend import to_host
from tinynet.data import Loader
from tinynet.data.stores.files import image_files
from tinynet.errors import DataError, NonFiniteError, did_you_mean
from tinynet.files import shown
from tinynet.inspection import plots
from tinynet.inspection.saliency import grad_cam, input_gradient, occlusion
from tinynet.training import Trained
from tinynet.training.evaluation import mean_softmax

NO_CAM = "No Grad-CAM: the network has no convolution"


def find_class(trained: Trained, wanted: str) -> int:
    """The position of a class, by its label or its name, whatever its letters' case. ValueError where there is none."""
    classes, names = trained.settings["classes"], trained.settings["names"]
    for known in (classes, names):
        folded = [one.casefold() for one in known]
        if wanted.casefold() in folded:
            return folded.index(wanted.casefold())
    ask = did_you_mean(wanted, [*names, *classes])
    raise ValueError(f"no class {wanted!r} among the {len(classes)} of {shown(trained.path)}{ask}")


def draw_explanation(trained: Trained, image: str | Path, path: str | Path, label: int | None = None) -> str:
    """The page as a PNG, for a class, by default the best one: the middle crop, the gradient of the class's logit,
    the same by guided backpropagation, Grad-CAM and occlusion. Returns a sentence on it, fit for a terminal.

    DataError for an image that cannot be read, or a network that is not for pictures; NonFiniteError for one whose
    answer is no numbers.
    """
    plots.check_matplotlib()
    settings, net = trained.settings, trained.net
    if trained.channels not in (1, 3) or settings.get("dtype", "uint8") != "uint8":
        raise DataError(f"{shown(trained.path)}: was trained on arrays, and can be asked about no pictures")
    split = image_files([str(image)], tuple(settings["classes"]), trained.channels)
    split.load(0, settings["resize"])  # or says why not
    [batch] = Loader(split, 1, settings["resize"], settings["crop"], "middle", workers=0).epoch()
    x = trained.prepare()(batch)
    row = mean_softmax(to_host(net.forward(x)), 1)[0]
    if not np.isfinite(row).all():
        raise NonFiniteError(f"{shown(trained.path)}: what the network gives is not finite")
    label = int(row.argmax()) if label is None else label
    picture, lost, cam = batch.images[0].transpose(1, 2, 0), occlusion(net, x, label), grad_cam(net, x, label)
    panels = [
        ("gradient", as_light(input_gradient(net, x, label)), False),
        ("guided backpropagation", as_colours(input_gradient(net, x, label, guided=True)), False),
        *([] if cam is None else [("Grad-CAM", cam, True)]),
        ("occlusion", _as_loss(lost, picture), False),
    ]
    name, probability = settings["names"][label], 100 * row[label]
    title = f"{Path(image).name}: {name}, {probability:.1f} % by the middle crop, and what that rests on. "
    title += f"{NO_CAM}. " if cam is None else "Grad-CAM: most in red. "
    title += f"Occlusion: red where covering costs probability, at most {100 * max(0, lost.max()):.1f} points, blue "
    title += "where it adds some"
    plots.explanation(picture, panels, row, label, settings["names"], path, title)
    without = f" ({NO_CAM})" if cam is None else ""
    return shown(f"{image}: {name}, {probability:.1f} %; what that rests on: {path}{without}")


def as_light(gradient: np.ndarray) -> np.ndarray:
    """(C, H, W) to (H, W, 3): the largest absolute value of the channels, white from the 99th percentile on."""
    size = abs(gradient).max(axis=0)
    return np.repeat(np.clip(size / max(np.percentile(size, 99), 1e-30), 0, 1)[..., None], 3, axis=2)


def as_colours(gradient: np.ndarray) -> np.ndarray:
    """(C, H, W) to (H, W, 3): grey is zero."""
    scaled = 0.5 + 0.5 * np.clip(gradient / max(np.percentile(abs(gradient), 99.5), 1e-30), -1, 1)
    return np.broadcast_to(scaled, (3, *scaled.shape[1:])).transpose(1, 2, 0)


def _as_loss(lost: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """(H, W) over a picture (H, W, C) to (H, W, 3): the picture in grey, the redder the more is lost, bluer where some
    is gained; the largest of either has the full colour.
    """
    grey = np.repeat(picture.mean(axis=2, keepdims=True) / 255, 3, axis=2)
    share = 0.8 * abs(lost)[..., None] / max(abs(lost).max(), 1e-30)
    colour = np.where(lost[..., None] > 0, (0.85, 0.1, 0.1), (0.1, 0.3, 0.9))
    return (1 - share) * grey + share * colour
