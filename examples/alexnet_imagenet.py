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
from tinynet.data import Loader, Prepare, measure, open_dataset
from tinynet.data.synthetic import make_dataset
from tinynet.interchange.weights import whole_parameters
from tinynet.training import (
    NonFiniteLossError,
    Progress,
    append_json_line,
    duration,
    evaluate,
    load_checkpoint,
    save_checkpoint,
    train_epoch,
)

# What an option is when it is not given: with --data the paper's values, without it those of the small drawn data set.
PAPER = {"width": 1.0, "resize": 256, "crop": 227, "init": "paper", "batch_size": 128, "epochs": 90, "lr": 0.01}
PAPER |= {"lr_scheduler": "plateau", "lr_step_size": 30}
DRAWN = {"width": 0.25, "resize": 96, "crop": 83, "init": "he", "batch_size": 32, "epochs": 16, "lr": 0.01}
DRAWN |= {"lr_scheduler": "step", "lr_step_size": 12}
NETWORK = ("width", "groups", "order", "init", "dropout", "resize", "crop", "seed")  # options that a checkpoint fixes


def parse_arguments() -> argparse.Namespace:
    def default(name: str) -> str:
        return f"(default: {PAPER[name]}; {DRAWN[name]} without --data)"

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", metavar="DIR", help="folder with train/ and val/; left out: a small synthetic data set is drawn")
    add("--output-dir", metavar="DIR", help="where weights, log and pictures go (default: a new folder in runs/)")
    add("--resume", metavar="FILE", help="go on from a checkpoint (checkpoint.safetensors of an earlier run)")
    add("--test-only", action="store_true", help="only evaluate the checkpoint that --resume names")
    add("--seed", type=int, help="of weights, order, crops and dropout (default: 0)")
    add("--workers", type=int, default=2, help="threads that decode images; 0: none (default: 2)")

    net = parser.add_argument_group("the network")
    net.add_argument("--width", type=float, help=f"multiplies kernels and neurons {default('width')}")
    net.add_argument("--groups", type=int, help="towers, 2 as in the paper or 1 (default: 2)")
    net.add_argument("--devices", type=int, help="that share the net: GPUs, or shares of the cores (default: --groups)")
    net.add_argument("--ledger", action="store_true", help="print which layer is on which device, and what crossed")
    net.add_argument("--order", choices=["paper", "caffenet"], help="normalise, then pool, or the other way round")
    net.add_argument("--init", choices=["paper", "he"], help=f"weights; he scales pixels too {default('init')}")
    net.add_argument("--dropout", type=float, help="probability in fc6 and fc7 (default: 0.5)")
    net.add_argument("--resize", type=int, help=f"images are cut to this square first {default('resize')}")
    net.add_argument("--crop", type=int, help=f"the net's input, cropped from it {default('crop')}")

    run = parser.add_argument_group("training")
    run.add_argument("-b", "--batch-size", type=int, help=default("batch_size"))
    run.add_argument("--epochs", type=int, help=default("epochs"))
    run.add_argument("--lr", type=float, help=f"learning rate at the start {default('lr')}")
    run.add_argument("--momentum", type=float, default=0.9, help="(default: 0.9)")
    run.add_argument("--weight-decay", type=float, default=0.0005, help="(default: 0.0005)")
    run.add_argument("--lr-scheduler", choices=["plateau", "step"], help=default("lr_scheduler"))
    run.add_argument("--patience", type=int, default=5, help="plateau: epochs without a lower error (default: 5)")
    run.add_argument("--lr-step-size", type=int, help=f"step: epochs between divisions {default('lr_step_size')}")
    run.add_argument("--lr-divisor", type=float, default=10, help="what the rate is divided by (default: 10)")
    run.add_argument("--colour-noise", type=float, default=0.1, help="of the paper's section 4.1 (default: 0.1)")
    args = parser.parse_args()

    fixed = {"groups": 2, "order": "paper", "dropout": 0.5, "seed": 0} | (PAPER if args.data else DRAWN)
    if args.test_only and not args.resume:
        parser.error("--test-only needs --resume FILE, the checkpoint to evaluate")
    if args.epochs is not None and args.epochs < 1:
        parser.error(f"--epochs {args.epochs}: expected 1 or more")
    args.checkpoint = load_checkpoint(args.resume) if args.resume else None
    if args.checkpoint:  # the network is the checkpoint's; an option that says otherwise is a mistake
        saved = args.checkpoint.settings
        for name in NETWORK:
            if getattr(args, name) not in (None, saved[name]):
                parser.error(f"--{name} {getattr(args, name)}: the checkpoint was made with {saved[name]}")
        fixed |= saved
    for name, value in fixed.items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)
    return args


def open_data(args: argparse.Namespace):
    if args.data:
        return open_dataset(args.data)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinynet" / "synthetic"
    print(f"No --data given: using a SYNTHETIC data set, drawn by this program, in {cache}")
    return open_dataset(make_dataset(cache))


