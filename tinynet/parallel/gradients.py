"""The gradients of data parallelism: summed over the replicas in buckets, while the backward pass still runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tinynet.backend import Array, xp
from tinynet.layers.layer import Layer
from tinynet.parallel.mpi import MPICommunicator, Summations

# Buckets large enough for MPI's bandwidth, small enough that the first is on its way early; a sum's pieces small enough
# for a processor's cache, since a bucket is as large as a layer's weights may be.
BUCKET_BYTES = 4 * 2**20
PIECE_BYTES = 4 * 2**20

Parameter = tuple[str, Layer, str]  # full name, layer, key


@dataclass(eq=False)
class Bucket:
    """Gradients that lie in one flat array, `whole`, padded so that the ranks divide it; and memory for a message."""

    parameters: Sequence[Parameter]
    whole: Array
    received: Array
    views: list[Array]
    missing: set[int] = field(default_factory=set)  # the layers that have yet to give theirs

    @property
    def name(self) -> str:
        """As the ledger has it: its layer, or the last and the first of several."""
        names = [layer.name for _, layer, _ in self.parameters]
        return names[0] if names[0] == names[-1] else f"{names[0]}-{names[-1]}"


class Gradients:
    """The sums of the parameters' gradients over the ranks of a communicator, the last layers' first.

    A layer's gradients are views of its bucket: nothing is packed or unpacked. For each step `begin`, `ready` for each
    layer when its gradients are there, and `finish`; between layers, MPI's messages go on. All ranks have the same
    parameters.
    """

    def __init__(self, communicator: MPICommunicator):
        self._communicator = communicator
        self._sums = Summations(communicator)
        self._made_for: list = []
        self._buckets: list[Bucket] = []

    def begin(self, parameters: Sequence[Parameter]) -> None:
        """parameters: those that are trained, in the order of the network."""
        made_for = [(id(layer), key, layer.params[key].shape, layer.params[key].dtype) for _, layer, key in parameters]
        if made_for != self._made_for:
            self._buckets = [self._bucket(part) for part in _grouped(parameters)]
            self._made_for = made_for
        for bucket in self._buckets:
            bucket.missing = {id(layer) for _, layer, _ in bucket.parameters}
        self._waiting = list(self._buckets)

    def ready(self, layer: Layer) -> None:
        """The gradients of this layer, and of those in it, are there."""
        there = {id(owner) for _, owner, _ in layer.parameters()}
        for bucket in self._waiting:
            bucket.missing -= there
        while self._waiting and not self._waiting[0].missing:  # in their order, on every rank
            self._start(self._waiting.pop(0))
        self._sums.test()

    def finish(self) -> None:
        """Returns when all sums are there."""
        for bucket in self._waiting:
            self._start(bucket)
        self._waiting = []
        self._sums.wait()
        for number, bucket in enumerate(self._buckets):
            self._communicator.fetch(f"bucket {number}", bucket.whole)

    def _bucket(self, parameters: Sequence[Parameter]) -> Bucket:
        """With the gradients as they are."""
        arrays = [layer.params[key] for _, layer, key in parameters]
        size, ranks = sum(array.size for array in arrays), self._communicator.size
        whole = xp.zeros(-(-size // ranks) * ranks, arrays[0].dtype)
        views, first = [], 0
        for array in arrays:
            views.append(whole[first : first + array.size].reshape(array.shape))
            first += array.size
        bucket = Bucket(parameters, whole, self._communicator.empty_like(whole), views)
        self._take_in(bucket)
        return bucket

    @staticmethod
    def _take_in(bucket: Bucket) -> None:
        """Copies gradients that a layer has put elsewhere, as layers of one's own may, into the bucket."""
        for (_, layer, key), view in zip(bucket.parameters, bucket.views, strict=True):
            if layer.grads[key] is not view:
                view[...] = layer.grads[key]
                layer.grads[key] = view

    def _start(self, bucket: Bucket) -> None:
        self._take_in(bucket)
        whole = self._communicator.staged(f"bucket {self._buckets.index(bucket)}", bucket.whole)
        ranks = self._communicator.size
        step = max(1, PIECE_BYTES // (whole.itemsize * ranks)) * ranks
        received = 0
        for first in range(0, whole.size, step):
            received += self._sums.start(whole[first : first + step], bucket.received[first : first + step])
        self._communicator.note(bucket.name, "gradient", "all_reduce", received)


def _grouped(parameters: Sequence[Parameter]) -> list[list[Parameter]]:
    """The parameters from the last layer's to the first's, in groups of one dtype and of BUCKET_BYTES or more, of which
    only the last may be smaller.
    """
    groups: list[list[Parameter]] = []
    size = 0
    for name, layer, key in reversed(parameters):
        array = layer.params[key]
        if not groups or size >= BUCKET_BYTES or groups[-1][0][1].params[groups[-1][0][2]].dtype != array.dtype:
            groups.append([])
            size = 0
        groups[-1].append((name, layer, key))
        size += array.nbytes
    return groups
