"""Which pixels of the input a unit of each layer sees: worked out from the layers' windows, before any data."""

from dataclasses import dataclass

from tinynet.layers.layer import Shape
from tinynet.network import Sequential, leaves


@dataclass(frozen=True)
class Field:
    """Unit (i, j) of a map sees the rows start[0] + i * stride[0] and the size[0] - 1 after them, and columns likewise.

    Those beyond the input's edges are padding.
    """

    size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    start: tuple[int, int] = (0, 0)

    def rectangle(self, i: int, j: int, shape: Shape) -> tuple[slice, slice]:
        """The rows and columns of an input (C, H, W) that unit (i, j) sees."""
        rows, columns = (
            slice(max(0, first + at * step), max(0, min(side, first + at * step + size)))
            for at, first, step, size, side in zip((i, j), self.start, self.stride, self.size, shape[1:], strict=True)
        )
        return rows, columns


def receptive_fields(net: Sequential, input_shape: Shape) -> dict[str, Field | None]:
    """By the layers' full names, for an input (C, H, W). None from the layer on that has no map, and so sees all of it.

    A layer under another one sees its window of what that one sees: a window of k steps widens the field by k - 1
    strides, and multiplies the stride by its own.
    """
    found: dict[str, Field | None] = {}
    field: Field | None = Field()
    shape = tuple(input_shape)
    for layer in leaves(net):
        output, windows = layer.output_shape(shape), layer.windows(shape)
        if field is None or len(output) != 3 or (windows is None and output[1:] != shape[1:]):
            field = None
        elif windows is not None:
            axes = list(zip(windows, field.size, field.stride, field.start, strict=True))
            field = Field(
                _both(size + (window.kernel - 1) * stride for window, size, stride, _ in axes),
                _both(stride * window.stride for window, _, stride, _ in axes),
                _both(start - window.before * stride for window, _, stride, start in axes),
            )
        found[layer.name], shape = field, output
    return found


def _both(values) -> tuple[int, int]:
    rows, columns = values
    return rows, columns
