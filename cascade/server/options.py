"""What a request may say to the ladder itself: the body's `cascade` object, or headers `x-cascade-…`.

The tenant is none of it: it comes from the key alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..errors import RequestError

__all__ = ["Options", "read_options"]

PREFIX = b"x-cascade-"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of one ask; see `Cascade.ask`. None: as the ladder has it.

    Attributes:
        min_confidence: Accept nothing less sure than this, in [0, 1].
        max_cost_usd: No call is started that is known to pass this total, US dollars.
        max_total_tokens: No call is started once this many tokens are used.
        deadline_s: Seconds the whole ask may take.
        cache: What to do with the cache.
        max_age_s: Oldest cached answer to take, seconds.
        cache_tags: What the answer may be invalidated by.
        session: The conversation it belongs to.
        idempotent: False: never ask two models at once for it.
    """

    min_confidence: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_cost_usd: Annotated[float, Meta(ge=0)] | None = None
    max_total_tokens: Annotated[int, Meta(ge=1)] | None = None
    deadline_s: Annotated[float, Meta(gt=0)] | None = None
    cache: Literal["use", "off", "read", "refresh"] | None = None
    max_age_s: Annotated[float, Meta(ge=0)] | None = None
    cache_tags: tuple[str, ...] | None = None
    session: str | None = None
    idempotent: bool | None = None


_NAMES = Options.__struct_fields__


def read_options(given: Mapping[str, Any] | None, headers: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return the options as keywords of `Cascade.ask`; those of the body win over the headers.

    Args:
        given: The body's `cascade` object as `Options` allows it, or None.
        headers: All headers, names in lower case.

    Raises:
        RequestError: An option is not known or not of its kind; the message names it.
    """
    found = {
        name[len(PREFIX) :].decode("latin-1").replace("-", "_"): value
        for name, value in headers.items()
        if name.startswith(PREFIX)
    }
    if given is None and not found:
        return {}
    options = {name: _from_header(name, value) for name, value in found.items()}
    if given is not None:
        options |= given
    return {name: value for name, value in options.items() if value is not None}


def _from_header(name: str, value: bytes) -> Any:
    where = f"x-cascade-{name.replace('_', '-')}"
    text = value.decode("latin-1").strip()
    if name == "cache_tags":
        return _checked(name, [tag.strip() for tag in text.split(",") if tag.strip()], where)
    if name in ("cache", "session"):
        return _checked(name, text, where)
    if name == "idempotent":
        text = text.lower()
    try:
        decoded = msgspec.json.decode(text)
    except msgspec.DecodeError:
        decoded = text
    return _checked(name, text if decoded is None else decoded, where)


def _checked(name: str, value: Any, where: str) -> Any:
    if name not in _NAMES:
        raise RequestError(f"{where:.80}: not an option; allowed: {', '.join(_NAMES)}")
    try:
        return getattr(msgspec.convert({name: value}, Options), name)
    except msgspec.ValidationError as exc:
        words = str(exc).partition(" - at ")[0]
        raise RequestError(f"{where}: {words[:1].lower()}{words[1:]}") from None
