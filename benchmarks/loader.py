"""Reading images from folders of JPEG files and from the prepared cache: how fast, and what of it training notices.

    python benchmarks/loader.py [--data DIR] [--batch-size 128] [--devices 2] [--width 1]

Prints two tables in Markdown: images per second of the loader alone, with 0, 1 and 2 threads; and AlexNet's training
step on images from folders, from the cache and already in memory. Images are 500 x 375, drawn, or a sample of those in
--data. They are in the operating system's cache: what is measured is the work, not the disk.
"""

import itertools
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import common
import PIL

SIZE, CROP = 256, 227
DRAWN = 240  # images that are drawn; copies of them, decoded like any other, make up the rest
AHEAD = 3  # batches that the loader is ahead; more than as many are left at the end, so that it always has work
SOURCES = ("folders", "cache")


# ---- the images ----


def prepare_data(args) -> str:
    """Makes folders with as many images as the training steps need, and a cache of them; what they are, in words."""
    from tinynet.data.caching.writer import write_cache

    count = args.batch_size * (common.WARM_UP + args.steps + 2 * AHEAD + 1)
    title = fill_folders(Path(args.folders), count, args.data)
    began = time.perf_counter()
    write_cache(args.folders, args.cache, SIZE, args.threads, report=lambda line: None)
    rate = count / (time.perf_counter() - began)
    return f"{title}; prepared by {args.threads} processes: {rate:.0f} images/s; Pillow {PIL.__version__}"


def fill_folders(root: Path, count: int, data: str | None) -> str:
    """Makes a data set of `count` training images in folders; what they are, in words."""
    paths, title = (_sample(data, count), data) if data else (_draw(root / "drawn"), "drawn images, 500 x 375")
    for split, images in (("train", count), ("val", 1)):
        (root / split / "images").mkdir(parents=True)
        for position, path in zip(range(images), itertools.cycle(paths), strict=False):
            shutil.copy(path, root / split / "images" / f"{position:06}.jpg")
    return f"{title}, {statistics.mean(path.stat().st_size for path in paths) / 1000:.0f} kB on average"


def _draw(folder: Path) -> list[Path]:
    from tinynet.data.sets.synthetic import FIGURES, draw_image
    from tinynet.random import stream

    folder.mkdir(parents=True)
    figures = list(FIGURES.values())
    for number in range(DRAWN):
        image = draw_image(figures[number % len(figures)], 375, stream(0, "loader benchmark", number))
        image.resize((500, 375)).save(folder / f"{number}.jpg", quality=95)
    return list(folder.iterdir())


def _sample(data: str, count: int) -> list[Path]:
    from tinynet.data import open_dataset

    split = open_dataset(data).train
    chosen = random.Random(0).sample(range(len(split)), min(count, len(split)))
    return [Path(split.name(index)) for index in chosen]


# ---- the work, each in a process of its own ----


def open_split(args, source: str):
    """The training set from folders or the cache, and the loader's options, the same for both."""
    from tinynet.data import open_dataset

    cached = open_dataset(args.cache)
    split = cached.train if source == "cache" else open_dataset(args.folders).train
    return split, {"batch_size": args.batch_size, "size": SIZE, "crop": CROP, "statistics": cached.statistics}


def loading_worker(args) -> dict:
    """Wall-clock and processor seconds of an epoch, after one that warms up."""
    from tinynet.data import Loader

    split, options = open_split(args, args.source)
    loader = Loader(split, **options, workers=args.loader_threads, ahead=AHEAD)
    for number in range(2):
        wall, processor = time.perf_counter(), time.process_time()
        for _ in loader.epoch(number):
            pass
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {"wall": wall / len(split), "processor": processor / len(split)}


class Steps:
    """The first `count` batches of an epoch, as a loader to train on."""

    def __init__(self, loader, count: int, in_memory: bool):
        self._loader, self._count = loader, count
        self._batches = list(itertools.islice(loader.epoch(), AHEAD)) if in_memory else None

    def __len__(self) -> int:
        return self._count

    def epoch(self, number: int = 0, start: int = 0):
        batches = itertools.cycle(self._batches) if self._batches else self._loader.epoch(number, start)
        return itertools.islice(batches, self._count)


