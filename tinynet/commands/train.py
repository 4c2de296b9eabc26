"""Trains a model of tinynet, or one of your own, on any data set, in the frame that the pages in examples/ have in
common: checkpoints, --resume, a log. The settings are those of the pages for this model; how they follow from your
pictures is said when it begins.

    python -m tinynet train alexnet --data /path/to/pictures
    python -m tinynet train vgg --data /path/to/pictures --set depth=11 width=0.25
    python -m tinynet train my_nets:tiny --data /path/to/pictures --crop 64
"""

import argparse
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tinynet import SGD, PlateauSchedule, SoftmaxCrossEntropy, StepSchedule, models
from tinynet.commands import networks
from tinynet.inspection.pictures import draw_training
from tinynet.models.cifar10 import DECAY_MULTIPLIERS, LR_MULTIPLIERS
from tinynet.training import Fitted, Run, RunSettings, evaluate, setting, train_epoch
from tinynet.training.options import add_options, add_run_options, run_problem


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    """What this job can be told, beside what every run can."""

    preset: str | None = setting(None, "settings for all that is not typed (default: paper for ImageNet's 1,000 "
        "classes, drawn without --data, else small)", choices=("paper", "small", "drawn"), group="presets")  # fmt: skip
    set: tuple[str, ...] = setting((), "arguments of the model", metavar="NAME=VALUE", group="the network")
    devices: int = setting(1, "that share the network", least=1)
    lr: float = setting(0.01, "learning rate at the start", group="training", least=0)
    momentum: float = setting(0.9)
    weight_decay: float = setting(0.0005)
    lr_scheduler: str = setting("step", choices=("plateau", "step"))
    patience: int = setting(5, "plateau: epochs without a lower error")
    lr_step_size: int = setting(30, "step: epochs between divisions")
    lr_divisor: float = setting(10.0, "what the rate is divided by", above=0)
    unit_scale: bool = setting(True, "divide pixels by their deviation", group="pictures")
    colour_noise: float = setting(0.1, "of AlexNet's section 4.1; 0: none", least=0)
    mirror: bool = setting(True, "mirror half of the training images")
    padding: int = setting(0, "zeros around an image before a random crop", least=0)


PAPER = Settings(resize=256, crop=227, batch_size=128, epochs=90, lr_scheduler="plateau", unit_scale=False)
SMALL = replace(PAPER, lr_scheduler="step", unit_scale=True)
DRAWN = replace(SMALL, resize=96, crop=83, batch_size=32, epochs=16, lr_step_size=12)
NARROW, HE = "width=0.5", "initialization=he-conv1"
VGG = replace(PAPER, crop=224, batch_size=32, epochs=74, lr=0.00125, unit_scale=True)
TINY = replace(SMALL, resize=32, crop=32, batch_size=100, mirror=False, colour_noise=0)
LENET = replace(TINY, resize=28, crop=28, batch_size=64, epochs=11, lr_step_size=8)
QUICK = replace(TINY, epochs=10, lr=0.001, weight_decay=0.004, lr_step_size=8, unit_scale=False)
FULL = replace(QUICK, epochs=140, lr_step_size=120)
VGG_CIFAR = replace(TINY, batch_size=128, epochs=60, lr_step_size=30, padding=4, mirror=True)
CROPS, VGG_CROPS = (67, 99, 131), (64, 96, 128)

FIXED = {"lenet": LENET, "cifar10_quick": QUICK, "cifar10_full": FULL, "vgg_cifar": VGG_CIFAR}
Presets = Mapping[str, Settings | Fitted[Settings]]
PRESETS: dict[str, Presets] = {
    "alexnet": {
        "paper": PAPER, "small": Fitted(replace(SMALL, set=(NARROW, HE)), CROPS),
        "drawn": replace(DRAWN, set=("width=0.25", "initialization=he")),
    },
    "vgg": {
        "paper": VGG, "small": Fitted(replace(SMALL, set=("depth=11", "width=0.25")), VGG_CROPS),
        "drawn": replace(DRAWN, set=("depth=11", "width=0.125"), resize=64, crop=56, epochs=10),
    },
}  # fmt: skip
PICTURES: Presets = {"paper": replace(PAPER, unit_scale=True), "small": Fitted(SMALL, CROPS), "drawn": DRAWN}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=f"{', '.join(models.MODELS)}, or your own as module:function")
    add_run_options(parser)
    fixed = {f"for {model}": settings for model, settings in FIXED.items()}
    add_options(parser, {"": PAPER, "in preset small": PRESETS["alexnet"]["small"], **fixed})


def run(args: argparse.Namespace) -> None:
    if problem := run_problem(args):
        raise ValueError(problem)
    takes = inspect.signature(models.find(args.model)).parameters
    with Run.open(args, f"train-{args.model.replace(':', '.')}") as run:
        data = run.open_data()
        s = run.settle(FIXED.get(args.model) or PRESETS.get(args.model, PICTURES))

        # ---- network ----
        told = {"num_classes": len(data.classes), "in_channels": data.channels, "input_size": s.crop, "seed": s.seed}
        told = {name: value for name, value in told.items() if name in takes}
        net: Any = run.build(args.model, **told | networks.arguments(s.set))
        print(net.summary((data.channels, s.crop, s.crop)))
        net = run.spread(net, s.devices)
        multipliers = LR_MULTIPLIERS.get(args.model), DECAY_MULTIPLIERS.get(args.model)
        loss, optimizer = SoftmaxCrossEntropy(), SGD(net, s.lr, s.momentum, s.weight_decay, *multipliers)
        plateau = PlateauSchedule(s.patience, s.lr_divisor, chance=data.chance_error)
        schedule = plateau if s.lr_scheduler == "plateau" else StepSchedule(s.lr_step_size, s.lr_divisor)

        # ---- training ----
        run.begin(net, optimizer)
        colour, scale = s.colour_noise if data.channels == 3 else 0, None if s.unit_scale else 1.0
        images = run.batches(colour, scale, mirror=s.mirror, padding=s.padding)
        for epoch in run.epochs(s.epochs):
            optimizer.lr = schedule(s.lr, run.errors)
            trained = train_epoch(net, loss, optimizer, images.train, images.prepare, epoch)
            epoch.end(trained, evaluate(net, images.val, images.prepare, epoch))

        # ---- what is left behind ----
        run.finish()
        for loader in (images.val, images.ten) if s.mirror else (images.val,):
            run.tell(loader, evaluate(net, loader, images.prepare, run.watch(loader)))
        missing = draw_training(run.path, run.history, net, f"{args.model} on {data.root.name}")
        run.done()
        if missing:
            print(f"\n{missing}")
