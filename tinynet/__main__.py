"""The commands beside the examples: python -m tinynet prepare, python -m tinynet plot."""

import argparse
import os
import signal
import sys
import time

from tqdm import tqdm

from tinynet import BackendError, CheckpointError
from tinynet.data import DataError
from tinynet.files import shell_word, shown
from tinynet.training import Counter, duration
from tinynet.training.pictures import draw_pictures


def prepare(args: argparse.Namespace) -> None:
    """Writes a prepared cache; exit code 130 after Ctrl-C, 143 after SIGTERM."""
    from tinynet.data.cache_writer import KEPT, write_cache  # which needs what Windows has not

    def stop(number: int, frame: object) -> None:
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_DFL)  # a second one ends the process at once; its workers follow
        raise KeyboardInterrupt(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    began, count, counter = time.perf_counter(), 0, Counter("preparing")

    def progress(done: int, total: int) -> None:
        nonlocal count
        count = done
        counter(done, total)

    def report(line: str) -> None:
        tqdm.write(shown(line), file=sys.stderr)

    try:
        settings = args.size, args.workers, args.max_bad
        write_cache(args.data, args.out, *settings, progress, report, Counter("listing"))
    except KeyboardInterrupt as interrupt:
        print(f"\nStopped. {KEPT}.", file=sys.stderr)
        sys.exit(128 + interrupt.args[0])
    finally:
        counter.close()
    seconds = time.perf_counter() - began
    if count:
        print(f"{count:,} images in {duration(seconds)}, {count / seconds:.0f} images/s")
    print(f"Train from it with --data {shell_word(args.out)} --resize {args.size}")


def plot(args: argparse.Namespace) -> None:
    for sentence in draw_pictures(args.run_folder, args.data, args.out, args.images, args.seed):
        print(sentence, flush=True)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tinynet", description=__doc__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = commands.add_parser("prepare", help="decode and cut a data set's images once, for all epochs of all runs")
    command.description = (
        "Decodes the images of a data set and cuts them to squares once, into a folder that training reads in place of "
        "the data set with --data: the batches are the same, and nothing is decoded again. ImageNet at 256 x 256 takes "
        "262 GB. An interrupted command is given again, and goes on."
    )
    add, cores = command.add_argument, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    add("--data", required=True, metavar="PATH", help="the data set, in any layout that training reads")
    add("--out", required=True, metavar="CACHE", help="the folder to write, a new one or one begun before")
    add("--size", type=int, default=256, help="pixels to a side, training's --resize (default: 256)")
    add("--workers", type=int, default=cores, help=f"processes that decode (default: the cores, {cores})")
    what = "share of a split's images that may be unreadable; they are named, and left out of batches (default: 0.01)"
    add("--max-bad", type=float, default=0.01, metavar="SHARE", help=what)
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
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name in another script may not end what has been done
    try:
        args.run(args)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted.")
    except (BackendError, CheckpointError, DataError, ImportError, OSError, ValueError) as error:
        text = shown(error, keep="\n")
        sys.exit(f"error: {text}")


if __name__ == "__main__":
    main()
