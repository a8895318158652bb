"""What only `cascade check` looks at, as an engine finds it out later, and without the line of the file.

The logs behind recorded providers are read by an engine at its first ask, as that may take long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from .errors import LogError, ScorerError

if TYPE_CHECKING:
    from .config.load import LadderReading
    from .config.yaml_source import KeyPath

__all__ = ["CHECKED_LOG_MB", "check_near", "check_recorded"]

CHECKED_LOG_MB = 64
"""Megabytes of a log that are read, unpacked; about a second."""

_BAD_ROWS_TOLD = 3


def check_recorded(reading: LadderReading, on_note: Callable[[str], None]) -> None:
    """Report recorded logs that cannot be served, and models that they do not hold.

    Args:
        reading: The ladder file; mistakes go to its document.
        on_note: Told what was not checked, as a log was too long.
    """
    from .clients.recorded import names_of, survey_log

    document, parts = reading.document, reading.parts
    for name, provider in (parts.providers or {}).items():
        place: KeyPath = ("providers", name, "path")
        path = provider.get("path")
        if path is None or document.is_unresolved(place) or document.is_reported(place):
            continue
        shown = document.shown(place, path)
        try:
            found = survey_log(parts.folder / path, max_bytes=CHECKED_LOG_MB * 1_000_000)
        except LogError as exc:
            told = str(exc).replace(str(parts.folder / path), shown)
            document.report(place, told, "a traffic log, .jsonl or .jsonl.gz")
            continue
        for line, why in found.mistakes[:_BAD_ROWS_TOLD]:
            message = f"line {line} of {shown} is not a row of a traffic log: {why}"
            document.report(place, message, "a `prompt` and its `responses` on every line")
        more = len(found.mistakes) - _BAD_ROWS_TOLD
        if more > 0:
            document.report(place, f"{more:,} more lines of {shown} are not rows either")
        if found.mistakes:
            continue
        if found.whole and not found.rows:
            document.report(place, f"{shown} is empty", "a traffic log of one row or more")
            continue
        held = f"the first {found.rows:,} rows of {shown} ({CHECKED_LOG_MB} MB)"
        if not found.whole:
            on_note(f"of {name}, only {held} were checked")
        for where, model in _asked_of(name, reading):
            if model in found.models:
                continue
            if found.whole:
                message = f"{shown} holds no answers of {document.shown(where, model)}"
                document.report(where, message, names_of(found.models))
            else:
                on_note(f"{held} hold no answers of {document.shown(where, model)}")


def check_near(reading: LadderReading) -> None:
    """Report a same-answer scorer of the cache that cannot be loaded, or does not fit its embedder.

    Args:
        reading: The ladder file; mistakes go to its document.
    """
    from .build_cache import near_search
    from .config import NearConfig

    document, place = reading.document, ("cache", "near")
    cache = document.data.get("cache")
    wanted = cache.get("near") if isinstance(cache, Mapping) else None
    if not isinstance(wanted, Mapping) or document.waits_below(place):
        return
    try:
        near = NearConfig.model_validate(wanted)
    except ValidationError:
        return  # told already, as what it is
    named = near.scorer
    folder = None if named is None else str(reading.parts.folder / named)
    try:
        near_search(near.model_copy(update={"scorer": folder}))
    except ScorerError as exc:
        told = str(exc).removeprefix("cache.near: ")
        if named is None:
            document.report((*place, "embedder"), told, "one that is installed")
            return
        where: KeyPath = (*place, "scorer")
        told = told.replace(str(folder), document.shown(where, named))
        document.report(where, told, "what `cascade train-pairs PAIRS -o DIR` wrote")


def _asked_of(provider: str, reading: LadderReading) -> list[tuple[KeyPath, str]]:
    """Return where the file names models of this provider, and the models."""
    places: list[tuple[KeyPath, Mapping[str, Any]]] = [
        (("ladder", i, "model"), rung) for i, rung in enumerate(reading.parts.rungs)
    ]
    if reading.parts.scorer.get("kind") == "judge":
        places.append((("scorer", "model"), reading.parts.scorer))
    return [
        (place, fields["model"])
        for place, fields in places
        if fields.get("provider") == provider
        and "model" in fields
        and not reading.document.is_unresolved(place)
    ]
