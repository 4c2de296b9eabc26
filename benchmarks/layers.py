"""Every layer, forward and backward, in tinynet and in PyTorch: milliseconds, ratio, share of the product bound.

    python benchmarks/layers.py [--model alexnet] [--batch-size 128] [--threads 2]

Each competitor runs in its own process, in turn; a layer's backward gives the gradients of its input and parameters.
The product bound is the time of the layer's matrix products alone: of convolutions and linear layers.
"""

import argparse
import statistics
import time

import common
import networks
import peers
from products import products_worker

WAYS = ("forward", "backward")


def _medians(rows: dict[str, list[tuple[float, float]]]) -> dict:
    """{layer: [forward, backward]}, the medians over the steps, in seconds."""
    medians = {name: [statistics.median(way) for way in zip(*times, strict=True)] for name, times in rows.items()}
    return {"layers": medians}


def tinynet_worker(args: argparse.Namespace) -> dict:
    from tinynet import SoftmaxCrossEntropy

    net, loss, input_shape = networks.make(args.model), SoftmaxCrossEntropy(), networks.INPUT_SHAPES[args.model]
    x, labels = networks.batch(net, input_shape, args.batch_size)
    rows = {layer.name: [] for layer in net}
    for step in range(args.steps + 1):
        forward, h = {}, x
        for layer in net:
            before = time.perf_counter()
            h = layer.forward(h, train=True)
            forward[layer.name] = time.perf_counter() - before
        loss.forward(h, labels)
        gradient = loss.backward()
        for layer in reversed(list(net)):
            before = time.perf_counter()
            gradient = layer.backward(gradient)
            if step:  # the first step allocates
                rows[layer.name].append((forward[layer.name], time.perf_counter() - before))
    return _medians(rows)


def torch_worker(args: argparse.Namespace) -> dict:
    import torch

    torch.set_num_threads(args.threads)
    modules = peers.torch_modules(args.rows)
    first = args.rows[0].name
    labels = torch.randint(0, *args.rows[-1].output_shape, (args.batch_size,))
    rows = {name: [] for name, _ in modules}
    for step in range(args.steps + 1):
        h, graph, forward = torch.randn(args.batch_size, *args.rows[0].input_shape), [], {}
        for name, module in modules:
            x = h.detach().requires_grad_(name != first)
            # A leaf must not change in place: an in-place layer gets a clone, made before the clock starts.
            entry = x.clone() if getattr(module, "inplace", False) else x
            before = time.perf_counter()
            h = module(entry)
            forward[name] = time.perf_counter() - before
            graph.append((name, module, x, h))
        logits = h.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, labels), logits)
        for name, module, x, y in reversed(graph):
            wanted = [*([x] if x.requires_grad else []), *module.parameters()]
            before = time.perf_counter()
            gradients = torch.autograd.grad(y, wanted, gradient)
            if step:
                rows[name].append((forward[name], time.perf_counter() - before))
            gradient = gradients[0]
    return _medians(rows)


WORKERS = {
    "description": networks.description_worker,
    "tinynet": tinynet_worker,
    "torch": torch_worker,
    "products": products_worker,
}


def _cells(layer: str, way: int, figures: dict[str, dict]) -> list[str]:
    """The layer's four cells of a table: tinynet, PyTorch, ratio, share of the product bound; "" for what is not."""
    mine = max(figures["tinynet"][layer][way], 1e-6)  # a layer that does nothing takes no time
    theirs = figures["torch"][layer][way] if "torch" in figures else None
    products = figures["products"].get(layer)
    cells = [f"{mine:.2f}"]
    cells += ["", ""] if theirs is None else [f"{theirs:.2f}", f"{theirs / mine:.2f}"]
    return [*cells, f"{100 * products[way] / mine:.0f} %" if products else ""]


def main() -> None:
    parser = common.parser(__doc__.splitlines()[0])
    networks.add_model_option(parser)
    parser.add_argument("--batch-size", type=int, default=128)
    args = common.begin(parser, WORKERS)
    rows = common.start_worker("description", args)["rows"]
    names = ["tinynet", *peers.installed(["torch"]), "products"]
    figures = {
        name: {
            layer: [1e3 * statistics.median(run["layers"][layer][way] for run in runs) for way in (0, 1)]
            for layer in runs[0]["layers"]
        }
        for name, runs in common.take_turns(names, args, rows=rows, train=True).items()
    }
    for figure in figures.values():
        figure["total"] = [sum(times[way] for times in figure.values()) for way in (0, 1)]

    print(f"\n{networks.TITLES[args.model]} layer by layer, batch {args.batch_size}, {args.threads} threads, ms")
    print("ratio: PyTorch's time over tinynet's; bound: the share of tinynet's time that its products alone would take")
    print(f"{'':10}" + "".join(f"{way:>36}" for way in WAYS))
    print(f"{'layer':10}" + 2 * "".join(f"{head:>9}" for head in ("tinynet", "PyTorch", "ratio", "bound")))
    for layer in figures["tinynet"]:
        cells = [cell for way in (0, 1) for cell in _cells(layer, way, figures)]
        print((f"{layer:10}" + "".join(f"{cell:>9}" for cell in cells)).rstrip())
    common.write_json(args, {"milliseconds": figures})


if __name__ == "__main__":
    main()
