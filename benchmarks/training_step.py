"""A training step (forward, loss, backward, update) in tinynet, PyTorch and TensorFlow, in turn, each in a process.

    python benchmarks/training_step.py [--model alexnet] [--batch-size 128] [--peers torch] [--threads 2] [--check]

Prints images per second (median and best), peak memory, the ratio to each peer, and the product bound: the speed of the
step's matrix products alone, without im2col, activations, pooling, normalisation or update, at the best tile sizes.
"""

import sys

import comparison

CHECKED_RATIO = 1.4  # to PyTorch eager, AlexNet at batch 128


def main() -> None:
    parser = comparison.parser(__doc__.splitlines()[0], batch_sizes=[128])
    what = f"AlexNet at batch 128: exit code 1 if tinynet is less than {CHECKED_RATIO} times as fast as PyTorch eager"
    parser.add_argument("--check", action="store_true", help=what)
    args = comparison.begin(parser)
    if args.check:
        if args.model != "alexnet" or args.batch_size != [128]:
            parser.error("--check is about --model alexnet --batch-size 128, the defaults")
        if "torch" not in args.peers:
            parser.error("--check compares with PyTorch eager, which is not among the peers")
        args.peers = ["torch"]
    results = comparison.compare(args, "training step", train=True)
    if args.check:
        ratio = comparison.ratio_to("torch", results[128])
        if ratio < CHECKED_RATIO:
            sys.exit(f"tinynet / PyTorch eager: {ratio:.2f}, less than {CHECKED_RATIO}")


if __name__ == "__main__":
    main()
