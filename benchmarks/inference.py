"""The forward pass alone in tinynet, PyTorch and TensorFlow, in turn, each in a process.

    python benchmarks/inference.py [--model alexnet] [--batch-size 1 10 128] [--peers torch] [--threads 2]

Nothing is kept for a backward pass and dropout is off. Prints what training_step.py prints, for each batch size; the
paper's ten views of one image are a batch of 10.
"""

import comparison


def main() -> None:
    parser = comparison.parser(__doc__.splitlines()[0], batch_sizes=[1, 10, 128])
    comparison.compare(comparison.begin(parser), "inference", train=False)


if __name__ == "__main__":
    main()
