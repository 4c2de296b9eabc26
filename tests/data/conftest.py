"""For all tests of the data room."""

import pytest


@pytest.fixture(autouse=True)
def host_processes(monkeypatch):
    """Processes that a test starts work on the host, also where the tests themselves run on emulated GPUs."""
    monkeypatch.setenv("TINYNET_BACKEND", "numpy")