def new_output_dir(data_set: str) -> Path:
    """runs/alexnet-NAME-1, or the next number that is free: a run never writes over an earlier one."""
    number = 1
    while (path := Path("runs") / f"alexnet-{data_set}-{number}").exists():
        number += 1
    return path


def errors(result) -> dict:
    """What the log keeps of a pass over the data."""
    return {"loss": result.loss, "top1_error": result.top1_error, "top5_error": result.top5_error}


def main() -> None:
    args = parse_arguments()
    began = time.perf_counter()

    # ---- data ----
    data = open_data(args)
    counts = f"{len(data.train):,} training and {len(data.val):,} validation images"
    print(f"{data.root}: {len(data.classes)} classes, {counts}")
    if args.checkpoint:
        statistics = args.checkpoint.statistics
    else:
        print("Measuring the mean image and the principal components of colour ...", flush=True)
        statistics = measure(data.train, args.resize, workers=max(1, args.workers), seed=args.seed)
    common = {"size": args.resize, "crop": args.crop, "seed": args.seed, "workers": args.workers}
    batches = Loader(data.train, args.batch_size, statistics=statistics, colour=args.colour_noise, **common)
    middle = Loader(data.val, args.batch_size, views="middle", **common)
    ten = Loader(data.val, max(1, args.batch_size // 10), views="ten", **common)

    # ---- network ----
    net = models.alexnet(
        len(data.classes), args.groups, args.width, args.crop, args.order, args.init, args.dropout, seed=args.seed
    )
    print(net.summary((3, args.crop, args.crop)))
    devices = args.groups if args.devices is None else args.devices
    if devices > 1:
        net = parallel.partition(net, devices)
        print(f"On {devices} devices, each with its own part of every layer")
        if args.ledger:
            print(net.describe((3, args.crop, args.crop), args.batch_size))
    prepare = Prepare(statistics, args.crop, 1.0 if args.init == "paper" else 1 / statistics.pixel_deviation, net)
    loss = SoftmaxCrossEntropy()
    optimizer = SGD(net, args.lr, args.momentum, args.weight_decay)
    if args.lr_scheduler == "plateau":
        schedule = PlateauSchedule(args.patience, args.lr_divisor)
    else:
        schedule = StepSchedule(args.lr_step_size, args.lr_divisor)
    history = []
    if args.checkpoint:
        args.checkpoint.restore(net, optimizer)
        history = args.checkpoint.history

    # ---- training ----
    if not args.test_only:
        output = Path(args.output_dir) if args.output_dir else new_output_dir(data.root.name)
        output.mkdir(parents=True, exist_ok=True)
        checkpoint = output / "checkpoint.safetensors"
        settings = {name: getattr(args, name) for name in (*NETWORK, "batch_size", "epochs", "lr")}
        for epoch in range(len(history), args.epochs):
            optimizer.lr = schedule(args.lr, [record["validation"]["top1_error"] for record in history])
            title = f"epoch {epoch + 1:2}/{args.epochs}"
            with Progress(title, len(batches), optimizer.lr, args.epochs - epoch - 1) as progress:
                train = train_epoch(net, loss, optimizer, batches, prepare, epoch, progress)
            if args.ledger and devices > 1 and epoch == 0:
                print(f"What crossed between the devices in the epoch's last step:\n{net.ledger}")
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
            append_json_line(output / "log.jsonl", record)
            save_checkpoint(checkpoint, net, optimizer, statistics, settings, history)

    # ---- evaluation ----
    for name, loader in (("middle crop", middle), ("ten views", ten)):
        with Progress(name, len(loader)) as progress:
            result = evaluate(net, loader, prepare, progress)
        print(f"Validation, {name}: top-1 error {result.top1_error:.2f} %, top-5 error {result.top5_error:.2f} %")
    if args.test_only:
        return

    # ---- what is left behind ----
    tinynet.save_weights(net, output / "weights.safetensors")
    print(f"\nDone in {duration(time.perf_counter() - began)}. In {output}:")
    print("  weights.safetensors     the weights, for tinynet.load_weights")
    print("  checkpoint.safetensors  everything that --resume and --test-only need")
    print("  log.jsonl               one JSON record per epoch")
    try:
        plots.learning_curves(history, output / "learning_curves.png", f"AlexNet on {data.root.name}")
        plots.filters(whole_parameters(net)["conv1.weight"], output / "conv1_filters.png", towers=args.groups)
        print("  learning_curves.png     loss and errors per epoch\n  conv1_filters.png       the kernels of conv1")
    except ImportError:
        print("  (no pictures: they need matplotlib, pip install 'tinynet[plots]')")
    if not args.data:
        print("\nTo train on ImageNet with the paper's settings:")
        print("  python examples/alexnet_imagenet.py --data /path/to/imagenet")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The last finished epoch is in the run's checkpoint: go on with --resume FILE.")
    except (tinynet.BackendError, tinynet.CheckpointError, tinynet.DataError, NonFiniteLossError, ValueError) as error:
        sys.exit(f"error: {error}")
