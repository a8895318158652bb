"""Which numbers a setting may have: said once, in the same words for every setting."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ConfigError

__all__ = ["check_number", "check_one_of", "check_whole"]


def check_number(name: str, value: Any, low: float, high: float, *, above: bool = False) -> None:
    """Refuse what is no finite number from `low` to `high`; with `above`, `low` itself too.

    Raises:
        ConfigError: Says what was given and what is allowed.

    >>> check_number("backoff_s", -1, 0, 60)
    Traceback (most recent call last):
    cascade.errors.ConfigError: backoff_s: -1 (allowed: a number from 0 to 60)
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if (
        not number
        or not math.isfinite(value)
        or not low <= value <= high
        or (above and value == low)
    ):
        words = f"a number above {low:g}, at most {high:g}" if above else _from_to(low, high)
        raise ConfigError(f"{name}: {value!r} (allowed: {words})")


def check_whole(name: str, value: Any, low: int, high: int) -> None:
    """Refuse what is no whole number from `low` to `high`.

    Raises:
        ConfigError: Says what was given and what is allowed.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name}: {value!r} (allowed: a whole number from {low} to {high})")


def check_one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Refuse what is not one of the words in `allowed`.

    Raises:
        ConfigError: Says what was given and what is allowed.
    """
    if value not in allowed:
        raise ConfigError(f"{name}: {value!r} (allowed: {', '.join(allowed)})")


def _from_to(low: float, high: float) -> str:
    return f"a number from {low:g} to {high:g}"
