"""AlexNet's training step (forward, loss, backward, update) in tinynet and in PyTorch, in turn, in their own processes.

    python benchmarks/training_step.py [--batch-size 128] [--threads 2]

Prints images per second (median and best), peak memory, the ratio, and the product bound: the time of the step's matrix
products alone, without im2col, activations, pooling, normalisation or update, at the best tile sizes.
"""

import statistics

import common
import numpy as np


def tinynet_worker(args) -> dict:
    from tinynet import models

    return {"seconds": common.timed(common.training_step(models.alexnet(), args.batch_size), args.steps)}


def torch_worker(args) -> dict:
    import torch

    torch.set_num_threads(args.threads)
    net = torch.nn.Sequential(*(module for _, module in common.torch_alexnet()))
    optimizer = torch.optim.SGD(net.parameters(), common.LEARNING_RATE, momentum=0.9, weight_decay=0.0005)
    x = torch.randn(args.batch_size, 3, 227, 227)
    labels = torch.randint(0, 1000, (args.batch_size,))

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()

    return {"seconds": common.timed(step, args.steps)}


# ---- the product bound ----

TILE_MIB = (2, 4, 8, 12, 16, 24)


def products_worker(args) -> dict:
    """Seconds of all matrix products of a step, summed over the layers, each at its best tile size."""
    from tinynet import Conv2d, Linear, models

    net = models.alexnet()
    shape, total = (3, 227, 227), 0.0
    for index, layer in enumerate(net):
        output = layer.output_shape(shape)
        if isinstance(layer, Conv2d):
            rows, depth = layer.out_channels // layer.groups, layer.params["weight"][0].size
            pixels = output[1] * output[2] * args.batch_size
            total += _products(rows, depth, pixels, layer.groups, index > 0, args.steps)
        elif isinstance(layer, Linear):
            total += _products(layer.out_features, layer.in_features, args.batch_size, 1, True, args.steps)
        shape = output
    return {"seconds": [total]}


def _products(rows: int, depth: int, pixels: int, groups: int, input_gradient: bool, repeats: int) -> float:
    """Forward, weight's gradient and input's gradient of (rows, depth) @ (depth, pixels), `groups` times: seconds."""
    from tinynet.execution import thread_tiles

    if pixels < 2048:  # a fully connected layer: the batch stays whole, the other sides are cut, one block per thread
        weight, x, y = (np.ones(s, np.float32) for s in ((rows, depth), (depth, pixels), (rows, pixels)))
        results = (np.empty((rows, pixels), np.float32), np.empty((rows, depth), np.float32), np.empty_like(x))
        seconds = 0.0
        for left, right, out in zip((weight, y, weight.T), (x, x.T, y), results, strict=True):
            seconds += _fastest([(left[part], right, out[part]) for part in thread_tiles(len(out))], repeats)
        return seconds
    best = [float("inf")] * 3
    for mebibytes in TILE_MIB:
        width = min(pixels, max(64, mebibytes * 2**20 // 4 // depth))
        count = groups * pixels / width
        tile_pairs = max(2, round(2**30 / (2 * rows * depth * width)))  # about a GFLOP a measurement
        tiles = [[np.ones(s, np.float32) for s in ((rows, depth), (depth, width), (rows, width))] for _ in range(2)]
        work = [[], [], []]
        for tile in range(2 * tile_pairs):
            weight, columns, y = tiles[tile // tile_pairs]  # each of two threads has arrays of its own
            work[0].append((weight, columns, y))
            work[1].append((y, columns.T, weight))
            work[2].append((weight.T, y, columns))
        for kind, calls in enumerate(work):
            best[kind] = min(best[kind], _fastest(calls, repeats) / len(calls) * count)
    return sum(best if input_gradient else best[:2])


def _fastest(calls: list[tuple], repeats: int) -> float:
    from tinynet.execution import run

    def all_products() -> None:
        run(lambda call: np.matmul(call[0], call[1], out=call[2]), calls)

    return min(common.timed(all_products, repeats, warm_up=1))


WORKERS = {"tinynet": tinynet_worker, "torch": torch_worker, "products": products_worker}


def main() -> None:
    args = common.begin(__doc__.splitlines()[0], WORKERS)
    names = ["tinynet", "torch", "products"] if common.has_torch() else ["tinynet", "products"]
    figures = {name: {"seconds": [], "peak_bytes": 0} for name in names}
    for _ in range(args.rounds):
        for name in names:
            result = common.start_worker(name, args)
            figures[name]["seconds"] += result["seconds"]
            figures[name]["peak_bytes"] = max(figures[name]["peak_bytes"], result["peak_bytes"])
    rates = {name: [args.batch_size / s for s in figure["seconds"]] for name, figure in figures.items()}
    median = {name: statistics.median(rate) for name, rate in rates.items()}

    print(f"\nAlexNet training step, batch {args.batch_size}; {args.rounds} rounds in turn")
    print(f"{'':22}{'images/s':>10}{'(best)':>10}{'peak GiB':>10}{'of the product bound':>22}")
    titles = {"tinynet": "tinynet", "torch": "PyTorch eager", "products": "matrix products alone"}
    for name in names:
        peak = f"{figures[name]['peak_bytes'] / 2**30:.2f}" if name != "products" else "-"
        share = f"{100 * median[name] / median['products']:.0f} %"
        print(f"{titles[name]:22}{median[name]:10.1f}{f'({max(rates[name]):.1f})':>10}{peak:>10}{share:>22}")
    if "torch" in names:
        print(f"tinynet / PyTorch eager: {median['tinynet'] / median['torch']:.2f}")
    common.write_json(args, figures)


if __name__ == "__main__":
    main()
