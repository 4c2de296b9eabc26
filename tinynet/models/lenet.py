"""LeNet-5, the network of LeCun, Bottou, Bengio and Haffner 1998 (section II.B and figure 2), as it is built today."""

from tinynet.initializers import initialize
from tinynet.layers import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Tanh
from tinynet.network import Sequential

ACTIVATIONS = {"tanh": Tanh, "relu": lambda: ReLU(inplace=True)}
POOLINGS = {"average": AvgPool2d, "max": MaxPool2d}


def lenet(
    num_classes: int = 10,
    in_channels: int = 1,
    input_size: int = 28,
    activation: str = "tanh",
    pooling: str = "average",
    seed: int = 0,
) -> Sequential:
    """LeNet-5 for images (N, in_channels, input_size, input_size); logits (N, num_classes), float32.

    conv1's padding makes the paper's 32 x 32 pixels of the usual 28 x 28. Where it differs from the paper: each kernel
    of conv2 sees all six maps, where table I connects C3 to some of them; pooling has no coefficient and bias to train
    and no squashing function after it; tanh is not scaled to 1.7159 tanh(2/3 a); the output is a linear layer, made for
    SoftmaxCrossEntropy, in place of distances to fixed codes (radial basis functions). fc3 is the paper's C5, which at
    this size connects everything.

    activation: "tanh" or "relu"; pooling: "average", as in the paper, or "max". seed: of the weights, which start with
    He's normal distribution and biases of 0. ValueError for another choice, and where a size does not fit.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"lenet: activation must be 'tanh' or 'relu', got {activation!r}")
    if pooling not in POOLINGS:
        raise ValueError(f"lenet: pooling must be 'average' or 'max', got {pooling!r}")
    if num_classes < 1 or in_channels < 1:
        raise ValueError(
            f"lenet: expected num_classes >= 1 and in_channels >= 1,"
            f" got num_classes={num_classes}, in_channels={in_channels}"
        )
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
