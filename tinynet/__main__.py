"""The commands beside the examples: python -m tinynet prepare, python -m tinynet plot."""

import argparse
import sys

from tinynet import BackendError, CheckpointError
from tinynet.data import DataError


def prepare(args: argparse.Namespace) -> None:
    raise NotImplementedError


def plot(args: argparse.Namespace) -> None:
    raise NotImplementedError


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tinynet", description=__doc__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = commands.add_parser("prepare", help="decode and cut a data set's images once, for all epochs of all runs")
    command.set_defaults(run=prepare)

    command = commands.add_parser("plot", help="pictures of a run: learning curves, filters, test images and guesses")
    command.set_defaults(run=plot)
    return parser.parse_args(arguments)


def main() -> None:
    args = parse_arguments()
    try:
        args.run(args)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted.")
    except (BackendError, CheckpointError, DataError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
