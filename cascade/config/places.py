"""Finds the place in the table of keys that a validation error is about, and says what is allowed there."""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, Tag

from .values import Address, Hidden, Says
from .yaml_source import KeyPath

__all__ = ["Place", "locate", "members", "plain_type"]

_SCALARS = (str, int, float, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in a ladder file.

    Attributes:
        path: Its key path, as the file has it.
        table: The mapping that it is a key of, or None.
        annotation: Its type, without metadata; None for a key that does not exist.
        metadata: Metadata of that type.
    """

    path: KeyPath
    table: type[BaseModel] | None
    annotation: Any
    metadata: tuple[Any, ...]

    @property
    def shows_value(self) -> bool:
        """Whether messages may quote the value: it is one plain value, and no secret."""
        plain, metadata = _optional(self.annotation, self.metadata)
        hidden = any(isinstance(item, Hidden) for item in metadata)
        return not hidden and (plain in _SCALARS or get_origin(plain) is Literal)

    def shows(self, value: Any) -> bool:
        """Return whether messages may quote this value.

        What should be a web address and has no scheme may be anything, a key too.
        """
        _, metadata = _optional(self.annotation, self.metadata)
        is_address = any(isinstance(item, Address) for item in metadata)
        return self.shows_value and not (is_address and "://" not in str(value))

    @property
    def allowed(self) -> str | None:
        """What may stand here, in words; None when nothing may."""
        return _words(self.annotation, self.metadata) if self.annotation is not None else None


def locate(loc: Sequence[str | int], root: Any) -> Place:
    """Return the place that pydantic's `loc` means, counted from the type `root`.

    The tags that pydantic puts into `loc` for tagged unions are no part of the file and left out.
    """
    annotation, metadata = plain_type(root)
    path: KeyPath = ()
    table: type[BaseModel] | None = None
    key_type: Any = str
    for part in loc:
        if part == "[key]":  # the key itself is wrong, not its value
            annotation, metadata = plain_type(key_type)
            break
        choices = members(annotation)
        if choices:
            annotation, metadata = plain_type(choices.get(str(part)))
            continue
        annotation, _ = _optional(annotation, metadata)
        path = (*path, part)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            table = annotation
            known = annotation.model_fields.get(str(part))
            annotation, metadata = plain_type(known.annotation) if known else (None, ())
            metadata = (*known.metadata, *metadata) if known else ()
        else:
            origin, arguments = get_origin(annotation), get_args(annotation)
            table = None
            key_type = arguments[0] if origin is dict else str
            item = {dict: 1, tuple: 0, list: 0}.get(origin) if origin else None
            annotation, metadata = plain_type(arguments[item] if item is not None else Any)
    return Place(path=path, table=table, annotation=annotation, metadata=metadata)


def members(annotation: Any) -> dict[str, Any]:
    """Return the members of a tagged union by tag, one that may be absent too; empty for any other type."""
    annotation, _ = _optional(annotation, ())
    found = {}
    for choice in (
        get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ()
    ):
        tags = [m.tag for m in getattr(choice, "__metadata__", ()) if isinstance(m, Tag)]
        if tags:
            found[tags[0]] = choice
    return found


def plain_type(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type without its metadata, and the metadata."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return inner, tuple(metadata)
    return annotation, ()


def _optional(annotation: Any, metadata: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Return X and its metadata for `X | None`; any other type as it is."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [a for a in get_args(annotation) if a is not type(None)]
        if len(rest) == 1:
            return plain_type(rest[0])
    return annotation, metadata


def _words(annotation: Any, metadata: tuple[Any, ...]) -> str:
    said = [m for m in metadata if isinstance(m, Says)]
    if said:
        return str(said[0])
    if get_origin(annotation) in (Union, types.UnionType):
        choices = members(annotation)
        if choices:
            return "a mapping with `kind`: " + ", ".join(_kinds(choices))
        rest = [a for a in get_args(annotation) if a is not type(None)]
        return f"{_words(*plain_type(rest[0]))}, or nothing"
    if get_origin(annotation) is Literal:
        return " or ".join(str(choice) for choice in get_args(annotation))
    if annotation is bool:
        return "true or false"
    if annotation in (int, float):
        return _number_words(annotation, metadata)
    if annotation is str:
        return "text"
    if get_origin(annotation) in (tuple, list):
        return "a list"
    return "a mapping"


def _kinds(choices: dict[str, Any]) -> list[str]:
    words = []
    for choice in choices.values():
        model, _ = plain_type(choice)
        words.append(locate(("kind",), model).allowed or "")
    return words


def _number_words(annotation: Any, metadata: tuple[Any, ...]) -> str:
    noun = "a whole number" if annotation is int else "a number"
    low = high = above = None
    for item in _constraints(metadata):
        if isinstance(item, annotated_types.Ge):
            low = item.ge
        elif isinstance(item, annotated_types.Le):
            high = item.le
        elif isinstance(item, annotated_types.Gt):
            above = item.gt
    if low is not None and high is not None:
        return f"{noun} in [{low}, {high}]"
    if above is not None:
        return f"{noun} > {above}"
    return noun if low is None else f"{noun} >= {low}"


def _constraints(metadata: tuple[Any, ...]) -> list[Any]:
    found: list[Any] = []
    for item in metadata:  # Field(...) inside Annotated keeps its constraints in a list of its own
        found.extend(getattr(item, "metadata", [item]))
    return found
