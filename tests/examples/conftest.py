"""A small data set of drawn JPEG files."""

from pathlib import Path

import pytest

from tinynet.data.sets.synthetic import make_dataset


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("images") / "drawn"
    return make_dataset(root, size=72, classes=3, train_per_class=12, val_per_class=4)
