"""The table that training_step.py and inference.py print: tinynet, its peers and the product bound, in turn."""

import argparse
import statistics
from functools import partial

import common
import networks
import peers
from products import products_worker

WORKERS = {
    "description": networks.description_worker,
    "tinynet": networks.tinynet_worker,
    "torch": peers.torch_worker,
    "torch-compile": partial(peers.torch_worker, compiled=True),
    "tensorflow": peers.tensorflow_worker,
    "products": products_worker,
}
NAMES = {"tinynet": "tinynet", **peers.NAMES, "products": "matrix products alone"}


def parser(description: str, batch_sizes: list[int]) -> argparse.ArgumentParser:
    parser = common.parser(description)
    common.add_seconds_option(parser)
    networks.add_model_option(parser)
    default = f"one or more (default: {' '.join(map(str, batch_sizes))})"
    parser.add_argument("--batch-size", type=int, nargs="+", default=batch_sizes, help=default)
    parser.add_argument("--peers", nargs="*", choices=list(peers.NAMES), help="default: all that are installed")
    return parser


def begin(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options, with those of the wanted peers that are installed; a worker does its work and ends here."""
    args = common.begin(parser, WORKERS)
    args.peers = peers.installed(list(peers.NAMES) if args.peers is None else args.peers)
    return args


def compare(args: argparse.Namespace, work: str, train: bool) -> dict[int, dict[str, dict]]:
    """Measures and prints a table for each batch size: {batch size: {competitor: figures}}.

    work: its name in the tables' headings. Figures: seconds, median and best images per second, peak_bytes.
    """
    description = common.start_worker("description", args)
    changes = {"rows": description["rows"], "train": train}
    print(f"weights: {description['weight_bytes'] / 2**20:.1f} MiB of each peak")
    results = {}
    for batch_size in args.batch_size:
        runs = common.take_turns(["tinynet", *args.peers, "products"], args, batch_size=batch_size, **changes)
        results[batch_size] = {name: _figures(of_one, batch_size) for name, of_one in runs.items()}
        heading = f"{networks.TITLES[args.model]}, {work}, batch {batch_size}, {args.threads} threads"
        print(f"\n{heading}; {args.rounds} rounds in turn")
        print(table(results[batch_size]))
    common.write_json(args, {"work": work, "results": results})
    return results


def _figures(runs: list[dict], batch_size: int) -> dict:
    seconds = [time for run in runs for time in run["seconds"]]
    return {
        "seconds": seconds,
        "median": batch_size / statistics.median(seconds),
        "best": batch_size / min(seconds),
        "peak_bytes": max(run["peak_bytes"] for run in runs),
    }


def table(results: dict[str, dict]) -> str:
    """One line for each competitor: images/s, median and best; peak memory; how many times faster tinynet is."""
    heads = ("images/s", "(best)", "peak GiB", "tinynet is", "of the product bound")
    lines = [f"{'':22}{heads[0]:>12}{heads[1]:>12}{heads[2]:>10}{heads[3]:>12}{heads[4]:>22}"]
    for name, figures in results.items():
        peak = "" if name == "products" else f"{figures['peak_bytes'] / 2**30:.2f}"
        ratio = f"{ratio_to(name, results):.2f} x" if name in peers.NAMES else ""
        share = f"{100 * figures['median'] / results['products']['median']:.0f} %"
        best = f"({figures['best']:,.1f})"
        lines.append(f"{NAMES[name]:22}{figures['median']:12,.1f}{best:>12}{peak:>10}{ratio:>12}{share:>22}")
    return "\n".join(lines)


def ratio_to(peer: str, results: dict[str, dict]) -> float:
    """tinynet's median images per second over the peer's."""
    return results["tinynet"]["median"] / results[peer]["median"]