def training_worker(args) -> dict:
    """Seconds of each training step, and the share of them that waited for images."""
    from tinynet import SGD, SoftmaxCrossEntropy, models, parallel
    from tinynet.data import Loader, Prepare
    from tinynet.training import train_epoch

    split, options = open_split(args, args.source)
    net = models.alexnet(width=args.width)
    if args.devices != 1:
        net = parallel.partition(net, args.devices)
    loader = Loader(split, **options, workers=args.loader_threads, ahead=AHEAD)
    steps = Steps(loader, common.WARM_UP + args.steps, in_memory=args.source == "memory")
    prepare = Prepare(options["statistics"], CROP, net=net)
    moments = []
    train_epoch(
        net, SoftmaxCrossEntropy(), SGD(net, common.LEARNING_RATE), steps, prepare, 0,
        report=lambda state: moments.append((state.seconds, state.waiting)),
    )  # fmt: skip
    moments = moments[common.WARM_UP - 1 :]
    seconds = [after - before for (before, _), (after, _) in itertools.pairwise(moments)]
    return {"seconds": seconds, "waiting": (moments[-1][1] - moments[0][1]) / sum(seconds)}


# ---- the tables ----


def loading_table(results: dict[tuple[str, int], list[dict]]) -> str:
    """images/s by source and threads: the median of the rounds, and the best."""
    lines = ["| images from | threads | images/s | best | images/s of a core |", "| --- | --- | --- | --- | --- |"]
    for (source, threads), runs in results.items():
        rates = [1 / run["wall"] for run in runs]
        # the processor's clock may tick so rarely that a short epoch took none of its time
        processor = statistics.median(run["processor"] for run in runs)
        core = f"{1 / processor:.0f}" if processor else "too short to say"
        lines += [f"| {source} | {threads} | {statistics.median(rates):.0f} | {max(rates):.0f} | {core} |"]
    return "\n".join(lines)


def training_table(results: dict[str, list[dict]], batch_size: int) -> str:
    """The step by source; its time beside that of a step on images in memory."""
    medians = {source: statistics.median(t for run in runs for t in run["seconds"]) for source, runs in results.items()}
    lines = ["| images from | ms a step | best | images/s | waiting for data | slower than in memory |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for source, runs in results.items():
        waiting = 100 * statistics.median(run["waiting"] for run in runs)
        slower = 100 * (medians[source] / medians["memory"] - 1)
        best = min(min(run["seconds"]) for run in runs)
        step = f"{1000 * medians[source]:.0f} | {1000 * best:.0f} | {batch_size / medians[source]:.1f}"
        lines += [f"| {source} | {step} | {waiting:.1f} % | {slower:.1f} % |"]
    return "\n".join(lines)


WORKERS = {"loading": loading_worker, "training": training_worker}


def measure(worker: str, cases: dict, args) -> dict:
    """What the worker measures in each case, a dict of options, in each round."""
    runs = {key: [] for key in cases}
    for _ in range(args.rounds):
        for key, options in cases.items():
            runs[key].append(common.start_worker(worker, args, **options))
    return runs


def main() -> None:
    parser = common.parser(__doc__.splitlines()[0])
    parser.set_defaults(steps=8)
    parser.add_argument("--data", metavar="DIR", help="a data set in folders, to take the images from")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--devices", type=int, default=2, help="of the training step (default: 2, the main job's)")
    parser.add_argument("--width", type=float, default=1.0, help="multiplies AlexNet's kernels and neurons")
    parser.add_argument("--loader-threads", type=int, default=2, help="of the training step (default: 2)")
    args = common.begin(parser, WORKERS)
    with tempfile.TemporaryDirectory() as folder:
        args.folders, args.cache = f"{folder}/folders", f"{folder}/cache"
        print(f"\n{prepare_data(args)}")
        pairs = itertools.product(SOURCES, (0, 1, 2))
        cases = {(source, threads): {"source": source, "loader_threads": threads} for source, threads in pairs}
        loading = measure("loading", cases, args)
        print(f"\nThe loader alone: {CROP} x {CROP} crops of {SIZE} x {SIZE}\n\n{loading_table(loading)}")
        training = measure("training", {source: {"source": source} for source in ("memory", *SOURCES)}, args)
        print(
            f"\nAlexNet's training step: {args.devices} devices, batch {args.batch_size}, width {args.width:g}, "
            f"{args.loader_threads} threads of the loader\n\n{training_table(training, args.batch_size)}"
        )
    common.write_json(args, {"loading": [[*key, runs] for key, runs in loading.items()], "training": training})


if __name__ == "__main__":
    main()
