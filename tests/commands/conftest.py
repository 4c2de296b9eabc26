"""A network as a run leaves it behind, and its data set: what commands are asked about."""

import io
import sys
from types import SimpleNamespace

import pytest
from run_on_disk import settings_of, write_weights
from small_runs import data  # noqa: F401

from tinynet import commands, console, models
from tinynet.data import measure
from tinynet.data.sets.synthetic import make_dataset

SIZE, CROP = 72, 67


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A data set of drawn JPEG files."""
    return make_dataset(tmp_path_factory.mktemp("data") / "drawn", SIZE, classes=3, train_per_class=12, val_per_class=4)


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory):  # noqa: F811
    """path: of a run with final weights; others: of networks with other first weights."""
    root = tmp_path_factory.mktemp("runs")
    statistics = measure(data.train, SIZE, workers=1)
    scale = 1 / statistics.pixel_deviation
    paths = []
    for seed in range(2):
        settings = settings_of(data, SIZE, CROP, scale, seed=seed)
        net = models.alexnet(**settings["network"])
        paths.append(write_weights(root / f"run{seed}" / "final", net, statistics, settings).parent)
    return SimpleNamespace(path=paths[0], other=paths[1], data=data)


@pytest.fixture
def ask(capsys, monkeypatch):
    """ask(words...) -> exit code, stdout, stderr of a command in this process."""

    def run(*words, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code: object = 0
        try:
            console.run(lambda: commands.main(list(map(str, words))))
        except SystemExit as stopped:
            code = stopped.code
        out, err = capsys.readouterr()
        if isinstance(code, str):
            code, err = 1, f"{err}{code}\n"
        assert "Traceback" not in err
        return code or 0, out, err

    return run
