"""Trains the networks of CIFAR-10: cuda-convnet's tutorial nets as Caffe re-makes them, and the small form of VGG.

    python examples/cifar10.py --data /path/to/cifar-10-batches-bin               quick: 10 epochs, 75 % right
    python examples/cifar10.py --data /path/to/cifar-10-batches-bin --net full    140 epochs, 82 % right
    python examples/cifar10.py --data /path/to/cifar-10-batches-bin --net vgg     VGG-16 with crops and mirrors

--data: the binary version, or folders train/CLASS and test/CLASS of the same pictures. Settings are those of Caffe,
examples/cifar10 (quick and full): the mean image subtracted, pixels 0 to 255, batches of 100, no crops or mirrors.
"""

from dataclasses import dataclass, replace

from tinynet import SGD, MultiStepSchedule, SoftmaxCrossEntropy, console
from tinynet.models.cifar10 import DECAY_MULTIPLIERS, LR_MULTIPLIERS
from tinynet.training import Run, RunSettings, evaluate, parse_options, report_errors, setting, train_epoch


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    net: str = setting("quick", "which network", group="the network", choices=("quick", "full", "vgg"))
    devices: int = setting(1, "that share the net", least=1)
    lr: float = setting(0.001, "learning rate at the start", group="training", least=0)
    momentum: float = setting(0.9)
    weight_decay: float = setting(0.004)
    lr_milestones: tuple[int, ...] = setting((8,), "epochs after which the rate is divided by 10", least=1, metavar="N")
    padding: int = setting(0, "zeros around an image before a random crop", least=0, most=32)
    mirror: bool = setting(False, "mirror half of the training images")


QUICK = Settings(resize=32, crop=32, batch_size=100, epochs=10)  # 4,000 steps, and 1,000 at a tenth
FULL = replace(QUICK, net="full", epochs=140, lr_milestones=(120, 130))  # 60,000 steps, 5,000, and 5,000
VGG = replace(QUICK, net="vgg", batch_size=128, epochs=60, lr=0.01, weight_decay=0.0005)
VGG = replace(VGG, lr_milestones=(30, 50), padding=4, mirror=True)
PRESETS = {"quick": QUICK, "full": FULL, "vgg": VGG}
MODELS = {"quick": "cifar10_quick", "full": "cifar10_full", "vgg": "vgg_cifar"}


def train(typed) -> None:
    with Run.open(typed, "cifar10") as run:
        s = run.settle(PRESETS.get(run.typed_or_kept("net", "quick"), QUICK))
        data, model = run.open_data(), MODELS[s.net]
        net = run.build(model, num_classes=len(data.classes), in_channels=data.channels, input_size=s.crop, seed=s.seed)
        print(net.summary((data.channels, s.crop, s.crop)))
        net = run.spread(net, s.devices)
        multipliers = LR_MULTIPLIERS.get(model), DECAY_MULTIPLIERS.get(model)
        loss, optimizer = SoftmaxCrossEntropy(), SGD(net, s.lr, s.momentum, s.weight_decay, *multipliers)
        schedule = MultiStepSchedule(s.lr_milestones)
        run.begin(net, optimizer)
        scale = None if s.net == "vgg" else 1.0
        images = run.batches(colour=0, scale=scale, mirror=s.mirror, padding=s.padding)
        for epoch in run.epochs(s.epochs):
            optimizer.lr = schedule(s.lr, run.errors)
            trained = train_epoch(net, loss, optimizer, images.train, images.prepare, epoch)
            epoch.end(trained, evaluate(net, images.val, images.prepare, epoch))
        run.finish()
        run.tell(images.val, evaluate(net, images.val, images.prepare, run.watch(images.val)))
        run.done()


def main() -> None:
    typed = parse_options(__doc__, {f"with --net {name}": preset for name, preset in PRESETS.items()})
    report_errors(typed) if typed.test_only else train(typed)


if __name__ == "__main__":
    console.run(main)
