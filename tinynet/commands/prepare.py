"""Decodes the images of a data set and cuts them to squares once, into a folder that training reads in place of the
data set with --data: the batches are the same, and nothing is decoded again. ImageNet at 256 x 256 takes 262 GB. An
interrupted command is given again, and goes on.

    python -m tinynet prepare --data /path/to/imagenet --out /path/to/cache
"""

import argparse
import signal
import sys
import time

from tinynet.threads import usable_cores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, cores = parser.add_argument, usable_cores()
    add("--data", required=True, metavar="PATH", help="the data set, in any layout that training reads")
    add("--out", required=True, metavar="CACHE", help="the folder to write, a new one or one begun before")
    add("--size", type=int, default=256, help="pixels to a side, training's --resize (default: 256)")
    add("--workers", type=int, default=cores, help=f"processes that decode (default: the cores, {cores})")
    what = "share of a split's images that may be unreadable; they are named, and left out of batches (default: 0.01)"
    add("--max-bad", type=float, default=0.01, metavar="SHARE", help=what)
    what = "of a folder of classes without validation images, the share that becomes the validation set (default: 0.1)"
    add("--val-share", type=float, metavar="SHARE", help=what)


def run(args: argparse.Namespace) -> None:
    """Writes a prepared cache; exit code 130 after Ctrl-C, 143 after SIGTERM."""
    from tqdm import tqdm

    from tinynet.data.caching import writer
    from tinynet.files import shell_word, shown
    from tinynet.training import Counter, duration

    def stop(number: int, frame: object) -> None:
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_DFL)  # a second one ends the process at once; its workers follow
        raise KeyboardInterrupt(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if args.val_share is not None and not 0 < args.val_share < 1:
        raise ValueError(f"--val-share {args.val_share}: expected more than 0 and less than 1")
    began, count, counter = time.perf_counter(), 0, Counter("preparing")

    def progress(done: int, total: int) -> None:
        nonlocal count
        count = done
        counter(done, total)

    def report(line: str) -> None:
        tqdm.write(shown(line), file=sys.stderr)

    try:
        writer.write_cache(
            args.data,
            args.out,
            args.size,
            args.workers,
            max_bad=args.max_bad,
            progress=progress,
            report=report,
            opening=Counter("listing"),
            val_share=args.val_share,
        )
    except KeyboardInterrupt as interrupt:
        print(f"\nStopped. {writer.KEPT}.", file=sys.stderr)
        sys.exit(128 + interrupt.args[0])
    finally:
        counter.close()
    seconds = time.perf_counter() - began
    if count:
        print(f"{count:,} images in {duration(seconds)}, {count / seconds:.0f} images/s")
    print(f"Train from it with --data {shell_word(args.out)} --resize {args.size}")
