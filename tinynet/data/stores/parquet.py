"""Images in parquet files, as Hugging Face's hub keeps data sets: a row per image, with its bytes and its label.

Needs pyarrow. Rows are read in groups of a hundred or more: in their order that is fast, at random it is slow. For
training, prepare a cache first.
"""

import os
import re
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tinynet.data.dataset import ProgressCallback
from tinynet.data.labels.integer_labels import check_integer_labels, classes_of_integer_labels
from tinynet.data.names import PackedNames, shortened
from tinynet.data.reading import open_file
from tinynet.data.stores.image_split import ImageSplit
from tinynet.errors import DataError
from tinynet.files import parse_json

EXPECTED = "the columns image (a struct of bytes, binary, and path, text) and label (an integer)"
LONGEST_PATH = 4096  # characters of an image.path
BATCH = 8  # rows that are read at a time, where they are short
MIB = 1 << 20
MOST_TIMES = 16  # a column, unpacked, is at most so many times its file's size, or a MiB: images hardly shrink


class ParquetStore:
    """The column image.bytes of parquet files. Each thread keeps the row group that it read last."""

    def __init__(self, files: Sequence[Path], names: PackedNames, groups: np.ndarray):
        """groups: int64 (row groups, 3): its file, its number there, and the rows up to its end in all."""
        self._files, self._names, self._groups = [str(file) for file in files], names, groups
        self._last = threading.local()

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_last": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= state | {"_last": threading.local()}

    def name(self, position: int) -> str:
        group = self._group_of(position)
        return f"{self._files[self._groups[group, 0]]}/{self._names[position]}"

    def read(self, position: int) -> bytes:
        group = self._group_of(position)
        if getattr(self._last, "group", None) != group:
            file, number, _ = self._groups[group].tolist()
            with _opened(self._files[file]) as parquet:
                batches = _batches(self._files[file], parquet, "bytes", [number])
                kept: dict[bytes, bytes] = {}  # an image that many rows repeat is kept once
                images = [kept.setdefault(image, image) for batch in batches for image in batch.to_pylist()]
            if len(images) != self._rows(group):
                raise DataError(f"{self._files[file]}: row group {number} has not the rows that the file says")
            self._last.group, self._last.images = group, images
        images = self._last.images
        content = images[position - int(self._groups[group, 2]) + len(images)]
        if content is None:
            raise DataError(f"{self.name(position)}: the row has no image bytes")
        return content

    def _rows(self, group: int) -> int:
        return int(self._groups[group, 2] - (self._groups[group - 1, 2] if group else 0))

    def _group_of(self, position: int) -> int:
        return int(np.searchsorted(self._groups[:, 2], position, side="right"))


def parquet_split(
    files: Sequence[Path], classes: tuple[str, ...] | None = None, progress: ProgressCallback | None = None
) -> ImageSplit:
    """The images of parquet files with the columns image.bytes and label, in the files' order.

    Labels are 0 to N - 1; integer_labels finds what they stand for, or checks them against `classes`.
    """
    _refuse_missing(files)
    labels: list[np.ndarray] = []
    groups: list[tuple[int, int, int]] = []
    label_names: tuple[str, ...] | None = None

    def names():
        nonlocal label_names
        rows = 0
        for number, file in enumerate(files):
            with _opened(file) as parquet:
                _check_schema(file, parquet)
                label_names = label_names or _label_names(parquet)
                for group in range(parquet.num_row_groups):
                    rows += max(0, parquet.metadata.row_group(group).num_rows)
                    groups.append((number, group, rows))
                told, paths = _labels_and_paths(file, parquet)
                if len(told) != rows - sum(map(len, labels)):
                    raise DataError(f"{file}: its row groups have not the rows that the file says")
            labels.append(told)
            for row, path in enumerate(paths):
                yield path or f"row {row}"
            if progress:
                progress(number + 1, len(files))

    packed, where = PackedNames(names()), str(files[0].parent)
    if not len(packed):
        raise DataError(f"{where}: no rows in {shortened([file.name for file in files])}")
    store, all_labels = ParquetStore(files, packed, np.array(groups, np.int64)), np.concatenate(labels)
    if classes is None:
        classes = classes_of_integer_labels(where, all_labels, packed, label_names)
    else:
        check_integer_labels(where, all_labels, packed, classes)
    return ImageSplit(store, all_labels, classes)


@contextmanager
def _opened(file: str | Path):
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"{file}: reading parquet files needs pyarrow: pip install pyarrow") from error
    try:
        with open_file(file) as opened, pyarrow.parquet.ParquetFile(opened) as parquet:
            yield parquet
    except DataError:
        raise
    except Exception as error:  # pyarrow has its own kinds, and ValueError, KeyError, OSError, MemoryError
        raise DataError(f"{file}: broken, or no parquet file: {error}") from error


