"""The linear layer's three products on (features, N) arrays, each cut into one block of rows per thread; and products
that are added up, of which a convolution's weight gradient consists.
"""

import math
from collections.abc import Callable, Iterable, Sequence

from tinynet.backend import Array, xp
from tinynet.execution import Tile, cut, run, run_shares, scratch, shares


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


def sum_products(
    factors: Callable[[Tile], Iterable[tuple[int, Array, Array]]], tiles: Sequence[Tile], out: Array
) -> None:
    """out (groups, ..., B), in any memory order: for each group the sum of left (A, P) @ right (P, B) over all (group,
    left, right) that tiles give, where A stands for all axes between.

    Each thread adds up its own share of the tiles, in order, and the shares are added in order: the sum does not depend
    on which thread is faster.
    """

    shape = math.prod(out.shape[1:-1]), out.shape[-1]

    def sum_share(share: Sequence[Tile]) -> dict[int, Array]:
        sums: dict[int, Array] = {}
        for tile in share:
            for group, left, right in factors(tile):
                if group not in sums:
                    # not scratch: a thread that takes a second share must leave this one's sum as it is
                    sums[group] = xp.matmul(left, right, out=xp.empty(shape, out.dtype))
                else:
                    sums[group] += xp.matmul(left, right, out=scratch("product", shape, out.dtype))
        return sums

    begun: set[int] = set()
    for sums in run_shares(sum_share, tiles):
        for group, partial in sums.items():
            if group in begun:
                out[group] += partial.reshape(out.shape[1:])
            else:
                out[group] = partial.reshape(out.shape[1:])
            begun.add(group)
