"""The account of bad images: once each, in words, and up to a limit."""

import logging
from types import SimpleNamespace

import pytest

from tinynet.data import BadImages, DataError


class NamedSplit(SimpleNamespace):
    images = 100

    def __len__(self):
        return self.images

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


@pytest.mark.parametrize(("images", "share", "allowed"), [(12, 0.01, 1), (99, 0.01, 1), (199, 0.01, 1), (200, 0.01, 2)])
def test_in_a_small_split_one_is_allowed(images, share, allowed):
    bad = BadImages(NamedSplit(images=images), share, lambda name, reason: None)
    for index in range(allowed):
        bad.add(index, "empty")
    with pytest.raises(DataError, match=f"^{allowed + 1} of {images} images "):
        bad.add(allowed, "empty")


@pytest.mark.parametrize(("images", "share"), [(12, 0), (1, 0.5)])
def test_but_none_where_none_may_be_or_none_would_be_left(images, share):
    with pytest.raises(DataError, match=f"^1 of {images} images "):
        BadImages(NamedSplit(images=images), share, lambda name, reason: None).add(0, "empty")


def test_what_is_known_counts_if_there_is_such_an_image():
    bad = BadImages(NamedSplit(), 0.02, known={3: "empty", 100: "another data set's", -1: "none"})
    assert bad.reasons == {3: "empty"}


def test_names_do_not_reach_the_terminal_as_they_are(caplog):
    class Forged(NamedSplit):
        def name(self, index):
            return "x\x1b[2J\nwarning: forged"

    bad = BadImages(Forged(), 0)
    with pytest.raises(DataError, match=r"x\\x1b\[2J\\nwarning: forged: not\\x07") as caught:
        bad.add(1, "x\x1b[2J\nwarning: forged: not\x07")
    assert str(caught.value).isprintable() and caplog.messages[0].isprintable()
    assert caplog.messages == [r"left out x\x1b[2J\nwarning: forged: not\x07"]


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
