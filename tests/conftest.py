"""Tables that tests fill in while they run, printed at the end: what was compared with what, and how close it came."""

from collections.abc import Iterator

import pytest

from tinynet.operations import blas, shifted

PRIVILEGE_NOT_HELD = 1314  # of Windows' error codes
_tables = pytest.StashKey[dict[str, list[str]]]()


@pytest.fixture(scope="session")
def tables(pytestconfig) -> Iterator[dict[str, list[str]]]:
    """Title -> lines."""
    yield pytestconfig.stash.setdefault(_tables, {})


def pytest_addoption(parser) -> None:
    what = "as where NumPy runs on another BLAS than OpenBLAS (Accelerate, MKL): no product is added to its output"
    parser.addoption("--no-openblas", action="store_true", help=what)


def pytest_configure(config) -> None:
    if config.getoption("--no-openblas"):
        blas.can_accumulate = shifted.can_accumulate = False


@pytest.fixture(params=["OpenBLAS", "another BLAS"])
def any_blas(request, monkeypatch) -> None:
    """Both ways of the operations that depend on it."""
    if request.param == "another BLAS":
        monkeypatch.setattr(shifted, "can_accumulate", False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """A test that makes links is skipped where Windows lets only administrators make them."""
    try:
        return (yield)
    except OSError as error:
        if getattr(error, "winerror", None) == PRIVILEGE_NOT_HELD:
            pytest.skip("links may not be made here")
        raise


def pytest_terminal_summary(terminalreporter, config) -> None:
    for title, lines in config.stash.get(_tables, {}).items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.line(line)
