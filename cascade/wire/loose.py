"""JSON that is not quite JSON, or not quite of the shape: read field by field, what is odd counts as absent."""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar

import msgspec

__all__ = ["or_none", "read_json", "valid_text"]

_T = TypeVar("_T")


def read_json(data: bytes) -> Any:
    """Return what JSON holds; numbers that are not finite, which Python's servers write, are None.

    Raises:
        ValueError: It is not JSON. What is raised holds the whole text.
        RecursionError: It is nested too deep.
    """
    return json.loads(data.decode("utf-8"), parse_constant=lambda _: None, parse_float=_finite)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def or_none(value: Any, kind: type[_T]) -> _T | None:
    """Return `value` as a `kind`, or None when it is none."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError):
        return None


def valid_text(value: Any) -> Any:
    """Return decoded JSON with U+FFFD in place of every lone surrogate."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [valid_text(item) for item in value]
    if isinstance(value, dict):
        return {valid_text(key): valid_text(item) for key, item in value.items()}
    return value
