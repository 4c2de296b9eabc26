"""What the benchmarks share: their options, a worker process for each competitor, the clock, the machine's description.

A benchmark starts itself again with `--worker OPTIONS`; the worker measures and prints one line of JSON. Competitors
take turns, so that a machine whose speed drifts is fair to all of them. What they compute is networks.py and peers.py.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata

LEARNING_RATE = 1e-3  # small: random labels are to be learnt by no one, and nothing is to overflow
WARM_UP = 3  # calls before the clock starts: allocation, compilation, tracing
MOST_CALLS = 1000  # of a network so small that --seconds would ask for more


def parser(description: str) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4, help="timed steps of a worker, at least (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="workers started of each competitor (default: 3)")
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file too")
    parser.add_argument("--worker", metavar="OPTIONS", help=argparse.SUPPRESS)
    return parser


def add_seconds_option(parser: argparse.ArgumentParser) -> None:
    """For benchmarks whose steps may be short: more of them than --steps are timed then."""
    parser.add_argument("--seconds", type=float, default=1.0, help="timed seconds of a worker, at least (default: 1)")


def begin(
    parser: argparse.ArgumentParser, workers: dict[str, Callable[[argparse.Namespace], dict]]
) -> argparse.Namespace:
    """The options, after printing the machine; a process that was started as a worker does its work and ends here."""
    args = parser.parse_args()
    if args.worker:
        options = json.loads(args.worker, object_hook=lambda pairs: argparse.Namespace(**pairs))
        print(json.dumps(workers[options.name](options) | {"peak_bytes": peak_bytes()}))
        sys.exit()
    print(describe_machine(args))
    return args


def start_worker(name: str, args: argparse.Namespace, start: Sequence[str] = (), **changes) -> dict:
    """Runs this script again as worker `name`, in a process of its own, with these options; what it printed.

    start: what starts it, if not the system itself: mpiexec, and of several processes one prints.
    """
    options = vars(args) | changes | {"name": name}
    environment = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    for variable in ("TINYNET_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[variable] = str(options["threads"])
    command = [*start, sys.executable, *["-m", "mpi4py"] * bool(start), sys.argv[0], "--worker", json.dumps(options)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"the worker {name} failed:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def take_turns(names: list[str], args: argparse.Namespace, **changes) -> dict[str, list[dict]]:
    """What each worker printed in each round, by name: every round starts all of them, one after the other."""
    results = {name: [] for name in names}
    for _ in range(args.rounds):
        for name in names:
            results[name].append(start_worker(name, args, **changes))
    return results


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    try:
        import resource
    except ImportError:  # on Windows, where it is not said
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def timed(function: Callable[[], object], steps: int, seconds: float = 0.0, warm_up: int = WARM_UP) -> list[float]:
    """Seconds of each call: at least `steps` of them and, of short ones, as many as take `seconds` altogether.

    `warm_up` calls come first and are not counted.
    """
    for _ in range(warm_up):
        function()
    times: list[float] = []
    while len(times) < steps or (sum(times) < seconds and len(times) < MOST_CALLS):
        before = time.perf_counter()
        function()
        times.append(time.perf_counter() - before)
    return times


def describe_machine(args: argparse.Namespace) -> str:
    """Processor, versions and threads, on two lines."""
    from tinynet.threads import processor_name, usable_cores  # here: a peer's process measures without tinynet

    versions = [f"Python {platform.python_version()}"]
    for package in ("tinynet", "numpy", "torch", "tensorflow", "tensorflow-cpu"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    machine = f"{processor_name()}, {usable_cores()} cores; {platform.system()}"
    return f"{machine}\n{', '.join(versions)}; {args.threads} threads, float32"


def write_json(args: argparse.Namespace, figures: dict) -> None:
    """Writes the figures, with the machine and the options, to the file that --json names, if it does."""
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"machine": describe_machine(args), "options": vars(args), **figures}, file)
