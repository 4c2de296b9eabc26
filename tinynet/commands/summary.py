"""Shows the layers of a model or of a trained network: what each makes of an image, its parameters, its multiply-adds
and its memory, with the totals; with --devices also what each device holds, and what crosses between them.

    python -m tinynet summary alexnet
    python -m tinynet summary alexnet --devices 2
    python -m tinynet summary vgg --set depth=11 width=0.5
"""

import argparse
import dataclasses
import json

from tinynet.commands import networks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    networks.add_subject(parser)
    add = parser.add_argument
    add("--devices", type=int, default=1, metavar="N", help="that share the network (default: 1)")
    add("--batch-size", type=int, default=128, metavar="N", help="for the memory on devices (default: 128)")
    add("--json", action="store_true", help="print the layers and the totals as JSON")


def run(args: argparse.Namespace) -> None:
    from tinynet import parallel

    subject = networks.open_subject(args)
    summary = subject.net.summary(subject.shape)
    if args.json:
        totals = {name: getattr(summary, name) for name in ("parameters", "multiply_adds", "activation_bytes")}
        layers = [dataclasses.asdict(row) for row in summary.rows]
        print(json.dumps({"model": subject.model, "input_shape": subject.shape, "layers": layers, "total": totals}))
        return
    towers = parallel.partition(subject.net, args.devices) if args.devices != 1 else None
    print(f"{subject.title}, images of {' x '.join(map(str, subject.shape))}\n\n{summary}")
    if towers is not None:
        print(f"\nOn {args.devices} devices\n\n{towers.describe(subject.shape, args.batch_size)}")
