"""Trains VGG (Simonyan and Zisserman 2014) on ImageNet, or on other folders of images.

    python examples/vgg_imagenet.py --data /path/to/imagenet --depth 16

The settings are the paper's (section 3.1), but for the batch: with --depth 16, 256 images take 39 GiB and 32 take 6, so
it is 32, and the rate, 0.01 for 256, an eighth. It starts with He's weights, not with those of a trained shallow net.
"""

from dataclasses import dataclass, replace

from tinynet import SGD, PlateauSchedule, SoftmaxCrossEntropy, console
from tinynet.training import Run, RunSettings, evaluate, parse_options, report_errors, setting, train_epoch


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    depth: int = setting(16, "weight layers", group="the network", choices=(11, 13, 16, 19))
    width: float = setting(1.0, "multiplies kernels and neurons")
    dropout: float = setting(0.5, "probability in fc6 and fc7")
    devices: int = setting(1, "that share the net", least=1)
    lr: float = setting(0.00125, "learning rate at the start", group="training", least=0)
    momentum: float = setting(0.9)
    weight_decay: float = setting(0.0005)
    colour_noise: float = setting(0.1, "as AlexNet's; 0: none", least=0)
    patience: int = setting(5, "epochs without a lower error before the rate is divided by 10")


PAPER = Settings(resize=256, crop=224, batch_size=32, epochs=74)
DRAWN = replace(PAPER, depth=11, width=0.125, resize=64, crop=56, epochs=10, lr=0.01)


def train(typed) -> None:
    with Run.open(typed, "vgg") as run:
        s = run.settle(PAPER if run.data_path else DRAWN)
        data, channels = run.open_data(), run.data.channels
        net = run.build("vgg", depth=s.depth, num_classes=len(data.classes), input_size=s.crop, width=s.width,
            dropout=s.dropout, seed=s.seed, in_channels=channels)  # fmt: skip
        print(net.summary((channels, s.crop, s.crop)))
        net = run.spread(net, s.devices)
        loss, optimizer = SoftmaxCrossEntropy(), SGD(net, s.lr, s.momentum, s.weight_decay)
        schedule = PlateauSchedule(s.patience)
        run.begin(net, optimizer)
        images = run.batches(colour=s.colour_noise if channels == 3 else 0, scale=None)
        for epoch in run.epochs(s.epochs):
            optimizer.lr = schedule(s.lr, run.errors)
            trained = train_epoch(net, loss, optimizer, images.train, images.prepare, epoch)
            epoch.end(trained, evaluate(net, images.val, images.prepare, epoch))
        run.finish()
        for loader in (images.val, images.ten):
            run.tell(loader, evaluate(net, loader, images.prepare, run.watch(loader)))
        run.done()


def main() -> None:
    typed = parse_options(__doc__, {"with --data": PAPER, "without --data": DRAWN})
    report_errors(typed) if typed.test_only else train(typed)


if __name__ == "__main__":
    console.run(main)
