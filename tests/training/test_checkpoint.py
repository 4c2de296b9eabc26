"""Checkpoints: a run that goes on is bit-equal to one that never stopped."""

import numpy as np
import pytest

from tinynet import CheckpointError, models, save_weights
from tinynet.backend import to_host
from tinynet.training import load_checkpoint, save_checkpoint, train_epoch


def epoch(run, number: int) -> None:
    train_epoch(run.net, run.loss, run.optimizer, run.train, run.prepare, number)


def test_a_resumed_run_is_bit_equal(make_run, tmp_path):
    whole = make_run()
    epoch(whole, 0)
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, whole.net, whole.optimizer, whole.statistics, {"width": 0.06}, [{"epoch": 1, "lr": 0.01}])
    epoch(whole, 1)

    checkpoint = load_checkpoint(path)
    assert checkpoint.settings == {"width": 0.06} and checkpoint.history == [{"epoch": 1, "lr": 0.01}]
    np.testing.assert_array_equal(checkpoint.statistics.mean_image, whole.statistics.mean_image)
    resumed = make_run()
    checkpoint.restore(resumed.net, resumed.optimizer)
    epoch(resumed, 1)
    for name, parameter in whole.net.params.items():
        assert to_host(parameter).tobytes() == to_host(resumed.net.params[name]).tobytes(), name
        assert to_host(whole.optimizer.velocity[name]).tobytes() == to_host(resumed.optimizer.velocity[name]).tobytes()


def test_wrong_files_are_refused(make_run, tmp_path):
    run = make_run()
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(tmp_path / "none")
    save_weights(run.net, tmp_path / "weights")
    with pytest.raises(CheckpointError, match="not a checkpoint of a training run"):
        load_checkpoint(tmp_path / "weights")
    save_checkpoint(tmp_path / "whole", run.net, run.optimizer, run.statistics, {}, [])
    (tmp_path / "half").write_bytes((tmp_path / "whole").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_checkpoint(tmp_path / "half")
    wider = models.alexnet(3, width=0.1, input_size=67)
    with pytest.raises(CheckpointError, match="the shape"):
        load_checkpoint(tmp_path / "whole").restore(wider)
