"""What requests hold, looked at field by field: every function returns what is right, and raises ValueError else."""

from collections.abc import Collection
from typing import Any

from tinynet.files import is_count, is_number


def mapping(value: object, what: str, names: Collection[str] | None = None) -> dict[str, Any]:
    """An object, with no other fields than these."""
    if not isinstance(value, dict):
        raise _error(what, "an object", value)
    if unknown := [name for name in value if names is not None and name not in names]:
        raise _error(what, f"fields of {', '.join(names or ())}", unknown[0])
    return value


def flag(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise _error(what, "true or false", value)
    return value


def number(value: object, what: str, most: float) -> float:
    if not is_number(value) or abs(value) > most:
        raise _error(what, f"a number from {-most} to {most}", value)
    return float(value)


def count(value: object, what: str) -> int:
    if not is_count(value):
        raise _error(what, "a whole number from 0", value)
    return value


def word(value: object, what: str, choices: Collection[str] | None = None) -> str:
    if not isinstance(value, str) or (choices is not None and value not in choices):
        raise _error(what, "a text" if choices is None else " or ".join(choices), value)
    return value


def several(value: object, what: str, most: int) -> list[Any]:
    """A list of no more than this many."""
    if not isinstance(value, list) or len(value) > most:
        raise _error(what, f"a list of {most:,} at most", value)
    return value


def whole_numbers(values: object, what: str, wanted: int) -> tuple[int, ...]:
    """So many whole numbers of either sign, of the size that pixels have."""
    found = several(values, what, wanted)
    right = all(is_number(one) and isinstance(one, int) and abs(one) <= 100_000 for one in found)
    if len(found) != wanted or not right:
        raise _error(what, f"{wanted} whole numbers", values)
    return tuple(found)


def _error(what: str, expected: str, found: object) -> ValueError:
    return ValueError(f"{what[:60]}: expected {expected}, found {str(found)[:60]!r}")
