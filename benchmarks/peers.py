"""The same networks in PyTorch, eager and compiled, and in TensorFlow, each as its users would write and run it.

Everything here but `installed` is for a worker: the process that prints the table imports no framework. Memory order is
each framework's own: (N, C, H, W) in PyTorch, (N, H, W, C) in TensorFlow.
"""

import argparse
import importlib.util
import os
import shutil
from functools import partial

import common

NAMES = {"torch": "PyTorch eager", "torch-compile": "PyTorch torch.compile", "tensorflow": "TensorFlow"}
MODULES = {"torch": "torch", "torch-compile": "torch", "tensorflow": "tensorflow"}
COMPILERS = ("g++", "clang++", "cl")  # one of which torch.compile needs
MOMENTUM, WEIGHT_DECAY = 0.9, 0.0005


def installed(wanted: list[str]) -> list[str]:
    """Those of the peers that can run here; each other one is named on a line, with the reason."""
    found = []
    for peer in wanted:
        if importlib.util.find_spec(MODULES[peer]) is None:
            print(f"{NAMES[peer]} is left out: {MODULES[peer]} is not installed (pip install 'tinynet[bench]')")
        elif peer == "torch-compile" and not any(map(shutil.which, (os.environ.get("CXX", "c++"), *COMPILERS))):
            print(f"{NAMES[peer]} is left out: it needs a C++ compiler, {' or '.join(COMPILERS)}")
        else:
            found.append(peer)
    return found


# ---- PyTorch ----


