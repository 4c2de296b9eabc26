"""Sequential: a chain of layers, a container of them, itself a layer; and its summary."""

import numpy as np
import pytest
from inputs import assert_close, batch_last, normal, spread

from tinynet import (
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    initializers,
)
from tinynet.backend import to_device, to_host
from tinynet.gradient_check import check_layer, check_network
from tinynet.optimizers import SGD


def make_net(needs_dx: bool = False, **options) -> Sequential:
    """4 x 7 x 6 to 3 logits."""
    layers = [
        ("conv1", Conv2d(4, 6, 3, groups=2)),
        ("relu1", ReLU(**options)),
        ("lrn1", LocalResponseNorm(3, alpha=0.5, groups=2)),
        ("pool1", MaxPool2d(3, stride=2)),
        ("flatten", Flatten()),
        ("fc2", Linear(12, 5)),
        ("tanh2", Tanh()),
        ("dropout2", Dropout(0.5)),
        ("fc3", Linear(5, 3)),
    ]
    return Sequential(layers, needs_dx=needs_dx)


IMAGES, LABELS = spread(1, 2, 4, 7, 6) / 10, np.array([2, 0])


def test_forward_and_backward_are_those_of_its_layers_in_turn():
    net, alone = make_net(needs_dx=True), make_net()
    alone["conv1"].needs_dx = True
    x, dy = to_device(IMAGES), to_device(normal(2, 2, 3))
    y, expected = net.forward(x, train=True), x
    for layer in alone:
        expected = layer.forward(expected, train=True)
    assert (y == expected).all()
    dx, expected = net.backward(dy), dy
    for layer in reversed(list(alone)):
        expected = layer.backward(expected)
    assert (dx == expected).all()
    for name, gradient in net.grads.items():
        assert (gradient == alone.grads[name]).all(), name


def test_a_network_passes_the_gradient_check_through_its_loss():
    check_network(make_net(needs_dx=True), IMAGES, LABELS)
    check_network(make_net(), IMAGES, LABELS, samples=5)


def test_a_network_is_a_layer_of_another():
    inner = Sequential([("fc1", Linear(4, 5)), ("tanh1", Tanh()), ("dropout1", Dropout(0.5))])
    net = Sequential([("block", inner), ("fc2", Linear(5, 3))])
    assert list(net.params) == list(net.grads) == ["block.fc1.weight", "block.fc1.bias", "fc2.weight", "fc2.bias"]
    assert list(inner.params) == ["fc1.weight", "fc1.bias"]
    assert net["block"]["fc1"].name == "block.fc1"
    assert not net.needs_dx
    assert not inner["fc1"].needs_dx
    assert net["fc2"].needs_dx
    rows = [row.name for row in net.summary((4,)).rows]
    assert rows == ["block.fc1", "block.tanh1", "block.dropout1", "fc2"]
    check_network(net, normal(1, 3, 4), np.array([0, 2, 1]))
    check_layer(net, normal(1, 3, 4))
    later = Sequential([("fc0", Linear(6, 4)), ("block", inner)])
    assert inner.needs_dx, "a net that is no longer the first has to pass the gradient on"
    check_layer(later, normal(1, 3, 6))


def test_the_first_layer_leaves_dx_out_unless_told():
    x, dy = to_device(IMAGES), to_device(normal(2, 2, 3))
    net = make_net()
    net.forward(x, train=True)
    assert net.backward(dy) is None
    net = make_net(needs_dx=True)
    net.forward(x, train=True)
    assert net.backward(dy).shape == IMAGES.shape


def test_names():
    net = make_net()
    assert [layer.name for layer in net][:3] == ["conv1", "relu1", "lrn1"]
    assert net["fc3"] is list(net)[-1]
    assert len(net) == 9
    names = ["conv1.weight", "conv1.bias", "fc2.weight", "fc2.bias", "fc3.weight", "fc3.bias"]
    assert list(net.params) == list(net.grads) == names
    assert net.params["fc2.weight"] is net["fc2"].params["weight"]
    with pytest.raises(KeyError, match=r"fc4.*conv1, relu1"):
        net["fc4"]


def test_a_layer_has_one_place_and_a_name_one_layer():
    relu = ReLU()
    with pytest.raises(ValueError, match="'b' has another place"):
        Sequential([("a", relu), ("b", relu)])
    with pytest.raises(ValueError, match="two layers are named 'a'"):
        Sequential([("a", ReLU()), ("a", ReLU())])
    with pytest.raises(ValueError, match="at least one layer"):
        Sequential([])
    with pytest.raises(ValueError, match="without dots"):
        Sequential([("a.b", relu)])
    with pytest.raises(TypeError, match=r"expected a layer.*str"):
        Sequential([("a", "ReLU")])


