"""What may lie where a file is expected: a folder, a pipe that nobody writes into, a link to a device without end."""

import os
from pathlib import Path


def link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


NO_FILES = [Path.mkdir]
if hasattr(os, "mkfifo"):
    NO_FILES += [os.mkfifo, link_to_device]
