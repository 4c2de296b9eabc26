"""Trains AlexNet (Krizhevsky, Sutskever and Hinton 2012) on folders of images.

    python examples/alexnet_imagenet.py                          a small drawn data set, a narrow net: minutes on a CPU
    python examples/alexnet_imagenet.py --data /path/to/imagenet     the paper's network and settings

The data set is a folder with train/<class>/*.jpg and val/<class>/*.jpg. Everything a run makes is in its --output-dir.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import tinynet
from tinynet import SGD, PlateauSchedule, SoftmaxCrossEntropy, StepSchedule, models, parallel, plots
from tinynet.data import DataError, Loader, Prepare, measure, open_dataset
from tinynet.data.synthetic import make_dataset
from tinynet.interchange.weights import whole_parameters
from tinynet.training import (
    Counter,
    NonFiniteLossError,
    Progress,
    append_json_line,
    duration,
    evaluate,
    load_checkpoint,
    save_checkpoint,
    train_epoch,
)

# What an option is when it is not given. A checkpoint keeps these settings, and a resumed run has the same.
PAPER = {
    "width": 1.0, "groups": 2, "order": "paper", "init": "paper", "dropout": 0.5, "resize": 256, "crop": 227, "seed": 0,
    "batch_size": 128, "epochs": 90, "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0005, "colour_noise": 0.1,
    "lr_scheduler": "plateau", "patience": 5, "lr_step_size": 30, "lr_divisor": 10.0,
}  # fmt: skip
DRAWN = {"width": 0.25, "init": "he", "resize": 96, "crop": 83, "batch_size": 32, "epochs": 16}  # without --data
DRAWN = PAPER | DRAWN | {"lr_scheduler": "step", "lr_step_size": 12}


def parse_arguments() -> argparse.Namespace:
    def default(name: str, text: str = "") -> str:
        drawn = f"; {DRAWN[name]} without --data" if DRAWN[name] != PAPER[name] else ""
        return f"{text} (default: {PAPER[name]}{drawn})".lstrip()

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", metavar="DIR", help="folder with train/ and val/; left out: a small synthetic data set is drawn")
    add("--output-dir", metavar="DIR", help="where weights, log and pictures go (default: a new folder in runs/)")
    add("--resume", metavar="FILE", help="go on from a checkpoint.safetensors; settings are the checkpoint's")
    add("--test-only", action="store_true", help="only evaluate the checkpoint that --resume names")
    add("--workers", type=int, default=2, help="threads that decode images; 0: none (default: 2)")
    add("--devices", type=int, help="that share the net: GPUs, or shares of the cores (default: --groups)")
    add("--ledger", action="store_true", help="print what each device holds, and what crossed between them")

    add = parser.add_argument_group("the network").add_argument
    add("--width", type=float, help=default("width", "multiplies kernels and neurons"))
    add("--groups", type=int, help=default("groups", "towers: 2, or 1 that sees everything"))
    add("--order", choices=["paper", "caffenet"], help=default("order", "normalise, then pool, or the other way round"))
    add("--init", choices=["paper", "he"], help=default("init", "first weights; he scales pixels too"))
    add("--dropout", type=float, help=default("dropout", "probability in fc6 and fc7"))
    add("--resize", type=int, help=default("resize", "images are cut to this square first"))
    add("--crop", type=int, help=default("crop", "the net's input, cropped from it"))
    add("--seed", type=int, help=default("seed", "of weights, order, crops and dropout"))

    add = parser.add_argument_group("training").add_argument
    add("-b", "--batch-size", type=int, help=default("batch_size"))
    add("--epochs", type=int, help=default("epochs"))
    add("--lr", type=float, help=default("lr", "learning rate at the start"))
    add("--momentum", type=float, help=default("momentum"))
    add("--weight-decay", type=float, help=default("weight_decay"))
    add("--colour-noise", type=float, help=default("colour_noise", "of the paper's section 4.1; 0: none"))
    add("--lr-scheduler", choices=["plateau", "step"], help=default("lr_scheduler"))
    add("--patience", type=int, help=default("patience", "plateau: epochs without a lower error"))
    add("--lr-step-size", type=int, help=default("lr_step_size", "step: epochs between divisions"))
    add("--lr-divisor", type=float, help=default("lr_divisor", "what the rate is divided by"))
    args = parser.parse_args()

    if args.test_only and not args.resume:
        parser.error("--test-only needs --resume FILE, the checkpoint to evaluate")
    if args.epochs is not None and args.epochs < 1:
        parser.error(f"--epochs {args.epochs}: expected 1 or more")
    settings = PAPER if args.data else DRAWN
    args.checkpoint = load_checkpoint(args.resume) if args.resume else None
    if args.checkpoint:
        settings = settings | args.checkpoint.settings
    for name in PAPER:
        given = getattr(args, name)
        if given is None:
            setattr(args, name, settings[name])
        elif args.checkpoint and name != "epochs" and given != settings[name]:
            parser.error(f"--{name.replace('_', '-')} {given}: the checkpoint was made with {settings[name]}")
    return args


def open_data(args: argparse.Namespace):
    if args.data:
        return open_dataset(args.data)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinynet" / "synthetic"
    print(f"No --data given: using a SYNTHETIC data set, drawn by this program, in {cache}", flush=True)
    return open_dataset(make_dataset(cache, progress=Counter("drawing")))


def make_output_dir(args: argparse.Namespace, data_set: str) -> Path:
    """--output-dir, or runs/alexnet-NAME-1 or the next free number: a run never writes over another one's files."""
    if args.output_dir:
        path = Path(args.output_dir)
    else:
        number = 1
        while (path := Path("runs") / f"alexnet-{data_set}-{number}").exists():
            number += 1
    path.mkdir(parents=True, exist_ok=True)
    checkpoint = path / "checkpoint.safetensors"
    if checkpoint.exists() and not (args.resume and checkpoint.samefile(args.resume)):
        raise FileExistsError(
            f"{path} has the checkpoint of another run: go on with --resume {checkpoint}, or choose another folder"
        )
    return path


