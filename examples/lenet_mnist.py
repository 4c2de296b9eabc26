"""Trains LeNet on MNIST's digits as Caffe's tutorial does, every step in the open: 99 % are right after 11 epochs.

    python examples/lenet_mnist.py --data /path/to/mnist         the folder of the four IDX files, gzipped or not

The network, its start and all settings are those of Caffe, examples/mnist: pixels / 256, batches of 64, a learning rate
that falls with every step, biases that learn at twice the rate.
"""

import argparse
import time
from pathlib import Path

from tinynet import SGD, InversePolicy, SoftmaxCrossEntropy, console, models, save_weights
from tinynet.data import Loader, Prepare
from tinynet.data.sets import mnist
from tinynet.training import evaluate, ranks


def train(data: Path, epochs: int, seed: int, out: Path | None) -> None:
    digits = mnist(data)
    loader = Loader(digits.train, 64, size=28, crop=28, mirror=False, colour=0, seed=seed)
    test = Loader(digits.val, 100, size=28, crop=28, views="middle")
    net, loss = models.lenet(variant="caffe", seed=seed), SoftmaxCrossEntropy()
    print(net.summary((1, 28, 28)))
    optimizer = SGD(net, lr=0.01, momentum=0.9, weight_decay=0.0005, lr_multipliers={"bias": 2.0})
    policy = InversePolicy(gamma=0.0001, power=0.75)  # lr * (1 + 0.0001 * step)^-0.75
    prepare = Prepare(None, crop=28, scale=1 / 256, net=net)

    step = 0
    for epoch in range(epochs):
        began, total, wrong = time.perf_counter(), 0.0, 0
        for batch in loader.epoch(epoch):
            optimizer.lr = policy(0.01, step)
            logits = net.forward(prepare(batch), train=True)
            total += loss.forward(logits, batch.labels) * len(batch.labels)
            wrong += (ranks(logits, batch.labels) > 0).sum()
            net.backward(loss.backward())
            optimizer.step()
            step += 1
        tested = evaluate(net, test, prepare)
        images, seconds = len(digits.train), time.perf_counter() - began
        print(
            f"epoch {epoch + 1:2}/{epochs}  train: loss {total / images:.4f}, error {100 * wrong / images:.2f} %"
            f"  test: loss {tested.loss:.4f}, error {tested.top1_error:.2f} %  {step:,} steps, {seconds:.0f} s",
            flush=True,
        )
    if out is not None:
        save_weights(net, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="MNIST's or Fashion-MNIST's IDX files")
    parser.add_argument("--epochs", type=int, default=11, help="of 938 steps (default: 11, the tutorial's 10,000)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order (default: 0)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the weights go, as safetensors")
    args = parser.parse_args()
    if args.epochs < 1:
        raise ValueError(f"--epochs {args.epochs}: expected 1 or more")
    if args.out is not None and (args.out.is_dir() or not args.out.absolute().parent.is_dir()):
        raise ValueError(f"--out {args.out}: expected a file in a folder that is there")
    train(args.data, args.epochs, args.seed, args.out)


if __name__ == "__main__":
    console.run(main)
