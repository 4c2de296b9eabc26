"""The account of bad images: once each, in words, and up to a limit."""

import logging
from types import SimpleNamespace

import pytest

from tinynet.data import BadImages, DataError


class NamedSplit(SimpleNamespace):
    def __len__(self):
        return 100

    def name(self, index):
        return f"folder/{index}.jpg"


def test_each_image_counts_and_is_reported_once():
    reports = []
    bad = BadImages(NamedSplit(), 0.02, lambda name, reason: reports.append((name, reason)))
    for index in (7, 3, 7, 3):
        bad.add(index, f"folder/{index}.jpg: cannot be decoded: why")
    assert reports == [("folder/7.jpg", "cannot be decoded: why"), ("folder/3.jpg", "cannot be decoded: why")]
    assert bad.reasons == {7: "cannot be decoded: why", 3: "cannot be decoded: why"}


def test_without_a_callback_it_is_logged(caplog):
    with caplog.at_level(logging.WARNING):
        BadImages(NamedSplit()).add(5, "folder/5.jpg: empty")
    assert [(record.name, record.message) for record in caplog.records] == [
        ("tinynet.data.bad_images", "left out folder/5.jpg: empty")
    ]


@pytest.mark.parametrize("count", [0, 7, 29, 57, 58])  # 0.29 * 100 is 28.999999999999996
def test_the_limit_is_the_share_itself(count):
    bad = BadImages(NamedSplit(), count / 100, lambda name, reason: None)
    for index in range(count):
        bad.add(index, "empty")
    with pytest.raises(DataError, match=f"^{count + 1} of 100 images "):
        bad.add(count, "empty")


def test_the_error_tells_what_and_how_to_go_on():
    bad = BadImages(NamedSplit(), 0.07, lambda name, reason: None)
    with pytest.raises(DataError) as caught:
        for index in range(10):
            bad.add(index, f"folder/{index}.jpg: empty")
    names = "; ".join(f"folder/{index}.jpg: empty" for index in range(5))
    assert str(caught.value) == (
        "8 of 100 images (8.00%) cannot be read, more than the 7.00% that --max-bad (max_bad) allows: "
        f"{names}; and 3 more"
    )


def test_all_may_be_bad():
    bad = BadImages(NamedSplit(), 1, lambda name, reason: None)
    for index in range(100):
        bad.add(index, "empty")
    assert len(bad.reasons) == 100


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan"), 5])
def test_wrong_shares(share):
    with pytest.raises(ValueError, match="max_bad: expected a share of the images from 0 to 1"):
        BadImages(NamedSplit(), share)
