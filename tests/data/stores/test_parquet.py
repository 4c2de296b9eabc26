"""Parquet files that are not what they say: text in place of images, labels and rows without measure."""

import json
import random
import re

import pytest
from disk import image_bytes, write

from tinynet.data import DataError, open_dataset
from tinynet.data.stores import parquet

pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
IMAGES = pa.array([{"bytes": b""}] * 3, pa.struct([("bytes", pa.binary())]))


def raises(*parts):
    return pytest.raises(DataError, match="(?s)" + ".*".join(map(re.escape, parts)))


def opened(folder, image, label=None, metadata=None, **options):
    table = pa.table({"image": image, "label": pa.array([0] * len(image) if label is None else label)})
    for split in ("train", "validation"):
        pq.write_table(table.replace_schema_metadata(metadata), folder / f"{split}-00000-of-00001.parquet", **options)
    return open_dataset(folder)


def test_text_is_never_a_path(tmp_path):
    path = str(write(tmp_path / "secret.png", image_bytes("secret")))
    for kind in (pa.string(), pa.large_string()):
        column = pa.array([{"bytes": path, "path": "x"}], pa.struct([("bytes", kind), ("path", pa.string())]))
        with raises("expected the columns image (a struct of bytes, binary, and path, text) and label", "string"):
            opened(tmp_path, column)
    for kind in (pa.int64(), pa.list_(pa.string()), pa.binary()):
        value = {"bytes": b"", "path": None}
        with raises("expected the columns image"):
            opened(tmp_path, pa.array([value], pa.struct([("bytes", pa.binary()), ("path", kind)])))
    value = {"bytes": image_bytes("large"), "path": "p" * 5000}
    data = opened(tmp_path, pa.array([value], pa.struct([("bytes", pa.large_binary()), ("path", pa.string())])))
    assert data.train.load(0, 8).shape == (8, 8, 3) and data.train.name(0).endswith("/row 0")


def test_labels_that_cannot_be(tmp_path):
    with raises("1999999998 of 2000000001 classes have no training image: 2, 3, 4, 5, 6, 7, 8, 9"):
        opened(tmp_path, IMAGES, [0, 1, 2_000_000_000])
    with raises("classes have no training image: 1, 2, 3"):
        opened(tmp_path, IMAGES, [0, 0, (1 << 63) - 1])
    with raises("-00001.parquet: broken, or no parquet file: ", "not in range"):
        opened(tmp_path, IMAGES, pa.array([0, 1, 1 << 63], pa.uint64()))
    assert len(opened(tmp_path, IMAGES, pa.array([0, 1, 2], pa.uint8())).classes) == 3


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "no JSON",
        *(
            json.dumps({"info": {"features": {"label": {"names": names}}}})
            for names in (["a", 1, "c"], "abc", 2_000_000_000, [["a"], ["b"], ["c"]], None, ["a", "a", "b"])
        ),
    ],
)
def test_label_names_that_are_none(tmp_path, text):
    assert opened(tmp_path, IMAGES, [0, 1, 2], {"huggingface": text}).classes == ("0000", "0001", "0002")


def test_names_of_labels(tmp_path):
    text = json.dumps({"info": {"features": {"label": {"names": ["a", "\ud800", "c\x1b[2J"]}}}})
    assert opened(tmp_path, IMAGES, [0, 1, 2], {"huggingface": text}).classes == ("a", "\ud800", "c\x1b[2J")


KIND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize("field", ["bytes", "path"])
def test_a_short_file_of_a_long_value(tmp_path, field):
    """64 rows of 3 MB, for which a few kB stand: none of it is unpacked."""
    long = {"bytes": bytes(3 << 20)} if field == "bytes" else {"path": "x" * (3 << 20)}
    images = pa.array([{"bytes": b"\xff\xd8\xff", "path": "x"} | long], KIND).take(pa.array([0] * 64))
    with raises(f"-00001.parquet: expected 16 times its size or less in image.{field}, found more"):
        opened(tmp_path, images, compression="gzip").train.load(7, 8)


def test_long_values_are_read_one_by_one(tmp_path):
    """As many rows as are read at once, so many times a value that they share is in memory."""
    rows = {}
    for size in (1 << 10, 2 << 20):
        value = {"bytes": random.Random(0).randbytes(size), "path": "x"}
        opened(tmp_path, pa.array([value], KIND).take(pa.array([0] * 16)))
        file = tmp_path / "train-00000-of-00001.parquet"
        rows[size] = [len(batch) for batch in parquet._batches(file, pq.ParquetFile(file), "bytes")]
    assert rows == {1 << 10: [8, 8], 2 << 20: [1] * 16}


def test_paths_that_repeat_without_end(tmp_path):
    value = {"bytes": b"\xff\xd8\xff", "path": "x" * 4096}
    with raises("-00001.parquet: expected 16 times its size or less in image.path, found more"):
        opened(tmp_path, pa.array([value], KIND).take(pa.array([0] * 257)))


def test_an_image_of_many_rows(tmp_path):
    """As oversampling makes it: the file has it once, and so has the memory."""
    content = image_bytes("often")
    images = pa.array([{"bytes": content, "path": "a/b/c/often.png"}], KIND).take(pa.array([0] * 1000))
    data = opened(tmp_path, images)
    assert data.train.name(999).endswith("/a/b/c/often.png")
    assert (data.train.load(999, 8) == data.train.load(0, 8)).all()
    assert data.train.store.read(7) is data.train.store.read(999) and data.train.store.read(7) == content


def test_more_rows_than_bytes(tmp_path):
    with raises("-00001.parquet: expected an image in each of 100000 rows, found", "bytes in all"):
        opened(tmp_path, IMAGES.take(pa.array([0] * 100_000)))
