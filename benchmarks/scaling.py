"""AlexNet's training step on two ranks of one thread, and what that lets expect of many machines.

    python benchmarks/scaling.py [--batch-size 128] [--figure FILE]

Measured, in turn: one thread alone; two threads' towers; two ranks as replicas, as towers and with the one weird trick,
with the bytes that a rank gets in a step, and how much of the time that they take is hidden behind the computing.
Predicted, by scaling_model.py: 1 to 1,024 nodes. Needs mpi4py and an mpiexec.
"""

import argparse
import itertools
import statistics
import sys
import time

import common
import networks
import scaling_model as model
import two_devices

INPUT_SHAPE = networks.INPUT_SHAPES["alexnet"]
MESHES = {"replicas": ((2, 1), False), "towers": ((1, 2), False), "one weird trick": ((2, 1), True)}
BATCHES = 1, 2, 4, 8, 16, 32, 64, 128


def towers_worker(args: argparse.Namespace) -> dict:
    from tinynet import parallel

    step = networks.training_step(parallel.partition(networks.make("alexnet")), INPUT_SHAPE, args.batch_size)
    return {"seconds": common.timed(step, args.steps)}


def layers_worker(args: argparse.Namespace) -> dict:
    """The shares of a step that scaling_model.Compute wants."""
    from tinynet.inspection.timing import layer_times, whole_times

    net = networks.make("alexnet")
    rows = layer_times(net, INPUT_SHAPE, args.batch_size, args.steps)
    linear = sum(row.forward + row.backward for row in rows if row.name.startswith("fc"))
    conv = sum(row.forward + row.backward for row in rows if not row.name.startswith("fc"))
    backward = sum(row.backward for row in rows if row.name != "fc8")
    whole, _ = whole_times(net, INPUT_SHAPE, args.batch_size, args.steps)
    update = whole - linear - conv  # of which the linear layers have 96 % of the parameters
    return {"linear": (linear + 0.96 * max(0.0, update)) / whole, "backward": backward / whole}


def ranks_worker(args: argparse.Namespace) -> dict:
    """Seconds of a step on two ranks, in four ways that take turns: as it is; with the gradients crossing after the
    backward pass; with nothing crossing, and so of wrong results; and of the exchanges, with nothing computed. Bytes
    that this rank gets, and seconds that it is inside of MPI.
    """
    from tinynet import SGD, SoftmaxCrossEntropy
    from tinynet.parallel import Mesh, spread

    shape, weird = MESHES[args.scheme]
    mesh = Mesh(*shape, weird)
    net = spread(networks.make("alexnet"), mesh)
    share = args.batch_size // mesh.replicas
    net.take_part((mesh.replica, (share,) * mesh.replicas))
    x, labels = networks.batch(net.program, INPUT_SHAPE, share)
    labels = labels if not weird else networks.batch(net.program, INPUT_SHAPE, args.batch_size)[1]
    loss, optimizer = SoftmaxCrossEntropy(), SGD(net, common.LEARNING_RATE)

    def step() -> None:
        loss.forward(net.forward(x, train=True), labels)
        net.backward(loss.backward())
        optimizer.step()

    step()
    rows, lines = mesh.ledger.column(mesh.rank), (mesh.within, mesh.across)
    before = sum(line.seconds for line in lines)
    step()
    inside = sum(line.seconds for line in lines) - before
    ways = {"seconds": step, "late": _late(net, step), "computing": _silent(net, step)}
    ways["exchanges"] = _exchanges(net, rows)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(-1, args.steps):
        for way, function in ways.items():
            mesh.world.barrier()
            before = time.perf_counter()
            function()
            mesh.world.barrier()
            times[way] += [time.perf_counter() - before] * (number >= 0)
    mesh.world.barrier()
    if mesh.rank:
        sys.exit()
    return {**times, "inside": inside, "received": sum(row[-1] for row in rows)}


def _late(net, step):
    """The step, with all gradients added up after the backward pass."""
    gradients, waiting = net._gradients, []
    ready, finish = (gradients.ready, gradients.finish) if gradients else (None, None)

    def all_ready() -> None:
        for layer in waiting:
            ready(layer)
        waiting.clear()
        finish()

    def late() -> None:
        if not gradients:
            return step()
        gradients.ready, gradients.finish = waiting.append, all_ready
        try:
            step()
        finally:
            gradients.ready, gradients.finish = ready, finish

    return late