def test_set_step_pins_every_dropout():
    net = Sequential([("a", Dropout(0.5)), ("b", Sequential([("c", Dropout(0.5))]))])
    net.set_step(7)
    assert (net["a"].step, net["b"]["c"].step) == (7, 7)
    x = to_device(np.ones((2, 30)))
    first = to_host(net.forward(x, train=True)).copy()
    assert (to_host(net.forward(x, train=True)) != first).any()
    net.set_step(7)
    assert (to_host(net.forward(x, train=True)) == first).all()


class Counting(ReLU):
    """Counts its passes."""

    def __init__(self):
        super().__init__()
        self.passes = [0, 0]

    def forward(self, x, train=False):
        self.passes[0] += 1
        return super().forward(x, train)

    def backward(self, dy):
        self.passes[1] += 1
        return super().backward(dy)


def frozen_net(**options) -> Sequential:
    inner = Sequential([("fc2", Linear(6, 6)), ("relu2", Counting()), ("fc3", Linear(6, 6))])
    layers = [
        ("fc1", Linear(5, 6)),
        ("relu1", Counting()),
        ("block", inner),
        ("relu3", Counting()),
        ("fc4", Linear(6, 3)),
    ]
    net = Sequential(layers, **options)
    initializers.initialize(net, 0)
    return net


@pytest.mark.parametrize("needs_dx", [False, True])
@pytest.mark.parametrize(
    "frozen", [[], ["fc1"], ["fc1", "fc2"], ["fc2"], ["fc4"], ["fc1", "fc2", "fc3"], ["fc1", "fc2", "fc3", "fc4"]]
)
def test_frozen_layers_get_no_gradient_and_nothing_below_them_is_computed(frozen, needs_dx):
    x, dy = normal(1, 4, 5), normal(2, 4, 3)
    nets = [frozen_net(needs_dx=needs_dx).astype("float64") for _ in range(2)]
    whole, net = nets
    layers = {"fc1": net["fc1"], "fc2": net["block"]["fc2"], "fc3": net["block"]["fc3"], "fc4": net["fc4"]}
    for name in frozen:
        layers[name].trainable = False
        for gradient in layers[name].grads.values():
            gradient[...] = 7
    for one in nets:
        one.forward(to_device(x), train=True)
    expected, dx = whole.backward(to_device(dy)), net.backward(to_device(dy))
    assert (dx is not None) == needs_dx
    if needs_dx:
        assert_close(dx, to_host(expected))
    for name, layer, key in net.parameters():
        if layer.name.split(".")[-1] in frozen:
            assert (to_host(layer.grads[key]) == 7).all()
        else:
            assert_close(layer.grads[key], to_host(whole.grads[name]), what=name)
    trained = [name for name in layers if name not in frozen]
    passes = [net["relu1"].passes[1], net["block"]["relu2"].passes[1], net["relu3"].passes[1]]
    assert passes == [int(needs_dx or min(trained, default="fc9") <= f"fc{below}") for below in (1, 2, 3)]
    assert all(layer.needs_dx for layer in [*net, *net["block"]][1:])


def test_trainable_and_astype_reach_every_layer():
    net = make_net()
    net.trainable = False
    assert not any(layer.trainable for layer in net)
    net["fc3"].trainable = True
    assert net.trainable
    assert net.astype("float64") is net
    assert {parameter.dtype.name for parameter in net.params.values()} == {"float64"}
    with pytest.raises(TypeError, match="float16"):
        net.astype("float16")


def test_an_error_names_the_layer_where_it_happens():
    net = make_net()
    with pytest.raises(ValueError, match=r"conv1: expected input \(N, 4, H, W\), got \(2, 3, 7, 6\)"):
        net.forward(to_device(IMAGES[:, :3]))
    with pytest.raises(ValueError, match=r"fc2: expected input \(N, 12\), got \(2, 24\)"):
        net.forward(to_device(spread(1, 2, 4, 7, 8)))
    with pytest.raises(ValueError, match=r"fc2: expected input \(N, 12\), got \(N, 24\)"):
        net.summary((4, 7, 8))


