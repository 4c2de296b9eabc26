"""A network on several devices: its towers, run side by side, and its parameters as a whole."""

from collections.abc import Callable, Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import DTypeLike

from tinynet.backend import Array, PerDevice, device_of, here, on_device, on_gpu, record_event, wait_for_event, xp
from tinynet.layers.layer import Layer, Shape
from tinynet.network import Container, Sequential, known
from tinynet.parallel.devices import Devices
from tinynet.parallel.exchange import ExchangeLayer
from tinynet.parallel.ledger import Ledger
from tinynet.threads import Turn


class InTowers(Container):
    """A network of which this process runs some towers, as a layer: what it is told, each of those is told."""

    towers: list[Sequential]

    @property
    def needs_dx(self) -> bool:
        return self.towers[0].needs_dx

    @needs_dx.setter
    def needs_dx(self, value: bool) -> None:
        for tower in self.towers:
            tower.needs_dx = value

    @property
    def trainable(self) -> bool:
        return self.towers[0].trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for tower in self.towers:
            tower.trainable = value

    def set_step(self, step: int) -> None:
        for tower in self.towers:
            tower.set_step(step)

    def astype(self, dtype: DTypeLike) -> Self:
        for tower in self.towers:
            tower.astype(dtype)
        return self

    def _output_shape(self, shape: tuple) -> Shape:
        return self.towers[0]._output_shape(shape)