def _silent(net, step):
    """The step, with nothing crossing."""
    lines, gradients = (net.mesh.within, net.mesh.across), net._gradients
    nothing = dict.fromkeys(("_all_gather", "_reduce_scatter", "_all_reduce"), lambda *arguments: 0)

    def silent() -> None:
        for line in lines:
            vars(line).update(nothing)
        if gradients:
            vars(gradients).update(dict.fromkeys(("begin", "ready", "finish"), lambda *arguments: None))
        try:
            step()
        finally:
            for line in lines:
                for name in nothing:
                    del vars(line)[name]
            for name in ("begin", "ready", "finish") if gradients else ():
                del vars(gradients)[name]

    return silent


def _exchanges(net, rows: list):
    """What crosses in a step, one after the other, on arrays that are there."""
    import numpy as np

    line = net.mesh.within
    calls = []
    for _, direction, operation, received in rows:
        if direction == "gradient":
            continue
        count = received // 4 // (line.size - 1)
        if operation == "all_gather":
            calls.append((line.all_gather, np.ones(count, np.float32), np.empty(count * line.size, np.float32)))
        elif operation == "reduce_scatter":
            calls.append((line.reduce_scatter, np.ones(count * line.size, np.float32), np.empty(count, np.float32)))
        else:
            calls.append((line.all_reduce, np.ones(count, np.float32), np.empty(count, np.float32)))
    gradients = net._gradients

    def exchange() -> None:
        for operation, source, target in calls:
            operation(source, target)
        if gradients:
            gradients.begin([one for one in net._summed() if one[1].trainable])
            for layer in reversed(list(net.program)):
                gradients.ready(layer)
            gradients.finish()

    return exchange


WORKERS = {"alone": two_devices.one_device_worker, "towers of threads": towers_worker}
WORKERS |= {"layers": layers_worker, "ranks": ranks_worker}


# ---- what was measured ----


