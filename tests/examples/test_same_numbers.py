"""A small run of the main job against figures that were kept: no change of the code around the step may move them.

They are as close as all machines agree; to compare two states of the code bit for bit, see tests/same_numbers.py.
"""

import pytest
from examples.main_job import SMALL, run

from tinynet.training import read_log

OTHER = ["--momentum", 0.8, "--weight-decay", 0.01, "--colour-noise", 0.3, "--dropout", 0.3, "--order", "caffenet"]
OTHER += ["--lr-scheduler", "step", "--lr-step-size", 1, "--lr-divisor", 2, "--lr", 0.02]
OTHER += ["--groups", 1, "--init", "paper", "--seed", 5, "--batch-size", 10]
# of each epoch, of a few steps, the mean training loss and the validation loss; processors differ in the eighth digit
# and decoders of JPEG by a shade of grey here and there
FIGURES = {
    "two devices": ([], [(1.297383, 1.099758), (1.525828, 1.111232)]),
    "one device": (["--devices", 1], [(1.297383, 1.099758), (1.525828, 1.111232)]),
    "other settings": (OTHER, [(1.260042, 1.209524), (1.442628, 1.234752), (1.439578, 1.106196)]),
}


@pytest.mark.parametrize("job", FIGURES)
def test_a_small_run_has_the_losses_that_were_kept(data, tmp_path, job):
    options, expected = FIGURES[job]
    result = run(tmp_path, "--data", data, *SMALL, *options, "--epochs", len(expected), "--output-dir", "run")
    assert result.returncode == 0, result.stderr
    epochs = [record for record in read_log(tmp_path / "run" / "log.jsonl") if record["event"] == "epoch"]
    found = [(epoch["train"]["loss"], epoch["validation"]["loss"]) for epoch in epochs]
    assert found == [pytest.approx(losses, rel=1e-3) for losses in expected]
