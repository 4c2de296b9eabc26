"""Checks the gradients of a small version of a model, or of a trained network's model, against finite differences in
float64: of every layer by itself, its input's and its parameters', then of the network's loss by the parameters of all.
Exit code 1 where a gradient is wrong.

    python -m tinynet check alexnet
    python -m tinynet check my_nets:tiny --input 3 32 32
"""

import argparse
import json
import sys

from tinynet.commands import networks

SMALL = {  # arguments that make the models small
    "alexnet": {"num_classes": 5, "width": 0.06, "input_size": 67},
    "alexnet_torchvision": {"num_classes": 5, "width": 0.06, "input_size": 63},
    "vgg": {"num_classes": 5, "width": 0.05, "input_size": 32},
    "vgg_cifar": {"num_classes": 5, "width": 0.05, "input_size": 32},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    networks.add_subject(parser)
    add = parser.add_argument
    add("--samples", type=int, default=20, metavar="N", help="elements compared of each array (default: 20)")
    add("--seed", type=int, default=0, help="of inputs, and of which elements (default: 0)")
    add("--json", action="store_true", help="print the differences as JSON")


def run(args: argparse.Namespace) -> None:
    from tinynet.initializers import initialize
    from tinynet.inspection.checking import check_layers
    from tinynet.models.building import MODELS

    if args.samples < 1:
        raise ValueError(f"--samples {args.samples}: expected 1 or more")
    subject = networks.open_subject(args, SMALL)
    if subject.model in MODELS:
        initialize(subject.net, args.seed)  # with other weights many units may lie at their kinks
    results = []
    if not args.json:
        size = f"images of {' x '.join(map(str, subject.shape))}, {args.samples} elements of each array"
        print(f"{subject.title}: {size}\n\n{'layer':14}  largest relative difference")
    for result in check_layers(subject.net, subject.shape, args.samples, args.seed):
        results.append(result)
        if not args.json:
            told = result.problem or f"{result.difference:.1e}"
            print(f"{result.name:14}  {told}", flush=True)
    wrong = [result for result in results if result.problem]
    if args.json:
        print(json.dumps([vars(result) for result in results], indent=1))
    if wrong:
        sys.exit(1)
