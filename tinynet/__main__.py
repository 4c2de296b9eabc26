"""The commands beside the examples: python -m tinynet prepare, python -m tinynet plot."""

import argparse
import sys

from tinynet import BackendError, CheckpointError
from tinynet.data import DataError
from tinynet.training.pictures import draw_pictures


def prepare(args: argparse.Namespace) -> None:
    raise NotImplementedError


def plot(args: argparse.Namespace) -> None:
    for sentence in draw_pictures(args.run_folder, args.data, args.out, args.images, args.seed):
        print(sentence, flush=True)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tinynet", description=__doc__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = commands.add_parser("prepare", help="decode and cut a data set's images once, for all epochs of all runs")
    command.set_defaults(run=prepare)

    command = commands.add_parser("plot", help="pictures of a run: learning curves, filters, test images and guesses")
    add = command.add_argument
    add("run_folder", metavar="RUN", help="the folder of a run: finished, interrupted or under way")
    add("--data", metavar="PATH", help="the data set (default: where the run found it)")
    add("--out", metavar="DIR", help="where the pictures go (default: RUN)")
    add("--images", type=int, default=8, metavar="N", help="test images on the page of guesses (default: 8)")
    add("--seed", type=int, default=0, help="chooses the images (default: 0)")
    command.set_defaults(run=plot)
    return parser.parse_args(arguments)


def main() -> None:
    args = parse_arguments()
    try:
        args.run(args)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted.")
    except (BackendError, CheckpointError, DataError, ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
