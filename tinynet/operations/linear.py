"""The linear layer's three products on (features, N) arrays, each cut into one block of rows per thread."""

from tinynet.backend import xp
from tinynet.execution import cut, run, shares


def matmul(left, right, out) -> None:
    """out (A, B) = left (A, K) @ right (K, B), the rows of `out` shared out over the threads."""
    parts = shares(left.size * right.shape[1])
    run(lambda rows: xp.matmul(left[rows], right, out=out[rows]), cut(left.shape[0], parts))


def linear_forward(x, weight, bias, y) -> None:
    """y (out, N) = weight (out, in) @ x (in, N) + bias (out,) or None."""
    matmul(weight, x, y)
    if bias is not None:
        y += bias[:, None]


def linear_backward_weight(x, dy, dweight) -> None:
    """dweight (out, in) = dy (out, N) @ x.T (N, in)."""
    if x.shape[1] == 1:  # of one image it is a product of two vectors, for which BLAS takes three times as long
        run(lambda rows: xp.multiply(dy[rows], x.T, out=dweight[rows]), cut(len(dweight), shares(dweight.size)))
    else:
        matmul(dy, x.T, dweight)


def linear_backward_input(dy, weight, dx) -> None:
    """dx (in, N) = weight.T (in, out) @ dy (out, N)."""
    matmul(weight.T, dy, dx)
