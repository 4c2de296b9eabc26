"""Every layer of AlexNet, forward and backward, in tinynet and in PyTorch: milliseconds and their ratio.

    python benchmarks/layers.py [--batch-size 128] [--threads 2]

Each competitor runs in its own process, in turn; a layer's backward gives the gradients of its input and parameters.
"""

import statistics
import time

import common
import numpy as np

CLASSES = 1000


def _medians(rows: dict[str, list[tuple[float, float]]]) -> dict:
    """{layer: [forward, backward]}, the medians over the steps, in seconds."""
    medians = {name: [statistics.median(way) for way in zip(*times, strict=True)] for name, times in rows.items()}
    return {"layers": medians}


def tinynet_worker(args) -> dict:
    from tinynet import SoftmaxCrossEntropy, models

    net, loss = models.alexnet(), SoftmaxCrossEntropy()
    generator = np.random.default_rng(0)
    x = generator.standard_normal((3, 227, 227, args.batch_size), np.float32).transpose(3, 0, 1, 2)  # (N, 3, 227, 227)
    labels = generator.integers(0, CLASSES, args.batch_size)
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


def torch_worker(args) -> dict:
    import torch

    torch.set_num_threads(args.threads)
    modules = common.torch_alexnet()
    labels = torch.randint(0, CLASSES, (args.batch_size,))
    rows = {name: [] for name, _ in modules}
    for step in range(args.steps + 1):
        h, graph, forward = torch.randn(args.batch_size, 3, 227, 227), [], {}
        for name, module in modules:
            x = h.detach().requires_grad_(name != "conv1")
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


WORKERS = {"tinynet": tinynet_worker, "torch": torch_worker}


def main() -> None:
    args = common.begin(__doc__.splitlines()[0], WORKERS)
    names = ["tinynet", "torch"] if common.has_torch() else ["tinynet"]
    rounds = {name: [] for name in names}
    for _ in range(args.rounds):
        for name in names:
            rounds[name].append(common.start_worker(name, args)["layers"])
    figures = {
        name: {
            layer: [1e3 * statistics.median(run[layer][way] for run in runs) for way in (0, 1)] for layer in runs[0]
        }
        for name, runs in rounds.items()
    }
    for figure in figures.values():
        figure["total"] = [sum(times[way] for times in figure.values()) for way in (0, 1)]

    print(f"\nAlexNet layer by layer, batch {args.batch_size}, ms; the ratio is PyTorch's time over tinynet's")
    heads = [f"{name} {way}" for way in ("forward", "backward") for name in (*names, "ratio")]
    print(f"{'layer':10}" + "".join(f"{head:>18}" for head in heads))
    for layer in figures["tinynet"]:
        cells = []
        for way in (0, 1):
            times = [figures[name][layer][way] for name in names]
            cells += [f"{t:.1f}" for t in times] + [f"{times[-1] / max(times[0], 1e-6):.2f}"]
        print(f"{layer:10}" + "".join(f"{cell:>18}" for cell in cells))
    common.write_json(args, figures)


if __name__ == "__main__":
    main()