def errors(result) -> dict:
    """What the log keeps of a pass over the data."""
    return {"loss": result.loss, "top1_error": result.top1_error, "top5_error": result.top5_error}


def main() -> None:
    args = parse_arguments()
    began = time.perf_counter()
    settings = {name: getattr(args, name) for name in PAPER}

    # ---- data ----
    data = open_data(args)
    counts = f"{len(data.train):,} training and {len(data.val):,} validation images"
    print(f"{data.root}: {len(data.classes)} classes, {counts}")
    settings["classes"] = list(data.classes)
    if args.checkpoint and args.checkpoint.settings["classes"] != settings["classes"]:
        raise DataError(f"{args.resume} was trained on other classes than those of {data.root}")
    common = {"size": args.resize, "crop": args.crop, "seed": args.seed, "workers": args.workers}
    middle = Loader(data.val, args.batch_size, views="middle", **common)
    ten = Loader(data.val, max(1, args.batch_size // 10), views="ten", **common)

    # ---- network ----
    net = models.alexnet(
        len(data.classes), args.groups, args.width, args.crop, args.order, args.init, args.dropout, seed=args.seed
    )
    print(net.summary((3, args.crop, args.crop)))
    devices = args.groups if args.devices is None else args.devices
    if devices != 1:
        net = parallel.partition(net, devices)
        print(f"On {devices} devices, each with its part of every layer")
        if args.ledger:
            print(net.describe((3, args.crop, args.crop), args.batch_size))
    loss = SoftmaxCrossEntropy()
    optimizer = SGD(net, args.lr, args.momentum, args.weight_decay)
    if args.lr_scheduler == "plateau":
        schedule = PlateauSchedule(args.patience, args.lr_divisor)
    else:
        schedule = StepSchedule(args.lr_step_size, args.lr_divisor)

    # ---- where the run stands ----
    output = None if args.test_only else make_output_dir(args, data.root.name)
    if args.checkpoint:
        args.checkpoint.restore(net, optimizer)
        history, statistics = args.checkpoint.history, args.checkpoint.statistics
        args.checkpoint = None  # its arrays are as large as the net's
    else:
        print("Measuring the mean image and the principal components of colour ...", flush=True)
        counter = Counter("measuring")
        statistics = measure(data.train, args.resize, workers=max(1, args.workers), seed=args.seed, progress=counter)
        history = []
    scale = 1.0 if args.init == "paper" else 1 / max(statistics.pixel_deviation, 1.0)
    prepare = Prepare(statistics, args.crop, scale, net)
    batches = Loader(data.train, args.batch_size, statistics=statistics, colour=args.colour_noise, **common)

    # ---- training ----
    for epoch in range(len(history), 0 if args.test_only else args.epochs):
        optimizer.lr = schedule(args.lr, [record["validation"]["top1_error"] for record in history])
        title = f"epoch {epoch + 1:2}/{args.epochs}"
        with Progress(title, len(batches), optimizer.lr, args.epochs - epoch - 1) as progress:
            train = train_epoch(net, loss, optimizer, batches, prepare, epoch, progress)
        if args.ledger and devices != 1 and epoch == len(history) == 0:
            print(f"What crossed between the devices in the first epoch's last step:\n{net.ledger}")
        with Progress(f"{title} validation", len(middle)) as progress:
            validation = evaluate(net, middle, prepare, progress)
        print(
            f"{title}  train: loss {train.loss:.3f}, top-1 error {train.top1_error:.1f} %"
            f"  validation: loss {validation.loss:.3f}, top-1 {validation.top1_error:.1f} %,"
            f" top-5 {validation.top5_error:.1f} %  lr {optimizer.lr:g},"
            f" {train.images_per_second:.0f} images/s, waiting for data {100 * train.waiting_share:.0f} %,"
            f" {duration(train.seconds + validation.seconds)}",
            flush=True,
        )
        record = {"epoch": epoch + 1, "lr": optimizer.lr, "train": errors(train), "validation": errors(validation)}
        record |= {"images_per_second": train.images_per_second, "waiting_share": train.waiting_share}
        history.append(record)
        save_checkpoint(output / "checkpoint.safetensors", net, optimizer, statistics, settings, history)
        append_json_line(output / "log.jsonl", record)

    # ---- evaluation ----
    for name, loader in (("middle crop", middle), ("ten views", ten)):
        with Progress(name, len(loader)) as progress:
            result = evaluate(net, loader, prepare, progress)
        print(f"Validation, {name}: top-1 error {result.top1_error:.2f} %, top-5 error {result.top5_error:.2f} %")
    if args.test_only:
        return

    # ---- what is left behind ----
    tinynet.save_weights(net, output / "weights.safetensors")
    try:
        plots.learning_curves(history, output / "learning_curves.png", f"AlexNet on {data.root.name}")
        plots.filters(whole_parameters(net)["conv1.weight"], output / "conv1_filters.png", towers=args.groups)
    except ImportError:
        print("No pictures: they need matplotlib, pip install 'tinynet[plots]'")
    print(f"\nDone in {duration(time.perf_counter() - began)}. In {output}:")
    for name, what in {
        "weights.safetensors": "the weights, for tinynet.load_weights",
        "checkpoint.safetensors": "everything that --resume and --test-only need",
        "log.jsonl": "one JSON record per epoch",
        "learning_curves.png": "loss and errors per epoch",
        "conv1_filters.png": "the kernels of conv1, tower by tower",
    }.items():
        if (output / name).exists():
            print(f"  {name:24}{what}")
    if not args.data:
        print("\nTo train on ImageNet with the paper's settings:")
        print("  python examples/alexnet_imagenet.py --data /path/to/imagenet")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. If an epoch was finished, go on with --resume and the run's checkpoint.safetensors.")
    except (
        tinynet.BackendError, tinynet.CheckpointError, DataError, NonFiniteLossError, OSError, ValueError
    ) as error:  # fmt: skip
        sys.exit(f"error: {error}")
