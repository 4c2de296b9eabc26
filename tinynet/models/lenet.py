"""LeNet-5, the network of LeCun, Bottou, Bengio and Haffner 1998 (section II.B and figure 2), as it is built today, and
the LeNet of Caffe's tutorial."""

from tinynet.initializers import initialize
from tinynet.layers import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Tanh
from tinynet.network import Sequential

ACTIVATIONS = {"tanh": Tanh, "relu": lambda: ReLU(inplace=True)}
POOLINGS = {"average": AvgPool2d, "max": MaxPool2d}


def lenet(
    num_classes: int = 10,
    in_channels: int = 1,
    input_size: int = 28,
    activation: str | None = None,
    pooling: str | None = None,
    seed: int = 0,
    variant: str = "1998",
) -> Sequential:
    """LeNet for images (N, in_channels, input_size, input_size); logits (N, num_classes), float32.

    variant "1998": LeNet-5. conv1's padding makes the paper's 32 x 32 pixels of the usual 28 x 28. Where it differs
    from the paper: each kernel of conv2 sees all six maps, where table I connects C3 to some of them; pooling has no
    coefficient and bias to train and no squashing function after it; tanh is not scaled to 1.7159 tanh(2/3 a); the
    output is a linear layer, made for SoftmaxCrossEntropy, in place of distances to fixed codes (radial basis
    functions). fc3 is the paper's C5, which at this size connects everything. activation: "tanh" (None means this) or
    "relu"; pooling: "average", as in the paper (None means this), or "max". The weights start with He's normal
    distribution.

    variant "caffe": the network of Caffe's tutorial (Caffe, examples/mnist/lenet_train_test.prototxt), which has more
    kernels, no activation but for the ReLU behind fc3, max-pooling whose sizes are rounded up, and weights that start
    with Xavier's uniform distribution. activation and pooling are not for it.

    seed: of the weights; biases start at 0. ValueError for another choice, and where a size does not fit.
    """
    if num_classes < 1 or in_channels < 1:
        raise ValueError(
            f"lenet: expected num_classes >= 1 and in_channels >= 1,"
            f" got num_classes={num_classes}, in_channels={in_channels}"
        )
    if variant == "1998":
        activation, pooling = "tanh" if activation is None else activation, "average" if pooling is None else pooling
        return _lenet_1998(num_classes, in_channels, input_size, activation, pooling, seed)
    if variant != "caffe":
        raise ValueError(f"lenet: variant must be '1998' or 'caffe', got {variant!r}")
    if activation is not None or pooling is not None:
        raise ValueError(
            f"lenet: activation and pooling are choices of variant '1998' and cannot be combined with 'caffe',"
            f" got activation={activation!r}, pooling={pooling!r}"
        )
    return _lenet_caffe(num_classes, in_channels, input_size, seed)


def _lenet_1998(
    num_classes: int, in_channels: int, input_size: int, activation: str, pooling: str, seed: int
) -> Sequential:
    if activation not in ACTIVATIONS:
        raise ValueError(f"lenet: activation must be 'tanh' or 'relu', got {activation!r}")
    if pooling not in POOLINGS:
        raise ValueError(f"lenet: pooling must be 'average' or 'max', got {pooling!r}")
    activate, pool = ACTIVATIONS[activation], POOLINGS[pooling]
    features = Sequential(                                       # at 28 x 28:
        [
            ("conv1", Conv2d(in_channels, 6, 5, padding=2)),     #  6 x 28 x 28
            (f"{activation}1", activate()),
            ("pool1", pool(2)),                                  #  6 x 14 x 14
            ("conv2", Conv2d(6, 16, 5)),                         # 16 x 10 x 10
            (f"{activation}2", activate()),
            ("pool2", pool(2)),                                  # 16 x 5 x 5
            ("flatten", Flatten()),                              # 400
        ]
    )  # fmt: skip
    (flat,) = features.output_shape((in_channels, input_size, input_size))
    classifier = [
        ("fc3", Linear(flat, 120)),
        (f"{activation}3", activate()),
        ("fc4", Linear(120, 84)),
        (f"{activation}4", activate()),
        ("fc5", Linear(84, num_classes)),
    ]
    net = Sequential([*features.layers.items(), *classifier])
    initialize(net, seed)
    return net


def _lenet_caffe(num_classes: int, in_channels: int, input_size: int, seed: int) -> Sequential:
    features = Sequential(                                       # at 28 x 28:
        [
            ("conv1", Conv2d(in_channels, 20, 5)),               # 20 x 24 x 24
            ("pool1", MaxPool2d(2, ceil_mode=True)),             # 20 x 12 x 12
            ("conv2", Conv2d(20, 50, 5)),                        # 50 x 8 x 8
            ("pool2", MaxPool2d(2, ceil_mode=True)),             # 50 x 4 x 4
            ("flatten", Flatten()),                              # 800
        ]
    )  # fmt: skip
    (flat,) = features.output_shape((in_channels, input_size, input_size))
    classifier = [
        ("fc3", Linear(flat, 500)),  # ip1
        ("relu3", ReLU(inplace=True)),
        ("fc4", Linear(500, num_classes)),  # ip2
    ]
    net = Sequential([*features.layers.items(), *classifier])
    initialize(net, seed, method="xavier")
    return net
