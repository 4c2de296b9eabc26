"""What every layer promises, whatever it computes: dtypes, memory orders, inputs left alone, and backward's rules."""

import numpy as np
import pytest
from inputs import assert_close, batch_last, memory_orders, normal, spread

import tinynet
from tinynet.backend import to_device, to_host, xp
from tinynet.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)


def small_net():
    layers = [
        ("conv1", Conv2d(4, 6, 3, padding=1, groups=2)),
        ("relu1", ReLU(inplace=True)),
        ("lrn1", LocalResponseNorm(3, alpha=0.5)),
        ("pool1", MaxPool2d(2, stride=1)),
        ("flatten", Flatten()),
        ("fc2", Linear(6 * 6 * 5, 3)),
        ("dropout2", Dropout(0.5)),
        ("tanh2", Tanh()),
    ]
    return tinynet.Sequential(layers, needs_dx=True)


IMAGES, VECTORS = (3, 4, 7, 6), (5, 4)
LAYERS = {  # how to make it, and the shape of its input
    "Conv2d": (lambda: Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=2), IMAGES),
    "Conv2d, same": (lambda: Conv2d(4, 3, 4, stride=3, padding="same"), IMAGES),
    "Conv2d, no bias": (lambda: Conv2d(4, 2, 1, bias=False), IMAGES),
    "Linear": (lambda: Linear(4, 3), VECTORS),
    "Linear, no bias": (lambda: Linear(4, 4, bias=False), VECTORS),
    "Flatten": (Flatten, IMAGES),
    "ReLU": (ReLU, IMAGES),
    "Tanh": (Tanh, IMAGES),
    "Sigmoid": (Sigmoid, VECTORS),
    "Softmax": (Softmax, VECTORS),
    "Softmax over channels": (Softmax, IMAGES),
    "LocalResponseNorm": (lambda: LocalResponseNorm(5, alpha=0.5), IMAGES),
    "LocalResponseNorm, groups": (lambda: LocalResponseNorm(3, alpha=0.5, groups=2, average=True), IMAGES),
    "LocalResponseNorm, within": (lambda: LocalResponseNorm(3, alpha=0.5, within_channel=True), IMAGES),
    "MaxPool2d": (lambda: MaxPool2d(3, stride=2, padding=1, ceil_mode=True), IMAGES),
    "AvgPool2d": (lambda: AvgPool2d(3, stride=2, padding=1, count_include_pad=False), IMAGES),
    "Dropout": (lambda: Dropout(0.3), IMAGES),
    "Dropout, scaled at test": (lambda: Dropout(0.3, scale="test"), VECTORS),
    "Sequential": (small_net, IMAGES),
}


@pytest.fixture(params=LAYERS)
def make(request):
    return LAYERS[request.param][0]


@pytest.fixture
def x(make):
    """An input on the host, float64."""
    return spread(1, *next(shape for factory, shape in LAYERS.values() if factory is make))


def step(layer, x, dy):
    """One training step: (y, dx, gradients) as copies on the host."""
    layer.set_step(0)
    y = to_host(layer.forward(x, train=True)).copy()
    dx = to_host(layer.backward(dy)).copy()
    return y, dx, {key: to_host(gradient).copy() for key, gradient in layer.grads.items()}


def gradient_for(layer, x):
    """A gradient of the shape of layer's output for x, on the host, of both signs."""
    return normal(2, len(x), *layer.output_shape(x.shape[1:])).astype(x.dtype)


def assert_equal_steps(one, other, what: str) -> None:
    """Equal to the last bit."""
    for name, a, b in zip(("y", "dx"), one[:2], other[:2], strict=True):
        assert (a == b).all(), f"{what}: {name}"
    for key, gradient in one[2].items():
        assert (gradient == other[2][key]).all(), f"{what}: gradient of {key}"


