"""Trains AlexNet (Krizhevsky, Sutskever and Hinton 2012) on ImageNet, or on other folders of images.

    python examples/alexnet_imagenet.py                          a small drawn data set, a narrow net: minutes on a CPU
    python examples/alexnet_imagenet.py --data /path/to/imagenet     the paper's network and settings

Everything that a run makes is in its --output-dir. Ctrl-C or SIGTERM save and leave; --resume goes on.
"""

import argparse
import math
import sys
import time
import warnings
from contextlib import ExitStack
from pathlib import Path

import tinynet
from tinynet import SGD, PlateauSchedule, SoftmaxCrossEntropy, StepSchedule, models, parallel
from tinynet.data import DataError, Loader, Prepare, measure, open_dataset, view_count
from tinynet.data.sets.synthetic import drawn_folder, make_dataset
from tinynet.files import shell_word, shown
from tinynet.inspection import plots
from tinynet.training import (
    Counter,
    EpochState,
    NonFiniteError,
    Progress,
    Run,
    Stopped,
    StopSignals,
    duration,
    evaluate,
    evaluate_networks,
    lasting_output,
    load_trained,
    parameter_sizes,
    train_epoch,
    write_class_table,
)
from tinynet.weights import whole_parameters

# What an option is when it is not given. A checkpoint keeps these settings, and a resumed run has the same.
PAPER = {
    "width": 1.0, "groups": 2, "order": "paper", "init": "paper", "dropout": 0.5, "resize": 256, "crop": 227, "seed": 0,
    "batch_size": 128, "epochs": 90, "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0005, "colour_noise": 0.1,
    "lr_scheduler": "plateau", "patience": 5, "lr_step_size": 30, "lr_divisor": 10.0,
    "measure_images": None, "devices": None, "max_bad": 0.01, "keep": 3,
    "checkpoint_minutes": 15.0, "checkpoint_steps": None, "tensorboard": False,
}  # fmt: skip
DRAWN = {"width": 0.25, "init": "he", "resize": 96, "crop": 83, "batch_size": 32, "epochs": 16}  # without --data
DRAWN = PAPER | DRAWN | {"lr_scheduler": "step", "lr_step_size": 12}
CHOICES = {"order": ["paper", "caffenet"], "init": ["paper", "he"], "lr_scheduler": ["plateau", "step"]}
# What may change when a run goes on, without --override: its weights do not depend on it.
FREE = ("epochs", "max_bad", "keep", "checkpoint_minutes", "checkpoint_steps", "tensorboard")


