"""A network on MPI's ranks: this rank's program, and how its results become those of all of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from tinynet.backend import Array, xp
from tinynet.layers import Layer, Linear
from tinynet.layers.layer import Shape
from tinynet.network import Sequential
from tinynet.parallel.exchange import ExchangeLayer, GatherImages
from tinynet.parallel.gradients import Gradients
from tinynet.parallel.ledger import Ledger
from tinynet.parallel.mesh import Mesh
from tinynet.parallel.partition import tower_of
from tinynet.parallel.towers import InTowers, cut_parts, join_parts


def spread(net: Sequential, mesh: Mesh) -> "Ranks":
    """`net` on the ranks of a mesh, all of which call this with the same network.

    Outputs, gradients and masks are those of `net`, but for rounding, once each rank is given its part of a batch: see
    `take_part`. The weights are rank 0's. Where layers are split `net` is copied, else it computes itself. ValueError
    names a layer that cannot be split.
    """
    if not isinstance(net, Sequential):
        raise TypeError(f"spread: expected a Sequential, got {type(net).__name__}")
    for _, layer, key in net.parameters():  # a model of the user's own may draw them without a seed
        layer.params[key] = xp.ascontiguousarray(layer.params[key])
        mesh.world.broadcast(layer.params[key])
    axes: dict[str, int | None] = {}
    if mesh.one_weird_trick:
        first = next((layer.name for _, layer, _ in net.parameters() if isinstance(layer, Linear)), "")
        if not first:
            raise ValueError("--one-weird-trick splits linear layers, of which this network has none")
        net = tower_of(net, mesh.within, axes, {}, whole_images=first)
    elif mesh.towers > 1:
        net = tower_of(net, mesh.within, axes, {})
    return Ranks(net, axes, mesh)


class Ranks(InTowers):
    """What `spread` returns: a layer like the network that it was made from, of which this rank runs its part.

    Every rank makes the same calls. Parameters that are split have names that begin with the rank's tower, "tower1."
    and so on; the others are the same on every rank, and stay so, since their gradients are summed over the replicas
    while `backward` runs. `merge` makes whole ones, `split` the reverse.
    """

    def __init__(self, program: Sequential, axes: Mapping[str, int | None], mesh: Mesh):
        self.name = ""
        self.program, self.mesh, self.towers = program, mesh, [program]
        self._axes, self._turn = dict(axes), program._turn
        self._part: tuple[int, Sequence[int]] | None = None
        self._gradients = Gradients(mesh.across) if mesh.replicas > 1 else None
        mine = {f"{layer.name}.{key}" for _, layer, key in program.parameters()}
        self.elsewhere = [name for name in axes if name not in mine]
        """Parameters that other ranks alone have."""

    # ---- a step ----

    def take_part(self, part: tuple[int, Sequence[int]] | None, views: int = 1) -> None:
        """Which images of the batch this rank's replica has: (replica, how many each replica has). A replica without
        any computes one that counts for nothing, since the others wait for it at every exchange.
        """
        self._part = part
        for layer in self.program:
            layer.take_part(part, views)
            if isinstance(layer, GatherImages):
                part = None  # above it, each rank computes all images

    def forward(self, x: Array, train: bool = False) -> Array:
        """The output for this rank's images; with the one weird trick, for those of all ranks."""
        self.mesh.ledger.clear()
        return self.program.forward(x, train)

    def backward(self, dy: Array) -> Array | None:
        """dy: the gradient of the mean loss of the images that `forward` had."""
        program, mesh = self.program, self.mesh
        lowest = 0 if self.needs_dx else program.lowest_trained()
        if self._gradients is None:
            dx = program.backward_to(lowest, dy)
        else:
            if self._part is not None and not mesh.one_weird_trick:  # of the mean over all replicas' images
                index, counts = self._part
                dy = dy * dy.dtype.type(counts[index] / sum(counts))
            self._gradients.begin([one for one in self._summed() if one[1].trainable])
            dx = program.backward_to(lowest, dy, self._gradients.ready)
            self._gradients.finish()
        if dx is not None and mesh.towers > 1:  # of this tower's own kernels
            parts = dx.transpose(*range(1, dx.ndim), 0)  # (N, ...) -> (..., N), contiguous
            whole = parts.copy()
            mesh.within.all_reduce(parts, whole, "input", "backward")
            dx = self._leave(whole)
        return dx

    def of_all_images(self, loss: float, ranks: np.ndarray) -> tuple[float, np.ndarray]:
        if self._part is None or self.mesh.one_weird_trick or self.mesh.replicas == 1:
            return loss, ranks
        index, counts = self._part
        own = np.array([loss * counts[index], *ranks[: counts[index]]], np.float64)
        told = self.mesh.across.gather_rows(own, [1 + count for count in counts])
        firsts = np.cumsum([0, *(1 + count for count in counts[:-1])])
        return float(sum(told[firsts].tolist()) / sum(counts)), np.delete(told, firsts).astype(np.int64)

    # ---- as a layer ----

    def _cut(self, name: str, layer: Layer, key: str) -> bool:
        """Whether this parameter is a part of one."""
        return f"{layer.name}.{key}" in self._axes

    def _summed(self) -> list[tuple[str, Layer, str]]:
        """The parameters that other replicas have, too, and whose gradients are summed over them."""
        weird = self.mesh.one_weird_trick
        return [one for one in self.program.parameters() if not (weird and self._cut(*one))]

    def parameters(self, device: int | None = None) -> list[tuple[str, Layer, str]]:
        """Of this rank."""
        tower = f"tower{self.mesh.within.rank}."
        return [(tower * self._cut(*one) + one[0], *one[1:]) for one in self.program.parameters()]

    @property
    def ledger(self) -> Ledger:
        """What crossed in the last step, with a column for each rank; every rank has to ask."""
        return self.mesh.whole_ledger()

    def multiply_adds(self, input_shape: Shape) -> int:
        """Of this rank, for an image that it computes all of its layers on."""
        return self.program.multiply_adds(input_shape)

    def __repr__(self) -> str:
        return f"rank {self.mesh.rank} of {self.mesh.size}\n{self.program!r}"

    # ---- the parameters as a whole: every rank has to call ----

    def merge(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Host arrays under this rank's names, joined with those of the other towers to whole ones, on every rank."""
        line = self.mesh.within
        parts: dict[str, np.ndarray] = {}
        first: dict[str, np.ndarray] = {}
        for name, axis in self._axes.items():
            own = f"tower{line.rank}.{name}"
            if axis is None:
                first |= {own: arrays[own]} if line.rank == 0 else {}
            else:
                told = line.gather_host(arrays[own])
                parts |= {f"tower{rank}.{name}": part for rank, part in enumerate(told)}
        parts |= line.arrays_from_first(first) if None in self._axes.values() else {}
        cut = {f"tower{line.rank}.{name}" for name in self._axes}
        alike = {name: array for name, array in arrays.items() if name not in cut}
        return alike | join_parts(parts, self._axes, line.size)

    def split(self, whole: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The reverse of `merge`, for this rank."""
        cut = {name: whole[name] for name in self._axes}
        parts, own = cut_parts(cut, self._axes, self.mesh.within.size), {name for name, _, _ in self.parameters()}
        return {name: array for name, array in (dict(whole) | parts).items() if name in own}

    # ---- before any data ----

    def describe(self, input_shape: Shape, batch_size: int = 128) -> str:
        """What rank 0 holds of each layer, and what crosses in a step of `batch_size` images, as its ledger will have
        it, for images of `input_shape`.
        """
        mesh, summary = self.mesh, self.program.summary(input_shape)
        images = batch_size // (1 if mesh.one_weird_trick else mesh.replicas)
        width = max(len(row.name) for row in summary.rows) + 2
        lines = [f"{'layer':{width}}{'output on this rank':24}{'parameters':>14}"]
        for row in summary.rows:
            layer = self.program[row.name]
            received = layer.received_bytes(row.output_shape) if isinstance(layer, ExchangeLayer) else 0
            crossing = f"   <- {received * images:,} B cross to each rank" if received else ""
            output = " x ".join(map(str, row.output_shape))
            lines.append(f"{row.name:{width}}{output:24}{row.parameters:>14,}{crossing}")
        gradients = sum(layer.params[key].nbytes for _, layer, key in self._summed())
        crossing = 2 * gradients * (mesh.replicas - 1) // mesh.replicas
        lines.append(f"{'parameters':{width + 24}}{summary.parameters:>14,}   <- {crossing:,} B of gradients per step")
        return "\n".join(lines)
