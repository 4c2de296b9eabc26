"""What a file or a folder is by its name alone: an image, something beside images, or a system's own.

Names decide what is listed; what an image really is, its content decides, when it is decoded.
"""

import os
from collections import Counter
from collections.abc import Mapping

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".jpe", ".jfif", ".png")
LATER_SUFFIXES = (".jpe", ".jfif")  # which earlier versions left out
ALL_SUFFIXES = ", ".join(IMAGE_SUFFIXES)

# Of network storage (Synology, QNAP), Windows, macOS and Linux: copies, previews and what was deleted.
SYSTEM_NAMES = {
    "@eadir", "@recycle", "#recycle", "#snapshot", "@recently-snapshot", "@tmp", "__macosx", "$recycle.bin",
    "system volume information", "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
}  # fmt: skip
# What people keep beside images. Any other file that is left out may have been meant as one, and is told of.
COMPANIONS = (
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".html", ".pdf", ".cls", ".mat", ".py",
    ".db", ".ini", ".log", ".npy", ".npz", ".sh", ".bat", ".ipynb", ".m",
)  # fmt: skip


def names_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def hidden(name: str) -> bool:
    """A file or folder that is never looked into: by a dot in front, or a system's own."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def count_other(counts: Counter, name: str) -> None:
    """Counts a file that is left out by its suffix, unless it is what is usually kept beside images."""
    suffix = os.path.splitext(name)[1].lower()[:16]
    if suffix not in COMPANIONS:
        counts[suffix or "without a suffix"] += 1


def told(counts: Mapping[str, int], limit: int = 8) -> str:
    """'12 .webp, 3 .bmp', the most frequent first."""
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = sum(count for _, count in most[limit:])
    return ", ".join([f"{count} {suffix}" for suffix, count in most[:limit]] + [f"{more} others"] * bool(more))
