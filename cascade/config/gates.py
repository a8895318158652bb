"""What a ladder file may say of what an answer must pass."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from .table import Table
from .values import ImportName, Name, Pattern, Says

__all__ = ["GateConfig", "GateName", "PythonGate", "RegexGate"]


class RegexGate(Table):
    """The answer's text must hold a match."""

    regex: Pattern = Field(description="Searched for in the answer's text; no match escalates.")
    name: Name | None = Field(
        default=None, description="What attempts call the gate. Absent: `regex`."
    )


class PythonGate(Table):
    """A function of your own decides."""

    python: ImportName = Field(
        description="Called as `function(request, answer)`: True or None passes, False or a text "
        "(the reason) escalates."
    )
    name: Name | None = Field(
        default=None, description="What attempts call the gate. Absent: the function's name."
    )


def _tag_of_gate(value: Any) -> str | None:
    if isinstance(value, str):
        return "name"
    for tag in ("regex", "python"):
        if hasattr(value, tag) or (isinstance(value, dict) and tag in value):
            return tag
    return None


GateName = Literal["not_empty", "not_truncated", "not_refusal", "schema"]

GateConfig = Annotated[
    Annotated[GateName, Tag("name")]
    | Annotated[RegexGate, Tag("regex")]
    | Annotated[PythonGate, Tag("python")],
    Discriminator(_tag_of_gate),
    Says(
        "not_empty, not_truncated, not_refusal, schema, {regex: pattern} "
        "or {python: package.module:function}"
    ),
]
