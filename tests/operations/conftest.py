"""The ways in which an operation's work may be cut up and handed out: none of them may show in the result."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tinynet import execution

CUTS = {  # bytes of a tile (None: as in use), shares of the work, threads that take them
    "whole": (None, 1, 1),
    "small tiles": (600, 1, 1),
    "small tiles on two threads": (600, 2, 1),
    "tiny tiles on four threads": (1, 4, 3),
    "more shares than threads": (600, 4, 1),
}


@pytest.fixture(params=CUTS)
def cut(request, monkeypatch):
    """Cuts operations into small tiles and shares: test arrays would fit one tile."""
    tile_bytes, shares, threads = CUTS[request.param]
    if tile_bytes is not None:
        monkeypatch.setattr(execution, "TILE_BYTES", tile_bytes)
        monkeypatch.setattr(execution, "COLUMN_BYTES", tile_bytes)
    monkeypatch.setattr(execution, "SHARE_WORK", 1)
    team = execution.Workers(shares)
    with ThreadPoolExecutor(threads) as team.pool:
        monkeypatch.setattr(execution, "_everyone", team)
        yield request.param
