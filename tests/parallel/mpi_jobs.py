"""Programs for the ranks of a job: mpiexec -n N python -m mpi4py mpi_jobs.py PROGRAM FOLDER MESH [weird] ...

Each rank writes what it found to FOLDER/rankR.npz, and the tests compare: test_ranks.py.
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
from inputs import normal
from parallel import networks

from tinynet import SGD, SoftmaxCrossEntropy, execution, models
from tinynet.backend import to_device, to_host
from tinynet.parallel import Mesh, mpi, parse_mesh, spread
from tinynet.parallel import mesh as mesh_module
from tinynet.parallel.mpi import MPICommunicator
from tinynet.processes import rank_and_size
from tinynet.weights import whole_parameters

BATCHES = 12, 12, 7, 3, 12, 1  # some that no number of ranks divides, and fewer images than ranks
STEPS = 20
Found = dict[str, np.ndarray]


def part_of(count: int, mesh: Mesh) -> tuple[slice, tuple]:
    """The images of this rank's replica, and what take_part is told."""
    ends = [replica * count // mesh.replicas for replica in range(mesh.replicas + 1)]
    counts = tuple(after - before for before, after in itertools.pairwise(ends))
    return slice(ends[mesh.replica], ends[mesh.replica + 1]), (mesh.replica, counts)


def trained(net, mesh: Mesh | None, shape: tuple, classes: int, dtype: str, steps: int = STEPS) -> Found:
    """Weights and velocities after some steps; of each the loss, and the answers to all images. Other ranks than the
    first begin with other weights, which do not count.
    """
    for _, layer, key in net.parameters():
        layer.params[key] += mesh.rank if mesh else 0
    net = spread(net, mesh) if mesh else net
    net.astype(dtype)
    loss, optimizer = SoftmaxCrossEntropy(), SGD(net, 0.02, 0.9, 0.0005, {"bias": 2.0})
    found: Found = {}
    for step in range(steps):
        count = BATCHES[step % len(BATCHES)]
        images, labels = normal(step, count, *shape).astype(dtype), np.arange(step, step + count) % classes
        own, part = part_of(count, mesh) if mesh else (slice(0, count), None)
        x = images[own] if own.stop > own.start else np.zeros_like(images[:1])
        y = labels if mesh and mesh.one_weird_trick else labels[own]
        net.set_step(step)
        net.take_part(part)
        logits = net.forward(to_device(x), train=True)
        value = loss.forward(logits, y if len(y) else np.zeros(1, labels.dtype))
        net.backward(loss.backward())
        optimizer.step()
        value, answers = net.of_all_images(value, to_host(logits).argmax(axis=1))
        found |= {f"loss {step}": np.array(value), f"answers {step}": answers}
    velocity = net.merge({name: to_host(value) for name, value in optimizer.velocity.items()})
    return found | whole_parameters(net) | {f"velocity {name}": value for name, value in velocity.items()}


def alexnet(mesh: Mesh | None, dtype: str) -> Found:
    """With dropout."""
    return trained(networks.small_alexnet(), mesh, (3, 67, 67), 5, dtype)


def small_networks(mesh: Mesh | None) -> Found:
    """All that have parameters and a vector for an output, for a few steps in float64."""
    found: Found = {}
    for make in networks.SMALL_NETS:
        net = make()
        shape = net.output_shape(networks.IMAGE)
        if len(shape) == 1 and net.parameters():
            rest = trained(net, mesh, networks.IMAGE, shape[0], "float64", 7)
            found |= {f"{make.__name__} {name}": value for name, value in rest.items()}
    return found


def ledger(mesh: Mesh) -> Found:
    """What crosses in a step of the paper's network, at batch 8."""
    net = spread(models.alexnet(1000, initialization="he"), mesh)
    net.take_part((mesh.replica, (8 // mesh.replicas,) * mesh.replicas))
    x = to_device(np.zeros((8 // mesh.replicas, 3, 227, 227), np.float32))
    net.backward(net.forward(x, train=True))
    rows = [[one.layer, one.direction, one.operation, *one.received] for one in net.ledger.crossings]
    return {"rows": np.array(json.dumps(rows)), "total": np.array(net.ledger.total), "table": np.array(str(net.ledger)),
            "told": np.array(net.describe((3, 227, 227), 8))}  # fmt: skip


def operations(mesh: Mesh) -> Found:
    """A communicator's, on arrays whose values tell where they come from."""
    line: MPICommunicator = mesh.world
    rank, size = line.rank, line.size
    found: Found = {}
    for dtype in ("float32", "float64"):
        block, whole = (normal(seed + rank, *shape).astype(dtype) for seed, shape in (
            (0, (3, 5, 2)), (10, (3 * size, 7))))  # fmt: skip
        odd = normal(20 + rank, 5, 3).astype(dtype)  # of which no number of ranks here takes equal parts
        gathered = to_device(np.full((3 * size, 5, 2), np.nan, dtype))
        line.all_gather(to_device(block), gathered, "conv3")
        scattered = to_device(np.full((3, 7), np.nan, dtype))
        line.reduce_scatter(to_device(whole), scattered, "conv3", "backward")
        for name, array in (("even", whole), ("odd", odd)):
            reduced = to_device(np.full(array.shape, np.nan, dtype))
            line.all_reduce(to_device(array), reduced, "fc8")
            found[f"{dtype} {name}"] = to_host(reduced)
        sent = to_device(whole.copy())
        line.broadcast(sent, size - 1, "start")
        found |= {f"{dtype} gathered": to_host(gathered), f"{dtype} scattered": to_host(scattered)}
        found[f"{dtype} sent"] = to_host(sent)
    rows = line.gather_rows(np.full((rank, 2), rank, np.int16), range(size))
    said = line.everyone({"rank": rank, "text": "é" * rank}), line.from_first(["first", None] if rank == 0 else 7)
    arrays = line.arrays_from_first({"a": np.arange(3.0), "none": np.zeros((0, 2))} if rank == 0 else None)
    crossings = [[one.layer, one.operation, *one.received] for one in mesh.whole_ledger().crossings]
    return found | {"rows": rows, "said": np.array(json.dumps(said)), "crossings": np.array(json.dumps(crossings)),
                    **arrays}  # fmt: skip


def threads(mesh: Mesh) -> Found:
    return {"threads": np.array(execution.num_threads), "workers": np.array(execution.workers().count)}


def frozen(mesh: Mesh | None) -> Found:
    """Layers that are not trained: what is summed is what changes."""
    net = networks.small_alexnet()
    for name in ("conv1", "conv2", "fc7"):
        net[name].trainable = False
    return trained(net, mesh, (3, 67, 67), 5, "float64", 4)


def main(program: str, folder: str, mesh: str, *rest: str) -> None:
    if "aware" in rest:  # emulated GPUs have memory that MPI can read, whatever it says of itself
        mpi.takes_gpu_arrays = lambda comm: True
    if "old" in rest and rank_and_size()[0] == 1:
        found = mesh_module.versions() | {"NumPy": "1.17.3"}
        mesh_module.versions = lambda: found
    made = Mesh(*parse_mesh(mesh), one_weird_trick="weird" in rest)
    found = globals()[program](made, *(word for word in rest if word not in ("weird", "aware", "old")))
    np.savez(Path(folder) / f"rank{made.rank}.npz", **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
