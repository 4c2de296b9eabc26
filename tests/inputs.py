"""What tests feed to the engine: values away from kinks, memory in every order, and copies between host and device."""

from collections.abc import Iterator

import numpy as np

from tinynet.backend import to_device, to_host, xp


def signed(seed: int, *shape: int) -> np.ndarray:
    """Values of both signs, none nearer to 0 than 0.1, where ReLU has its kink. On the host."""
    generator = np.random.default_rng(seed)
    return generator.uniform(0.1, 1, shape) * generator.choice([-1, 1], shape)


def spread(seed: int, *shape: int) -> np.ndarray:
    """A full permutation plus jitter: any two values are 0.05 apart or more, winners stand anywhere. On the host."""
    generator = np.random.default_rng(seed)
    size = int(np.prod(shape))
    values = generator.permutation(size) - size / 2 + generator.uniform(-0.25, 0.25, size)
    return 0.1 * values.reshape(shape)


def normal(seed: int, *shape: int) -> np.ndarray:
    """N(0, 1). On the host."""
    return np.random.default_rng(seed).standard_normal(shape)


def batch_last(x):
    """x (N, ...) on the device, in the engine's own memory order."""
    x = to_device(x)
    memory = xp.array(x.transpose(*range(1, x.ndim), 0), order="C")  # (..., N)
    return memory.transpose(x.ndim - 1, *range(x.ndim - 1))


def memory_orders(x) -> Iterator[tuple[str, object]]:
    """(name, array) of the same values on the device, in every kind of memory a user may come with."""
    x = to_device(x)
    yield "C", xp.array(x, order="C")
    yield "Fortran", xp.array(x, order="F")
    yield "batch-last", batch_last(x)
    wide = xp.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    yield "every other column", wide[..., ::2]
    flipped = xp.array(x[::-1, ..., ::-1], order="C")
    yield "negative strides", flipped[::-1, ..., ::-1]
    yield "one step aside", xp.concatenate([x[:1], x])[1:]


def assert_close(actual, expected, relative: float = 1e-12, what: str = "") -> None:
    """Equal up to `relative` times the largest expected value."""
    actual, expected = to_host(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    worst = relative_difference(actual, expected)
    assert worst <= relative, f"{what}: relative difference {worst:.3g}, allowed {relative:g}"


def relative_difference(actual, expected) -> float:
    """The largest difference, relative to the largest expected value; NaN if either holds one."""
    actual, expected = to_host(actual), np.asarray(expected)
    scale = float(np.abs(expected).max(initial=0)) or 1.0
    return float(np.abs(actual - expected).max(initial=0)) / scale
