"""SGD against the paper's formula written out, its multipliers, and the schedules of the learning rate."""

import re

import numpy as np
import pytest
from inputs import assert_close, normal

from tinynet import (
    SGD,
    Conv2d,
    InversePolicy,
    Linear,
    MultiStepPolicy,
    MultiStepSchedule,
    PlateauSchedule,
    ReLU,
    Sequential,
    StepSchedule,
)
from tinynet.backend import to_device, to_host


def make_net() -> Sequential:
    return Sequential(
        [("conv1", Conv2d(2, 3, 2)), ("relu1", ReLU()), ("fc2", Linear(4, 3)), ("fc3", Linear(3, 2))]
    ).astype("float64")


def fill(net, seed: int) -> dict[str, np.ndarray]:
    """Gives every gradient new values, and returns them."""
    gradients = {}
    for number, (name, layer, key) in enumerate(net.parameters()):
        gradients[name] = normal(100 * seed + number, *layer.params[key].shape)
        layer.grads[key][...] = to_device(gradients[name])
    return gradients


def values(net) -> dict[str, np.ndarray]:
    return {name: to_host(layer.params[key]).copy() for name, layer, key in net.parameters()}


def test_the_papers_update_over_several_steps_with_a_change_of_lr():
    """Section 5: v = 0.9 v - 0.0005 lr w - lr g; w = w + v."""
    net = make_net()
    optimizer = SGD(net, lr=0.1, momentum=0.9, weight_decay=0.05)
    w = values(net)
    v = {name: np.zeros_like(value) for name, value in w.items()}
    for step, lr in enumerate([0.1, 0.1, 0.01, 0.01, 0.01]):
        optimizer.lr = lr
        g = fill(net, step)
        optimizer.step()
        for name in w:
            v[name] = 0.9 * v[name] - 0.05 * lr * w[name] - lr * g[name]
            w[name] = w[name] + v[name]
        for name, value in values(net).items():
            assert_close(value, w[name], what=name)
            assert_close(optimizer.velocity[name], v[name], what=f"velocity of {name}")


def test_the_defaults_are_the_papers():
    optimizer = SGD(make_net(), lr=0.01)
    assert (optimizer.momentum, optimizer.weight_decay) == (0.9, 0.0005)


def test_multipliers_the_most_specific_counts():
    net = make_net()
    optimizer = SGD(
        net,
        lr=0.1,
        momentum=0.0,
        weight_decay=0.5,
        lr_multipliers={"bias": 2.0, "fc2": 3.0, "fc3": 5.0, "fc3.bias": 7.0},
        decay_multipliers={"bias": 0.0, "conv1": 0.5, "fc3.weight": 0.0},
    )
    lr = {"conv1.weight": 1, "conv1.bias": 2, "fc2.weight": 3, "fc2.bias": 3, "fc3.weight": 5, "fc3.bias": 7}
    decay = {"conv1.weight": 0.5, "conv1.bias": 0.5, "fc2.weight": 1, "fc2.bias": 0, "fc3.weight": 0, "fc3.bias": 0}
    for _, layer, key in net.parameters():
        layer.params[key][...] += 1.0  # biases too, so that their decay would show
    w, g = values(net), fill(net, 1)
    optimizer.step()
    for name, value in values(net).items():
        assert_close(value, w[name] - 0.1 * lr[name] * (g[name] + 0.5 * decay[name] * w[name]), what=name)


def test_layers_that_are_not_trainable_stay_as_they_are():
    net = make_net()
    net["fc2"].trainable = False
    before = values(net)
    optimizer = SGD(net, lr=0.1)
    fill(net, 1)
    optimizer.step()
    for name, value in values(net).items():
        assert (value == before[name]).all() == name.startswith("fc2"), name
    net["fc2"].trainable = True
    fill(net, 2)
    optimizer.step()
    assert (values(net)["fc2.weight"] != before["fc2.weight"]).any()


def test_float32_parameters_stay_float32():
    net = make_net().astype("float32")
    optimizer = SGD(net, lr=0.1)
    fill(net, 1)
    optimizer.step()
    assert {parameter.dtype.name for parameter in net.params.values()} == {"float32"}
    assert {velocity.dtype.name for velocity in optimizer.velocity.values()} == {"float32"}


