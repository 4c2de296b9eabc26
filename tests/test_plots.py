"""The pictures: that they are made, and that what they show is there."""

import numpy as np
import pytest
from PIL import Image

from tinynet import plots

pytest.importorskip("matplotlib")


def record(epoch: int, lr: float) -> dict:
    return {
        "epoch": epoch,
        "lr": lr,
        "train": {"loss": 2.0 / epoch, "top1_error": 90 / epoch},
        "validation": {"loss": 2.1 / epoch, "top1_error": 91 / epoch},
    }


def test_learning_curves(tmp_path):
    plots.learning_curves([record(1, 0.1), record(2, 0.1), record(3, 0.01)], tmp_path / "curves.png", "a title")
    image = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).astype(int)
    blue = (np.abs(image - [31, 119, 180]).sum(axis=2) < 30).sum()
    orange = (np.abs(image - [255, 127, 14]).sum(axis=2) < 30).sum()
    assert blue > 200 and orange > 200
    plots.learning_curves([record(1, 0.1)], tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000


def test_filters_show_every_kernel_in_its_colours(tmp_path):
    weight = np.zeros((5, 3, 11, 11), np.float32)
    for kernel, colour in enumerate([(1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, -1), (0, 0, 0)]):
        weight[kernel] = np.array(colour)[:, None, None]
    plots.filters(weight, tmp_path / "filters.png", columns=3)
    image = np.asarray(Image.open(tmp_path / "filters.png").convert("RGB")).astype(int)
    for colour in [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (127, 127, 127)]:
        share = (np.abs(image - colour).sum(axis=2) < 12).mean()
        assert 0.08 < share < 0.2, colour
