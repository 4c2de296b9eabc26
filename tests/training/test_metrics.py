"""Top-1 and top-5 errors."""

import numpy as np
import pytest

from tinynet.backend import to_device
from tinynet.training.metrics import Running, ranks


def test_ranks_count_the_classes_before_the_right_one():
    scores = to_device(np.array([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2], [0.1, 0.7, 0.2]]))
    assert ranks(scores, np.array([1, 2, 0])).tolist() == [0, 1, 2]


def test_a_net_that_answers_nothing_is_right_by_chance_only():
    labels = np.arange(10)
    found = ranks(to_device(np.zeros((10, 10))), labels)
    assert (found == 0).mean() == 0.1 and (found < 5).mean() == 0.5


def test_running_means_weigh_images_not_batches():
    running = Running()
    running.add(1.0, np.array([0, 1, 7]))
    running.add(5.0, np.array([5]))
    assert running.images == 4
    assert running.loss == pytest.approx(2.0)
    assert running.top1_error == pytest.approx(75.0)
    assert running.top5_error == pytest.approx(50.0)
