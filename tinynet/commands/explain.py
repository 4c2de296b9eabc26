"""Draws what a trained network's answer about one picture rests on, side by side: the gradient of its class's score by
the pixels, the same through ReLUs that pass on positive gradients only (guided backpropagation), Grad-CAM over the
last convolution, and how much of the class's probability is lost where a grey square covers the picture. A network
without convolutions has no Grad-CAM. The picture is cut, and pixels scaled, as in the network's training.

    python -m tinynet explain runs/alexnet-imagenette-1 dog.jpg --out dog.png
    python -m tinynet explain runs/alexnet-imagenette-1 dog.jpg --class "golf ball" --out ball.png
"""

import argparse

from tinynet.commands import networks
from tinynet.files import check_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    networks.add_run(parser)
    parser.add_argument("image", metavar="IMAGE", help="a picture")
    parser.add_argument("--out", default="explanation.png", metavar="X.png", help="the page (default: explanation.png)")
    parser.add_argument("--class", dest="label", metavar="NAME", help="what to explain (default: the best class)")


def run(args: argparse.Namespace) -> None:
    from tinynet.inspection.explanations import draw_explanation, find_class

    check_output("--out", args.out, (".png",))
    trained = networks.load(args)
    label = None if args.label is None else find_class(trained, args.label)
    print(draw_explanation(trained, args.image, args.out, label))
