"""The command line of a job: what every job takes, and an option for each of its settings."""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from tinynet.parallel.mesh import parse_mesh
from tinynet.processes import first_speaks
from tinynet.training.presets import Fitted, Presets
from tinynet.training.settings import RunSettings, noted, option, type_of


def parse_options(
    description: str | None, presets: Presets, arguments: Sequence[str] | None = None, starts: bool = False
) -> argparse.Namespace:
    """What the user typed. Settings are in it only when they were typed: `Run.settle` gives the others their values.

    description: the page's docstring. presets: see add_options. arguments: of the process when None. Mistakes end the
    process with exit code 2 and a sentence, as argparse does. starts: the job starts from trained --weights.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_options(parser)
    _add_test_options(parser)
    if starts:
        what = "of --weights from elsewhere: imagenet-torchvision or imagenet-caffe"
        parser.add_argument("--preprocessing", metavar="NAME", help=what)
    add_options(parser, presets)
    with first_speaks():
        typed = parser.parse_args(arguments)
        if problem := _test_problem(typed, starts) or run_problem(typed):
            parser.error(problem)
    typed.views = typed.views or ["middle", "ten"]
    return typed


def run_problem(typed: argparse.Namespace) -> str | None:
    """What cannot be among the options of `add_run_options`, in a sentence."""
    for name in ("data", "output_dir", "resume"):
        if getattr(typed, name) == "":
            return f"--{name.replace('_', '-')}: expected a path, got nothing"
    if typed.mesh is not None:
        try:
            parse_mesh(typed.mesh)
        except ValueError as error:
            return str(error)
        if hasattr(typed, "devices"):
            return f"--devices and --mesh {typed.mesh}: one of them says what shares the net"
    elif typed.one_weird_trick:
        return "--one-weird-trick is for several processes: --mesh says how many"
    if typed.resume is True and not typed.output_dir:
        return "--resume needs a PATH, or --output-dir"
    return None


def _test_problem(typed: argparse.Namespace, starts: bool) -> str | None:
    if typed.test_only and typed.mesh:
        return "--mesh is for training: --test-only takes --devices"
    if typed.test_only and not (typed.weights or typed.resume):
        return "--test-only needs --weights PATH, what to evaluate"
    if starts and not (typed.weights or typed.resume):
        return "--weights PATH is missing: the run, checkpoint or weights to start from"
    if (typed.views or typed.class_table or (not starts and (typed.weights or typed.model))) and not typed.test_only:
        return "--weights, --views, --class-table and --model are for --test-only; --resume goes on"
    return None


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """What every run takes, beside its settings."""
    add = parser.add_argument
    add("--data", metavar="DIR", help="ImageNet in any of its layouts, any folders train/CLASS and val/CLASS, or what "
        "`python -m tinynet prepare` made of them; left out: a small synthetic data set is drawn")  # fmt: skip
    add("--output-dir", metavar="DIR", help="where weights, log and pictures go (default: a new folder in runs/)")
    resume = "go on from the newest checkpoint in a run's folder, or from one checkpoint; without PATH: in --output-dir"
    add("--resume", nargs="?", const=True, metavar="PATH", help=f"{resume}, or from the start where there is none")
    add("--override", action="store_true", help="let options given with --resume differ from the checkpoint's, except "
        "where the weights would have other shapes")  # fmt: skip
    add("--mesh", metavar="RxT", help="on R x T processes of MPI: R replicas, each with its share of a batch, of T "
        "towers, each with its part of the layers, as in mpiexec -n 8 python -m mpi4py ... --mesh 4x2")  # fmt: skip
    add("--one-weird-trick", action="store_true", help="with --mesh Rx1: R replicas of the convolutions, whose linear "
        "layers are R towers")  # fmt: skip
    add("--workers", type=int, default=2, help="threads that decode images; 0: none (default: 2)")


def _add_test_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--test-only", action="store_true", help="only evaluate what --weights or --resume names")
    add = parser.add_argument_group("with --test-only").add_argument
    add("--weights", nargs="+", metavar="PATH", help="weights, checkpoints or runs; answers of several are averaged")
    views = "middle or ten, and either with +vertical or +diagonal mirrors and +rotations"
    add("--views", nargs="+", metavar="VIEWS", help=f"{views} (default: middle ten)")
    add("--class-table", metavar="FILE", help="write the errors of each class, in the last of the views, as CSV")
    add("--model", metavar="MODULE:FUNCTION", help="builds the network, where it is one of your own")


def add_options(parser: argparse.ArgumentParser, presets: Presets) -> None:
    """An option for each setting, which is in the result of parse_args only when it was typed.

    presets: by when they are taken, such as "without --data"; the first, which is not Fitted, is what help calls the
    default.
    """
    (_, first), *others = presets.items()
    if isinstance(first, Fitted):
        raise TypeError("add_options: expected a first preset that is not fitted to pictures")
    group: Any = parser
    for field in dataclasses.fields(first):
        about, (kind, _, several) = noted(field), type_of(type(first), field.name)
        if about["group"]:
            group = parser.add_argument_group(about["group"])
        default = getattr(first, field.name)
        differing = [(when, _value(other, field.name)) for when, other in others]
        told = "".join(f"; {_words(value)} {when}" for when, value in differing if value != default)
        text = about["help"]
        if about["like"]:
            text += f" (default: {option(about['like'])})"
        elif default is not None and kind is not bool:
            text += f" (default: {_words(default)}{told})"
        names = [about["short"]] * bool(about["short"]) + [option(field.name)]
        more: dict[str, Any] = {"help": text.strip().replace("%", "%%"), "default": argparse.SUPPRESS}
        if kind is bool:
            more["action"] = argparse.BooleanOptionalAction
        else:
            more |= {"type": kind, "metavar": about["metavar"], "choices": about["choices"] or None}
            more |= {"nargs": "+"} if several else {}
        group.add_argument(*names, **more)


def _value(preset: RunSettings | Fitted, name: str) -> object:
    """A setting's value in a preset, or what its help says of one that is fitted to the pictures."""
    if not isinstance(preset, Fitted):
        return getattr(preset, name)
    return "by the pictures" if name in preset.RULED else getattr(preset.settings, name)


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
