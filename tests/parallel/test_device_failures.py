"""An error in one tower in the middle of a step: it is raised itself and soon, nobody waits for ever, and the next
step works again."""

import time
import traceback

import pytest
from inputs import assert_close, normal
from parallel import networks
from parallel.networks import IMAGE, given, small_alexnet, training_step

from tinynet import SGD
from tinynet.parallel import DeviceFailedError, partition
from tinynet.weights import set_parameters, whole_parameters

X, TARGET = normal(1, 2, 3, 67, 67).astype("float32"), normal(2, 2, 5).astype("float32")


class DeviceBurntError(Exception):
    """Of no kind that tinynet knows."""


def frames(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def raised_by(within, task) -> BaseException:
    """The error that `task` raises; it does not wait for ever."""
    with pytest.raises(BaseException) as raised:
        within(task)
    return raised.value


def breaks(monkeypatch, layer, method: str, error: BaseException) -> None:
    """From now on the layer's method raises `error`."""

    def overheat(*arguments):
        raise error

    monkeypatch.setattr(layer, method, overheat)


def same_step_as_on_one_device(within, net, towers) -> None:
    """One more step, with the update, from the parameters of `net`."""
    expected = training_step(net, X, TARGET, SGD(net, 0.01), step=3)
    found = within(lambda: training_step(towers, X, TARGET, SGD(towers, 0.01), step=3))
    for name, values in expected.items():
        assert_close(found[name], values, 1e-5, name)
    for name, values in whole_parameters(net).items():
        assert_close(whole_parameters(towers)[name], values, 1e-5, name)


# before the first crossing, the layer that gathers, after one, between two, the last of all
PLACES = ["conv1", "pool2", "gather_conv3", "conv3", "dropout6", "fc8", "reduce_fc8"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("device", [0, 1])
@pytest.mark.parametrize("method", ["forward", "backward"])
def test_in_a_layer(method, device, place, monkeypatch, within):
    net = small_alexnet()
    towers = partition(net)
    training_step(towers, X, TARGET)
    error = DeviceBurntError(place)
    with monkeypatch.context() as patch:
        breaks(patch, towers.towers[device][place], method, error)
        for _ in range(2):  # and once more as long as it is broken
            raised = raised_by(within, lambda: training_step(towers, X, TARGET))
            assert raised is error
            assert "overheat" in frames(raised)
            assert raised.__cause__ is None
            assert not isinstance(raised.__context__, DeviceFailedError)
    same_step_as_on_one_device(within, net, towers)


@pytest.mark.parametrize("train", [True, False])
def test_in_a_forward_pass_at_test(train, monkeypatch, within):
    towers = partition(small_alexnet())
    with monkeypatch.context() as patch:
        breaks(patch, towers.towers[1]["conv5"], "forward", MemoryError("full"))
        assert str(raised_by(within, lambda: towers.forward(given(towers, X), train))) == "full"
    assert within(lambda: towers.forward(given(towers, X), train)).shape == (2, 5)


@pytest.mark.parametrize("device", [0, 1])
@pytest.mark.parametrize("name", ["conv1", "fc7"])
def test_in_the_optimizer(name, device, within):
    net = small_alexnet()
    towers = partition(net)
    optimizer = SGD(towers, 0.01)
    start = {key: values.copy() for key, values in whole_parameters(towers).items()}
    error = DeviceBurntError(name)

    class Velocities(dict):
        def __getitem__(self, key: str):
            if key == f"tower{device}.{name}.weight":
                raise error
            return super().__getitem__(key)

    optimizer.velocity = Velocities(optimizer.velocity)
    raised = raised_by(within, lambda: training_step(towers, X, TARGET, optimizer))
    assert raised is error
    assert "__getitem__" in frames(raised)
    set_parameters(towers, start, "the start")  # the other device has made its update
    same_step_as_on_one_device(within, net, towers)


@pytest.mark.parametrize("devices", [3, 4])
def test_among_more_devices(devices, monkeypatch, within):
    net = networks.vgg_like()
    towers = partition(net, devices)
    x, target = normal(1, 2, *IMAGE).astype("float32"), normal(2, 2, 5).astype("float32")
    for method in ("forward", "backward"):
        error = DeviceBurntError(method)
        with monkeypatch.context() as patch:
            breaks(patch, towers.towers[devices - 1]["conv2d5"], method, error)
            assert raised_by(within, lambda: training_step(towers, x, target)) is error
        expected = training_step(net, x, target)
        for name, values in within(lambda: training_step(towers, x, target)).items():
            assert_close(values, expected[name], 1e-5, name)


def test_the_first_of_two_errors_is_raised(monkeypatch, within):
    towers = partition(small_alexnet())
    first, second = DeviceBurntError("first"), DeviceBurntError("second")

    def late(*arguments):
        while towers._devices.meeting.error is None:  # the first has been met
            time.sleep(0.001)
        raise second

    breaks(monkeypatch, towers.towers[1]["conv2"], "forward", first)
    monkeypatch.setattr(towers.towers[0]["conv1"], "forward", late)
    assert raised_by(within, lambda: training_step(towers, X, TARGET)) is first


def test_an_error_that_all_devices_find_is_raised_once(within):
    towers = partition(small_alexnet())
    error = raised_by(within, lambda: towers.forward(given(towers, X[:, :2])))
    assert isinstance(error, ValueError)
    assert str(error) == "conv1: expected input (N, 3, H, W), got (2, 2, 67, 67)"
    assert within(lambda: towers.forward(given(towers, X))).shape == (2, 5)


def test_the_ledger_after_an_error(monkeypatch, within):
    """It shows at least those crossings after which the devices have met once more."""
    towers = partition(small_alexnet())
    breaks(monkeypatch, towers.towers[0]["fc7"], "forward", DeviceBurntError())
    raised_by(within, lambda: towers.forward(given(towers, X)))
    layers = [crossing.layer for crossing in towers.ledger.crossings]
    assert layers in (["conv3", "fc6"], ["conv3", "fc6", "fc7"])
    assert "fc6" in str(towers.ledger)
