"""Networks on MPI's ranks against the same in one process: operations, training, what crosses, and bits."""

import json
from pathlib import Path

import numpy as np
import pytest
from inputs import normal
from mpi import EMULATED, job, several
from parallel import mpi_jobs

from tinynet.parallel import parse_mesh
from tinynet.threads import usable_cores

pytestmark = several
PROGRAM = Path(mpi_jobs.__file__)
MESHES = [(2, "2x1", ""), (2, "1x2", ""), (2, "2x1", "weird")]
# MPI's ranks ask again and again while they wait: four on two cores crawl, and on emulated GPUs stand
MESHES += [] if EMULATED else [(4, "4x1", ""), (4, "2x2", ""), (4, "4x1", "weird")]
PRECISION = {"float64": 1e-12, "float32": 1e-5}


def ranks(
    folder: Path, count: int, program: str, mesh: str, *options: str, threads: int | None = 1
) -> list[dict[str, np.ndarray]]:
    """What each of the ranks found."""
    folder.mkdir(exist_ok=True)
    done = job(count, PROGRAM, program, folder, mesh, *filter(None, options), cwd=folder, threads=threads)
    assert done.returncode == 0, done.stderr
    return [dict(np.load(folder / f"rank{rank}.npz")) for rank in range(count)]


def largest_difference(found: dict, expected: dict) -> float:
    """Of all arrays, each relative to its largest value; answers are to be equal."""
    assert found.keys() == expected.keys()
    worst = 0.0
    for name, value in expected.items():
        assert found[name].shape == value.shape and found[name].dtype == value.dtype, name
        if "answers" in name:
            assert (found[name] == value).all(), name
        else:
            worst = max(worst, float(np.abs(found[name] - value).max() / max(np.abs(value).max(), 1e-30)))
    return worst


