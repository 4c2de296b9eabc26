"""operations/blas.py: the adding product, over parts and transposes of larger arrays, and what it refuses."""

import numpy as np
import pytest
from inputs import assert_close, normal

from tinynet.backend import on_gpu
from tinynet.operations.blas import accumulate, can_accumulate

pytestmark = pytest.mark.skipif(on_gpu or not can_accumulate, reason="NumPy runs on another BLAS than OpenBLAS")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transposed", ["neither", "left", "right", "both"])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 3, 4), (17, 33, 9)])
def test_adds_the_product(sizes, transposed, dtype):
    height, depth, width = sizes

    def part(seed: int, rows: int, columns: int, turned: bool) -> np.ndarray:
        """The middle of a larger array."""
        whole = normal(seed, *((columns + 4, rows + 6) if turned else (rows + 4, columns + 6))).astype(dtype)
        return whole[2:-2, 3:-3].T if turned else whole[2:-2, 3:-3]

    left = part(1, height, depth, transposed in ("left", "both"))
    right = part(2, depth, width, transposed in ("right", "both"))
    whole = normal(3, height + 2, width + 2).astype(dtype)
    before = whole.copy()
    accumulate(left, right, whole[1:-1, 1:-1])
    expected = before.copy()
    expected[1:-1, 1:-1] += left @ right
    assert_close(whole, expected, 1e-5 if dtype == np.float32 else 1e-13, "out")
    assert np.array_equal(whole[0], before[0])
    assert np.array_equal(whole[:, -1], before[:, -1])


@pytest.mark.parametrize("sizes", [(1, 5, 4), (5, 1, 4), (5, 4, 1), (1, 1, 4), (4, 1, 1), (1, 4, 1)])
def test_single_rows_and_columns(sizes):
    """Their strides say nothing, and BLAS refuses a leading dimension that is smaller than a line."""
    height, depth, width = sizes
    for left in (normal(1, height, depth), normal(1, depth, height).T):
        for right in (normal(2, depth, width), normal(2, width, depth).T):
            out = normal(3, height, width)
            expected = out + left @ right
            accumulate(left, right, out)
            assert_close(out, expected, 1e-13, "out")


@pytest.mark.parametrize(
    ("left", "right", "out"),
    [
        ((2, 3), (4, 5), (2, 5)),
        ((2, 3), (3, 5), (2, 4)),
        ((2, 3), (3, 5), (3, 5)),
    ],
)
def test_refuses_shapes_that_do_not_fit(left, right, out):
    with pytest.raises(ValueError, match="expected"):
        accumulate(np.ones(left), np.ones(right), np.ones(out))


def test_refuses_memory_that_does_not_fit():
    square = np.ones((4, 4))
    with pytest.raises(ValueError, match="contiguous axis"):
        accumulate(np.ones((4, 8))[:, ::2], square, square.copy())
    with pytest.raises(ValueError, match="contiguous axis"):
        accumulate(np.broadcast_to(np.ones(4), (4, 4)), square, square.copy())
    with pytest.raises(ValueError, match="expected"):
        accumulate(square, square, np.ones((4, 4)).T)
    with pytest.raises(ValueError, match="dtype"):
        accumulate(square, square.astype(np.float32), square.copy())
    fixed = np.ones((4, 4))
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="expected"):
        accumulate(square, square, fixed)
