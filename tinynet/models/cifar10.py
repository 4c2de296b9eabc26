"""The two networks of cuda-convnet's CIFAR-10 tutorial, as Caffe re-makes them (Caffe, examples/cifar10).

Caffe's pooling sizes are rounded up; its weights start with a standard deviation for each layer, and biases with 0.
"""

from tinynet.initializers import initialize
from tinynet.layers import AvgPool2d, Conv2d, Flatten, Layer, Linear, LocalResponseNorm, MaxPool2d, ReLU, Tanh
from tinynet.layers.layer import whole
from tinynet.network import Sequential

# What their training multiplies, by the model's name, as SGD takes it:
# SGD(net, 0.001, 0.9, 0.004, LR_MULTIPLIERS[name], DECAY_MULTIPLIERS[name]). Biases learn at twice the rate, but for
# conv3 of the full net, which Caffe gives no multipliers; the weights of that net's last layer decay 250 times as much,
# and its biases not at all.
LR_MULTIPLIERS = {
    "cifar10_quick": {"bias": 2.0},
    "cifar10_full": {"bias": 2.0, "conv3.bias": 1.0},
}
DECAY_MULTIPLIERS: dict[str, dict[str, float]] = {
    "cifar10_quick": {},
    "cifar10_full": {"fc4.weight": 250.0, "fc4.bias": 0.0},
}


def cifar10_quick(num_classes: int = 10, in_channels: int = 3, input_size: int = 32, seed: int = 0) -> Sequential:
    """The quick network for images (N, in_channels, input_size, input_size); logits (N, num_classes), float32.

    conv1's output is pooled before its ReLU, and there is none between fc4 and fc5. seed: of the weights. ValueError or
    TypeError where a size does not fit. Source: Caffe, examples/cifar10/cifar10_quick_train_test.prototxt.
    """
    _check_sizes("cifar10_quick", num_classes, in_channels, input_size)
    features = Sequential(                                              # at 32 x 32:
        [
            ("conv1", Conv2d(in_channels, 32, 5, padding=2)),           # 32 x 32 x 32
            ("pool1", MaxPool2d(3, stride=2, ceil_mode=True)),          # 32 x 16 x 16
            ("relu1", ReLU()),                                          # not in place: pool1 needs its output again
            ("conv2", Conv2d(32, 32, 5, padding=2)),                    # 32 x 16 x 16
            ("relu2", ReLU(inplace=True)),
            ("pool2", AvgPool2d(3, stride=2, ceil_mode=True)),          # 32 x 8 x 8
            ("conv3", Conv2d(32, 64, 5, padding=2)),                    # 64 x 8 x 8
            ("relu3", ReLU(inplace=True)),
            ("pool3", AvgPool2d(3, stride=2, ceil_mode=True)),          # 64 x 4 x 4
            ("flatten", Flatten()),                                     # 1024
        ]
    )  # fmt: skip
    (flat,) = features.output_shape((in_channels, input_size, input_size))
    classifier = [
        ("fc4", Linear(flat, 64)),
        ("fc5", Linear(64, num_classes)),
    ]
    net = Sequential([*features.layers.items(), *classifier])
    initialize(net, seed, std={"conv1": 0.0001, "conv2": 0.01, "conv3": 0.01, "fc4": 0.1, "fc5": 0.1})
    return net


def cifar10_full(
    num_classes: int = 10, in_channels: int = 3, input_size: int = 32, seed: int = 0,
    lrn: bool = True, activation: str = "relu", pool: int = 3,
) -> Sequential:  # fmt: skip
    """The full network for images (N, in_channels, input_size, input_size); logits (N, num_classes), float32.

    conv1's output is pooled before its ReLU; LRN is over 3 x 3 pixels of the same channel. seed: of the weights. What
    the paper's sections 3.1, 3.3 and 3.4 vary: activation "relu" or "tanh"; lrn=False leaves the normalisation out;
    pool: the side of the pooling windows, which 2 keeps from overlapping. ValueError or TypeError where a size does not
    fit. Source: Caffe, examples/cifar10/cifar10_full_train_test.prototxt.
    """
    _check_sizes("cifar10_full", num_classes, in_channels, input_size, pool=pool)
    if activation not in ("relu", "tanh"):
        raise ValueError(f"cifar10_full: activation must be 'relu' or 'tanh', got {activation!r}")

    def act(number: int, inplace: bool = True) -> tuple[str, Layer]:
        return (f"relu{number}", ReLU(inplace)) if activation == "relu" else (f"tanh{number}", Tanh())

    def norm(number: int) -> list[tuple[str, Layer]]:
        layer = LocalResponseNorm(size=3, alpha=5e-5, beta=0.75, k=1.0, average=True, within_channel=True)
        return [(f"lrn{number}", layer)] if lrn else []

    features = Sequential(                                              # at 32 x 32:
        [
            ("conv1", Conv2d(in_channels, 32, 5, padding=2)),           # 32 x 32 x 32
            ("pool1", MaxPool2d(pool, stride=2, ceil_mode=True)),       # 32 x 16 x 16
            act(1, inplace=False),                                      # pool1 needs its output again
            *norm(1),
            ("conv2", Conv2d(32, 32, 5, padding=2)),                    # 32 x 16 x 16
            act(2),
            ("pool2", AvgPool2d(pool, stride=2, ceil_mode=True)),       # 32 x 8 x 8
            *norm(2),
            ("conv3", Conv2d(32, 64, 5, padding=2)),                    # 64 x 8 x 8
            act(3),
            ("pool3", AvgPool2d(pool, stride=2, ceil_mode=True)),       # 64 x 4 x 4
            ("flatten", Flatten()),                                     # 1024
        ]
    )  # fmt: skip
    (flat,) = features.output_shape((in_channels, input_size, input_size))
    net = Sequential([*features.layers.items(), ("fc4", Linear(flat, num_classes))])
    initialize(net, seed, std={"conv1": 0.0001, "conv2": 0.01, "conv3": 0.01, "fc4": 0.01})
    return net


def _check_sizes(model: str, num_classes: int, in_channels: int, input_size: int, **more: int) -> None:
    """Settings may come from a file, and be anything."""
    sizes = {"num_classes": num_classes, "in_channels": in_channels, "input_size": input_size} | more
    for name, size in sizes.items():
        whole(size, f"{model}: {name}")
