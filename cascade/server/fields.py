"""What the bodies of requests may hold: the table that they are checked by, and the OpenAPI document is made of.

Fields that are not here are passed on to the provider as they are; for what depends on more than one
field, and on the ladder, see `chat`, `messages` and `intake`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec import inspect as typed

from ..errors import RequestError
from .options import Options

__all__ = ["ChatFields", "FeedbackFields", "MessageFields", "check_fields"]

MOST_TOP_LOGPROBS = 20

MOST_CHOICES = 16
"""Most answers to one request (`n`): each walks the ladder."""

_NAME = r"^[!-~]+(?![\s\S])"
"""Printable ASCII without spaces; `$` would allow a line end after it in Python, and not elsewhere."""

_Object = dict[str, Any]
_Count = Annotated[int, Meta(ge=1)]
_Number = Annotated[float, Meta(ge=0)]
_Given = Annotated[str, Meta(min_length=1)]


class ChatMessage(msgspec.Struct, kw_only=True):
    """One message; further fields (`name`, `tool_call_id`, …) are passed on."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Object] | None = None
    tool_calls: list[_Object] | None = None


class StreamOptions(msgspec.Struct, kw_only=True):
    """What a stream is to hold."""

    include_usage: bool | None = None


class ChatFields(msgspec.Struct, kw_only=True):
    """A chat completion in OpenAI's words. Any further field of that API is passed on."""

    model: Annotated[_Given, Meta(description="A name that GET /v1/models lists.")]
    messages: Annotated[list[ChatMessage], Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET
    prompt: (
        Annotated[str, Meta(description="In the place of `messages`: one of the user's.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: (
        Annotated[int, Meta(ge=1, le=MOST_CHOICES, description="Answers, each a walk of its own.")]
        | None
    ) = None
    temperature: _Number | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MOST_TOP_LOGPROBS)] | None = None
    tools: list[_Object] | None = None
    tool_choice: str | _Object | None = None
    response_format: _Object | None = None
    metadata: Annotated[_Object, Meta(description="Goes into the decision log.")] | None = None
    cascade: Options | None = None


class Block(msgspec.Struct, kw_only=True):
    """A block of content."""

    type: str


class MessageTurn(msgspec.Struct, kw_only=True):
    """One message."""

    role: Literal["user", "assistant"]
    content: str | list[Block]


class ToolChoice(msgspec.Struct, kw_only=True):
    """Which tool is to be called."""

    type: str


class OutputFormat(msgspec.Struct, kw_only=True):
    """A schema that the answer is to keep to."""

    type: Literal["json_schema"]
    schema: _Object


class OutputConfig(msgspec.Struct, kw_only=True):
    """What the answer is to be like."""

    format: OutputFormat | None = None


class MessageFields(msgspec.Struct, kw_only=True):
    """A message in Anthropic's words."""

    model: Annotated[_Given, Meta(description="A name that GET /v1/models lists.")]
    messages: Annotated[list[MessageTurn], Meta(min_length=1)]
    max_tokens: _Count | None = None
    system: str | list[Block] | None = None
    stream: bool | None = None
    temperature: _Number | None = None
    stop_sequences: list[str] | None = None
    tools: list[_Object] | None = None
    tool_choice: ToolChoice | None = None
    output_config: OutputConfig | None = None
    metadata: Annotated[_Object, Meta(description="Goes into the decision log.")] | None = None
    cascade: Options | None = None


class FeedbackFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A label for an answer."""

    id: Annotated[
        str,
        Meta(min_length=1, max_length=200, pattern=_NAME, description="As the answer says it."),
    ]
    score: Annotated[float, Meta(ge=0, le=1, description="1: right, 0: wrong.")] | bool
    model: Annotated[str, Meta(description="Another rung's answer is meant.")] | None = None
    ladder: Annotated[str, Meta(description="May be left out where there is one.")] | None = None


_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
_TYPE = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_LENGTH = re.compile(r"Expected `([^`]+)` of length (>=|<=) (\d+)")
_RANGE = re.compile(r"Expected `([^`]+)` (>=|<=|>) ([\d.]+)")
_ENUM = re.compile(r"Invalid enum value (.*)", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MOST_QUOTED = 40


def check_fields(fields: Mapping[str, Any], kind: type[msgspec.Struct]) -> None:
    """Check a body's fields by their table.

    Raises:
        RequestError: One is missing or wrong; the message names it and what is allowed.
    """
    try:
        msgspec.convert(fields, kind)
    except msgspec.ValidationError as exc:
        raise RequestError(_told(str(exc), kind)) from None


def _told(said: str, kind: type[msgspec.Struct]) -> str:
    """Return what msgspec says of a value in our words; values are quoted in part, and only of enums."""
    words, _, place = said.rpartition(" - at `$")
    words, place = (words, place.rstrip("`").lstrip(".")) if words else (said, "")
    if found := _MISSING.match(words):
        return f"{_join(place, found[1])}: missing"
    if found := _UNKNOWN.match(words):
        return f"{_join(place, found[1][:_MOST_QUOTED])}: unknown; allowed: {_names(place, kind)}"
    values = _literals(kind).get(place.rpartition(".")[2])
    allowed = None if values is None else ", ".join(map(str, values))
    if found := _TYPE.match(words):
        return f"{place}: {found[2]} given; allowed: {allowed or _kinds(found[1])}"
    if found := _LENGTH.match(words):
        wrong = "empty" if found[2] == ">=" else "too long"
        return f"{place}: {wrong}; allowed: a length {found[2]} {found[3]}"
    if found := _RANGE.match(words):
        return f"{place}: allowed: {_kinds(found[1])} {found[2]} {float(found[3]):g}"
    if found := _ENUM.match(words):
        return f"{place}: {found[1][:_MOST_QUOTED]} given; allowed: {allowed}"
    if words.startswith("Expected `str` matching regex"):
        return f"{place}: allowed: printable ASCII text without spaces"
    return f"{place or 'body'}: not allowed"


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _kinds(written: str) -> str:
    kinds = [kind.strip() for kind in written.split("|")]
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds if kind != "null")


def _names(place: str, kind: type[msgspec.Struct]) -> str:
    found = Options if place == "cascade" else kind
    return ", ".join(found.__struct_fields__)


def _literals(kind: type) -> dict[str, tuple[Any, ...]]:
    """Return the allowed values of each field that has some, by its name."""
    found: dict[str, tuple[Any, ...]] = {}

    def look(name: str, type_: Any) -> None:
        if isinstance(type_, typed.LiteralType):
            found[name] = type_.values
        elif isinstance(type_, typed.UnionType):
            for one in type_.types:
                look(name, one)
        elif isinstance(type_, typed.Metadata):
            look(name, type_.type)
        elif isinstance(type_, typed.ListType):
            look(name, type_.item_type)
        elif isinstance(type_, typed.StructType):
            for field in type_.fields:
                look(field.name, field.type)

    look("", typed.type_info(kind))
    return found
