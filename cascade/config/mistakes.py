"""Puts pydantic's errors into words: where in the file, what was given, what is allowed."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .checks import nearest
from .document import MAX_PROBLEMS, Document
from .places import Place, locate, members, plain_type
from .schema import LadderConfig
from .yaml_source import KeyPath

__all__ = ["report_mistakes"]


def report_mistakes(error: ValidationError, document: Document, *, under: KeyPath = ()) -> None:
    """Report everything that `error` holds to `document`.

    Args:
        error: What pydantic found wrong with a ladder, or with a part of one.
        document: The file.
        under: Where that part stands in a ladder.
    """
    for found in error.errors(include_url=False, include_input=False)[: MAX_PROBLEMS + 1]:
        _report({**found, "loc": (*under, *found["loc"])}, document)


def _report(error: ErrorDetails, document: Document) -> None:
    place = locate(error["loc"], LadderConfig)
    path, kind = place.path, error["type"]
    value = _value_at(document.data, path)
    if kind == "extra_forbidden" and place.table is not None:
        known = list(place.table.model_fields)
        message = f"unknown key{nearest(str(path[-1]), known)}"
        document.report(path, message, ", ".join(known))
    elif kind == "missing":
        if not document.lacks_keys(path[:-1]):  # else it may be the key that was refused
            document.report(path, "is missing", place.allowed)
    elif kind in ("too_short", "too_long", "string_too_short", "string_too_long"):
        _report_length(error, place, value, document)
    elif kind == "union_tag_not_found":
        _report_kind(place, value, document)
    elif kind == "cascade":
        of_key = error["loc"][-1] == "[key]"
        shows = place.shows(value) or (place.shows_value and document.is_secret(path))
        given = f"{document.shown(path, value)} " if shows and not of_key else ""
        detail = error["ctx"]["detail"]
        more = f": {detail}" if detail and not document.is_secret(path) else ""
        document.report(path, given + error["msg"] + more, place.allowed)
    else:
        document.report(path, _given(place, kind, value, document), place.allowed)


def _report_length(error: ErrorDetails, place: Place, value: Any, document: Document) -> None:
    """Report a text, list or mapping of the wrong length.

    A list is also too short for pydantic when items of it are wrong; those are reported themselves.
    """
    kind, limits = error["type"], error["ctx"]
    if kind == "string_too_short":
        message = "is empty"
    elif kind == "string_too_long":
        message = f"is longer than {limits['max_length']} characters"
    else:
        count = len(value) if isinstance(value, list | dict) else 0
        if kind == "too_short" and count >= limits["min_length"]:
            return
        message = f"{count} given" if count else "is empty"
    document.report(place.path, message, place.allowed)


def _report_kind(place: Place, value: Any, document: Document) -> None:
    """Report a mapping whose kind is not one of those there are."""
    first = next(iter(members(place.annotation).values()))
    model, _ = plain_type(first)
    has_kind = isinstance(model, type) and "kind" in getattr(model, "model_fields", {})
    if not isinstance(value, dict) or not has_kind:
        message = f"{_type_words(value)} given" if has_kind else _item_words(place, value, document)
        document.report(place.path, message, place.allowed)
        return
    kinds = _kind_words(place)
    path = (*place.path, "kind")
    if "kind" not in value:
        if not document.lacks_keys(place.path):
            document.report(place.path, "`kind` is missing", kinds)
        return
    given = value["kind"]
    if isinstance(given, str):
        hint = nearest(given, kinds.split(" or "))
        hint = "" if document.is_unresolved(path) else hint
        document.report(path, f"{document.shown(path, given)} is no kind{hint}", kinds)
    else:
        document.report(path, f"{_type_words(given)} given", kinds)


def _kind_words(place: Place) -> str:
    models = [plain_type(choice)[0] for choice in members(place.annotation).values()]
    return " or ".join(locate(("kind",), model).allowed or "" for model in models)


def _item_words(place: Place, value: Any, document: Document) -> str:
    """Return what is wrong with an item that is neither a known name nor a mapping with a known key."""
    is_gate = "gates" in place.path
    if isinstance(value, dict):
        return (
            "a mapping with neither `regex` nor `python`"
            if is_gate
            else "a mapping from no known stage"
        )
    return f"{document.shown(place.path, value)} is no {'gate' if is_gate else 'stage'}"


def _given(place: Place, kind: str, value: Any, document: Document) -> str:
    """Return what is wrong with a value, quoting it only where that is safe."""
    if not place.shows(value):
        return f"{_type_words(value)} given"
    shown = document.shown(place.path, value)
    if kind == "literal_error":
        hint = nearest(str(value), (place.allowed or "").split(" or "))
        return f"{shown} is not one of the choices{hint}"
    if kind.endswith("_type"):
        return f"{shown} is {_type_words(value)}"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return f"{shown} is out of range"
    if kind == "finite_number":
        return f"{shown} is not a finite number"
    return f"{shown} is not right here"


def _type_words(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}
    return names.get(type(value), "a mapping")


def _value_at(data: Any, path: KeyPath) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data
