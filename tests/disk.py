"""Tiny data sets as they may lie on disk, made of PNG images that no two of are alike."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

WNIDS = ("n01440764", "n01443537", "n02106550")  # tench, goldfish, Rottweiler: ImageNet's classes 0, 1 and 234


def image_bytes(text: str) -> bytes:
    """A PNG of 8 x 8 pixels that depends on the text alone."""
    pixels = np.random.default_rng(list(text.encode())).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def contents(split) -> list[bytes]:
    """The pixels of all images of a split, in its order."""
    return [split.load(index, 8).tobytes() for index in range(len(split))]


def tar_bytes(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def training_files() -> dict[str, dict[str, bytes]]:
    """wnid -> file name -> content: two, three and four images."""
    names = {wnid: [f"{wnid}_{number}.JPEG" for number in (9, 10, 101, 2)[: 2 + i]] for i, wnid in enumerate(WNIDS)}
    return {wnid: {name: image_bytes(name) for name in names[wnid]} for wnid in WNIDS}


def validation_labels() -> dict[str, str]:
    """File name -> wnid: five of ImageNet's validation images, with the labels that they have there."""
    return {
        "ILSVRC2012_val_00000293.JPEG": WNIDS[0],
        "ILSVRC2012_val_00000236.JPEG": WNIDS[1],
        "ILSVRC2012_val_00003623.JPEG": WNIDS[2],
        "ILSVRC2012_val_00002138.JPEG": WNIDS[0],
        "ILSVRC2012_val_00005351.JPEG": WNIDS[2],
    }


def validation_files() -> dict[str, bytes]:
    return {name: image_bytes(name) for name in validation_labels()}


def write_class_folders(folder: Path, files: dict[str, dict[str, bytes]]) -> None:
    for name, images in files.items():
        for image, content in images.items():
            write(folder / name / image, content)


def write_flat(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        write(folder / name, content)


def nested_tar(files: dict[str, dict[str, bytes]]) -> bytes:
    return tar_bytes({f"{name}.tar": tar_bytes(images) for name, images in reversed(files.items())})
