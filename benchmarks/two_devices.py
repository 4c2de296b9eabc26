"""AlexNet's training step on one device with one thread, on one with two, and on two devices with one thread each.

    python benchmarks/two_devices.py [--batch-size 128]

For the two devices also the time that each spends in crossings, the waiting for the other included.
"""

import statistics
import time

import common
import networks

INPUT_SHAPE = networks.INPUT_SHAPES["alexnet"]


def one_device_worker(args) -> dict:
    step = networks.training_step(networks.make("alexnet"), INPUT_SHAPE, args.batch_size)
    return {"seconds": common.timed(step, args.steps)}


def two_devices_worker(args) -> dict:
    from tinynet import parallel

    net = parallel.partition(networks.make("alexnet"))
    crossing = [0.0, 0.0]
    for rank, tower in enumerate(net.towers):
        (communicator,) = {layer.communicator for layer in tower if hasattr(layer, "communicator")}
        for operation in ("all_gather", "reduce_scatter", "all_reduce"):
            setattr(communicator, operation, _watched(getattr(communicator, operation), crossing, rank))
    step = networks.training_step(net, INPUT_SHAPE, args.batch_size)
    common.timed(step, 0)
    crossing[:] = [0.0, 0.0]
    seconds = common.timed(step, args.steps, warm_up=0)
    return {"seconds": seconds, "crossing": [device / args.steps for device in crossing]}


def _watched(operation, crossing: list[float], rank: int):
    """The operation, with the time that its calls take added to crossing[rank]."""

    def watched(*arguments) -> None:
        before = time.perf_counter()
        operation(*arguments)
        crossing[rank] += time.perf_counter() - before

    return watched


WORKERS = {"one device": one_device_worker, "two devices": two_devices_worker}
ROWS = {"one device, one thread": ("one device", 1), "one device, two threads": ("one device", 2)}
ROWS |= {"two devices": ("two devices", 2)}


def main() -> None:
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=128)
    args = common.begin(parser, WORKERS)
    results = {row: [] for row in ROWS}
    for _ in range(args.rounds):
        for row, (worker, threads) in ROWS.items():
            results[row].append(common.start_worker(worker, args, threads=threads))
    print(f"\nAlexNet training step, batch {args.batch_size}; {args.rounds} rounds in turn")
    print(f"{'':26}{'images/s':>10}{'(best)':>10}{'peak GiB':>10}")
    medians = {}
    for row, runs in results.items():
        rates = [args.batch_size / seconds for run in runs for seconds in run["seconds"]]
        medians[row] = statistics.median(rates)
        peak = max(run["peak_bytes"] for run in runs) / 2**30
        print(f"{row:26}{medians[row]:10.1f}{f'({max(rates):.1f})':>10}{peak:10.2f}")
    ratio = medians["two devices"] / medians["one device, two threads"]
    print(f"two devices / one device with two threads: {ratio:.2f}")
    for device in (0, 1):
        crossing = statistics.median(run["crossing"][device] for run in results["two devices"])
        print(f"device {device}: {1e3 * crossing:.0f} ms of each step in crossings, waiting included")
    common.write_json(args, results)


if __name__ == "__main__":
    main()