def test_bad_settings_are_refused():
    net = make_net()
    for settings in ({"lr": -1}, {"momentum": 1.0}, {"momentum": -0.1}, {"weight_decay": -1}):
        with pytest.raises(ValueError, match="SGD: expected"):
            SGD(net, **{"lr": 1, **settings})
    with pytest.raises(ValueError, match=r"fc9.*conv1\.weight"):
        SGD(net, lr=1, lr_multipliers={"fc9": 2.0})
    with pytest.raises(ValueError, match="biases"):
        SGD(net, lr=1, decay_multipliers={"biases": 0.0})
    for factor in (-1, float("nan"), float("inf"), "2", None):
        for name in ("lr_multipliers", "decay_multipliers"):
            message = f"SGD: expected a finite number >= 0 in {name} for 'bias', got {factor!r}"
            with pytest.raises(ValueError, match=re.escape(message)):
                SGD(net, lr=1, **{name: {"weight": 1, "bias": factor}})
    SGD(net, lr=1, lr_multipliers={"bias": np.float32(2), "weight": np.int64(0)})


def test_step_schedule():
    schedule = StepSchedule(every=3, factor=10)
    rates = [schedule(1.0, [0.5] * epochs) for epochs in range(10)]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001])


def test_multi_step_schedule():
    """120 epochs, 10 more at a tenth of the rate, then at a hundredth."""
    schedule = MultiStepSchedule([120, 130])
    rates = [schedule(0.1, [0.5] * epochs) for epochs in range(140)]
    assert rates == pytest.approx([0.1] * 120 + [0.01] * 10 + [0.001] * 10)
    assert MultiStepSchedule((1, 2, 4), factor=2)(1.0, [0.5] * 4) == 0.125
    assert MultiStepSchedule(())(0.3, [0.5] * 1000) == 0.3, "no milestone, no fall"
    assert hash(schedule) == hash(MultiStepSchedule((120, 130))), "a list becomes a tuple"


def test_multi_step_policy():
    """CIFAR-10 quick: 0.001 for 4,000 steps, 0.0001 for 1,000. The first step is number 0."""
    policy = MultiStepPolicy([4_000])
    assert [policy(0.001, step) for step in (0, 1, 3_999)] == [0.001] * 3
    assert [policy(0.001, step) for step in (4_000, 4_999, 10**9)] == pytest.approx([0.0001] * 3)
    assert MultiStepPolicy((60_000, 65_000))(0.001, 65_000) == pytest.approx(0.00001)


