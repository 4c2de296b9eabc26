"""Names in one array: the same names, in order, any of them, and after pickling."""

import pickle

import numpy as np
import pytest

from tinynet.data.names import PackedNames

NAMES = ["a", "", "Käse/größe.JPEG", "写真.png", "b" * 300, "broken \udcff.jpg"]


def test_a_sequence_of_the_same_names():
    names = PackedNames(iter(NAMES))
    assert len(names) == 6 and list(names) == NAMES and [names[i] for i in range(6)] == NAMES
    again = pickle.loads(pickle.dumps(PackedNames.from_arrays(names.text, names.starts)))
    assert list(again) == NAMES and "写真.png" in again
    assert len(PackedNames()) == 0 and list(PackedNames()) == []
    for text, starts in (([], []), ([], [1]), ([0], [0, 2]), ([0, 0], [0, 2, 1, 2]), ([0], [0.0, 1])):
        with pytest.raises(ValueError, match="PackedNames: expected"):
            PackedNames.from_arrays(np.array(text, np.uint8), np.array(starts))
    for wrong in (6, -1):
        with pytest.raises(IndexError):
            names[wrong]
