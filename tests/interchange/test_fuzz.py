"""Files changed at random, of each format."""

import pytest
from interchange.fuzz import formats, fuzz

NAMES = ["ONNX", "ONNX by hand", "pth", "pth before 1.6", "safetensors", "caffemodel", "caffemodel, old"]
NAMES += ["binaryproto", "npy"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return formats(tmp_path_factory.mktemp("good"))


@pytest.mark.parametrize("name", NAMES)
def test_mutants_are_one_sentence_or_a_network(files, tmp_path, name):
    ending, content, read = files[name]
    assert list(files) == NAMES
    found = fuzz(tmp_path / f"mutant{ending}", content, read, 200)
    assert found["refused"] > 20 and sum(found.values()) == 200
