"""Settings of a job: a dataclass whose fields bring their help texts and bounds along.

From them come the options of the command line (options.py), what a checkpoint may hold, and the one rule that settles
them: typed by the user, else kept in the checkpoint, else the preset's.
"""

import argparse
import dataclasses
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from tinynet.errors import CheckpointError
from tinynet.files import brief, is_number, shown


def setting(
    default: Any = dataclasses.MISSING, help: str = "", *, group: str | None = None, choices: Sequence = (),
    least: float | None = None, above: float | None = None, most: float | None = None, below: float | None = None,
    like: str | None = None, free: bool = False, short: str | None = None, metavar: str | None = None,
) -> Any:  # fmt: skip
    """A field of a job's settings: int, float, str or bool, one of these | None, or several: tuple[int, ...] and so on.
    What has no default, the job's presets give.

    group: the heading in --help, of this field and those after it. choices: all values that it may have. least, above,
    most, below: the smallest value, what is too small, the largest value, what is too large. like: of None, the setting
    whose value it then has. free: it may differ when a run goes on, since the weights do not depend on it. short: a
    second name, such as "-b".
    """
    about = {"help": help, "group": group, "choices": tuple(choices), "least": least, "above": above, "most": most}
    about |= {"below": below, "like": like, "free": free, "short": short, "metavar": metavar}
    return dataclasses.field(default=default, metadata=about)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What every run needs; a job adds its own in a subclass. ValueError for values that cannot be."""

    checkpoint_minutes: float = setting(15.0, "between checkpoints", group="long runs", above=0, free=True, metavar="N")
    checkpoint_steps: int | None = setting(None, "between checkpoints, if that is sooner", least=1, free=True,
        metavar="N")  # fmt: skip
    keep: int = setting(3, "checkpoints kept, beside the best", least=1, free=True, metavar="K")
    tensorboard: bool = setting(False, "write TensorBoard's curves into the run's folder", free=True)
    max_bad: float = setting(0.01, "of the images that may be unreadable", least=0, most=1, free=True, metavar="SHARE")
    resize: int = setting(help="images are cut to this square first", group="images and epochs", least=1)
    crop: int = setting(help="the net's input, cropped from it", least=1)
    measure_images: int | None = setting(None, "measure the mean image and colours on N images (default: all)", least=1,
        metavar="N")  # fmt: skip
    batch_size: int = setting(help="images of a step", least=1, short="-b")
    epochs: int = setting(help="times that all training images are seen", least=1, free=True)
    channels: int | None = setting(None, "1 reads pictures in gray, 3 in colour (default: as the data set has them)",
        choices=(1, 3))  # fmt: skip
    val_share: float | None = setting(None, "of a folder of classes without validation images, the share that becomes "
        "them (default: 0.1)", above=0, below=1, metavar="SHARE")  # fmt: skip
    seed: int = setting(0, "of weights, order, crops and dropout")

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if expected := out_of_bounds(field, value):
                raise ValueError(f"{option(field.name)} {value}: expected {expected}")
        if self.crop > self.resize:
            raise ValueError(f"--crop {self.crop}: expected no more than --resize, {self.resize}")


S = TypeVar("S", bound=RunSettings)
# What a run keeps beside the settings of its job, and under no other name.
BESIDE = {"job", "model", "network", "scale", "classes", "names", "data", "data_set", "drawn", "dtype"}


def option(name: str) -> str:
    """A setting's name on the command line."""
    return f"--{name.replace('_', '-')}"


def settled(preset: S, typed: Mapping[str, Any], kept: Mapping[str, Any] | None = None, override: bool = False) -> S:
    """The settings of a run: what was typed, else what its checkpoint has kept, else the preset's.

    kept: a checkpoint's settings, where the run goes on. ValueError then for one that was typed and would change what
    the checkpoint was made with, unless that is free or `override` is set.
    """
    fields = {field.name: noted(field) for field in dataclasses.fields(preset)}
    if taken := sorted(fields.keys() & BESIDE):
        raise TypeError(f"{type(preset).__name__}: a run keeps something else as {', '.join(taken)}: rename it")
    values = {name: (kept or {}).get(name, getattr(preset, name)) for name in fields}
    for name, given in typed.items():
        before = values[name]
        same = given == (list(before) if isinstance(before, tuple) else before)
        if kept is not None and not override and not fields[name]["free"] and not same:
            takes = "--override takes it all the same, unless the weights' shapes depend on it"
            raise ValueError(f"{option(name)} {given}: the checkpoint was made with {before}; {takes}")
        values[name] = given
    for name, about in fields.items():
        if values[name] is None and about["like"]:
            values[name] = values[about["like"]]
        if isinstance(values[name], list):  # as JSON and the command line have it
            values[name] = tuple(values[name])
    return dataclasses.replace(preset, **values)