@pytest.mark.parametrize("parameters", ["float32", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_comes_in_the_dtype_of_the_input(make, x, dtype, parameters):
    layer, x = make().astype(parameters), x.astype(dtype)
    y, dx, gradients = step(layer, to_device(x), to_device(gradient_for(layer, x)))
    assert y.dtype == dx.dtype == dtype
    assert all(gradient.dtype == dtype for gradient in gradients.values())
    assert all(parameter.dtype == parameters for parameter in layer.params.values())
    assert to_host(layer.forward(to_device(x))).dtype == dtype


def test_shapes(make, x):
    layer = make()
    y, dx, gradients = step(layer, to_device(x), to_device(gradient_for(layer, x)))
    assert y.shape == (len(x), *layer.output_shape(x.shape[1:]))
    assert dx.shape == x.shape
    assert {key: gradient.shape for key, gradient in gradients.items()} == {
        key: parameter.shape for key, parameter in layer.params.items()
    }


def test_float32_is_float64_rounded(make, x):
    layer = make()
    x, dy = x.astype("float32"), gradient_for(layer, x).astype("float32")
    single = step(layer, to_device(x), to_device(dy))
    double = step(layer, to_device(x.astype("float64")), to_device(dy.astype("float64")))
    for a, b in zip((*single[:2], *single[2].values()), (*double[:2], *double[2].values()), strict=True):
        assert_close(a, b, relative=1e-5)


def test_any_memory_order_gives_the_same_bits(make, x):
    layer = make()
    dy = gradient_for(layer, x)
    expected = step(layer, batch_last(x), batch_last(dy))
    for order, given_x in memory_orders(x):
        assert_equal_steps(step(layer, given_x, batch_last(dy)), expected, f"x: {order}")
    for order, given_dy in memory_orders(dy):
        assert_equal_steps(step(layer, batch_last(x), given_dy), expected, f"dy: {order}")


def test_x_and_dy_are_left_alone(make, x):
    layer = make()
    dy = gradient_for(layer, x)
    for (order, given_x), (_, given_dy) in zip(memory_orders(x), memory_orders(dy), strict=True):
        step(layer, given_x, given_dy)
        layer.forward(given_x)
        assert (to_host(given_x) == x).all(), order
        assert (to_host(given_dy) == dy).all(), order


def test_a_second_backward_gives_the_same_bits(make, x):
    layer = make()
    dy = to_device(gradient_for(layer, x))
    first = step(layer, to_device(x), dy)
    dx = to_host(layer.backward(dy))
    gradients = {key: to_host(gradient) for key, gradient in layer.grads.items()}
    assert_equal_steps((first[0], dx, gradients), first, "again")


def test_one_layer_does_not_touch_what_another_returned(make, x):
    one, other = make(), make()
    dy = gradient_for(one, x)
    y = one.forward(to_device(x), train=True)
    dx = one.backward(to_device(dy))
    before = to_host(y).copy(), to_host(dx).copy()
    step(other, to_device(-x), to_device(-dy))
    assert (to_host(y) == before[0]).all()
    assert (to_host(dx) == before[1]).all()


def test_batches_of_changing_size(make, x):
    """A smaller batch uses a part of the larger one's memory: nothing of what is left there may show."""
    layer = make()
    dy = gradient_for(layer, x)
    for size in (len(x), 1, 2, len(x)):
        step(layer, to_device(x), to_device(dy))
        part = to_device(x[:size].copy()), to_device(dy[:size].copy())
        assert_equal_steps(step(layer, *part), step(make(), *part), f"batch of {size}")


def test_backward_needs_a_training_forward_before_it(make, x):
    layer = make()
    dy = to_device(gradient_for(layer, x))
    with pytest.raises(RuntimeError, match=r"backward needs a forward\(x, train=True\)"):
        layer.backward(dy)
    layer.forward(to_device(x), train=True)
    layer.forward(to_device(x))  # drops what backward needs
    with pytest.raises(RuntimeError, match=r"backward needs a forward\(x, train=True\)"):
        layer.backward(dy)


def test_without_needs_dx_backward_returns_nothing_and_the_same_gradients(make, x):
    layer = make()
    dy = to_device(gradient_for(layer, x))
    _, _, gradients = step(layer, to_device(x), dy)
    layer.needs_dx = False
    layer.set_step(0)
    layer.forward(to_device(x), train=True)
    assert layer.backward(dy) is None
    for key, gradient in gradients.items():
        assert (to_host(layer.grads[key]) == gradient).all(), key


def test_input_of_another_dtype_is_refused(make, x):
    layer = make()
    layer.rename("here")
    for dtype in ("int64", "float16", "uint8", "bool"):
        with pytest.raises(TypeError, match=f"here.*float32 or float64.*{dtype}"):
            layer.forward(to_device(x.astype(dtype)))
    with pytest.raises(TypeError, match=r"here.*list"):
        layer.forward(x.tolist())


def test_a_gradient_that_does_not_fit_is_refused(make, x):
    layer = make()
    layer.rename("here")
    dy = gradient_for(layer, x)
    layer.forward(to_device(x), train=True)
    with pytest.raises(ValueError, match=r"here.*gradient"):
        layer.backward(to_device(np.concatenate([dy, dy])))
    with pytest.raises(ValueError, match=r"here.*gradient"):
        layer.backward(to_device(dy[..., None]))
    with pytest.raises(TypeError, match=r"here.*float32"):
        layer.backward(to_device(dy.astype("float32")))


def test_a_parameter_that_is_not_what_it_was_is_refused(make, x):
    """Whatever a user has put into `params`; and the layer goes on once it is right again."""
    layer = make()
    expected = step(layer, to_device(x), to_device(gradient_for(layer, x)))
    for _, owner, key in layer.parameters():
        parameter = owner.params[key]
        wrong_shapes = [parameter[:-1], parameter[:1], parameter[None], parameter.reshape(-1)[:1], parameter.T]
        wrong_kinds = [to_host(parameter).tolist(), parameter.astype("int64"), parameter.astype("float16"), None]
        for wrong in wrong_shapes:
            if wrong.shape != parameter.shape:
                owner.params[key] = wrong
                for train in (False, True):
                    with pytest.raises(ValueError, match=rf"{owner.name}: expected {key} .*, got"):
                        layer.forward(to_device(x), train)
        for wrong in wrong_kinds:
            owner.params[key] = wrong
            with pytest.raises(TypeError, match=rf"{owner.name}: expected {key} to be an array"):
                layer.forward(to_device(x))
        del owner.params[key]
        with pytest.raises(TypeError, match=rf"{owner.name}: expected {key} to be an array .* got none"):
            layer.forward(to_device(x))
        owner.params[key] = parameter
        owner.grads[key] = xp.zeros((3, 1))  # gradients are assigned: any array makes room for the right one
    assert_equal_steps(step(layer, to_device(x), to_device(gradient_for(layer, x))), expected, "again")


def test_an_empty_batch_is_refused(make, x):
    layer = make()
    layer.rename("here")
    with pytest.raises(ValueError, match=r"here.*at least one image"):
        layer.forward(to_device(x[:0]))


def test_repr_is_one_line_that_names_the_layer(make):
    layer = make()
    if not isinstance(layer, tinynet.Sequential):  # one line for each of its layers
        assert repr(layer).startswith(type(layer).__name__ + "(")
        assert "\n" not in repr(layer)


def test_a_new_layer_is_float32_with_gradients_of_zeros(make):
    layer = make()
    for key, gradient in layer.grads.items():
        assert gradient.dtype == layer.params[key].dtype == xp.float32
        assert not to_host(gradient).any()
