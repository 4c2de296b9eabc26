"""Opens a page in the browser that shows a network at work: its layers and towers, what each makes of a picture, what
the answer rests on, and what it would be if a part were missing; of a run that is under way also how it learns.

It listens on this machine only (127.0.0.1), needs no internet, and ends with Ctrl-C.

    python -m tinynet view runs/alexnet-imagenette-1
    python -m tinynet view alexnet                     (random weights)
    python -m tinynet view vgg --set depth=16
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet.commands import networks
from tinynet.files import shown

if TYPE_CHECKING:
    from tinynet.training import Trained
    from tinynet.view.viewer import Viewer
    from tinynet.view.watched import WatchedRun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    networks.add_subject(parser)
    networks.add_preprocessing(parser)
    add = parser.add_argument
    add("--best", action="store_true", help="of a run's folder, the checkpoint of the lowest validation error")
    add("--data", metavar="PATH", help="the run's images (default: where its training found them)")
    add("--port", type=int, default=8000, metavar="N", help="or the next one that is free (default: 8000)")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: 127.0.0.1, this machine "
        "only; 0.0.0.0: for everybody who can reach this machine, without a password)")  # fmt: skip
    add("--open", action="store_true", help="open the page in the browser")


def run(args: argparse.Namespace) -> None:
    from tinynet.view.guard import is_loopback
    from tinynet.view.server import Server, listen, serve

    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port {args.port}: expected 0 to 65535")
    listening = listen(args.host, args.port)  # before the network is loaded: a wrong host is told at once
    viewer, watched = _viewed(args)
    server = Server(viewer, watched, args.host)
    host, port = listening.getsockname()[:2]
    if args.port and port != args.port:
        print(f"Port {args.port} is used: this is {port}")
    if not is_loopback(host):
        print("Everybody who can reach this machine can look at the network and at its pictures, and make it work:"
              " there is no password and no encryption.")  # fmt: skip
    name = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
    address = f"http://{name}:{port}/"
    print(f"{address}  (Ctrl-C ends it)", flush=True)
    if args.open:
        import webbrowser

        webbrowser.open(address)
    serve(server, listening)


def _viewed(args: argparse.Namespace) -> "tuple[Viewer, WatchedRun | None]":
    """The viewer of what the user named, and the run to be watched, if it is one."""
    from tinynet.inspection.pictures import state_of
    from tinynet.interchange.foreign import is_foreign
    from tinynet.models.building import MODELS
    from tinynet.view.viewer import Viewer
    from tinynet.view.watched import WatchedRun

    path = args.subject
    if path in MODELS or not os.path.exists(path):
        for name in ("data", "best", "preprocessing", "classes", "mean"):
            if getattr(args, name):
                raise ValueError(f"--{name}: is for a run or a file, and {shown(path)} is a model")
        subject = networks.open_subject(args)
        return Viewer(untrained(subject), shown(subject.title), "random weights", learned=False), None
    if args.set:
        raise ValueError(f"--set {args.set[0]}: {shown(path)} has its own arguments")
    if args.data and not os.path.exists(args.data):  # what is wrong with one that is there, the page tells
        raise ValueError(f"--data {shown(args.data)}: no such file or folder")
    trained = networks.read(args, networks.chosen(args, path))
    run = WatchedRun(path, trained, args.model, follow=not args.best) if os.path.isdir(path) else None
    state = "as in the file" if is_foreign(path) else state_of(trained)
    title = "/".join(Path(os.path.abspath(path)).parts[-2:])  # no more of the machine's paths than that
    return Viewer(trained, shown(title), state, data=args.data), run


def untrained(subject: networks.Subject) -> "Trained":
    """A model with its first weights, as something to ask about pictures: cut as in the paper, gray in the middle."""
    import numpy as np

    from tinynet.data import Statistics
    from tinynet.training import Trained

    channels, crop, width = subject.shape
    if crop != width:
        raise ValueError(f"{subject.title}: takes images of {crop} x {width}, and pictures are cut to squares")
    size = round(crop * 256 / 227) if crop > 64 else crop
    none = Statistics.none(channels, size)
    # about the mean and the deviation of ImageNet's pixels
    gray, scale = Statistics(np.full_like(none.mean_image, 118), none.components, none.deviations, 0), 1 / 58
    count = subject.net.output_shape(subject.shape)[0]
    classes = [f"class {label}" for label in range(count)]
    settings = {"model": subject.model, "network": subject.network, "resize": size, "crop": crop, "scale": scale}
    return Trained(subject.net, gray, {**settings, "classes": classes, "names": classes}, Path(subject.model))