def parse_arguments() -> argparse.Namespace:
    def default(name: str, text: str = "") -> str:
        drawn = f"; {DRAWN[name]} without --data" if DRAWN[name] != PAPER[name] else ""
        return f"{text} (default: {PAPER[name]}{drawn})".lstrip()

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", metavar="DIR", help="ImageNet in any of its layouts, any folders train/CLASS and val/CLASS, or what "
        "`python -m tinynet prepare` made of them; left out: a small synthetic data set is drawn")  # fmt: skip
    add("--output-dir", metavar="DIR", help="where weights, log and pictures go (default: a new folder in runs/)")
    resume = "go on from the newest checkpoint in a run's folder, or from one checkpoint; without PATH: in --output-dir"
    add("--resume", nargs="?", const=True, metavar="PATH", help=f"{resume}, or from the start where there is none")
    add("--override", action="store_true", help="let options given with --resume differ from the checkpoint's, except "
        "--width, --groups and --crop where the weights would have other shapes")  # fmt: skip
    add("--test-only", action="store_true", help="only evaluate what --weights or --resume names")
    add("--workers", type=int, default=2, help="threads that decode images; 0: none (default: 2)")
    add("--devices", type=int, help="that share the net: GPUs, or shares of the cores (default: --groups)")
    add("--ledger", action="store_true", help="print what each device holds, and what crossed between them")

    add = parser.add_argument_group("with --test-only").add_argument
    add("--weights", nargs="+", metavar="PATH", help="weights, checkpoints or runs; answers of several are averaged")
    views = "middle or ten, and either with +vertical or +diagonal mirrors and +rotations"
    add("--views", nargs="+", metavar="VIEWS", help=f"{views} (default: middle ten)")
    add("--class-table", metavar="FILE", help="write the errors of each class, in the last of the views, as CSV")

    add = parser.add_argument_group("long runs").add_argument
    add("--checkpoint-minutes", type=float, metavar="N", help=default("checkpoint_minutes", "between checkpoints"))
    add("--checkpoint-steps", type=int, metavar="N", help="between checkpoints, if that is sooner")
    add("--keep", type=int, metavar="K", help=default("keep", "checkpoints kept, beside the best"))
    add("--tensorboard", action=argparse.BooleanOptionalAction, help="write TensorBoard's curves into the run's folder")
    add("--max-bad", type=float, metavar="SHARE", help=default("max_bad", "of the images that may be unreadable"))

    add = parser.add_argument_group("the network").add_argument
    add("--width", type=float, help=default("width", "multiplies kernels and neurons"))
    add("--groups", type=int, help=default("groups", "towers: 2, or 1 that sees everything"))
    add("--order", choices=CHOICES["order"], help=default("order", "normalise, then pool, or the other way round"))
    add("--init", choices=CHOICES["init"], help=default("init", "first weights; he scales pixels too"))
    add("--dropout", type=float, help=default("dropout", "probability in fc6 and fc7"))
    add("--resize", type=int, help=default("resize", "images are cut to this square first"))
    add("--crop", type=int, help=default("crop", "the net's input, cropped from it"))
    add("--measure-images", type=int, metavar="N", help="measure the mean image and colours on N images (default: all)")
    add("--seed", type=int, help=default("seed", "of weights, order, crops and dropout"))

    add = parser.add_argument_group("training").add_argument
    add("-b", "--batch-size", type=int, help=default("batch_size"))
    add("--epochs", type=int, help=default("epochs"))
    add("--lr", type=float, help=default("lr", "learning rate at the start"))
    add("--momentum", type=float, help=default("momentum"))
    add("--weight-decay", type=float, help=default("weight_decay"))
    add("--colour-noise", type=float, help=default("colour_noise", "of the paper's section 4.1; 0: none"))
    add("--lr-scheduler", choices=CHOICES["lr_scheduler"], help=default("lr_scheduler"))
    add("--patience", type=int, help=default("patience", "plateau: epochs without a lower error"))
    add("--lr-step-size", type=int, help=default("lr_step_size", "step: epochs between divisions"))
    add("--lr-divisor", type=float, help=default("lr_divisor", "what the rate is divided by"))
    args = parser.parse_args()

    for name in ("data", "output_dir", "resume"):
        if getattr(args, name) == "":
            parser.error(f"--{name.replace('_', '-')}: expected a path, got nothing")
    if args.test_only and not (args.weights or args.resume):
        parser.error("--test-only needs --weights PATH, what to evaluate")
    if (args.weights or args.views or args.class_table) and not args.test_only:
        parser.error("--weights, --views and --class-table are for --test-only; --resume goes on from a checkpoint")
    args.views = args.views or ["middle", "ten"]
    if args.resume is True and not args.output_dir:
        parser.error("--resume needs a PATH, or --output-dir")
    return args


def complete(args: argparse.Namespace, checkpoint) -> dict:
    """Gives each option that was left out its value; returns all settings. ValueError for one that may not change."""
    settings = PAPER if args.data else DRAWN
    if checkpoint:
        checkpoint.check_options(settings | CHOICES)
        settings = {name: checkpoint.settings.get(name, value) for name, value in settings.items()}
        if not args.data and not checkpoint.settings["drawn"]:
            args.data = checkpoint.settings["data"]
            if not Path(args.data).exists():
                raise DataError(f"{shown(args.data)}: the run's images were there; say with --data where they are")
    for name, value in settings.items():
        given = getattr(args, name)
        if given is None:
            setattr(args, name, value)
        elif checkpoint and not args.override and name not in FREE and given != value:
            option = f"--{name.replace('_', '-')} {given}"
            takes = "--override takes it all the same, unless the weights' shapes depend on it"
            raise ValueError(f"{option}: the checkpoint was made with {value}; {takes}")
    if args.epochs < 1:
        raise ValueError(f"--epochs {args.epochs}: expected 1 or more")
    if args.devices is None:
        args.devices = args.groups
    return {name: getattr(args, name) for name in PAPER}


