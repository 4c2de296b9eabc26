"""How tinynet's training step grows with the batch, the threads and the network's width, in time and in memory.

    python benchmarks/growth.py [--batch-size 1 2 4 ... 256] [--threads 2] [--widths 0.25 0.5 0.75 1] [--figure FILE]

AlexNet, each point in a process of its own, on one thread and on --threads; the widths at the largest batch but one.
Memory is taken apart into a fixed part, by what it is for, and bytes per image. Last, the fixed cost of a step:
LeNet at batch 1. --figure draws all of it (matplotlib).
"""

import argparse
import importlib.util
import statistics

import common
import networks
import numpy as np

BATCH_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256]
WIDTHS = [0.25, 0.5, 0.75, 1.0]
PARTS = {  # of the fixed memory, in the order in which they are stacked
    "libraries": "Python and its libraries",
    "weights": "weights",
    "gradients": "gradients",
    "momentum": "momentum",
    "rest": "scratch and the rest",
}


def step_worker(args: argparse.Namespace) -> dict:
    """Seconds of the training step of args.model at args.width, and the bytes of what it holds."""
    import tinynet  # noqa: F401  # with all that it needs, before its memory is read

    libraries = common.peak_bytes()
    net = networks.make(args.model, **({} if args.width == 1 else {"width": args.width}))
    input_shape = networks.INPUT_SHAPES[args.model]
    step = networks.training_step(net, input_shape, args.batch_size)
    seconds = common.timed(step, args.steps, args.seconds)
    weights = sum(parameter.nbytes for parameter in net.params.values())
    return {
        "seconds": seconds,
        "libraries": libraries,
        "weights": weights,
        "gradients": sum(gradient.nbytes for gradient in net.grads.values()),
        "momentum": weights,  # one velocity for each weight
        "activations": net.summary(input_shape).activation_bytes,
    }


WORKERS = {"step": step_worker}


def measure(args: argparse.Namespace, batch_size: int, threads: int, width: float = 1.0, model="alexnet") -> dict:
    """The point's figures, seconds and peak_bytes being the medians over the rounds."""
    options = {"batch_size": batch_size, "threads": threads, "width": width, "model": model}
    runs = common.take_turns(["step"], args, **options)["step"]
    seconds = statistics.median(time for run in runs for time in run["seconds"])
    peak = statistics.median(run["peak_bytes"] for run in runs)
    return runs[0] | options | {"seconds": seconds, "peak_bytes": peak}


def account(points: list[dict]) -> dict:
    """The fixed part of the memory, by PARTS, and the bytes of an image: the line through the points' peaks.

    A least-squares line with relative errors, so that small batches count as much as large ones. "rest" is what the
    line's fixed part holds beside the known ones.
    """
    batch, peak = (np.array([point[key] for point in points], float) for key in ("batch_size", "peak_bytes"))
    per_image, fixed = np.polyfit(batch, peak, 1, w=1 / peak) if len(points) > 1 else (0.0, peak[0])
    parts = {part: points[-1][part] for part in PARTS if part != "rest"}
    return {"fixed": float(fixed), "per_image": float(per_image), **parts, "rest": float(fixed) - sum(parts.values())}


def print_batches(points: dict[int, list[dict]], memory: dict) -> None:
    """points: by number of threads."""
    most = max(points)
    heads = [f"ms/image, {threads} thread{'s' * (threads > 1)}" for threads in points]
    print("\nAlexNet training step by batch size")
    print(f"{'batch':>6}" + "".join(f"{head:>21}" for head in heads) + f"{'peak GiB':>10}{'on the line':>13}")
    for row in zip(*points.values(), strict=True):
        batch, peak = row[-1]["batch_size"], row[-1]["peak_bytes"]
        line = (memory["fixed"] + memory["per_image"] * batch) / 2**30
        print(f"{batch:6}" + "".join(f"{1e3 * point['seconds'] / batch:21.1f}" for point in row), end="")
        print(f"{peak / 2**30:10.2f}{line:13.2f}")
    large = [point["seconds"] / point["batch_size"] for point in points[most] if point["batch_size"] >= 16]
    if large:
        spread = 100 * (max(large) / min(large) - 1)
        print(f"time per image at batch 16 and more: the slowest {spread:.0f} % over the quickest ({most} threads)")
    if most > 1:
        ratios = [f"{one['seconds'] / all_['seconds']:.2f}" for one, all_ in zip(points[1], points[most], strict=True)]
        print(f"{most} threads are faster than 1, by batch size: {' '.join(ratios)}")

    print(f"\nmemory of a step ({most} threads)")
    for part, title in PARTS.items():
        print(f"{title:26}{memory[part] / 2**20:9.1f} MiB")
    print(f"{'fixed':26}{memory['fixed'] / 2**20:9.1f} MiB")
    activations = points[most][0]["activations"] / 2**20
    print(f"{'per image':26}{memory['per_image'] / 2**20:9.2f} MiB (layers' outputs, were all kept: {activations:.2f})")


