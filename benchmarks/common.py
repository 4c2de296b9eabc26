"""What the benchmarks share: a worker process for each competitor, the machine's description, AlexNet in PyTorch.

A benchmark starts itself again with `--worker NAME`; the worker measures and prints one line of JSON. Competitors take
turns, so that a machine whose speed drifts is fair to all of them.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata

LEARNING_RATE = 1e-3  # small: random labels are to be learnt by no one, and nothing is to overflow


def parser(description: str) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4, help="timed steps of each worker (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="workers started of each competitor (default: 3)")
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file too")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


def begin(description: str, workers: dict[str, Callable[[argparse.Namespace], dict]]) -> argparse.Namespace:
    """The options, after printing the machine; a process that was started as a worker does its work and ends here."""
    args = parser(description).parse_args()
    if args.worker:
        finish_worker(workers[args.worker](args))
        sys.exit()
    print(describe_machine(args))
    return args


def write_json(args: argparse.Namespace, figures: dict) -> None:
    """Writes the figures, with the machine and the batch, to the file that --json names, if it does."""
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"machine": describe_machine(args), "batch_size": args.batch_size, **figures}, file)


def start_worker(name: str, args: argparse.Namespace, threads: int | None = None) -> dict:
    """Runs this script again as worker `name`, in a process of its own with so many threads; what it printed.

    threads: args.threads unless given.
    """
    threads = threads or args.threads
    environment = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    for variable in ("TINYNET_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[variable] = str(threads)
    command = [sys.executable, sys.argv[0], "--worker", name, "--threads", str(threads)]
    command += ["--batch-size", str(args.batch_size), "--steps", str(args.steps)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"the worker {name} failed:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def finish_worker(figures: dict) -> None:
    """Prints a worker's figures, and its peak memory, for start_worker."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps(figures | {"peak_bytes": peak}))


def timed(function: Callable[[], object], repeats: int, warm_up: int = 2) -> list[float]:
    """Seconds of each of `repeats` calls, after `warm_up` calls that are not counted."""
    for _ in range(warm_up):
        function()
    seconds = []
    for _ in range(repeats):
        before = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - before)
    return seconds


def describe_machine(args: argparse.Namespace) -> str:
    """Processor, versions and threads, on two lines."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            processor = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = [f"Python {platform.python_version()}"]
    for package in ("tinynet", "numpy", "torch"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} -")
    return f"{processor}, {cores} cores; {platform.system()}\n{', '.join(versions)}; {args.threads} threads, float32"


def training_step(net, batch_size: int) -> Callable[[], None]:
    """A training step of tinynet on random images and labels, as a function without arguments."""
    import numpy as np

    from tinynet import SGD, SoftmaxCrossEntropy

    loss, optimizer = SoftmaxCrossEntropy(), SGD(net, LEARNING_RATE)
    generator = np.random.default_rng(0)
    x = generator.standard_normal((3, 227, 227, batch_size), np.float32).transpose(3, 0, 1, 2)  # (N, 3, 227, 227)
    labels = generator.integers(0, 1000, batch_size)

    def step() -> None:
        loss.forward(net.forward(x, train=True), labels)
        net.backward(loss.backward())
        optimizer.step()

    return step


def has_torch() -> bool:
    try:
        metadata.version("torch")
    except metadata.PackageNotFoundError:
        print("PyTorch is not installed: its columns are left out (pip install 'tinynet[bench]')")
        return False
    return True


def torch_alexnet():
    """(name, module) of the same network in PyTorch, LRN inside each tower; for a worker only."""
    from torch import nn

    class TowerNorm(nn.LocalResponseNorm):
        """PyTorch's normalisation over each half of the channels; its alpha is divided by the window's size."""

        def __init__(self):
            super().__init__(5, alpha=5 * 1e-4, beta=0.75, k=2.0)

        def forward(self, x):
            n, c, h, w = x.shape
            return super().forward(x.reshape(2 * n, c // 2, h, w)).reshape(n, c, h, w)

    return [
        ("conv1", nn.Conv2d(3, 96, 11, stride=4)),
        ("relu1", nn.ReLU(inplace=True)),
        ("lrn1", TowerNorm()),
        ("pool1", nn.MaxPool2d(3, 2)),
        ("conv2", nn.Conv2d(96, 256, 5, padding=2, groups=2)),
        ("relu2", nn.ReLU(inplace=True)),
        ("lrn2", TowerNorm()),
        ("pool2", nn.MaxPool2d(3, 2)),
        ("conv3", nn.Conv2d(256, 384, 3, padding=1)),
        ("relu3", nn.ReLU(inplace=True)),
        ("conv4", nn.Conv2d(384, 384, 3, padding=1, groups=2)),
        ("relu4", nn.ReLU(inplace=True)),
        ("conv5", nn.Conv2d(384, 256, 3, padding=1, groups=2)),
        ("relu5", nn.ReLU(inplace=True)),
        ("pool5", nn.MaxPool2d(3, 2)),
        ("flatten", nn.Flatten()),
        ("fc6", nn.Linear(9216, 4096)),
        ("relu6", nn.ReLU(inplace=True)),
        ("dropout6", nn.Dropout(0.5)),
        ("fc7", nn.Linear(4096, 4096)),
        ("relu7", nn.ReLU(inplace=True)),
        ("dropout7", nn.Dropout(0.5)),
        ("fc8", nn.Linear(4096, 1000)),
    ]
