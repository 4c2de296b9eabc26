"""Programs for the ranks of a job: mpiexec -n N python -m mpi4py mpi_jobs.py NAME FOLDER MESH [weird] ...

Each rank writes what it found to FOLDER/rankR.npz, and the test compares. Not a test itself.
"""

import itertools
import sys
from pathlib import Path

import numpy as np
from inputs import normal
from networks import small_alexnet

from tinynet import SGD, SoftmaxCrossEntropy
from tinynet.backend import to_device, to_host
from tinynet.parallel import Mesh, parse_mesh, spread
from tinynet.weights import whole_parameters

BATCHES = 12, 12, 7, 3, 12, 1  # some that no number of ranks divides, and fewer images than ranks


def part_of(count: int, mesh: Mesh | None) -> tuple[slice, tuple | None]:
    """The images of this rank's replica, and what take_part is told."""
    if mesh is None:
        return slice(0, count), None
    ends = [replica * count // mesh.replicas for replica in range(mesh.replicas + 1)]
    counts = [after - before for before, after in itertools.pairwise(ends)]
    return slice(ends[mesh.replica], ends[mesh.replica + 1]), (mesh.replica, counts)


def train(net, mesh: Mesh | None, shape, classes: int, steps: int, dtype: str) -> dict[str, np.ndarray]:
    """Weights after some steps; losses, and the right classes' ranks, of all images, of each."""
    net = spread(net, mesh) if mesh else net
    net.astype(dtype)
    loss, optimizer = SoftmaxCrossEntropy(), SGD(net, 0.02, 0.9, 0.0005, {"bias": 2.0})
    found = {}
    for step in range(steps):
        count = BATCHES[step % len(BATCHES)]
        images = normal(step, count, *shape).astype(dtype)
        labels = np.arange(step, step + count) % classes
        own, part = part_of(count, mesh)
        x = images[own] if own.stop > own.start else np.zeros_like(images[:1])
        y = labels if mesh and mesh.one_weird_trick else labels[own]
        y = y if len(y) else np.zeros(1, labels.dtype)
        net.set_step(step)
        net.take_part(part)
        logits = net.forward(to_device(x), train=True)
        value = loss.forward(logits, y)
        net.backward(loss.backward())
        optimizer.step()
        value, order = net.of_all_images(value, to_host(logits).argmax(axis=1))
        found |= {f"loss {step}": np.array(value), f"answers {step}": order}
    return found | whole_parameters(net)


def alexnet(mesh: Mesh | None, dtype: str, steps: str = "20") -> dict[str, np.ndarray]:
    return train(small_alexnet(dropout=0.5), mesh, (3, 67, 67), 5, int(steps), dtype)


def main(name: str, folder: str, mesh: str, *rest: str) -> None:
    weird = "weird" in rest
    rest = tuple(one for one in rest if one != "weird")
    made = Mesh(*parse_mesh(mesh), weird)
    np.savez(Path(folder) / f"rank{made.rank}.npz", **globals()[name](made, *rest))


if __name__ == "__main__":
    main(*sys.argv[1:])
