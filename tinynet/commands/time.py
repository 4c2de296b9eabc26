"""Measures how long each layer of a model or of a trained network takes, forwards and backwards, on random images: the
medians of some training steps; and, each measured by itself, the whole training step and the answers to a batch.

    python -m tinynet time alexnet --batch-size 128
    python -m tinynet time runs/alexnet-imagenette-1 --batch-size 1
"""

import argparse
import dataclasses
import json

from tinynet.commands import networks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    networks.add_subject(parser)
    add = parser.add_argument
    add("--batch-size", type=int, default=128, metavar="N", help="images of a step (default: 128)")
    add("--steps", type=int, default=5, metavar="N", help="of which the median is taken (default: 5)")
    add("--devices", type=int, default=1, metavar="N", help="that share the network, which is timed as a whole then")
    add("--json", action="store_true", help="print the times as JSON, in seconds")


def run(args: argparse.Namespace) -> None:
    from tinynet import parallel
    from tinynet.inspection.timing import layer_times, peak_bytes, whole_times

    if min(args.batch_size, args.steps) < 1:
        raise ValueError(f"--batch-size {args.batch_size}, --steps {args.steps}: expected 1 or more of both")
    subject = networks.open_subject(args)
    options = subject.shape, args.batch_size, args.steps
    net = subject.net if args.devices == 1 else parallel.partition(subject.net, args.devices)
    layers = layer_times(subject.net, *options) if args.devices == 1 else []
    training, inference = whole_times(net, *options)
    peak = peak_bytes()
    if args.json:
        whole = {"training_step": training, "inference": inference, "peak_bytes": peak}
        machine = {"machine": _machine(), "batch_size": args.batch_size, "devices": args.devices}
        print(json.dumps({**machine, "layers": list(map(dataclasses.asdict, layers)), **whole}, indent=1))
        return
    what = f"batches of {args.batch_size} images of {' x '.join(map(str, subject.shape))}, medians of {args.steps}"
    print(f"{subject.title}: {what}\n{_machine()}\n")
    if layers:
        _print_layers(layers)
    for name, seconds in (("training step", training), ("inference", inference)):
        rate = args.batch_size / max(seconds, 1e-9)
        print(f"{name:14}{1000 * seconds:10.2f} ms{rate:12,.1f} images/s")
    if peak is not None:
        print(f"{'peak memory':14}{peak / 2**30:10.2f} GiB")


def _print_layers(layers: list) -> None:
    rows = [(one.name, 1000 * one.forward, 1000 * one.backward) for one in layers]
    rows.append(("all layers", sum(one[1] for one in rows), sum(one[2] for one in rows)))
    width = max(len(name) for name, _, _ in rows)
    print(f"{'layer':{width}}  forward ms  backward ms")
    for name, forward, backward in rows:
        print(f"{name:{width}}  {forward:10.2f}  {backward:11.2f}")
    print()


def _machine() -> str:
    """Processor, versions, backend and threads."""
    import platform

    import numpy

    from tinynet import __version__, backend, execution

    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            processor = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = f"Python {platform.python_version()}, tinynet {__version__}, NumPy {numpy.__version__}"
    return f"{processor}; {versions}; backend {backend.name}, {execution.num_threads} threads"
