"""Tables that tests fill in while they run, printed at the end: what was compared with what, and how close it came."""

from collections.abc import Iterator

import pytest

_tables = pytest.StashKey[dict[str, list[str]]]()


@pytest.fixture(scope="session")
def tables(pytestconfig) -> Iterator[dict[str, list[str]]]:
    """Title -> lines."""
    yield pytestconfig.stash.setdefault(_tables, {})


def pytest_terminal_summary(terminalreporter, config) -> None:
    for title, lines in config.stash.get(_tables, {}).items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.line(line)
