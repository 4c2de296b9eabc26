"""Presets: whole sets of a job's settings, by name, of which one is taken when the user names none; and how one is
fitted to the pictures.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, Generic, cast

from tinynet.data import Dataset
from tinynet.data.batches.measuring import typical_side
from tinynet.training.settings import RunSettings, S, option

MEANT = {  # what each of the names stands for, in every job
    "paper": "the paper's settings, made for 1.2 million pictures and many hours",
    "small": "a narrow net, and a start that learns from few pictures",
    "drawn": "as for the pictures that this program draws",
}
MOST_SEEN = 250_000  # pictures, over all epochs
MANY = 20_000  # pictures, which would take long at the largest size
ENLARGED = 1.25  # times, at most, if a smaller size is left
PAPERS = 256, 227  # what the paper cuts its crops from, and their size: others keep the proportion


@dataclasses.dataclass(frozen=True)
class Fitted(Generic[S]):
    """A preset some of whose settings, RULED, follow from the number and the size of the training images.

    settings: all others, of a job that has RULED, `lr` and `preset`. crops: sizes of the net's input
    to choose from, the smallest first: those that its poolings divide well.
    """

    settings: S
    crops: tuple[int, ...]

    RULED = ("resize", "crop", "batch_size", "epochs", "lr_step_size")

    def fit(self, data: Dataset) -> tuple[S, dict[str, str]]:
        """The preset for these images; and the rules, in words, by what they have set."""
        count, settings = len(data.train), cast(Any, self.settings)  # of a job that has all of RULED
        crop, resize, why = self._sizes(data)
        batch_size = 64 if count >= 2000 else 32 if count >= 200 else 16
        epochs = min(60, max(12, math.ceil(MOST_SEEN / count)))
        step = _step(epochs)
        ruled = {"resize": resize, "crop": crop, "batch_size": batch_size, "epochs": epochs, "lr_step_size": step}
        rules = {
            f"resize {resize}, crop {crop}": why,
            f"batch size {batch_size}": f"for {count:,} pictures: 16 up to 200, 32 up to 2,000, then 64",
            f"epochs {epochs}": f"to see {MOST_SEEN:,} pictures, but 12 at least and 60 at most",
            f"rate {settings.lr:g}, a tenth of it after {step} epochs": "three fifths of them",
        }
        if rest := [f"{name} {getattr(settings, name)}" for name in ("width", "init") if hasattr(settings, name)]:
            rules[", ".join(rest)] = "for all"
        return dataclasses.replace(settings, **ruled), rules

    def following(self, settings: S, typed: Mapping[str, Any]) -> S:
        """The settings that `fit` gave, with those changed that follow from what the user has typed in place of others:
        resize from the crop and the other way round, the rate's steps from the epochs.
        """
        follow = {name: typed[name] for name in ("crop", "resize") if name in typed}
        if "crop" in typed and "resize" not in typed:
            follow["resize"] = max(typed["crop"], _larger(typed["crop"]))
        if "resize" in typed and "crop" not in typed:
            follow["crop"] = max(self.crops[0], _smaller(typed["resize"]))
        if "epochs" in typed and "lr_step_size" not in typed:
            follow["lr_step_size"] = _step(typed["epochs"])
        return dataclasses.replace(settings, **follow) if follow else settings

    def _sizes(self, data: Dataset) -> tuple[int, int, str]:
        """Crop, resize, and the rule in words."""
        size = getattr(data.train, "size", None)
        if size is not None:
            return max(self.crops[0], _smaller(size)), size, f"the images were prepared at {size} x {size}"
        side, largest = typical_side(data.train), self.crops[-1]
        if side is None:
            return largest, _larger(largest), "how large the pictures are is not known"
        many = len(data.train) > MANY
        crops = self.crops[:-1] if many else self.crops
        crop = max((one for one in crops if _larger(one) <= ENLARGED * side), default=self.crops[0])
        why = f"for pictures whose shorter side is {side} pixels (the median of 100)"
        return crop, _larger(crop), why + f", and more than {MANY:,} of them" * many


Presets = Mapping[str, RunSettings | Fitted]


def _step(epochs: int) -> int:
    """Epochs before the rate is divided."""
    return max(1, math.ceil(0.6 * epochs))


def _larger(crop: int) -> int:
    """What crops of this size are cut from, in the paper's proportion."""
    return round(crop * PAPERS[0] / PAPERS[1])


def _smaller(resize: int) -> int:
    return round(resize * PAPERS[1] / PAPERS[0])


def usual(data: Dataset, drawn: bool) -> tuple[str, str]:
    """The name of the preset that is taken where the user names none, and why."""
    if drawn:
        return "drawn", "no --data was given"
    if len(data.classes) == 1000 and all(re.fullmatch(r"n\d{8}", name) for name in data.classes):
        return "paper", "these are ImageNet's 1,000 classes"
    return "small", "these are not ImageNet's 1,000 classes"


def chosen(
    presets: Mapping[str, S | Fitted[S]], data: Dataset, drawn: bool, typed: Mapping[str, Any],
    kept: Mapping[str, Any] | None = None,
) -> tuple[S, list[str]]:  # fmt: skip
    """The settings of the preset that the user has typed, else of the usual one; and lines that say which, by what
    rules, what the user has typed against it, and how to get another. kept: the settings of a run that goes on, which
    stays with its preset; ValueError where another was typed.
    """
    name, why = usual(data, drawn)
    if kept is not None:
        if "preset" in typed and typed["preset"] != kept.get("preset"):
            going_on = "a run goes on with the settings that it was begun with; begin another one"
            raise ValueError(f"--preset {typed['preset']}: {going_on}")
        name = kept.get("preset") or name
    elif "preset" in typed:
        name, why = typed["preset"], "as asked"
    preset = presets[name]
    settings, rules = preset.fit(data) if isinstance(preset, Fitted) else (preset, {})
    lines = [f"Preset {name} ({why}): {MEANT[name]}"]
    lines += [f"  {what:{max(map(len, rules))}}  {rule}" for what, rule in rules.items()]
    differing = [key for key, value in typed.items() if key != "preset" and getattr(settings, key) != value]
    if differing:
        told = (f"{option(key)} {typed[key]} (the preset: {getattr(settings, key)})" for key in differing)
        lines.append(f"  but, as typed: {', '.join(told)}")
    lines += [f"  --preset {other}: {MEANT[other]}" for other in presets if other not in (name, "drawn")]
    if isinstance(preset, Fitted):
        settings = preset.following(settings, typed)
    return dataclasses.replace(cast(Any, settings), preset=name), lines


def lower_lr(settings: RunSettings, preset: RunSettings) -> float | None:
    """A learning rate to try where that of the settings is too high: the preset's, or a fifth; None for a job that has
    none.
    """
    lr, usual = getattr(settings, "lr", None), getattr(preset, "lr", None)
    if lr is None or usual is None:
        return None
    return usual if usual < lr else lr / 5
