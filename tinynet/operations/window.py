"""One axis of a sliding window, shared by convolution and pooling: sizes and slices, no arithmetic.

Padding is never stored: a window's offset meets real inputs for some outputs only, and `overlap` says which.
"""

import math
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Window:
    """A window of `kernel` positions moved by `stride` over an axis of `size` with padding `before` and `after`.

    With `ceil` a last window that overhangs the end counts too, if it starts inside the input or the padding before it.
    """

    size: int
    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    ceil: bool = False

    @cached_property
    def output(self) -> int:
        """The number of window positions; 0 where the kernel is larger than the padded axis.

        But with `ceil`, a kernel that is larger by less than the stride has one: a window that overhangs.
        """
        span = self.size + self.before + self.after - self.kernel
        count = max(0, span // self.stride + 1)
        if self.ceil and span > -self.stride and span % self.stride and count * self.stride < self.size + self.before:
            count += 1
        return count

    def overlap(self, offset: int, start: int = 0, stop: int | None = None) -> tuple[slice, slice]:
        """(outputs, inputs) that meet at `offset` of the window, of the outputs start..stop and counted from `start`.

        Output o reads input o * stride + offset - before; the outputs for which that is padding are left out.
        """
        stop = self.output if stop is None else stop
        first = max(start, -((offset - self.before) // self.stride))
        last = min(stop, -((offset - self.before - self.size) // self.stride))
        if last <= first:
            return slice(0, 0), slice(0, 0)
        begin = first * self.stride + offset - self.before
        end = begin + (last - first - 1) * self.stride + 1
        return slice(first - start, last - start), slice(begin, end, self.stride)

    def counts(self, include_padding: bool) -> list[int]:
        """How many positions of each window lie on the axis (and, with `include_padding`, on its padding)."""
        low, high = (-self.before, self.size + self.after) if include_padding else (0, self.size)
        starts = [output * self.stride - self.before for output in range(self.output)]
        return [min(start + self.kernel, high) - max(start, low) for start in starts]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Before and after an axis, for ceil(size / stride) outputs; an odd one goes to the end."""
    total = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2


@dataclass(frozen=True)
class Geometry:
    """What a convolution's window does along the rows and the columns of its input, and its groups."""

    vertical: Window
    horizontal: Window
    groups: int

    @property
    def taps(self) -> int:
        return self.vertical.kernel * self.horizontal.kernel


def along(axis: int, *parts: slice) -> tuple[slice, ...]:
    """The index that takes these parts of `axis` and the axes after it, and all of the axes before it."""
    return (*(slice(None),) * axis, *parts)