def measured(args: argparse.Namespace, batch_size: int) -> dict[str, list[dict]]:
    names = "one thread", "half the batch", "two towers, threads", *MESHES
    rows: dict[str, list[dict]] = {name: [] for name in names}
    for _ in range(args.rounds):
        rows["one thread"].append(common.start_worker("alone", args, threads=1, batch_size=batch_size))
        rows["half the batch"].append(common.start_worker("alone", args, threads=1, batch_size=batch_size // 2))
        rows["two towers, threads"].append(common.start_worker("towers of threads", args, batch_size=batch_size))
        for name in MESHES:
            start = ["mpiexec", "-n", "2"]
            run = common.start_worker("ranks", args, start, threads=1, scheme=name, batch_size=batch_size)
            rows[name].append(run)
    return rows


def median(runs: list[dict], name: str) -> float:
    values = [run[name] if isinstance(run[name], list) else [run[name]] for run in runs]
    return statistics.median(itertools.chain(*values))


def tell_measured(args: argparse.Namespace, batch_size: int, rows: dict[str, list[dict]], compute) -> None:
    """The table, and the model's word for the efficiency, with this machine's memory as the network."""
    one, half = (median(rows[name], "seconds") for name in ("one thread", "half the batch"))
    print(f"\nAlexNet training step, batch {batch_size} of all ranks; {args.rounds} rounds in turn, medians")
    heads = ("images/s", "efficiency", "model", "computing", "received MB")
    heads += ("exchanges ms", "seen ms", "late ms", "inside ms")
    print(f"{'':22}" + "".join(f"{head:>13}" for head in heads))
    for name, runs in rows.items():
        if name == "half the batch":
            continue
        seconds = median(runs, "seconds")
        share = one / seconds / (1 if name == "one thread" else 2)
        line = f"{name:22}{batch_size / seconds:13.1f}{share:13.0%}"
        if name in MESHES:
            exchanges, computing, late = (median(runs, what) for what in ("exchanges", "computing", "late"))
            network = model.Network(median(runs, "received") / exchanges, 0.0)
            thread = model.Compute((batch_size // 2, batch_size), (half, one), compute.linear, compute.backward)
            line += f"{model.efficiency(name, 2, batch_size, thread, network, hidden=False):13.0%}"
            line += f"{one / 2 / computing:13.0%}{median(runs, 'received') / 1e6:13.1f}"
            times = exchanges, seconds - computing, late - computing, median(runs, "inside")
            line += "".join(f"{1e3 * value:13.0f}" for value in times)
        print(line)


# ---- what it lets expect ----


def compute_of(args: argparse.Namespace) -> model.Compute:
    """A node as this machine is, with all its threads."""
    batches = tuple(batch for batch in BATCHES if batch <= args.batch_size)
    steps = [median(common.take_turns(["alone"], args, batch_size=batch)["alone"], "seconds") for batch in batches]
    shares = common.start_worker("layers", args)
    return model.Compute(batches, tuple(steps), shares["linear"], shares["backward"])


def tell_predicted(args: argparse.Namespace, compute: model.Compute) -> None:
    pairs = zip(compute.batches, compute.steps, strict=True)
    rates = ", ".join(f"{batch}: {batch / step:.0f}" for batch, step in pairs)
    print(f"\nPredicted, for nodes like this machine, {args.threads} threads; images/s of one, by batch: {rates};")
    print(f"fc6 to fc8 take {compute.linear:.0%} of a step; {compute.backward:.0%} remains after fc8's gradient")
    for weak in (False, True):
        kind = "weak" if weak else "strong"
        images = f"{args.batch_size} images {'each' if weak else 'in all'}"
        for name, (bits, latency) in model.NETWORKS.items():
            network = model.Network(bits / 8, latency)
            counts = shown_nodes(args, weak)
            print(f"\n{kind} scaling, {images}, {name}, {1e6 * latency:.0f} us: images/s (efficiency)")
            print(f"{'nodes':18}" + "".join(f"{nodes:>14,}" for nodes in counts))
            for scheme in model.SCHEMES:
                cells = []
                for nodes in counts:
                    share = model.efficiency(scheme, nodes, args.batch_size, compute, network, True, weak)
                    rate = share * nodes * args.batch_size / compute.seconds(args.batch_size)
                    cells.append(f"{f'{rate:,.0f} ({share:.0%})':>14}")
                print(f"{scheme:18}" + "".join(cells))


def shown_nodes(args: argparse.Namespace, weak: bool) -> list[int]:
    """Those of which each has an image."""
    return [nodes for nodes in model.NODES if nodes > 1 and (weak or nodes <= args.batch_size)]


def draw(args: argparse.Namespace, compute: model.Compute) -> None:
    import matplotlib.pyplot as plt

    colours = dict(zip(model.SCHEMES, ("#2a6fbb", "#d1782c", "#3d8f4e"), strict=True))
    figure, axes = plt.subplots(2, 3, figsize=(12, 7), sharex=True, sharey=True, layout="constrained")
    for row, weak in zip(axes, (False, True), strict=True):
        for axis, (name, (bits, latency)) in zip(row, model.NETWORKS.items(), strict=True):
            for scheme, what in model.SCHEMES.items():
                for hidden, style in ((True, "-"), (False, ":")):
                    nodes = [1, *shown_nodes(args, weak)]
                    rest = args.batch_size, compute, model.Network(bits / 8, latency), hidden, weak
                    shares = [100 * model.efficiency(scheme, n, *rest) for n in nodes]
                    label = f"{scheme}: {what}" if hidden else None
                    axis.plot(nodes, shares, style, color=colours[scheme], label=label, marker="." if hidden else None)
            kind = f"weak: {args.batch_size} images each" if weak else f"strong: {args.batch_size} images in all"
            axis.set_title(f"{name}, {kind}", fontsize=10)
            axis.set_xscale("log", base=2)
            axis.set_xticks(model.NODES[::2], [f"{nodes:,}" for nodes in model.NODES[::2]])
            axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("nodes")
    for axis in axes[:, 0]:
        axis.set_ylabel("efficiency, %")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    handles.append(plt.Line2D([], [], color="gray", linestyle=":"))
    labels.append("the same, if gradients cross after the backward pass and not during it")
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle("AlexNet on many machines: predicted efficiency (assumptions: benchmarks/README.md)")
    figure.savefig(args.figure, dpi=110)


COLUMNS = """
model: the efficiency by scaling_model.py, with what this machine's memory does as the network, nothing hidden.
computing: the efficiency of a step in which nothing crosses: two processes share the machine's caches and memory.
exchanges: those of a step, with nothing computed meanwhile. seen: by how much a step is longer than one in which
nothing crosses. late: the same where gradients cross after the backward pass. inside: in MPI, waiting included."""


def main() -> None:
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, nargs="+", default=[16, 128], help="default: 16 128")
    parser.add_argument("--figure", metavar="FILE", help="draw the prediction (matplotlib)")
    args = common.begin(parser, WORKERS)
    sizes, args.batch_size = args.batch_size, max(args.batch_size)
    rows = {batch_size: measured(args, batch_size) for batch_size in sizes}
    compute = compute_of(args)
    for batch_size, found in rows.items():
        tell_measured(args, batch_size, found, compute)
    print(COLUMNS)
    tell_predicted(args, compute)
    if args.figure:
        draw(args, compute)
    common.write_json(args, {"measured": rows, "compute": vars(compute)})


if __name__ == "__main__":
    main()