def test_inverse_policy():
    """LeNet's in Caffe: lr * (1 + gamma * step)^-power, to the last bit as written out."""
    policy = InversePolicy(gamma=0.0001, power=0.75)
    assert policy == InversePolicy()
    for step in (0, 1, 500, np.int64(10_000)):
        assert policy(0.01, step) == 0.01 * (1 + 0.0001 * int(step)) ** -0.75
    assert policy(0.01, 0) == 0.01
    assert policy(0.01, 10_000) == pytest.approx(0.005946, abs=1e-6)
    assert InversePolicy(gamma=0.5, power=1)(1.0, 2) == 0.5
    assert InversePolicy(gamma=0)(0.2, 77) == 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiStepSchedule([5, 5]), r"MultiStepSchedule: expected milestones that are numbers of epochs >= 1"),
        (lambda: MultiStepSchedule([0, 5]), r"and rise, and factor > 0, got \[0, 5\] and 10.0$"),
        (lambda: MultiStepSchedule([5, 3]), r"got \[5, 3\] and 10.0$"),
        (lambda: MultiStepSchedule([1.5]), r"got \[1.5\] and 10.0$"),
        (lambda: MultiStepSchedule([True]), r"got \[True\] and 10.0$"),
        (lambda: MultiStepSchedule(5), r"got 5 and 10.0$"),
        (lambda: MultiStepSchedule("123"), r"got '123' and 10.0$"),
        (lambda: MultiStepSchedule([5], factor=0), r"got \[5\] and 0$"),
        (lambda: MultiStepPolicy([4_000, 1_000]), r"MultiStepPolicy: expected milestones that are numbers of steps"),
        (lambda: MultiStepPolicy([5], float("nan")), r"got \[5\] and nan$"),
        (lambda: MultiStepPolicy([5])(0.1, -1), r"MultiStepPolicy: step: expected 0 or more, got -1"),
        (lambda: InversePolicy(gamma=-1), r"InversePolicy: expected gamma >= 0 and power >= 0, got -1 and 0.75"),
        (lambda: InversePolicy(power=float("inf")), r"got 0.0001 and inf"),
        (lambda: InversePolicy()(0.1, -1), r"InversePolicy: step: expected 0 or more, got -1"),
        (lambda: StepSchedule(0), r"StepSchedule: expected every >= 1 and factor > 0, got 0 and 10.0"),
        (lambda: PlateauSchedule(chance=float("nan")), "PlateauSchedule: expected .* and chance >= 0, got .* and nan"),
        (lambda: PlateauSchedule(times=-1), r"PlateauSchedule: expected patience >= 1, .* got 5, 10.0, -1 and inf"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("policy", [MultiStepPolicy([3]), InversePolicy()])
def test_a_policy_is_asked_with_a_number_of_steps(policy):
    with pytest.raises(TypeError, match=rf"{type(policy).__name__}: step: expected a whole number, got \[0.5\]"):
        policy(0.1, [0.5])


def test_plateau_schedule_divides_when_the_error_stops_falling():
    schedule = PlateauSchedule(patience=2)
    errors = [0.9, 0.8, 0.8, 0.7, 0.7, 0.75]  # 0.8 once more is one epoch without progress, 0.7 and 0.75 are two
    rates = [schedule(1.0, errors[:epochs]) for epochs in range(len(errors) + 1)]
    assert rates == pytest.approx([1, 1, 1, 1, 1, 1, 0.1])
    assert schedule(1.0, [*errors, 0.72]) == pytest.approx(0.1), "counted anew after a division"
    assert schedule(1.0, [*errors, 0.72, 0.71]) == pytest.approx(0.01), "0.71 is not lower than the lowest, 0.7"
    assert schedule(1.0, [*errors, 0.72, 0.69]) == pytest.approx(0.1)


def test_plateau_schedule_divides_three_times_at_most():
    schedule = PlateauSchedule(patience=1)
    assert schedule(1.0, [0.5] * 50) == pytest.approx(1e-3)
    assert PlateauSchedule(patience=1, factor=2, times=1)(1.0, [0.5] * 50) == pytest.approx(0.5)


def test_schedules_depend_on_the_past_only():
    """So a resumed run continues at the rate at which it stopped."""
    errors = list(np.random.default_rng(0).uniform(0.3, 0.9, 40))
    for schedule in (PlateauSchedule(patience=3), StepSchedule(7), MultiStepSchedule((5, 9, 30))):
        rates = [schedule(0.01, errors[:epochs]) for epochs in range(40)]
        assert rates == sorted(rates, reverse=True)
        assert [schedule(0.01, errors[:epochs]) for epochs in range(40)] == rates
        assert len(set(rates)) > 2


def test_a_parameter_in_another_memory_order_is_trained_too():
    """A user's own array, such as the transposed kernel of another framework."""
    generator = np.random.default_rng(3)
    kernel = generator.standard_normal((4, 3)).astype(np.float32)
    nets = [Sequential([("fc", Linear(4, 3))]) for _ in range(2)]
    nets[0]["fc"].params["weight"] = to_device(kernel).T
    nets[1]["fc"].params["weight"] = to_device(np.ascontiguousarray(kernel.T))
    x, dy = to_device(generator.standard_normal((5, 4)).astype(np.float32)), to_device(np.ones((5, 3), np.float32))
    for net in nets:
        optimizer = SGD(net, 0.1)
        for _ in range(3):
            net.forward(x, train=True)
            net.backward(dy)
            optimizer.step()
    one, other = (to_host(net["fc"].params["weight"]) for net in nets)
    assert np.array_equal(one, other) and not np.array_equal(one, kernel.T)


@pytest.mark.parametrize("changed", ["params", "grads"])
def test_arrays_of_another_shape_are_refused(changed):
    """NumPy would stretch a bias of one value over all of them."""
    net = make_net()
    optimizer = SGD(net, lr=0.1)
    before = values(net)
    getattr(net["fc2"], changed)["bias"] = to_device(np.ones(1))
    with pytest.raises(ValueError, match=r"SGD: expected fc2.bias, its gradient and its velocity to be of one shape"):
        optimizer.step()
    assert all((values(net)[name] == before[name]).all() for name in before if name != "fc2.bias")


def test_repr_is_one_line():
    optimizer = SGD(make_net(), lr=0.1, lr_multipliers={"bias": 2.0})
    assert repr(optimizer) == (
        "SGD(6 parameters, lr 0.1, momentum 0.9, weight decay 0.0005, lr multipliers {'bias': 2.0})"
    )
