"""The values that single keys may hold: their types, their checks, and what is allowed in words."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

__all__ = [
    "Address",
    "ApiKey",
    "Count",
    "Free",
    "Headers",
    "Hidden",
    "ImportName",
    "JudgePrompt",
    "Name",
    "Pattern",
    "PriceUsd",
    "Probability",
    "Says",
    "Seconds",
    "WebAddress",
]


class Hidden:
    """Metadata of a type: its values are secrets, and no message quotes them."""


class Address:
    """Metadata of a type: messages quote scheme and host of its values, and nothing else."""


class Says(str):
    """Metadata of a type: what is allowed there, in words, where the type alone does not say it."""

    __slots__ = ()


def _refuse(message: str, detail: str = "") -> PydanticCustomError:
    # Never a plain ValueError: pydantic would carry the value along in its own text.
    return PydanticCustomError("cascade", "{message}", {"message": message, "detail": detail})


def _is_unresolved(value: str) -> bool:
    # A file checked without its environment keeps `${NAME}` where a variable is missing.
    return "${" in value


def _web_address(value: str) -> str:
    if _is_unresolved(value):
        return value
    if "://" not in value:
        raise _refuse("is not a web address: it does not begin with http:// or https://")
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        usable = False
    if not usable or re.search(r"[\s\x00-\x1f\x7f]", value):
        raise _refuse("is not a web address")
    if parts.username or parts.password:
        raise _refuse("holds a user name or password; put keys in `api_key` or `headers`")
    if parts.query or parts.fragment:
        raise _refuse("has a query or fragment, and paths are appended to it")
    return value.rstrip("/")


def _header_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", value):
        raise _refuse("is not the name of an HTTP header")
    return value


def _header_value(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise _refuse("holds a line break, a control character or a letter beyond ASCII")
    return value


def _api_key(value: str) -> str:
    if not _is_unresolved(value) and not re.fullmatch(r"[!-~]*", value):
        raise _refuse("holds a space, a line break or a letter beyond ASCII")
    return value


def _none_for_empty(value: Any) -> Any:
    return None if value == "" else value


def _import_name(value: str) -> str:
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", value):
        raise _refuse("does not name something to import")
    return value


def _judge_prompt(value: str) -> str:
    missing = [name for name in ("{question}", "{answer}") if name not in value]
    if missing:
        raise _refuse(f"has no {' and no '.join(missing)} in it")
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as exc:
        raise _refuse("is not a regular expression", exc.msg) from exc
    except (OverflowError, RecursionError) as exc:
        raise _refuse("is not a regular expression", "too large") from exc
    return value


Name = Annotated[str, Field(min_length=1, max_length=200)]
WebAddress = Annotated[
    str,
    AfterValidator(_web_address),
    Address(),
    Says("an address such as http://127.0.0.1:8080/v1"),
]
ApiKey = Annotated[
    Annotated[str, AfterValidator(_api_key), Hidden(), Says("text, best as ${NAME}")] | None,
    BeforeValidator(_none_for_empty),
]
Count = Annotated[int, Field(ge=1)]
Headers = dict[
    Annotated[str, AfterValidator(_header_name), Says("letters, digits and hyphens")],
    Annotated[str, AfterValidator(_header_value), Hidden(), Says("printable ASCII text")],
]
ImportName = Annotated[str, AfterValidator(_import_name), Says("package.module:Name")]
JudgePrompt = Annotated[
    str, AfterValidator(_judge_prompt), Says("text with {question} and {answer} in it")
]
Pattern = Annotated[str, AfterValidator(_pattern), Says("a regular expression of Python")]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
PriceUsd = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Free = dict[str, Any]