def test_summary():
    summary = make_net().summary((4, 7, 6))
    rows = {row.name: row for row in summary.rows}
    assert rows["conv1"].output_shape == (6, 5, 4)
    assert rows["conv1"].parameters == 6 * 2 * 9 + 6
    assert rows["conv1"].multiply_adds == 6 * 2 * 9 * 5 * 4
    assert rows["conv1"].activation_bytes == 4 * 6 * 5 * 4
    assert rows["pool1"].output_shape == (6, 2, 1)
    assert (rows["pool1"].parameters, rows["pool1"].multiply_adds) == (0, 0)
    assert summary.parameters == 114 + 65 + 18
    assert summary.multiply_adds == 2160 + 60 + 15
    assert summary.activation_bytes == 4 * (3 * 120 + 12 + 12 + 5 + 5 + 5 + 3)
    assert make_net().multiply_adds((4, 7, 6)) == summary.multiply_adds
    lines = str(summary).splitlines()
    assert len({len(line) for line in lines}) == 1, "columns are aligned"
    for name in rows:
        assert any(line.startswith(name) for line in lines), name
    assert "6 x 5 x 4" in str(summary)
    assert f"{summary.multiply_adds:,}" in lines[-1]


def train(inplace: bool) -> dict[str, np.ndarray]:
    """The parameters after ten steps, dropout on."""
    net, loss = make_net(inplace=inplace), SoftmaxCrossEntropy()
    optimizer = SGD(net, lr=0.05)
    for _ in range(10):
        loss.forward(net.forward(to_device(IMAGES.astype("float32")), train=True), LABELS)
        net.backward(loss.backward())
        optimizer.step()
    return {name: to_host(parameter).copy() for name, parameter in net.params.items()}


def test_two_runs_agree_to_the_last_bit_and_in_place_changes_nothing():
    first, second, inplace = train(False), train(False), train(True)
    for name in first:
        assert (first[name] == second[name]).all(), name
        assert (first[name] == inplace[name]).all(), name


def test_ten_steps_learn():
    net, loss = make_net(), SoftmaxCrossEntropy()
    optimizer = SGD(net, lr=0.05)
    before = loss.forward(net.forward(to_device(IMAGES)), LABELS)
    for _ in range(10):
        loss.forward(net.forward(to_device(IMAGES), train=True), LABELS)
        net.backward(loss.backward())
        optimizer.step()
    assert loss.forward(net.forward(to_device(IMAGES)), LABELS) < 0.7 * before


def test_at_test_dropout_is_off():
    net = make_net()
    first = to_host(net.forward(to_device(IMAGES))).copy()
    assert_close(net.forward(to_device(IMAGES)), first, relative=0)


def infer_layer_by_layer(net: Sequential, x):
    for layer in net:
        x = layer.forward(x)
    return x


@pytest.mark.parametrize("inplace", [False, True])
def test_inference_keeps_no_more_than_two_layers_outputs(inplace):
    net, twin = make_net(inplace=inplace), make_net(inplace=inplace)
    x = to_device(normal(1, 5, 4, 7, 6))
    sizes = [5 * 8 * np.prod(shape) for shape in ((6, 5, 4), (6, 5, 4), (6, 5, 4), (6, 2, 1), (12,), (5,), (3,))]
    for images in (x, x[:2], x):
        expected = to_host(infer_layer_by_layer(twin, images)).copy()
        assert np.array_equal(to_host(net.forward(images)), expected), "the same bits as with memory of their own"
        assert np.array_equal(to_host(x), normal(1, 5, 4, 7, 6)), "the input is not an output"
    blocks = [block for memory in net._memories for block in memory._blocks.values()]
    copied_input = 5 * 8 * 4 * 7 * 6  # these images do not lie batch-last
    assert sum(block.nbytes for block in blocks) == copied_input + sum(sorted(sizes)[-2:])
    assert not any(layer._memory for layer in net), "and nothing of the layers' own"


def test_inference_after_training_uses_the_memory_of_training():
    net, x = make_net(), to_device(IMAGES)
    net.forward(x, train=True)
    logits = to_host(net.forward(x)).copy()
    assert not any(net._memories)
    assert np.array_equal(logits, to_host(infer_layer_by_layer(make_net(), x)))


def test_inference_of_a_chain_in_a_chain():
    inner = make_net(inplace=True)
    net = Sequential([("inner", inner), ("tanh", Tanh())])
    x = to_device(IMAGES)
    expected = np.tanh(to_host(infer_layer_by_layer(make_net(), x)))
    assert_close(net.forward(x), expected, what="logits")
    assert not any(inner._memories), "the outer chain's memory serves both"


# ---- what belongs to the user ----


