"""What the page draws a network from: its layers, their sizes and where towers talk, as JSON has them."""

import inspect
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tinynet.inspection.receptive_fields import receptive_fields
from tinynet.inspection.what_if import WhatIf
from tinynet.layers import Layer
from tinynet.layers.layer import Shape
from tinynet.network import Sequential, leaves

HOUSE = Path(__file__).parents[2]  # in which the package lies


def describe_layers(net: Sequential, input_shape: Shape, what_if: WhatIf) -> list[dict[str, Any]]:
    """An entry for each layer, in order, see `_entry`."""
    rows = {row.name: row for row in net.summary(input_shape).rows}
    fields = receptive_fields(net, input_shape)
    found, shape = [], tuple(input_shape)
    for layer in leaves(net):
        entry = _entry(layer, rows[layer.name], shape, what_if)
        field = fields[layer.name]
        entry["field"] = field and {"size": field.size, "stride": field.stride, "start": field.start}
        found.append(entry)
        shape = what_if.shapes[layer.name]
    return found


def _entry(layer: Layer, row, input_shape: Shape, what_if: WhatIf) -> dict[str, Any]:
    """split: each tower has a block of the outputs. crossing: what comes to each tower from the others, in bytes per
    image, before the layer (gather) or after it (sum). same: the output has the input's shape, and nothing is learned.
    """
    place, kind = what_if.places[layer.name], type(layer)
    channels = row.output_shape[0] // (what_if.devices if place.split else 1)
    crossing = None
    if place.gathered or place.summed:
        crossing = {"kind": "gather" if place.gathered else "sum", "bytes": place.gathered or place.summed}
    return {
        "name": layer.name, "kind": kind.__name__, "text": row.layer, "formula": layer.formula,
        "source": f"/source/{quote(layer.name)}", "file": _shown_file(kind),
        "shape": row.output_shape, "parameters": row.parameters, "multiply_adds": row.multiply_adds,
        "bytes": row.activation_bytes, "split": place.split, "crossing": crossing,
        "towers": [{"channels": channels, "parameters": count} for count in place.parameters],
        "same": row.output_shape == input_shape and not row.parameters and layer.windows(input_shape) is None,
    }  # fmt: skip


def source_files(net: Sequential) -> dict[str, Path]:
    """By each layer's name, the file in which its class stands."""
    found = {}
    for layer in leaves(net):
        try:
            found[layer.name] = Path(inspect.getfile(type(layer)))
        except (OSError, TypeError):  # typed into a notebook, or built in
            continue
    return {name: path for name, path in found.items() if path.suffix == ".py" and path.is_file()}


def _shown_file(kind: type[Layer]) -> str:
    """Its path in the project, or the file's name alone where it is a user's own: nothing of a machine is shown."""
    try:
        path = Path(inspect.getfile(kind))
    except (OSError, TypeError):
        return ""
    return path.relative_to(HOUSE).as_posix() if path.is_relative_to(HOUSE / "tinynet") else os.path.basename(path)