def torch_modules(rows: list[argparse.Namespace]) -> list:
    """(name, module) of every layer."""
    from torch import nn

    class TowerNorm(nn.LocalResponseNorm):
        """PyTorch's normalisation over each tower's channels; its alpha is divided by the window's size."""

        def __init__(self, row: argparse.Namespace):
            super().__init__(row.size, row.size * row.alpha, row.beta, row.k)
            self.groups = row.groups

        def forward(self, x):
            n, c, h, w = x.shape
            return super().forward(x.reshape(self.groups * n, c // self.groups, h, w)).reshape(n, c, h, w)

    class WithinChannelNorm(nn.Module):
        """Caffe's, over a square of the same channel, zeros outside."""

        def __init__(self, row: argparse.Namespace):
            super().__init__()
            self.row, self.squares = row, nn.AvgPool2d(row.size, 1, row.size // 2)
            self.alpha = row.alpha if row.average else row.alpha * row.size**2

        def forward(self, x):
            return x * (self.row.k + self.alpha * self.squares(x * x)) ** -self.row.beta

    def norm(row: argparse.Namespace) -> nn.Module:
        return WithinChannelNorm(row) if row.within_channel else TowerNorm(row)

    def convolution(row: argparse.Namespace) -> nn.Module:
        channels = row.input_shape[0], row.output_shape[0]
        return nn.Conv2d(*channels, row.kernel_size, row.stride, row.padding, groups=row.groups)

    kinds = {
        "Conv2d": convolution,
        "Linear": lambda row: nn.Linear(*row.input_shape, *row.output_shape),
        "ReLU": lambda row: nn.ReLU(inplace=True),
        "Tanh": lambda row: nn.Tanh(),
        "LocalResponseNorm": norm,
        "MaxPool2d": lambda row: nn.MaxPool2d(row.kernel_size, row.stride, ceil_mode=row.ceil_mode),
        "AvgPool2d": lambda row: nn.AvgPool2d(row.kernel_size, row.stride, ceil_mode=row.ceil_mode),
        "Flatten": lambda row: nn.Flatten(),
        "Dropout": lambda row: nn.Dropout(row.p),
    }
    return [(row.name, kinds[row.kind](row)) for row in rows]


def torch_worker(args: argparse.Namespace, compiled: bool = False) -> dict:
    """Seconds of the training step, or of the forward pass alone without args.train."""
    import torch

    torch.set_num_threads(args.threads)
    net = torch.nn.Sequential(*(module for _, module in torch_modules(args.rows))).train(args.train)
    forward = torch.compile(net) if compiled else net
    x = torch.randn(args.batch_size, *args.rows[0].input_shape)
    labels = torch.randint(0, *args.rows[-1].output_shape, (args.batch_size,))
    optimizer = torch.optim.SGD(net.parameters(), common.LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)

    def training_step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(forward(x), labels).backward()
        optimizer.step()

    @torch.inference_mode()
    def inference() -> None:
        forward(x)

    return {"seconds": common.timed(training_step if args.train else inference, args.steps, args.seconds)}


# ---- TensorFlow ----


class TensorFlowNetwork:
    """The network as tf.nn calls on images (N, H, W, C). variables: by layer, weight and bias.

    weight: (kh, kw, in / groups, out) or (in, out). Convolutions with groups are split: TensorFlow has no gradient for
    grouped ones on a CPU.
    """

    def __init__(self, rows: list[argparse.Namespace]):
        import tensorflow as tf

        self.tf, self.rows, self.variables = tf, rows, {}
        for row in rows:
            if row.kind in ("Conv2d", "Linear"):
                shape = (row.input_shape[0], row.output_shape[0])
                if row.kind == "Conv2d":
                    shape = (*row.kernel_size, shape[0] // row.groups, shape[1])
                weight = tf.keras.initializers.HeNormal(seed=0)(shape)
                self.variables[row.name] = tf.Variable(weight), tf.Variable(tf.zeros(shape[-1:]))

    def __call__(self, x, train: bool):
        for row in self.rows:
            x = self._layer(row, x, train)
        return x

    def _layer(self, row: argparse.Namespace, x, train: bool):
        nn = self.tf.nn
        match row.kind:
            case "Conv2d":
                return self._convolution(row, x)
            case "Linear":
                weight, bias = self.variables[row.name]
                return nn.bias_add(x @ weight, bias)
            case "ReLU":
                return nn.relu(x)
            case "Tanh":
                return nn.tanh(x)
            case "LocalResponseNorm" if row.within_channel:
                side, alpha = row.size // 2, row.alpha if row.average else row.alpha * row.size**2
                squares = self.tf.pad(x * x, [(0, 0), (side, side), (side, side), (0, 0)])
                return x * (row.k + alpha * nn.avg_pool2d(squares, row.size, 1, "VALID")) ** -row.beta
            case "LocalResponseNorm":
                n, h, w, c = x.shape
                towers = self.tf.reshape(x, (n, h, w * row.groups, c // row.groups))
                towers = nn.local_response_normalization(towers, row.size // 2, row.k, row.alpha, row.beta)
                return self.tf.reshape(towers, (n, h, w, c))
            case "MaxPool2d":
                return nn.max_pool2d(x, row.kernel_size, row.stride, "SAME" if row.ceil_mode else "VALID")
            case "AvgPool2d":
                return nn.avg_pool2d(x, row.kernel_size, row.stride, "SAME" if row.ceil_mode else "VALID")
            case "Flatten":
                return self.tf.reshape(x, (x.shape[0], -1))  # (N, H*W*C)
            case "Dropout":
                return nn.dropout(x, row.p) if train else x
        raise ValueError(f"{row.name}: no {row.kind} in TensorFlowNetwork")

    def _convolution(self, row: argparse.Namespace, x):
        tf, sides = self.tf, (row.padding, row.padding)
        padding = [(0, 0), sides, sides, (0, 0)] if row.padding else "VALID"
        if all(stride == 1 for stride in row.stride) and all(2 * row.padding == k - 1 for k in row.kernel_size):
            padding = "SAME"  # the same zeros under the name that the quicker kernels know
        towers = [tf.split(array, row.groups, -1) for array in (x, *self.variables[row.name])]
        y = [tf.nn.bias_add(tf.nn.conv2d(x, w, row.stride, padding), b) for x, w, b in zip(*towers, strict=True)]
        return tf.concat(y, 3) if row.groups > 1 else y[0]


def tensorflow_worker(args: argparse.Namespace) -> dict:
    """Seconds of the training step, or of the forward pass alone without args.train."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    net = TensorFlowNetwork(args.rows)
    channels, *sides = args.rows[0].input_shape
    images = tf.random.normal((args.batch_size, *sides, channels))
    labels = tf.random.uniform((args.batch_size,), 0, *args.rows[-1].output_shape, tf.int32)
    variables = [variable for pair in net.variables.values() for variable in pair]
    velocities = [tf.Variable(tf.zeros_like(variable)) for variable in variables] if args.train else []

    @tf.function
    def training_step(x, labels):
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, net(x, train=True))
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, variables)
        for variable, velocity, gradient in zip(variables, velocities, gradients, strict=True):
            decayed = gradient + WEIGHT_DECAY * variable
            rates = {"lr": common.LEARNING_RATE, "momentum": MOMENTUM}
            tf.raw_ops.ResourceApplyKerasMomentum(var=variable.handle, accum=velocity.handle, grad=decayed, **rates)
        return loss

    @tf.function
    def inference(x):
        return net(x, train=False)

    # .numpy() waits for the result
    step = partial(training_step, images, labels) if args.train else partial(inference, images)
    return {"seconds": common.timed(lambda: step().numpy(), args.steps, args.seconds)}