@pytest.mark.parametrize("count", [2, 3])
def test_operations(count, tmp_path):
    """Bit for bit what NumPy gives when it adds in the order of the ranks."""
    found = ranks(tmp_path, count, "operations", f"{count}x1")
    for dtype in ("float32", "float64"):
        blocks = [normal(rank, 3, 5, 2).astype(dtype) for rank in range(count)]
        for rank, told in enumerate(found):
            wholes, odd = ([normal(seed + r, *shape).astype(dtype) for r in range(count)] for seed, shape in (
                (10, (3 * count, 7)), (20, (5, 3))))  # fmt: skip
            total, odd_total = (np.add.reduce(arrays, axis=0) for arrays in (wholes, odd))
            assert (told[f"{dtype} gathered"] == np.concatenate(blocks)).all()
            assert (told[f"{dtype} scattered"] == total[3 * rank : 3 * rank + 3]).all()
            assert (told[f"{dtype} even"] == total).all() and (told[f"{dtype} odd"] == odd_total).all()
            assert (told[f"{dtype} sent"] == wholes[-1]).all()
    for told in found:
        assert told["rows"].tolist() == [[r, r] for r in range(count) for _ in range(r)]
        everyone, first = json.loads(str(told["said"]))
        assert everyone == [{"rank": r, "text": "é" * r} for r in range(count)] and first == ["first", None]
        assert told["a"].tolist() == [0, 1, 2] and told["none"].shape == (0, 2)
        others, crossings = count - 1, json.loads(str(told["crossings"]))
        assert crossings[0] == ["conv3", "all_gather", *[others * 120] * count]
        assert crossings[1] == ["conv3", "reduce_scatter", *[others * 84] * count]
        padded = -(-15 // count) * 4
        assert crossings[2] == ["fc8", "all_reduce", *[2 * others * 84] * count]
        assert crossings[3] == ["fc8", "all_reduce", *[2 * others * padded] * count]
        assert crossings[4] == ["start", "broadcast", *[count * 84] * others, 0]


@pytest.fixture(scope="module")
def alone():
    """What one process finds."""
    return {dtype: mpi_jobs.alexnet(None, dtype) for dtype in PRECISION}


@pytest.mark.parametrize(("count", "mesh", "trick"), MESHES)
def test_alexnet_learns_the_same(count, mesh, trick, alone, tmp_path, tables):
    """Weights, velocities and losses after 20 steps with dropout, some of batches that ranks share unequally, or that
    have fewer images than there are replicas; and all ranks have the same."""
    line = f"{mesh:5}{'one weird trick' * bool(trick):17}"
    for dtype, allowed in PRECISION.items():
        found = ranks(tmp_path / dtype, count, "alexnet", mesh, trick, dtype)
        worst = largest_difference(found[0], alone[dtype])
        assert worst <= allowed, dtype
        for other in found[1:]:
            assert other.keys() == found[0].keys()
            assert all(other[name].tobytes() == found[0][name].tobytes() for name in other)
        line += f"{worst:10.1e}"
    title = "meshes of ranks against one process, 20 steps: largest relative difference (float64, float32)"
    tables.setdefault(title, []).append(line)


@pytest.mark.parametrize(("mesh", "trick"), [("2x1", ""), ("1x2", ""), ("2x1", "weird")])
def test_two_runs_agree_to_the_last_bit(mesh, trick, tmp_path):
    first, again = (ranks(tmp_path / name, 2, "alexnet", mesh, trick, "float32") for name in ("first", "again"))
    for one, other in zip(first, again, strict=True):
        assert all(one[name].tobytes() == other[name].tobytes() for name in one)


@pytest.mark.skipif(not EMULATED, reason="no GPU whose memory MPI could read")
@pytest.mark.parametrize(("mesh", "trick"), [("2x1", ""), ("1x2", ""), ("2x1", "weird")])
def test_mpi_that_reads_the_memory_of_gpus(mesh, trick, alone, tmp_path):
    for dtype, allowed in PRECISION.items():
        found = ranks(tmp_path / dtype, 2, "alexnet", mesh, trick, dtype, "aware")
        assert largest_difference(found[0], alone[dtype]) <= allowed


@pytest.mark.parametrize(("mesh", "trick"), [("2x1", ""), ("1x2", ""), ("2x1", "weird")])
def test_every_way_in_which_layers_exchange(mesh, trick, tmp_path):
    expected = mpi_jobs.small_networks(None)
    assert largest_difference(ranks(tmp_path, 2, "small_networks", mesh, trick)[0], expected) <= 1e-12


@pytest.mark.parametrize(("mesh", "trick"), [("2x1", ""), ("1x2", ""), ("2x1", "weird")])
def test_frozen_layers_stay(mesh, trick, tmp_path):
    expected = mpi_jobs.frozen(None)
    assert not expected["velocity conv2.weight"].any() and expected["velocity conv3.weight"].any()
    assert largest_difference(ranks(tmp_path, 2, "frozen", mesh, trick)[0], expected) <= 1e-12


@pytest.mark.skipif(bool(EMULATED), reason="a GPU's work is queued by one thread")
def test_the_cores_of_a_machine_are_shared_out(tmp_path):
    for told in ranks(tmp_path, 2, "threads", "2x1", threads=None):
        assert told["threads"] == told["workers"] == max(1, usable_cores() // 2)
    many = job(2, PROGRAM, "threads", tmp_path, "2x1", threads=2 * usable_cores())
    assert f"2 ranks with {4 * usable_cores()} threads share {usable_cores()} core" in many.stderr
    assert many.stderr.count("warning") == 1
    for rank in range(2):
        assert np.load(tmp_path / f"rank{rank}.npz")["threads"] == 2 * usable_cores()  # as told


# ---- the ledgers of the three schemes, worked out by hand: AlexNet as the paper has it, a batch of 8 ----

CONV = 34_944 + 307_456 + 885_120 + 663_936 + 442_624  # parameters
FC6, FC7, FC8 = 9216 * 4096 + 4096, 4096 * 4096 + 4096, 4096 * 1000 + 1000
GRADIENTS = [  # in buckets of 4 MiB and more, from the last layer to the first
    ("fc8", FC8), ("fc7", FC7), ("fc6", FC6), ("conv5-conv4", 442_624 + 663_936), ("conv3-conv2", 885_120 + 307_456),
    ("conv1", 34_944),
]  # fmt: skip


def gradients(count: int, buckets) -> list[list]:
    """A rank gets of each bucket everybody's part of its own share, and then the other shares' sums."""
    return [
        [name, "gradient", "all_reduce", *[2 * (count - 1) * 4 * -(-size // count)] * count] for name, size in buckets
    ]


def test_ledger_of_replicas(tmp_path):
    for told in ranks(tmp_path, 2, "ledger", "2x1"):
        assert json.loads(str(told["rows"])) == gradients(2, GRADIENTS)
        assert told["total"] == 2 * 4 * 60_965_224 and sum(size for _, size in GRADIENTS) == 60_965_224
        assert "rank 0          rank 1" in str(told["table"])
        assert f"<- {4 * 60_965_224:,} B of gradients per step" in str(told["told"])


def test_ledger_of_towers(tmp_path):
    """As of two threads or GPUs: half of pool2, of pool5, of fc6's neurons, and half of the sums of the logits."""
    conv3, fc6, fc7, fc8 = (8 * 4 * size for size in (128 * 13 * 13, 128 * 6 * 6, 2048, 1000))
    there = [["conv3", conv3], ["fc6", fc6], ["fc7", fc7]]
    rows = [[layer, "forward", "all_gather", size, size] for layer, size in there]
    rows += [["fc8", "forward", "all_reduce", fc8, fc8]]
    rows += [[layer, "backward", "reduce_scatter", size, size] for layer, size in reversed(there)]
    for told in ranks(tmp_path, 2, "ledger", "1x2"):
        assert json.loads(str(told["rows"])) == rows and told["total"] == 2 * (2 * (conv3 + fc6 + fc7) + fc8)
        assert all(f"<- {size:,} B cross" in str(told["told"]) for size in (conv3, fc6, fc7, fc8))


def test_ledger_of_the_one_weird_trick(tmp_path):
    """The other rank's 4 images before fc6, its neurons of all 8 before fc7, and the convolutions' gradients."""
    fc6, fc7, fc8 = 4 * 4 * 9216, 8 * 4 * 2048, 8 * 4 * 1000
    rows = [
        ["fc6", "forward", "all_gather", fc6, fc6], ["fc7", "forward", "all_gather", fc7, fc7],
        ["fc8", "forward", "all_reduce", fc8, fc8], ["fc7", "backward", "reduce_scatter", fc7, fc7],
        ["fc6", "backward", "reduce_scatter", fc6, fc6], *gradients(2, GRADIENTS[3:]),
    ]  # fmt: skip
    for told in ranks(tmp_path, 2, "ledger", "2x1", "weird"):
        found = json.loads(str(told["rows"]))
        assert sorted(found) == sorted(rows) and found[:4] == rows[:4]
        assert told["total"] == 2 * (2 * (fc6 + fc7) + fc8 + 4 * CONV)


# ---- what cannot be ----


@pytest.mark.parametrize("text", ["", "2", "2x", "x2", "0x1", "2x0", "2x1x1", "-1x2", "2x1000", "2 x", "٢x1"])
def test_meshes_that_cannot_be(text):
    with pytest.raises(ValueError, match="expected REPLICASxTOWERS, such as 4x1, 1x2 or 4x2"):
        parse_mesh(text)


@pytest.mark.parametrize(("text", "mesh"), [("4x2", (4, 2)), (" 1X2 ", (1, 2)), ("16x1", (16, 1))])
def test_meshes(text, mesh):
    assert parse_mesh(text) == mesh


@pytest.mark.parametrize(
    ("mesh", "trick", "told"),
    [
        ("3x1", "", "--mesh 3x1: expected 3 processes, MPI has started 2: mpiexec -n 3 python -m mpi4py"),
        ("2x1", "old", f"other versions than on rank 0: NumPy 1.17.3, there {np.__version__}"),
        ("1x2", "weird", "--mesh 1x2: --one-weird-trick splits the linear layers over the replicas: --mesh 2x1"),
    ],
)
def test_meshes_that_these_ranks_are_not(mesh, trick, told, tmp_path):
    done = job(2, PROGRAM, "alexnet", tmp_path, mesh, *filter(None, [trick]), "float32", cwd=tmp_path)
    assert done.returncode != 0 and told in done.stderr
