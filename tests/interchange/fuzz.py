"""Files changed at random: each is an error of one kind, in one sentence, or a network. As a program, more of them:

PYTHONPATH=tests python tests/interchange/fuzz.py --count 1000      for each format
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tinynet import CheckpointError


def mutated(content: bytes, generator: np.random.Generator) -> bytes:
    """One to three places changed: a byte, a bit, a few cut out or repeated, mostly where the structure is."""
    changed = bytearray(content)
    head = min(len(changed), 1500) if generator.integers(3) else len(changed)
    for _ in range(int(generator.integers(1, 4))):
        place = int(generator.integers(max(1, min(head, len(changed)))))
        how = generator.integers(8)
        if how == 0:
            del changed[place : place + int(generator.integers(1, 30))]
        elif how == 1:
            changed[place:place] = changed[place : place + int(generator.integers(1, 30))]
        elif how < 5 and len(changed) > place:
            changed[place] ^= 1 << int(generator.integers(8))
        elif len(changed) > place:
            changed[place] = int(generator.choice([0, 1, 127, 128, 255, generator.integers(256)]))
    return bytes(changed)


def fuzz(path: Path, content: bytes, read: Callable[[Path], object], count: int, seed: int = 0) -> dict[str, int]:
    """How many of the mutants were read, and how many refused; AssertionError for any other end."""
    generator, found = np.random.default_rng(seed), {"read": 0, "refused": 0}
    for _ in range(count):
        path.write_bytes(mutated(content, generator))
        try:
            read(path)
            found["read"] += 1
        except CheckpointError as error:
            assert len(str(error).splitlines()) == 1, error
            found["refused"] += 1
    return found


def formats(folder: Path) -> dict[str, tuple[str, bytes, Callable[[Path], object]]]:
    """By name: the file's ending, a good file, and what reads it."""
    from interchange import caffemodels, pickles
    from interchange.test_caffe import small
    from interchange.test_onnx import GOOD, model
    from interchange.test_torchvision import ARRAYS

    from tinynet import models
    from tinynet.arrays import write_arrays
    from tinynet.interchange import read_caffe, read_mean, read_onnx, read_pth, read_torchvision, write_onnx
    from tinynet.interchange.caffe_schema import messages

    write_onnx(models.lenet(num_classes=2), folder / "a.onnx", (1, 28, 28), ["a", "b"])
    write_arrays(folder / "a.safetensors", {name: array for name, array in ARRAYS.items() if name != "d"})
    mean = np.ones((3, 4, 4), np.float32)
    np.save(folder / "a.npy", mean)
    blob = messages()["BlobProto"](num=1, channels=3, height=4, width=4, data=mean.ravel().tolist())
    return {
        "ONNX": (".onnx", (folder / "a.onnx").read_bytes(), read_onnx),
        "ONNX by hand": (".onnx", model(*GOOD["MatMul and Add"]), read_onnx),
        "pth": (".pth", pickles.write_zip(folder / "a.pth", pickles.tensors(ARRAYS)).read_bytes(), read_pth),
        "pth before 1.6": (
            ".pth",
            pickles.write_legacy(folder / "b.pth", pickles.tensors(ARRAYS)).read_bytes(),
            read_pth,
        ),
        "safetensors": (".safetensors", (folder / "a.safetensors").read_bytes(), read_torchvision),
        "caffemodel": (".caffemodel", caffemodels.write(folder / "a.caffemodel", small()).read_bytes(), read_caffe),
        "caffemodel, old": (
            ".caffemodel",
            caffemodels.write(folder / "b.caffemodel", small(), True).read_bytes(),
            read_caffe,
        ),
        "binaryproto": (".binaryproto", blob.SerializeToString(), read_mean),
        "npy": (".npy", (folder / "a.npy").read_bytes(), read_mean),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    from tinynet.inspection.timing import peak_bytes

    with tempfile.TemporaryDirectory() as folder:
        for name, (ending, content, read) in formats(Path(folder)).items():
            began, before = time.perf_counter(), peak_bytes() or 0
            found = fuzz(Path(folder) / f"mutant{ending}", content, read, args.count, args.seed)
            more = ((peak_bytes() or 0) - before) / 2**20
            print(f"{name:16} {found['read']:6} read {found['refused']:6} refused, {more:6.0f} MiB more, "
                  f"{time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
