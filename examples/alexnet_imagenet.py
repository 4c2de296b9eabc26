"""Trains AlexNet (Krizhevsky, Sutskever and Hinton 2012) on ImageNet, or on other folders of images.

    python examples/alexnet_imagenet.py                              a small drawn data set, a narrow net: minutes
    python examples/alexnet_imagenet.py --data /path/to/pictures     your own, in a folder for each class
    python examples/alexnet_imagenet.py --data /path/to/imagenet     the paper's network and settings

Everything that a run makes is in its --output-dir. Ctrl-C or SIGTERM save and leave; --resume goes on.
"""

import argparse
from dataclasses import dataclass, replace

from tinynet import SGD, PlateauSchedule, SoftmaxCrossEntropy, StepSchedule, console
from tinynet.inspection.pictures import draw_training
from tinynet.models.alexnet import INITIALIZATIONS
from tinynet.training import Fitted, Run, RunSettings, evaluate, parse_options, report_errors, setting, train_epoch


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    """What this job can be told, beside what every run can; the defaults are the paper's."""

    preset: str | None = setting(None, "settings for all that is not typed (default: paper for ImageNet's 1,000 "
        "classes, drawn without --data, else small)", choices=("paper", "small", "drawn"), group="presets")  # fmt: skip
    width: float = setting(1.0, "multiplies kernels and neurons", group="the network")
    groups: int = setting(2, "towers: 2, or 1 that sees everything")
    order: str = setting("paper", "normalise, then pool, or the other way round", choices=("paper", "caffenet"))
    init: str = setting("paper", "first weights; he and he-conv1 scale pixels too", choices=tuple(INITIALIZATIONS))
    dropout: float = setting(0.5, "probability in fc6 and fc7")
    devices: int | None = setting(None, "that share the net: GPUs, or shares of the cores", like="groups", least=1)
    ledger: bool = setting(False, "print what each device holds, and what crossed between them", free=True)
    lr: float = setting(0.01, "learning rate at the start", group="training", least=0)
    momentum: float = setting(0.9)
    weight_decay: float = setting(0.0005)
    colour_noise: float = setting(0.1, "of the paper's section 4.1; 0: none", least=0)
    lr_scheduler: str = setting("plateau", choices=("plateau", "step"))
    patience: int = setting(5, "plateau: epochs without a lower error")
    lr_step_size: int = setting(30, "step: epochs between divisions")
    lr_divisor: float = setting(10.0, "what the rate is divided by", above=0)


PAPER = Settings(resize=256, crop=227, batch_size=128, epochs=90)
DRAWN = replace(PAPER, width=0.25, init="he", resize=96, crop=83, batch_size=32, epochs=16)
DRAWN = replace(DRAWN, lr_scheduler="step", lr_step_size=12)
SMALL = Fitted(replace(PAPER, width=0.5, init="he-conv1", lr_scheduler="step"), crops=(67, 99, 131))
PRESETS = {"paper": PAPER, "small": SMALL, "drawn": DRAWN}


def train(typed: argparse.Namespace) -> None:
    with Run.open(typed, "alexnet") as run:
        data = run.open_data()
        s = run.settle(PRESETS)  # typed by the user > kept in the checkpoint > preset
        shape = data.channels, s.crop, s.crop

        # ---- network ----
        net = run.build(
            "alexnet", num_classes=len(data.classes), groups=s.groups, width=s.width, input_size=s.crop,
            order=s.order, initialization=s.init, dropout=s.dropout, seed=s.seed, in_channels=data.channels,
        )  # fmt: skip
        print(net.summary(shape))
        whole, net = net, run.spread(net, s.devices)  # on devices, or on the ranks of --mesh
        several = net is not whole
        if s.ledger and several:
            print(net.describe(shape, s.batch_size))
        loss, optimizer = SoftmaxCrossEntropy(), SGD(net, s.lr, s.momentum, s.weight_decay)
        if s.lr_scheduler == "plateau":
            schedule = PlateauSchedule(s.patience, s.lr_divisor, chance=data.chance_error)
        else:
            schedule = StepSchedule(s.lr_step_size, s.lr_divisor)

        # ---- training ----
        run.begin(net, optimizer)  # its folder, signals; restores a checkpoint
        colour = s.colour_noise if data.channels == 3 else 0
        scale = None if s.init.startswith("he") else 1.0  # None: of unit variance
        images = run.batches(colour, scale)  # the mean image, measured or restored
        for epoch in run.epochs(s.epochs):  # from where the checkpoint stands
            optimizer.lr = schedule(s.lr, run.errors)
            trained = train_epoch(net, loss, optimizer, images.train, images.prepare, epoch)
            if s.ledger and several and epoch.number == 0:
                print(f"What crossed between the devices in the first epoch's last step:\n{net.ledger}")
            tested = evaluate(net, images.val, images.prepare, epoch)
            epoch.end(trained, tested)  # a line, a record, a checkpoint

        # ---- what is left behind ----
        run.finish()  # final weights, with what is needed to use them
        for loader in (images.val, images.ten):
            run.tell(loader, evaluate(net, loader, images.prepare, run.watch(loader)))
        missing = draw_training(run.path, run.history, net, f"AlexNet on {data.root.name}", towers=s.groups)
        run.done()
        if not run.data_path:
            print("\nTo train on ImageNet with the paper's settings:")
            print("  python examples/alexnet_imagenet.py --data /path/to/imagenet")
        if missing:
            print(f"\n{missing}")


def main() -> None:
    typed = parse_options(__doc__, {f"in {name}": preset for name, preset in PRESETS.items()})
    if typed.test_only:
        report_errors(typed)
    else:
        train(typed)


if __name__ == "__main__":
    console.run(main)
