"""How fast AlexNet trains on many machines, as a model says: what is stated here, and nothing else, goes into it.

A node computes a step on b images in `Compute.seconds(b)`, measured. A message of s bytes takes latency + s / bandwidth
in each direction at once, and each node sends and receives one at a time. The batch's images are there in time.

An exchange among n nodes, of s bytes as a whole, takes as long as the faster of two ways that MPI libraries have:
a ring, n - 1 messages of s / n, or recursive doubling, log2(n) messages that add up to as many bytes. An all-reduce is
two of these, a reduce-scatter and an all-gather. The sums themselves take no time. Gradients may cross while backward
computes what comes after them; those of the first three layers, which are there last, wait for nothing but the wire.
"""

import math
from dataclasses import dataclass

NODES = [2**power for power in range(11)]  # 1 to 1,024
NETWORKS = {  # bits per second, and seconds: Ethernet with TCP, the same, and what is made for such machines
    "1 Gbit/s": (1e9, 50e-6),
    "10 Gbit/s": (10e9, 20e-6),
    "100 Gbit/s": (100e9, 2e-6),
}
SCHEMES = {
    "replicas": "plain data parallelism, --mesh Nx1",
    "towers": "replicas of two towers, --mesh N/2x2",
    "one weird trick": "--mesh Nx1 --one-weird-trick",
}

# AlexNet (Krizhevsky et al. 2012) in float32: bytes of parameters, in the order in which backward finishes them, and of
# what crosses for an image
FC8, FC7, FC6 = 4 * (4096 * 1000 + 1000), 4 * (4096 * 4096 + 4096), 4 * (9216 * 4096 + 4096)
CONV = 4 * (34_944 + 307_456 + 885_120 + 663_936 + 442_624)
LAST = 4 * (34_944 + 307_456 + 885_120)
POOL5, FC6_OUT, LOGITS = 4 * 9216, 4 * 4096, 4 * 1000
TOWERS = 4 * (128 * 13 * 13 + 128 * 6 * 6 + 2048)  # of a tower's half, before conv3, fc6 and fc7


@dataclass(frozen=True)
class Network:
    """bandwidth: bytes per second. latency: seconds."""

    bandwidth: float
    latency: float

    def exchange(self, nodes: int, size: float) -> float:
        """Seconds of an all-gather of `size` bytes as a whole, or of a reduce-scatter."""
        if nodes == 1:
            return 0.0
        messages = min(nodes - 1, math.ceil(math.log2(nodes)))
        return messages * self.latency + size * (nodes - 1) / nodes / self.bandwidth

    def all_reduce(self, nodes: int, size: float) -> float:
        return 2 * self.exchange(nodes, size)


@dataclass(frozen=True)
class Compute:
    """Measured seconds of a node. batches: images of a step; steps: seconds of it, for each of these; between them a
    straight line, and above them as much for each image as in the last.

    linear: the share of a step that fc6, fc7 and fc8 take, update included. backward: the share of a step that is left
    to backward when fc8's gradient is there.
    """

    batches: tuple[int, ...]
    steps: tuple[float, ...]
    linear: float
    backward: float

    def seconds(self, images: float) -> float:
        """A step on `images` images of one node."""
        if images >= self.batches[-1]:
            return self.steps[-1] * images / self.batches[-1]
        if images <= self.batches[0]:
            return self.steps[0]
        place = next(index for index, batch in enumerate(self.batches) if batch >= images)
        (low, high), (fast, slow) = self.batches[place - 1 : place + 1], self.steps[place - 1 : place + 1]
        return fast + (slow - fast) * (images - low) / (high - low)


def step_seconds(scheme: str, nodes: int, batch: float, compute: Compute, network: Network, hidden: bool) -> float:
    """A training step on `batch` images of all nodes. hidden: gradients cross while backward computes, as far as that
    lasts; else after it.
    """
    if nodes == 1:
        return compute.seconds(batch)
    if scheme == "replicas":
        compute_all = compute.seconds(batch / nodes)
        crossing, hideable = network.all_reduce(nodes, FC8 + FC7 + FC6 + CONV), compute.backward * compute_all
        return compute_all + _left(crossing, hideable, network.all_reduce(nodes, LAST), hidden)
    if scheme == "towers":
        replicas, images = nodes // 2, 2 * batch / nodes  # of a replica
        compute_all = compute.seconds(images) / 2
        within = 2 * network.exchange(2, 2 * TOWERS * images) + network.all_reduce(2, LOGITS * images)
        crossing = network.all_reduce(replicas, (FC8 + FC7 + FC6 + CONV) / 2)
        last = network.all_reduce(replicas, LAST / 2)
        return compute_all + within + _left(crossing, compute.backward * compute_all, last, hidden)
    convolutions = (1 - compute.linear) * compute.seconds(batch / nodes)
    linear = compute.linear * compute.seconds(batch) / nodes  # all images, a part of the neurons
    within = 2 * network.exchange(nodes, (POOL5 + FC6_OUT) * batch) + network.all_reduce(nodes, LOGITS * batch)
    crossing, last = network.all_reduce(nodes, CONV), network.all_reduce(nodes, LAST)
    return convolutions + linear + within + _left(crossing, compute.backward * convolutions, last, hidden)


def _left(crossing: float, hideable: float, last: float, hidden: bool) -> float:
    """What is left of an exchange of gradients once backward is done: the last, of the first layers, at least."""
    return max(crossing - hideable, last) if hidden else crossing


def efficiency(
    scheme: str, nodes: int, batch: float, compute: Compute, network: Network, hidden: bool = True, weak: bool = False
) -> float:
    """The speed of `nodes` nodes over `nodes` times that of one: with a batch of so many images for all (strong
    scaling), or for each (weak).
    """
    whole = batch * nodes if weak else batch
    speed = whole / step_seconds(scheme, nodes, whole, compute, network, hidden)
    return speed / (nodes * batch / compute.seconds(batch))
