"""The README's Python is run as it stands there, from the first block to the last, as a reader would in one session."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from tinynet.backend import on_gpu

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.skipif(on_gpu, reason="its arrays are NumPy's")
def test_its_python_runs_and_learns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where its run goes
    blocks = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)
    assert len(blocks) >= 4
    printed, session = io.StringIO(), {"__name__": "__main__"}
    with contextlib.redirect_stdout(printed):
        for block in blocks:
            exec(compile(block, "README.md", "exec"), session)
    losses = [float(loss) for loss in re.findall(r"^step .*: loss (.*)$", printed.getvalue(), re.M)]
    assert len(losses) == 7 and losses[-1] < 0.5 < 1.386 < losses[0]
    assert float(re.search(r"^right: (.*)$", printed.getvalue(), re.M)[1]) > 0.9
    wrong = [float(share) for share in re.findall(r"^pass .*, (.*) % wrong$", printed.getvalue(), re.M)]
    assert len(wrong) == 5 and wrong[-1] < 10
    assert "epoch  3/3" in printed.getvalue() and (tmp_path / "runs" / "lenet-pictures-1" / "final").is_dir()
