"""A train.txt beside a val.txt: what it says of training images in class folders tells which numbers the lists mean.

Folders are numbered in the order of their names; a list as Caffe's may number the classes in any other.
"""

import codecs
from functools import partial
from io import BufferedReader
from pathlib import Path

from tinynet.data.labels.integer_labels import integer_label
from tinynet.data.names import encoded
from tinynet.data.reading import LONGEST_LIST, open_file
from tinynet.errors import DataError

LIST = "train.txt"
LONGEST_LINE = 1 << 16  # bytes; what is longer names no file


def refuse_other_numbers(val_list: Path, classes: tuple[str, ...]) -> None:
    """DataError when the train.txt beside `val_list` gives a file in a class's folder another number than the class's
    position, since labels in `val_list` are then of that order too. No more than LONGEST_LIST bytes are looked at;
    ImageNet's have 45 million, and take a second.
    """
    file = val_list.with_name(LIST)
    if not file.is_file():
        return
    positions = {encoded(name): position for position, name in enumerate(classes)}
    right: set[tuple[bytes, bytes]] = set()  # pairs of a class and its label: most lines have one that was seen
    with BufferedReader(open_file(file), 1 << 20) as lines:
        read = 0
        for number, line in enumerate(iter(partial(lines.readline, LONGEST_LINE), b""), start=1):
            read += len(line)
            if read > LONGEST_LIST:
                return
            path, label = _parsed(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line)
            if (path, label) in right or path not in positions:
                continue
            found, expected = integer_label(label.decode("ascii", "replace")), positions[path]
            if found not in (None, expected) and label != path:  # a class's own name comes first, as in a val.txt
                raise DataError(
                    f"{file}: line {number} gives the class {classes[expected]} the number {found}, and its place "
                    f"among the folders is {expected}: the labels in {val_list.name} would be taken for other classes. "
                    f"Expected the position of the class in sorted order, or names of classes instead of numbers"
                )
            right.add((path, label))


def _parsed(line: bytes) -> tuple[bytes, bytes]:
    """The folder that a line's file lies in, and the label; empty where there is none."""
    fields = line.rsplit(None, 1)
    parts = fields[0].rsplit(b"/", 2) if len(fields) == 2 else []
    return (parts[-2].strip(), fields[1]) if len(parts) > 1 else (b"", b"")
