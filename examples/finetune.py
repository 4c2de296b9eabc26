"""Trains a network that was trained before on other pictures: the weights are there, only the last layer is new.

    python examples/finetune.py --data /path/to/pictures --weights runs/alexnet-imagenette-1
    python examples/finetune.py --data ... --weights ... --freeze-below fc6                      the convolutions stay
    python examples/finetune.py --data ... --weights ... --freeze-below fc6 --cache-features     and are computed once

--weights: a run's folder, a checkpoint or final weights; or an ONNX file, a .caffemodel or torchvision's weights, with
--preprocessing imagenet-torchvision. Pictures are cut, and pixels scaled, as its own were. The last layer stays where
the classes have the same names, and is drawn anew otherwise; layers below it learn more slowly.
"""

import argparse
from dataclasses import dataclass
from functools import partial

from tinynet import SGD, SoftmaxCrossEntropy, StepSchedule, console
from tinynet.inspection.pictures import draw_training
from tinynet.interchange import load_network
from tinynet.training import (
    Run,
    RunSettings,
    cache_features,
    evaluate,
    freeze,
    last_layer,
    parse_options,
    report_errors,
    setting,
    sized,
    starting_point,
    take_weights,
    train_epoch,
)


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    freeze: tuple[str, ...] = setting((), "layers that stay as they are", group="what is trained", metavar="LAYER")
    freeze_below: str | None = setting(None, "the layers below this one stay as they are", metavar="LAYER")
    lower_lr: float = setting(0.5, "the rate of layers below the last, as a share of --lr", least=0)
    augment: bool = setting(True, "crop and mirror training images by chance; else their middles are taken")
    cache_features: bool = setting(False, "compute what frozen layers give once, in place of --augment", free=True)
    devices: int = setting(1, "that share the net", least=1)
    lr: float = setting(0.02, "learning rate at the start", group="training", least=0)
    momentum: float = setting(0.9)
    weight_decay: float = setting(0.0005)
    colour_noise: float = setting(0.1, "of the paper's section 4.1; 0: none", least=0)
    lr_step_size: int = setting(8, "epochs between divisions of the rate by 10", least=1)

    def __post_init__(self):
        super().__post_init__()
        if self.cache_features and self.devices != 1:
            raise ValueError(f"--cache-features: on one device, got --devices {self.devices}")


USUAL = Settings(resize=256, crop=227, batch_size=64, epochs=12)  # resize and crop are those of --weights


def train(typed: argparse.Namespace) -> None:
    start = starting_point(typed, partial(load_network, preprocessing=typed.preprocessing))
    with Run.open(typed, "finetune") as run:
        s = run.settle(sized(USUAL, start, typed))
        if s.cache_features and typed.mesh:
            raise ValueError("--cache-features: in one process, without --mesh")
        data = run.open_data()

        # ---- the network ----
        network = start.settings["network"] | {"num_classes": len(data.classes), "seed": s.seed}
        net = run.build(typed.model or start.settings["model"], **network)
        print(take_weights(net, start, data.classes))
        frozen = freeze(net, s.freeze, s.freeze_below)
        print(f"Frozen: {', '.join(frozen) or 'nothing'}")
        slower = {layer.name: s.lower_lr for _, layer, _ in net.parameters()} | {last_layer(net): 1.0}
        whole = run.spread(net, s.devices)
        loss, optimizer = SoftmaxCrossEntropy(), SGD(whole, s.lr, s.momentum, s.weight_decay, slower)
        schedule = StepSchedule(s.lr_step_size)

        # ---- training ----
        run.begin(whole, optimizer)
        colour = s.colour_noise if data.channels == 3 else 0
        augment = s.augment and not s.cache_features
        images = run.batches(colour, start.settings["scale"], augment=augment, statistics=start.statistics)
        trained_part, batches = cache_features(net, images) if s.cache_features else (whole, images)
        for epoch in run.epochs(s.epochs):
            optimizer.lr = schedule(s.lr, run.errors)
            trained = train_epoch(trained_part, loss, optimizer, batches.train, batches.prepare, epoch)
            epoch.end(trained, evaluate(trained_part, batches.val, batches.prepare, epoch))

        # ---- what is left behind ----
        run.finish()
        for loader in (images.val, images.ten):
            run.tell(loader, evaluate(whole, loader, images.prepare, run.watch(loader)))
        missing = draw_training(run.path, run.history, whole, f"Fine-tuned on {data.root.name}")
        run.done()
        if missing:
            print(f"\n{missing}")


def main() -> None:
    typed = parse_options(__doc__, {"": USUAL}, starts=True)
    report_errors(typed) if typed.test_only else train(typed)


if __name__ == "__main__":
    console.run(main)