@pytest.mark.parametrize("front", [[], [("flatten0", Flatten())], [("dropout0", Dropout(0.0))], [("inner", None)]])
@pytest.mark.parametrize("images", [1, 3])
def test_in_place_layers_at_either_end_leave_a_users_arrays_alone(front, images):
    """An array of one image lies batch-last, whatever made it, and so may any other."""
    front = [(name, layer or Sequential([("relu", ReLU(inplace=True))])) for name, layer in front]
    layers = [*front, ("relu1", ReLU(inplace=True)), ("relu2", ReLU(inplace=True))]
    net = Sequential(layers, needs_dx=True)
    x = batch_last(normal(1, images, 2, 3, 4))
    before = to_host(x).copy()
    y = net.forward(x, train=True)
    assert_close(y, np.maximum(before, 0).reshape(y.shape))
    dy = batch_last(normal(2, *y.shape))
    dy_before = to_host(dy).copy()
    assert_close(net.backward(dy), (dy_before * (to_host(y) > 0)).reshape(before.shape))
    assert_close(net.forward(x), np.maximum(before, 0).reshape(y.shape))
    assert np.array_equal(to_host(x), before) and np.array_equal(to_host(dy), dy_before)


# ---- looking inside ----


def test_activations_are_what_each_layer_returns():
    net, alone = make_net(inplace=True), make_net()
    x, expected = to_device(IMAGES), {}
    y = x
    for name, layer in alone.layers.items():
        y = layer.forward(y)
        expected[name] = to_host(y).copy()
    found = net.activations(x)
    assert list(found) == list(expected)
    for name, activation in found.items():
        assert type(activation) is np.ndarray and np.array_equal(activation, expected[name]), name
    some = net.activations(x, ["lrn1", "conv1"])
    net.forward(to_device(2 * IMAGES))
    assert list(some) == ["lrn1", "conv1"]
    assert np.array_equal(some["conv1"], expected["conv1"]), "in place of it came relu1's output, and other images"
    assert list(net.activations(x, "fc3")) == ["fc3"]
    with pytest.raises(KeyError, match=r"no layer named 'conv7': this net has conv1, relu1"):
        net.activations(x, ["conv1", "conv7"])


def test_activations_of_inner_nets():
    inner = Sequential([("fc1", Linear(4, 5)), ("relu1", ReLU(inplace=True))])
    net = Sequential([("block", inner), ("fc2", Linear(5, 3))])
    x = to_device(normal(1, 3, 4))
    found = net.activations(x)
    assert list(found) == ["block.fc1", "block.relu1", "block", "fc2"]
    assert np.array_equal(found["block"], np.maximum(found["block.fc1"], 0))
    assert np.array_equal(found["block"], found["block.relu1"])
    assert np.array_equal(found["fc2"], to_host(net.forward(x)))


def test_a_part_of_a_net_shares_its_layers():
    net = make_net()
    x = to_device(IMAGES)
    part = net[:"pool1"]
    assert isinstance(part, Sequential) and list(part.layers) == ["conv1", "relu1", "lrn1", "pool1"]
    assert part["conv1"] is net["conv1"] and net["conv1"].name == "conv1"
    features = part.forward(x)
    assert np.array_equal(to_host(features), net.activations(x, ["pool1"])["pool1"])
    assert list(net["flatten":].layers) == ["flatten", "fc2", "tanh2", "dropout2", "fc3"]
    assert list(net["fc2":"tanh2"].layers) == ["fc2", "tanh2"]
    assert np.array_equal(to_host(net["flatten":].forward(features)), to_host(net.forward(x)))
    assert list(part.params) == ["conv1.weight", "conv1.bias"] and not part.needs_dx
    assert part.summary((4, 7, 6)).parameters == 114
    optimizer = SGD(part, lr=0.1)
    assert list(optimizer.velocity) == ["conv1.weight", "conv1.bias"]
    for wrong in (slice("conv9"), slice("fc3", "conv1"), slice(0, 2)):
        with pytest.raises(KeyError, match="no layer"):
            net[wrong]
    with pytest.raises(TypeError, match="step"):
        net["conv1":"fc3":2]


def test_a_part_trains_with_the_gradients_that_the_whole_net_gives_it():
    net = make_net(needs_dx=True)
    x, dy = to_device(IMAGES), to_device(normal(2, 2, 3))
    net.set_step(0)
    net.forward(x, train=True)
    dx = to_host(net.backward(dy)).copy()
    gradients = {name: to_host(gradient).copy() for name, gradient in net.grads.items()}
    net.set_step(0)
    front, back = net[:"pool1"], net["flatten":]
    back.forward(front.forward(x, train=True), train=True)
    assert np.array_equal(to_host(front.backward(back.backward(dy))), dx)
    assert all(np.array_equal(to_host(net.grads[name]), gradient) for name, gradient in gradients.items())
