"""Writes a network as another kind of file, by its name's ending: ONNX (.onnx), torchvision's weights (.safetensors),
Caffe's (.caffemodel), or a folder that every command takes as a run. RUN is a run, or one of these files, or
torchvision's .pth.

    python -m tinynet convert runs/alexnet-imagenette-1 alexnet.onnx --check
    python -m tinynet convert vgg16-397923af.pth runs/vgg16 --preprocessing imagenet-torchvision --classes names.txt
"""

import argparse
from pathlib import Path

from tinynet.commands import networks
from tinynet.files import check_output, shown

ENDINGS = {".onnx": "onnx", ".safetensors": "torchvision", ".caffemodel": "caffe"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    networks.add_run(parser)
    add = parser.add_argument
    add("target", metavar="TARGET", help="a file or, for tinynet, a folder")
    add("--to", choices=("tinynet", "torchvision", "onnx", "caffe"), help="what to write (default: by TARGET's ending)")
    add("--check", action="store_true", help="read TARGET again, and print how far its answers are from SOURCE's")


def run(args: argparse.Namespace) -> None:
    from tinynet.interchange.foreign import write_network
    from tinynet.training.trained import STATISTICS, WEIGHTS

    kind = args.to or ENDINGS.get(Path(args.target).suffix.lower(), "tinynet")
    if kind == "tinynet":
        there = (WEIGHTS, STATISTICS, "checkpoints", "run.json")
        if taken := [name for name in there if (Path(args.target) / name).exists()]:
            raise ValueError(f"{shown(args.target)}: there is a network already ({', '.join(taken)})")
    else:
        check_output("TARGET", args.target)
    trained = networks.load(args)
    write_network(trained, args.target, kind)
    print(f"{shown(trained.path)} as {kind}: {shown(args.target)}")
    if args.check:
        print(f"Largest difference of an answer, of the largest answer: {_difference(trained, args.target, kind):.1e}")


def _difference(trained, target: str, kind: str) -> float:
    """Of the outputs for random images."""
    import numpy as np

    from tinynet.backend import to_host
    from tinynet.inspection.timing import random_batch
    from tinynet.interchange.foreign import read_network
    from tinynet.training import load_trained

    again = load_trained(target).net if kind == "tinynet" else read_network(target).net
    crop = trained.settings["crop"]
    x, _ = random_batch(trained.net, (trained.channels, crop, crop), 4)
    expected, found = (to_host(net.forward(x)).astype(np.float64) for net in (trained.net, again))
    return float(abs(found - expected).max() / max(abs(expected).max(), 1e-30))
