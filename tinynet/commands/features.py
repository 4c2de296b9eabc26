"""Writes what a layer of a trained network makes of pictures, for a classifier or a search of one's own: an array
`features`, a row for each picture that could be read, and their names, `files`, in an .npz file. Of a layer with a ReLU
behind it, it is what comes out of that, as the paper has it in figure 4.

    python -m tinynet features runs/alexnet-imagenette-1 holiday/ --layer fc7 --out holiday.npz
"""

import argparse
from pathlib import Path

from tinynet.commands import networks
from tinynet.files import check_output, shown, written_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    networks.add_run(parser)
    networks.add_images(parser)
    parser.add_argument("--layer", required=True, help="such as fc7; python -m tinynet summary RUN lists them")
    parser.add_argument("--out", required=True, metavar="X.npz", help="the file to write")


def run(args: argparse.Namespace) -> None:
    import numpy as np

    from tinynet.inspection.answers import layer_files, output_of

    check_output("--out", args.out, (".npz",))
    trained = networks.load(args)
    end = output_of(trained.net, args.layer)
    paths, problems = networks.listed(args.images), networks.Problems()
    found = []
    answers = layer_files(trained, paths, args.layer, args.workers)
    for answer in networks.watched("computing", answers, len(paths), problems):
        if answer.values is not None:
            found.append((answer.path, answer.values))
    if found:
        features = np.stack([values for _, values in found])
        with written_whole(Path(args.out)) as partial, open(partial, "xb") as file:
            np.savez(file, features=features, files=np.array([path for path, _ in found]))
        size = " x ".join(map(str, features.shape[1:]))
        print(f"{len(found):,} pictures, {size} numbers each, the output of {end}: {shown(args.out)}")
    problems.end()