def early(name: str, typed: argparse.Namespace, kept: Mapping[str, object] | None, source: str) -> Any:
    """One of the settings that every run has, before all are settled: typed, else kept, else the default. ValueError or
    CheckpointError where it cannot be.
    """
    field = next(field for field in dataclasses.fields(RunSettings) if field.name == name)
    if hasattr(typed, name):
        value = getattr(typed, name)
        if expected := out_of_bounds(field, value):
            raise ValueError(f"{option(name)} {value}: expected {expected}")
        return value
    if kept is None or name not in kept:
        return field.default
    check_kept({name: kept[name]}, RunSettings, (), source)
    return kept[name]


def check_kept(kept: Mapping[str, object], kind: type[RunSettings], typed: Collection[str], source: str) -> None:
    """CheckpointError unless what a checkpoint has kept are settings of this kind, each of its type and, but for those
    that were typed, within its bounds; and what a run keeps beside them. `source`: what errors call it.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(kept.keys() - fields.keys() - BESIDE):
        names = shown(", ".join(unknown[:5]))[:200] + ", ..." * (len(unknown) > 5)
        raise CheckpointError(f"{source}: has settings that this job does not know: {names}")
    for name in fields.keys() & kept.keys():
        if not has_type(fields[name], kept[name], kind):
            raise CheckpointError(f"{source}: its settings: {name} cannot be {brief(kept[name])}")
        if name not in typed and (expected := out_of_bounds(fields[name], kept[name])):
            raise CheckpointError(f"{source}: its settings: {name} cannot be {brief(kept[name])}, expected {expected}")


# ---- a field ----


def noted(field: dataclasses.Field) -> Mapping[str, Any]:
    """What `setting` has noted of it; of a plain field, that there is nothing."""
    return field.metadata or setting().metadata


def type_of(kind: type[RunSettings], name: str) -> tuple[type, bool, bool]:
    """(int, float, str or bool; whether it may be None; whether it is a tuple of these). TypeError for others."""
    hint = typing.get_type_hints(kind)[name]
    parts = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    one = [part for part in parts if part is not type(None)]
    several = len(one) == 1 and typing.get_origin(one[0]) is tuple and typing.get_args(one[0])[1:] == (...,)
    if several:
        one = [typing.get_args(one[0])[0]]
    if len(one) != 1 or one[0] not in (int, float, str, bool):
        expected = "int, float, str or bool, one of them | None, or a tuple of any number of them"
        raise TypeError(f"{kind.__name__}.{name}: expected {expected}, got {hint}")
    return one[0], len(parts) > 1, several


def has_type(field: dataclasses.Field, value: object, kind: type[RunSettings]) -> bool:
    expected, optional, several = type_of(kind, field.name)
    if value is None:
        return optional
    if several:
        return isinstance(value, list | tuple) and all(_is(expected, one) for one in value)
    choices = noted(field)["choices"]
    return _is(expected, value) and (not choices or value in choices)


def _is(expected: type, value: object) -> bool:
    return is_number(value) if expected is float else type(value) is expected


def out_of_bounds(field: dataclasses.Field, value: Any) -> str | None:
    """What was expected, where a value is out of its bounds."""
    about = noted(field)
    if value is None or isinstance(value, list | tuple):
        return next((found for one in value or () if (found := out_of_bounds(field, one))), None)
    if about["choices"] and value not in about["choices"]:
        return f"one of {', '.join(map(str, about['choices']))}"
    if about["least"] is not None and not value >= about["least"]:  # so that NaN is none
        return f"{about['least']} or more"
    if about["above"] is not None and not value > about["above"]:
        return f"more than {about['above']}"
    if about["most"] is not None and not value <= about["most"]:
        return f"{about['most']} or less"
    if about["below"] is not None and not value < about["below"]:
        return f"less than {about['below']}"
    if isinstance(value, float) and not is_number(value):
        return "a finite number"
    return None


def typed_settings(typed: argparse.Namespace, kind: type[RunSettings]) -> dict[str, Any]:
    """Those of the settings that the user has typed."""
    return {field.name: getattr(typed, field.name) for field in dataclasses.fields(kind) if hasattr(typed, field.name)}
