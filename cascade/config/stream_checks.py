"""Mistakes in how the keys of `stream` fit together, and with the scorer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .document import Document
from .yaml_source import KeyPath

__all__ = ["check_streams"]


def check_streams(document: Document) -> None:
    """Report every such mistake to `document`."""
    found = document.data.get("ladder")
    ladder: list[Any] = found if isinstance(found, list) else []
    rungs = [rung for rung in ladder if isinstance(rung, Mapping)]
    accepts = [n for rung in rungs if (n := _number(rung.get("accept"))) is not None]
    least = min(accepts, default=None)
    _check_stream(("stream",), document.data.get("stream"), least, document)
    for i, rung in enumerate(ladder):
        if isinstance(rung, Mapping):
            accept = _number(rung.get("accept"))
            _check_stream(("ladder", i, "stream"), rung.get("stream"), accept, document)


def _check_stream(path: KeyPath, stream: Any, accept: float | None, document: Document) -> None:
    if not isinstance(stream, Mapping):
        return
    own = _number(stream.get("accept"))
    accept = accept if own is None else own
    reject = _number(stream.get("reject"))
    if reject is not None and accept is not None and reject >= accept:
        message = f"{reject:g} is not below what is passed on, {accept:g}"
        document.report((*path, "reject"), message, "less than `accept`")
    checkpoints = stream.get("checkpoints")
    if isinstance(checkpoints, list):
        numbers = [n for n in checkpoints if _number(n) is not None]
        if numbers != sorted(set(numbers)):
            message = "are not in rising order"
            document.report((*path, "checkpoints"), message, "each above the one before")
    if stream.get("mode") != "early":
        for key in ("accept", "reject", "min_logprob", "checkpoints"):
            if key in stream:
                message = "is only looked at with `mode: early`"
                document.report((*path, key), message, "`mode: early` beside it")


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None
