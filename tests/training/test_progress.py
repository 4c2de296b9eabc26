"""What a run shows where there is no terminal."""

from types import SimpleNamespace

from tinynet.training import Counter, progress


def test_a_count_shows_lines_with_the_time_left(monkeypatch, capsys):
    now = iter([0.0, 10.0, 61.0, 61.0, 70.0, 125.0, 125.0])  # asked at the start, at each count, and for each line
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    counter = Counter("measuring")
    for done in (100, 1000, 1200, 2000, 4000):
        counter(done, 4000)
    counter.close()
    assert capsys.readouterr().out.splitlines() == [
        "measuring: 1,000 of 4,000, 3 min 03 s left",
        "measuring: 2,000 of 4,000, 2 min 05 s left",
    ]
