"""Says what a trained network sees in pictures: its best classes, each with its probability, the mean over ten views.
Pictures are cut, and pixels scaled, as in the network's training. One that cannot be read is named, the others are
answered, and the exit code is 1.

    python -m tinynet predict runs/alexnet-imagenette-1 dog.jpg holiday/
    python -m tinynet predict runs/alexnet-imagenette-1 holiday/ --top 1 --out holiday.csv
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tinynet.commands import networks
from tinynet.files import check_output, shown, written_whole

if TYPE_CHECKING:
    from tinynet.inspection.answers import Answer

WIDEST = 40  # characters of the table's first column


def add_arguments(parser: argparse.ArgumentParser) -> None:
    networks.add_run(parser)
    networks.add_images(parser)
    add = parser.add_argument
    add("--top", type=int, metavar="K", help="classes for each picture (default: 5, or all of fewer)")
    add("--views", help="middle or ten, and either with +vertical or +diagonal mirrors and +rotations; or dense, the "
        "network on all of each picture (default: ten, or middle of a network trained without mirrors)")  # fmt: skip
    networks.add_scales(parser)
    add("--with", nargs="+", default=[], dest="others", metavar="RUN", help="networks whose answers are averaged in")
    add("--out", metavar="FILE", help="X.csv, a row for each picture and rank, or X.json, in place of the table")
    add("--json", action="store_true", help="print JSON in place of the table")


def run(args: argparse.Namespace) -> None:
    from tinynet.inspection.answers import predict_files
    from tinynet.training.trained import images_at_once

    check_output("--out", args.out, (".csv", ".json"))
    images_at_once(args.views or "ten")  # or says which views there are
    trained = [networks.load(args, path) for path in (args.run_path, *args.others)]
    classes, names = trained[0].settings["classes"], trained[0].settings["names"]
    if args.top is not None and not 1 <= args.top <= len(classes):
        raise ValueError(f"--top {args.top}: the network knows {len(classes)} classes: expected 1 to {len(classes)}")
    views = args.views or ("ten" if trained[0].settings.get("mirror", True) else "middle")
    top, paths = args.top or min(5, len(classes)), networks.listed(args.images)
    problems = networks.Problems()

    def record(answer: "Answer") -> dict:
        """One picture's guesses, the best first, as JSON has them."""
        if answer.values is None:
            return {"file": answer.path, "error": answer.problem}
        best = (-answer.values).argsort(kind="stable")[:top].tolist()
        probabilities = answer.values.astype(float).round(6)
        guesses = [
            {"rank": rank, "class": classes[one], "name": names[one], "probability": probabilities[one].item()}
            for rank, one in enumerate(best, start=1)
        ]
        return {"file": answer.path, "guesses": guesses}

    answers = predict_files(trained, paths, views, args.workers, networks.scales(args, [views]))
    records = map(record, networks.watched("predicting", answers, len(paths), problems))
    if args.out:
        write = _write_csv if args.out.lower().endswith(".csv") else _write_json
        with (
            written_whole(Path(args.out)) as partial,  # errors: names of files are bytes, on some systems
            open(partial, "x", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            write(records, file)
        print(f"{len(paths) - problems.count:,} pictures: {shown(args.out)}")
    elif args.json:
        _write_json(records, sys.stdout)
    else:
        _write_table(records, max(len(shown(path)) for path in paths))
    problems.end()


def _write_csv(records: Iterable[dict], file: TextIO) -> None:
    writer = csv.writer(file)
    writer.writerow(["file", "rank", "class", "name", "probability"])
    for record in records:
        for guess in record.get("guesses", ()):
            writer.writerow([record["file"], *guess.values()])


def _write_json(records: Iterable[dict], file: TextIO) -> None:
    """A list, an entry for each picture, written as they come."""
    before = "["
    for record in records:
        file.write(f"{before}\n {json.dumps(record)}")
        before = ","
    file.write("\n]\n")


def _write_table(records: Iterable[dict], width: int) -> None:
    from tqdm import tqdm

    width = min(WIDEST, max(len("file"), width))
    head = f"{'file':{width}}  probability  class\n"
    for record in records:
        name = shown(record["file"])
        guesses = record.get("guesses", ())
        if guesses and (head or len(name) > width):
            tqdm.write(head + f"{name}\n" * (len(name) > width), end="")
            name, head = name * (len(name) <= width), ""
        for guess in guesses:
            called = shown(guess["name"]) + f" ({shown(guess['class'])})" * (guess["class"] != guess["name"])
            tqdm.write(f"{name:{width}}  {100 * guess['probability']:9.2f} %  {called}")
            name = ""
