"""Draws the pictures of a run in any state, finished, interrupted or under way: learning curves, conv1's kernels, test
images with the best guesses, and the training images nearest to them.

    python -m tinynet plot runs/alexnet-imagenette-1
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run_folder", metavar="RUN", help="the folder of a run")
    add("--data", metavar="PATH", help="the data set (default: where the run found it)")
    add("--out", metavar="DIR", help="where the pictures go (default: RUN)")
    add("--images", type=int, default=8, metavar="N", help="test images on the page of guesses (default: 8)")
    add("--seed", type=int, default=0, help="chooses the images (default: 0)")
    add("--model", metavar="MODULE:FUNCTION", help="builds the network, where it is one of your own")


def run(args: argparse.Namespace) -> None:
    from tinynet.inspection.pictures import draw_pictures

    for sentence in draw_pictures(args.run_folder, args.data, args.out, args.images, args.seed, args.model):
        print(sentence, flush=True)