def _check_schema(file: Path, parquet) -> None:
    """DataError unless the columns are those of images: as text, image.bytes would be a path on this machine."""
    from pyarrow import types

    schema = parquet.schema_arrow
    image = schema.field("image").type if "image" in schema.names else None
    fields = {field.name: field.type for field in image} if image and types.is_struct(image) else {}
    label = schema.field("label").type if "label" in schema.names else None
    right = _is_binary(fields.get("bytes")) and ("path" not in fields or _is_text(fields["path"]))
    if not right or label is None or not types.is_integer(label):
        found = ", ".join(f"{field.name}: {field.type}" for field in schema)
        raise DataError(f"{file}: expected {EXPECTED}, found {found}")
    rows, size = parquet.metadata.num_rows, os.stat(file).st_size
    if rows > size:  # none has less than a byte; a column of a thousand million equal labels takes a few
        raise DataError(f"{file}: expected an image in each of {rows} rows, found {size} bytes in all")


def _is_binary(kind) -> bool:
    from pyarrow import types

    return kind is not None and any(test(kind) for test in (types.is_binary, types.is_large_binary))


def _is_text(kind) -> bool:
    from pyarrow import types

    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_null))


def _batches(file: str | Path, parquet, field: str, row_groups: Sequence[int] | None = None) -> Iterator:
    """A field of the column image, a few rows at a time; DataError when it is, unpacked, longer than is believed.

    One value may stand for any number of rows, and pyarrow repeats it for each row of a batch: where values may be
    long, a batch is one row.
    """
    groups = range(parquet.num_row_groups) if row_groups is None else row_groups
    told = map(parquet.metadata.row_group, groups)
    columns = (group.column(number) for group in told for number in range(group.num_columns))
    sizes = [column.total_uncompressed_size for column in columns if column.path_in_schema == f"image.{field}"]
    _spend(file, field, sum(sizes), _most_bytes(file))
    rows = BATCH if max(sizes, default=0) < MIB else 1
    for batch in parquet.iter_batches(rows, groups, [f"image.{field}"], use_threads=False):
        yield batch.column("image").field(field)


def _most_bytes(file: str | Path) -> int:
    """How long a column of the file may be, unpacked."""
    return max(MIB, MOST_TIMES * os.stat(file).st_size)


def _spend(file: str | Path, field: str, size: int, left: int) -> int:
    """What is left of a column's bytes; DataError when it is less than nothing."""
    if size > left:
        raise DataError(f"{file}: expected {MOST_TIMES} times its size or less in image.{field}, found more")
    return left - size


def _labels_and_paths(file: Path, parquet) -> tuple[np.ndarray, list[str | None]]:
    """Of all rows of one file: labels int64 (rows,), and image.path where there is one that can be a name."""
    with_path = "path" in [field.name for field in parquet.schema_arrow.field("image").type]
    labels = parquet.read(columns=["label"], use_threads=False)["label"]
    if labels.null_count:
        raise DataError(f"{file}: {labels.null_count} rows have no label")
    paths: list[str | None] = [] if with_path else [None] * len(labels)
    left = _most_bytes(file)
    for batch in _batches(file, parquet, "path") if with_path else ():
        found = [path if path and len(path) <= LONGEST_PATH else None for path in batch.to_pylist()]
        left = _spend(file, "path", sum(len(path) for path in found if path), left)
        paths += found
    if len(paths) != len(labels):
        raise DataError(f"{file}: {len(labels)} rows have a label, {len(paths)} a path")
    return labels.cast("int64").to_numpy(), paths  # a label beyond int64 is an error


def _label_names(parquet) -> tuple[str, ...] | None:
    """The labels' names that Hugging Face's datasets library writes into the schema; None where there are none."""
    metadata = (parquet.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        names = parse_json(metadata)["info"]["features"]["label"]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _refuse_missing(files: Sequence[Path]) -> None:
    """train-00000-of-00294.parquet tells how many there are: an interrupted download would be a smaller data set."""
    present = defaultdict(set)
    for file in files:
        if numbered := re.fullmatch(r"(.*)-(\d{5})-of-(\d{5})\.parquet", file.name):
            present[numbered[1], int(numbered[3])].add(int(numbered[2]))
    for (name, count), numbers in present.items():
        missing = [f"{name}-{number:05d}-of-{count:05d}.parquet" for number in range(count) if number not in numbers]
        if missing:
            raise DataError(f"{files[0].parent}: {len(missing)} of {count} files are missing: {shortened(missing)}")