class Towers(InTowers):
    """What `partition` returns: a layer like the network that it was made from, run by one thread per device.

    towers: the devices' parts, ordinary Sequentials. ledger: what crossed in the last step. Parameters are split over
    the towers: their full names begin with "tower0." and so on; `merge` makes the whole ones of them, under the names
    of the network on one device, and `split` the reverse, which is how weights and checkpoints are saved and loaded.

    outputs: for each layer of that network the one in the towers that gives its output, and whether each gives a part.

    An error in one tower stops the others at once and is raised with its own traceback.
    """

    def __init__(
        self,
        towers: list[Sequential],
        axes: Mapping[str, int | None],
        outputs: Mapping[str, tuple[str, bool]],
        ledger: Ledger,
        devices: Devices,
    ):
        self.name = ""
        self.towers, self.ledger, self.devices = towers, ledger, len(towers)
        self._axes, self._outputs, self._devices = dict(axes), dict(outputs), devices
        self._turn = Turn()

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= state
        self.on_devices(self._take_home)

    def _take_home(self, device: int) -> None:
        """Arrays that were copied or read from a file come from one GPU or the host: each device takes its own."""
        for _, layer, key in self.parameters(device):
            layer.params[key], layer.grads[key] = here(layer.params[key]), here(layer.grads[key])

    # ---- one program per device ----

    def on_devices(self, task: Callable[[int], object]) -> list:
        return self._devices.run(task)

    def forward(self, x: Array, train: bool = False) -> Array:
        """The output, which every device has in full. x: an array, or what each GPU has already as a PerDevice."""
        self.ledger.clear()
        x = self._everywhere(x, "input", "forward")
        outputs = self.on_devices(lambda rank: self.towers[rank].forward(on_device(x, rank), train))
        return PerDevice(outputs) if on_gpu and self.devices > 1 else outputs[0]

    def backward(self, dy: Array) -> Array | None:
        """Every device knows all of dy, and what it finds of dx is its own kernels' part: dx is the sum."""
        dy = self._everywhere(dy, "output", "backward")
        lowest = 0 if self.needs_dx else min([tower.lowest_trained() for tower in self.towers])  # they meet on the way

        def run(rank: int) -> tuple:
            return self.towers[rank].backward_to(lowest, on_device(dy, rank)), record_event()

        results = self.on_devices(run)
        if not self.needs_dx or not self._axes:
            return results[0][0]
        parts = [part.transpose(*range(1, part.ndim), 0) for part, _ in results]  # (N, ...) -> (..., N), contiguous
        with device_of(parts[0]):
            dx = parts[0].copy()
            for part, (_, ready) in zip(parts[1:], results[1:], strict=True):
                wait_for_event(ready)
                dx += here(part)
        return self._leave(dx)

    def activations(self, x: Array, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """As Sequential's, under the names of the network on one device: whole, joined of the towers' parts."""
        wanted = [names] if isinstance(names, str) else list(self._outputs if names is None else names)
        inside = [self._outputs[known(name, self._outputs)][0] for name in wanted]
        self.ledger.clear()
        x = self._everywhere(x, "input", "forward")
        parts = self.on_devices(lambda rank: self.towers[rank].activations(on_device(x, rank), inside))
        return {
            name: np.concatenate([part[tower_name] for part in parts], axis=1) if split else parts[0][tower_name]
            for name, (tower_name, split) in ((name, self._outputs[name]) for name in wanted)
        }

    def _everywhere(self, array, layer: str, direction: str):
        """A copy on every GPU of an array that one of them holds, as a PerDevice; the ledger says what it cost."""
        if not on_gpu or self.devices == 1 or not hasattr(array, "device"):
            return array
        with device_of(array):
            memory = xp.ascontiguousarray(array.transpose(*range(1, array.ndim), 0))  # (N, ...) -> (..., N)
            ready = record_event()

        def fetch(rank: int):
            wait_for_event(ready)
            return self._leave(here(memory))

        for rank in range(self.devices):
            self.ledger.record(rank, layer, direction, "broadcast", memory.nbytes if rank else 0)
        return PerDevice(self.on_devices(fetch))

    # ---- as a layer ----

    def parameters(self, device: int | None = None) -> list[tuple[str, Layer, str]]:
        ranks = range(self.devices) if device is None else [device]
        return [
            (f"tower{rank}.{name}", layer, key) for rank in ranks for name, layer, key in self.towers[rank].parameters()
        ]

    def take_part(self, part: tuple[int, Sequence[int]] | None, views: int = 1) -> None:
        for tower in self.towers:
            tower.take_part(part, views)

    def multiply_adds(self, input_shape: Shape) -> int:
        return sum(tower.multiply_adds(input_shape) for tower in self.towers)

    def __repr__(self) -> str:
        return "\n\n".join(f"tower {rank}\n{tower!r}" for rank, tower in enumerate(self.towers))

    # ---- the parameters as a whole ----

    def merge(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Host arrays under the towers' names, joined to whole ones under the names of the network on one device."""
        return join_parts(arrays, self._axes, self.devices)

    def split(self, whole: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The reverse of `merge`: each tower's block of whole host arrays."""
        return cut_parts(whole, self._axes, self.devices)

    # ---- before any data ----

    def describe(self, input_shape: Shape, batch_size: int = 128) -> str:
        """Which layer lives where, what each device holds, and what will cross, for images of `input_shape`."""
        summaries = [tower.summary(input_shape) for tower in self.towers]
        devices = range(self.devices)
        width = max(len(row.name) for row in summaries[0].rows) + 2
        lines = [f"{'layer':{width}}{'output on each device':24}" + "".join(f"{f'device {d}':>14}" for d in devices)]
        crossing = 0
        for rows in zip(*(summary.rows for summary in summaries), strict=True):
            output = " x ".join(map(str, rows[0].output_shape))
            line = f"{rows[0].name:{width}}{output:24}" + "".join(f"{row.parameters:>14,}" for row in rows)
            layer = self.towers[0][rows[0].name]
            received = layer.received_bytes(rows[0].output_shape) if isinstance(layer, ExchangeLayer) else 0
            crossing += received
            lines.append(line + (f"   <- {received:,} B per image cross to each device" if received else ""))
        for title, values in (
            ("parameters", [summary.parameters for summary in summaries]),
            ("weights, gradients, momentum, MB", [12 * summary.parameters / 1e6 for summary in summaries]),
            (
                f"activations and their gradients at batch {batch_size}, MB",
                [2 * batch_size * summary.activation_bytes / 1e6 for summary in summaries],
            ),
        ):
            lines.append(f"{title:{width + 24}}" + "".join(f"{value:>14,.0f}" for value in values))
        lines.append(f"Crossing forwards, per image and device: {crossing:,} B")
        return "\n".join(lines)


def join_parts(arrays: Mapping[str, np.ndarray], axes: Mapping[str, int | None], towers: int) -> dict[str, np.ndarray]:
    """Whole host arrays by their names, of the parts "tower0.conv1.weight" and so on, along these axes; None: the first
    tower has all of it.
    """
    whole = {}
    for name, axis in axes.items():
        if axis is None:
            whole[name] = arrays[f"tower0.{name}"]
        else:
            whole[name] = np.concatenate([arrays[f"tower{rank}.{name}"] for rank in range(towers)], axis)
    return whole


def cut_parts(whole: Mapping[str, np.ndarray], axes: Mapping[str, int | None], towers: int) -> dict[str, np.ndarray]:
    """The reverse of `join_parts`."""
    arrays = {}
    for name, axis in axes.items():
        if axis is None:
            arrays[f"tower0.{name}"] = whole[name]
        else:
            for rank, part in enumerate(np.split(whole[name], towers, axis)):
                arrays[f"tower{rank}.{name}"] = part
    return arrays