def print_widths(points: list[dict], batch_size: int) -> None:
    print(f"\nAlexNet training step by width, batch {batch_size}, {points[0]['threads']} threads")
    print(f"{'width':>6}{'ms/image':>10}{'peak GiB':>10}{'weights MiB':>13}")
    for point in points:
        milliseconds, peak = 1e3 * point["seconds"] / batch_size, point["peak_bytes"] / 2**30
        print(f"{point['width']:6}{milliseconds:10.1f}{peak:10.2f}{point['weights'] / 2**20:13.1f}")


def draw(path: str, points: dict[int, list[dict]], memory: dict, widths: list[dict]) -> None:
    """Three panels: time per image by batch, memory by batch with its parts, time per image by width."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    by_batch, by_memory, by_width = figure.subplots(1, 3)
    for threads, of_threads in points.items():
        batch = [point["batch_size"] for point in of_threads]
        milliseconds = [1e3 * point["seconds"] / point["batch_size"] for point in of_threads]
        by_batch.plot(batch, milliseconds, "o-", label=f"{threads} thread{'s' * (threads > 1)}")
    by_batch.set(xscale="log", xlabel="batch size", ylabel="ms per image", ylim=(0, None), title="time")
    by_batch.set_xticks(batch, batch)
    by_batch.minorticks_off()
    by_batch.legend()

    stack = [[memory[part] / 2**30] * len(batch) for part in PARTS] + [[memory["per_image"] * n / 2**30 for n in batch]]
    by_memory.stackplot(batch, stack, labels=[*PARTS.values(), "images"], alpha=0.7)
    peaks = [point["peak_bytes"] / 2**30 for point in of_threads]
    by_memory.plot(batch, peaks, "ko", markersize=4, label="measured")
    by_memory.set(xlabel="batch size", ylabel="GiB", ylim=(0, 1.4 * max(peaks)), title="peak memory")
    by_memory.legend(loc="upper left", fontsize="small", ncols=2)

    batch_size = widths[0]["batch_size"]
    milliseconds = [1e3 * point["seconds"] / batch_size for point in widths]
    by_width.plot([point["width"] for point in widths], milliseconds, "o-")
    by_width.set(xlabel="width", ylabel="ms per image", ylim=(0, None), title=f"width, batch {batch_size}")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = common.parser(__doc__.splitlines()[0])
    common.add_seconds_option(parser)
    parser.add_argument("--batch-size", type=int, nargs="+", default=BATCH_SIZES)
    parser.add_argument("--widths", type=float, nargs="+", default=WIDTHS)
    parser.add_argument("--figure", metavar="FILE", help="draw to this file, such as growth.png")
    parser.set_defaults(rounds=1)
    args = common.begin(parser, WORKERS)
    if args.figure and importlib.util.find_spec("matplotlib") is None:
        parser.error("--figure needs matplotlib: pip install 'tinynet[plots]'")
    batch_sizes = sorted(args.batch_size)
    points = {
        threads: [measure(args, batch_size, threads) for batch_size in batch_sizes]
        for threads in sorted({1, args.threads})
    }
    memory = account(points[args.threads])
    print_batches(points, memory)
    batch_size = max(batch_sizes[:-1] or batch_sizes)
    widths = [measure(args, batch_size, args.threads, width) for width in sorted(args.widths)]
    print_widths(widths, batch_size)
    lenet = measure(args, 1, args.threads, model="lenet")
    print(f"\nfixed cost: LeNet's training step at batch 1 takes {1e3 * lenet['seconds']:.2f} ms")
    if args.figure:
        draw(args.figure, points, memory, widths)
        print(f"drawn: {args.figure}")
    batches = {str(threads): of_threads for threads, of_threads in points.items()}
    common.write_json(args, {"batches": batches, "memory": memory, "widths": widths, "lenet": lenet})


if __name__ == "__main__":
    main()
