"""The command line of a job: what every job takes, and an option for each of its settings."""

import argparse
from collections.abc import Mapping, Sequence

from tinynet.training.settings import RunSettings, add_options


def parse_options(
    description: str | None, presets: Mapping[str, RunSettings], arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """What the user typed. Settings are in it only when they were typed: `Run.settle` gives the others their values.

    description: the page's docstring. presets: see add_options. arguments: of the process when None. Mistakes end the
    process with exit code 2 and a sentence, as argparse does.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    _add_common(parser)
    add_options(parser, presets)
    typed = parser.parse_args(arguments)
    for name in ("data", "output_dir", "resume"):
        if getattr(typed, name) == "":
            parser.error(f"--{name.replace('_', '-')}: expected a path, got nothing")
    if typed.test_only and not (typed.weights or typed.resume):
        parser.error("--test-only needs --weights PATH, what to evaluate")
    if (typed.weights or typed.views or typed.class_table or typed.model) and not typed.test_only:
        parser.error("--weights, --views, --class-table and --model are for --test-only; --resume goes on")
    if typed.resume is True and not typed.output_dir:
        parser.error("--resume needs a PATH, or --output-dir")
    typed.views = typed.views or ["middle", "ten"]
    return typed


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", metavar="DIR", help="ImageNet in any of its layouts, any folders train/CLASS and val/CLASS, or what "
        "`python -m tinynet prepare` made of them; left out: a small synthetic data set is drawn")  # fmt: skip
    add("--output-dir", metavar="DIR", help="where weights, log and pictures go (default: a new folder in runs/)")
    resume = "go on from the newest checkpoint in a run's folder, or from one checkpoint; without PATH: in --output-dir"
    add("--resume", nargs="?", const=True, metavar="PATH", help=f"{resume}, or from the start where there is none")
    add("--override", action="store_true", help="let options given with --resume differ from the checkpoint's, except "
        "where the weights would have other shapes")  # fmt: skip
    add("--test-only", action="store_true", help="only evaluate what --weights or --resume names")
    add("--workers", type=int, default=2, help="threads that decode images; 0: none (default: 2)")

    add = parser.add_argument_group("with --test-only").add_argument
    add("--weights", nargs="+", metavar="PATH", help="weights, checkpoints or runs; answers of several are averaged")
    views = "middle or ten, and either with +vertical or +diagonal mirrors and +rotations"
    add("--views", nargs="+", metavar="VIEWS", help=f"{views} (default: middle ten)")
    add("--class-table", metavar="FILE", help="write the errors of each class, in the last of the views, as CSV")
    add("--model", metavar="MODULE:FUNCTION", help="builds the network, where it is one of your own")
