"""Measures the errors of a trained network, or of the mean of several, on labelled pictures: in each of the views,
class by class, and which classes are taken for which.

    python -m tinynet test runs/alexnet-imagenette-1
    python -m tinynet test runs/alexnet-imagenette-1 --data other/pictures --confusion confusion.png --worst 20
"""

import argparse
import contextlib
import functools
import json
import sys

from tinynet.commands import networks
from tinynet.files import check_output, shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    networks.add_run(parser)
    add = parser.add_argument
    add("--with", nargs="+", default=[], dest="others", metavar="RUN", help="networks whose answers are averaged in")
    add("--data", metavar="PATH", help="the data set, whose validation images are taken (default: the training's)")
    add("--val-share", type=float, metavar="SHARE", help="of a folder of classes without validation images")
    add("--views", nargs="+", default=["middle", "ten"], metavar="VIEWS", help="middle or ten, and either with "
        "+vertical or +diagonal mirrors and +rotations; or dense, the network on all of each picture (default: middle "
        "ten); what follows is of the last")  # fmt: skip
    networks.add_scales(parser)
    add("--class-table", metavar="FILE", help="the errors of each class, as CSV")
    add("--confusion", metavar="FILE", help="how often each class was taken for each: X.csv, or a picture, X.png")
    add("--worst", type=int, metavar="N", help="a page of the N images that it is surest of and wrong")
    add("--page", default="worst.png", metavar="X.png", help="that page (default: worst.png)")
    add("--max-bad", type=float, default=0.01, metavar="SHARE", help="of images that may be unreadable (default: 0.01)")
    add("--workers", type=int, default=2, metavar="N", help="threads that decode images (default: 2)")
    add("--json", action="store_true", help="print the errors as JSON")


def run(args: argparse.Namespace) -> None:
    from tinynet.inspection.mistakes import draw_confusions, draw_worst, write_confusions
    from tinynet.training import write_class_table
    from tinynet.training.report import tested

    check_output("--class-table", args.class_table)
    check_output("--confusion", args.confusion, (".csv", ".png"))
    if args.worst is not None:
        check_output("--page", args.page, (".png",))
        if args.worst < 1:
            raise ValueError(f"--worst {args.worst}: expected 1 or more")
    paths = [networks.chosen(args, path) for path in (args.run_path, *args.others)]
    told = contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext()
    with told:
        load = functools.partial(networks.read, args)
        rest = args.val_share, args.workers, args.max_bad, load, networks.scales(args, args.views)
        data, results = tested(paths, args.views, args.data, *rest)
        last = results[args.views[-1]]
        made = []
        if args.class_table:
            write_class_table(args.class_table, last.classes)
            made.append(f"Errors of each class: {shown(args.class_table)}")
        if args.confusion:
            draw = draw_confusions if args.confusion.lower().endswith(".png") else write_confusions
            draw(last, args.confusion)
            made.append(f"What was taken for what: {shown(args.confusion)}")
        if args.worst:
            made.append(draw_worst(load(paths[0]), last, data.val, args.worst, args.page))
        print(*made, sep="\n", end="\n" * bool(made))
    if args.json:
        figures = {views: result.record() for views, result in results.items()}
        print(json.dumps({"data": str(data.root), "networks": list(map(str, paths)), "views": figures}, indent=1))
