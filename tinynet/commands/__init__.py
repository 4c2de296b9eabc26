"""The commands beside the examples, python -m tinynet COMMAND: a file for each, with `add_arguments` and `run`.

Only the file of the command that is wanted is imported, and what it needs beyond its options when it runs.
"""

import argparse
import importlib
import sys

from tinynet.processes import first_speaks

ABOUT = "Networks at work: before, in and after their training."
COMMANDS = {  # a file of this folder, and what it is for
    "train": "a model on a data set, as the pages in examples/ do",
    "predict": "what a trained network sees in pictures: the best classes and their probabilities",
    "test": "errors on labelled pictures, class by class, and which are taken for which",
    "features": "what a layer makes of pictures, as an array",
    "view": "a network at work, as a page in the browser",
    "explain": "what an answer about a picture rests on, as a page",
    "convert": "a network as another kind of file: ONNX, torchvision's",
    "summary": "the layers of a model or a run, their sizes and totals, and where they live",
    "time": "how long each layer takes, forwards and backwards",
    "check": "a model's gradients against finite differences, layer by layer",
    "prepare": "decode and cut a data set's images once, for all epochs of all runs",
    "plot": "pictures of a run: learning curves, filters, test images and guesses",
}


def main(arguments: list[str] | None = None) -> None:
    """Runs the command that the arguments name; without any, shows what there is."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m tinynet", description=ABOUT)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, what in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=what, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name in arguments[:1]:
            command = importlib.import_module(f"{__name__}.{name}")
            subparser.description = command.__doc__
            command.add_arguments(subparser)
            subparser.set_defaults(run=command.run)
    with first_speaks():
        args = parser.parse_args(arguments)
    if hasattr(args, "run"):
        args.run(args)
    else:
        parser.print_help()