def open_data(path: str | None):
    if path:
        data = open_dataset(path, Counter("listing"))
        for note in data.notes:
            print(f"warning: {note}", file=sys.stderr)
        return data
    cache = drawn_folder()
    print(f"No --data given: using a SYNTHETIC data set, drawn by this program, in {shown(cache)}", flush=True)
    return open_dataset(make_dataset(cache, progress=Counter("drawing")))


def test(args: argparse.Namespace) -> None:
    """Errors of one network, or of the mean of several, in each of the views; and class by class, as a table."""
    paths = args.weights or [args.output_dir if args.resume is True else args.resume]
    images = [max(1, 128 // view_count(views)) for views in args.views]  # at a time
    if args.class_table and not Path(args.class_table).absolute().parent.is_dir():
        raise ValueError(f"--class-table {shown(args.class_table)}: no such folder")
    if args.class_table and Path(args.class_table).is_dir():
        raise ValueError(f"--class-table {shown(args.class_table)}: expected a file, found a folder")
    args.data = args.data or load_trained(paths[0]).data()
    data = open_data(args.data)
    paths = [load_trained(path).for_classes(data.classes).path for path in paths]  # what does not fit is found out now
    print(f"{shown(data.root)}: {len(data.val):,} validation images of {len(data.classes)} classes")
    print("Evaluating", *map(shown, paths), sep="\n  ")
    bad = {"max_bad": PAPER["max_bad"] if args.max_bad is None else args.max_bad}
    for views, batch_size in zip(args.views, images, strict=True):
        with Progress(views, len(paths) * math.ceil(len(data.val) / batch_size), classes=len(data.classes)) as progress:
            networks = map(load_trained, paths)
            result = evaluate_networks(networks, data.val, views, batch_size, args.workers, progress, **bad)
        print_errors(views, result, len(data.classes), result.networks, result.skipped)
    if args.class_table:
        write_class_table(args.class_table, result.classes)
        print(f"Errors of each class ({views}): {shown(args.class_table)}")


def print_errors(views: str, result, classes: int, networks: int = 1, skipped: int = 0) -> None:
    name = {"middle": "middle crop", "ten": "ten views"}.get(views, f"{view_count(views)} views ({views})")
    several = f"mean of {networks} networks, " if networks > 1 else ""
    unread = f", without {skipped:,} that cannot be read" if skipped else ""
    top5 = f", top-5 error {result.top5_error:.2f} %" if classes > 5 else ""
    print(f"Validation, {several}{name}: top-1 error {result.top1_error:.2f} %{top5}{unread}")


def train(args: argparse.Namespace, stack: ExitStack) -> None:
    began = time.perf_counter()
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore", RuntimeWarning)  # values that are not finite are looked for, and named

    # ---- what was there before ----
    run = checkpoint = None
    stack.callback(lambda: run and run.close())
    if args.resume is True:
        run = Run(args.output_dir)
        checkpoint = run.find()
    elif args.resume:
        run, checkpoint = Run.resume(args.resume, args.output_dir)
    settings = complete(args, checkpoint)

    # ---- data ----
    data = open_data(args.data)
    train_images, val_images = len(data.train), len(data.val)
    classes, root = len(data.classes), shown(data.root)
    print(f"{root}: {classes} classes, {train_images:,} training and {val_images:,} validation images")
    if getattr(data.train, "size", args.resize) != args.resize:
        size = data.train.size
        raise DataError(f"{root} was prepared at {size} x {size}: train with --resize {size}, or prepare it again")
    settings |= {"classes": data.classes, "names": data.names}
    settings |= {"data": str(data.root.resolve()), "data_set": data.fingerprint, "drawn": not args.data}
    if checkpoint:
        checkpoint.check_data(data, args.override)
    common = {"size": args.resize, "crop": args.crop, "seed": args.seed, "workers": args.workers}
    bad = {"max_bad": args.max_bad, "on_bad": lambda name, reason: run.bad_image(name, reason)}
    left_out = checkpoint.left_out if checkpoint and checkpoint.settings["data_set"] == data.fingerprint else {}
    known = left_out.get("val")
    middle = Loader(data.val, args.batch_size, views="middle", known_bad=known, **common, **bad)
    ten = Loader(data.val, max(1, args.batch_size // 10), views="ten", known_bad=known, **common, **bad)

    # ---- network ----
    network = {
        "num_classes": classes, "groups": args.groups, "width": args.width, "input_size": args.crop,
        "order": args.order, "initialization": args.init, "dropout": args.dropout, "seed": args.seed,
    }  # fmt: skip
    net = checkpoint.build(models.alexnet, network) if checkpoint else models.alexnet(**network)
    print(net.summary((3, args.crop, args.crop)))
    if args.devices != 1:
        net = parallel.partition(net, args.devices)
        print(f"On {args.devices} devices, each with its part of every layer")
        if args.ledger:
            print(net.describe((3, args.crop, args.crop), args.batch_size))
    loss = SoftmaxCrossEntropy()
    optimizer = SGD(net, args.lr, args.momentum, args.weight_decay)
    schedules = {"plateau": (PlateauSchedule, args.patience), "step": (StepSchedule, args.lr_step_size)}
    kind, epochs = schedules[args.lr_scheduler]
    schedule = kind(epochs, args.lr_divisor)
    if checkpoint:
        checkpoint.restore(net, optimizer)

    # ---- the run's folder; from here on Ctrl-C and SIGTERM are wishes ----
    if run is None:
        run = Run(args.output_dir) if args.output_dir else Run.new(f"runs/alexnet-{data.root.resolve().name[:50]}")
    run.start(checkpoint, args.keep, args.checkpoint_minutes, args.checkpoint_steps, args.tensorboard)
    stack.enter_context(run.logged())
    stop = stack.enter_context(StopSignals())

    # ---- where the run stands ----
    history, state, begun = [], None, 0  # epochs so far, the one that was interrupted, the steps before it
    statistics, scale = data.statistics if args.measure_images is None else None, None  # a prepared cache has them
    if checkpoint:
        same = {name for name in settings if checkpoint.settings.get(name) == settings[name]}
        history, begun = checkpoint.history, checkpoint.step
        if checkpoint.running and {"batch_size", "data_set"} <= same:  # else its epoch begins again
            state = EpochState(**checkpoint.running)
            begun -= state.batches
        if {"resize", "measure_images"} <= same:
            statistics, scale = checkpoint.statistics, checkpoint.settings["scale"]
        done = f"step {checkpoint.step:,}, {len(history)} of {args.epochs} epochs done"
        print(f"Going on from {shown(checkpoint.path)}: {done}")
        checkpoint = None  # its arrays are as large as the net's
    if statistics is None:
        print("Measuring the mean image and the principal components of colour ...", flush=True)
        counter, workers = Counter("measuring"), max(1, args.workers)

        def counted(done: int, total: int) -> None:
            counter(done, total)
            stop.check()

        statistics = measure(data.train, args.resize, args.measure_images, workers, args.seed, counted, **bad)
    if scale is None:
        scale = 1.0 if args.init == "paper" else 1 / max(statistics.pixel_deviation, 1.0)
    settings |= {"network": network, "scale": scale}
    run.describe(settings)
    prepare = Prepare(statistics, args.crop, scale, net)
    batches = Loader(
        data.train, args.batch_size, statistics=statistics, colour=args.colour_noise,
        known_bad=left_out.get("train"), **common, **bad,
    )  # fmt: skip

    def save(epoch: int, running: EpochState | None = None) -> None:
        step, counts = (begun + running.batches, running.counts()) if running else (begun, {})
        state = {"settings": settings, "history": history, "step": step, "epoch": epoch, "running": counts}
        state["left_out"] = {"train": batches.bad, "val": middle.bad}
        run.save(net, optimizer, statistics, state)

    def leave() -> None:
        if run.unsaved:
            raise run.unsaved
        stop.check()

    def watched(progress: Progress, epoch: int, finished: EpochState | None = None):
        """What is to be done after each batch; finished: the training pass, while its validation goes on."""

        def report(state: EpochState) -> None:
            progress(state)
            asked = stop.received
            if asked or (finished is None and run.due()):
                save(epoch, finished or state)
            if asked:
                leave()

        return report

    # ---- training ----
    if len(history) < args.epochs:
        run.unfinish()
    if not history and state is None:
        save(epoch=0)  # a full disk is told of at once, and the images need not be measured again
    for epoch in range(len(history), args.epochs):
        optimizer.lr = schedule(args.lr, [record["validation"]["top1_error"] for record in history])
        title = f"epoch {epoch + 1:2}/{args.epochs}"
        with Progress(title, len(batches), optimizer.lr, args.epochs - epoch - 1, classes=classes) as progress:
            state = train_epoch(net, loss, optimizer, batches, prepare, epoch, watched(progress, epoch), state)
        if args.ledger and args.devices != 1 and epoch == 0:
            print(f"What crossed between the devices in the first epoch's last step:\n{net.ledger}")
        with Progress(f"{title} validation", len(middle), classes=classes) as progress:
            try:
                validation = evaluate(net, middle, prepare, watched(progress, epoch, finished=state))
            except NonFiniteError as error:
                place = f"after step {begun + len(batches) - 1} (epoch {epoch + 1}, learning rate {optimizer.lr:g})"
                raise NonFiniteError(f"{place}: {error}") from error
        top5 = f", top-5 {validation.top5_error:.1f} %" if classes > 5 else ""
        print(
            f"{title}  train: loss {state.loss:.3f}, top-1 error {state.top1_error:.1f} %"
            f"  validation: loss {validation.loss:.3f}, top-1 {validation.top1_error:.1f} %{top5}  lr {optimizer.lr:g},"
            f" {state.images_per_second:.0f} images/s, waiting for data {100 * state.waiting_share:.0f} %,"
            f" {duration(state.seconds + validation.seconds)}",
            flush=True,
        )
        begun += len(batches)
        record = {"epoch": epoch + 1, "step": begun, "lr": optimizer.lr, "train": state.record()}
        record |= {"validation": validation.record(), "left_out": len(batches.bad) + len(middle.bad)}
        record |= {"images_per_second": state.images_per_second, "waiting_share": state.waiting_share}
        history.append(record)
        run.log("epoch", **record, parameters=parameter_sizes(net, optimizer))
        asked = stop.received
        save(epoch + 1)
        if asked:
            leave()
        state = None

    # ---- what is left behind ----
    run.finish(net, statistics, settings)
    for loader in (middle, ten):
        with Progress(loader.views, len(loader), classes=classes) as progress:
            result = evaluate(net, loader, prepare, lambda state, progress=progress: (progress(state), stop.check()))
        print_errors(loader.views, result, classes, skipped=len(loader.bad))
        run.log("test", step=begun, views=loader.views, left_out=len(loader.bad), **result.record())
    if run.keep_folder():  # it was moved or deleted meanwhile
        run.finish(net, statistics, settings)
    last = ""
    try:
        plots.learning_curves(history, run.folder / "learning_curves.png", f"AlexNet on {shown(data.root.name)}")
        plots.filters(whole_parameters(net)["conv1.weight"], run.folder / "conv1_filters.png", towers=args.groups)
    except Exception as error:  # whatever it is, it does not end a finished run
        command = f"python -m tinynet plot {shell_word(run.folder)}"
        if isinstance(error, ImportError):
            last = f"No pictures without matplotlib: pip install 'tinynet[plots]' && {command}"
        else:
            last = f"No pictures: {shown(error)}; to draw them: {command}"
    made = shown(", ".join(run.contents()))
    print(f"\nDone in {duration(time.perf_counter() - began)}. In {shown(run.folder)}: {made}")
    if not args.data:
        print("\nTo train on ImageNet with the paper's settings:")
        print("  python examples/alexnet_imagenet.py --data /path/to/imagenet")
    if last:
        print(f"\n{last}")


def main() -> None:
    args = parse_arguments()
    with ExitStack() as stack:
        stack.enter_context(lasting_output())
        test(args) if args.test_only else train(args, stack)


if __name__ == "__main__":
    try:
        main()
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:
        print("\nInterrupted: nothing was saved.", file=sys.stderr)
        sys.exit(130)
    except (
        tinynet.BackendError, tinynet.CheckpointError, DataError, NonFiniteError, ImportError, OSError, ValueError
    ) as error:  # fmt: skip
        message = shown(error, keep="\n")
        sys.exit(f"error: {message}")
