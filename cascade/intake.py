"""From what `ask` is given to a `Request` and a `Demand`: everything is checked here, before any call."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from .errors import RequestError
from .types import NO_CONTEXT, CacheUse, CallContext, Demand, Message, Request

__all__ = ["ROLES", "Prompt", "check_labels", "make_context", "make_demand", "make_request"]

Prompt = str | Message | Sequence[Message | Mapping[str, Any]]
"""A prompt as users give it: text, or chat messages as dicts or `Message`."""

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
"""Who may speak in a chat."""


def make_request(
    prompt: Prompt,
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    response_format: Mapping[str, Any] | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    stop: str | Sequence[str] | None = None,
    seed: int | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Request:
    """Return the request that these arguments describe.

    Text is sent as it is: NUL characters and any length are passed on, and it is for the provider to
    refuse them. Only what cannot be sent at all is refused here.

    Raises:
        RequestError: Something cannot be sent; the message names the argument and what is allowed.
    """
    if isinstance(prompt, str):
        messages: tuple[Message, ...] = (_message({"role": "user", "content": prompt}, "prompt"),)
    elif isinstance(prompt, Message):
        messages = (_checked(prompt, "prompt"),)
    elif isinstance(prompt, Sequence) and not isinstance(prompt, (bytes, bytearray)):
        if not prompt:
            raise RequestError("messages: empty; give at least one message")
        messages = tuple(
            _checked(m, f"messages[{i}]")
            if isinstance(m, Message)
            else _message(m, f"messages[{i}]")
            for i, m in enumerate(prompt)
        )
    else:
        raise RequestError(
            f"prompt: {type(prompt).__name__} given; allowed: a string or a list of chat messages"
        )
    _check_number("temperature", temperature, low=0.0)
    if max_tokens is not None and (
        not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 1
    ):
        raise RequestError(
            f"max_tokens: {max_tokens!r} given; allowed: a whole number >= 1 or None"
        )
    if tools is not None and (isinstance(tools, (str, bytes)) or not isinstance(tools, Sequence)):
        raise RequestError(f"tools: {type(tools).__name__} given; allowed: a list of definitions")
    for i, tool in enumerate(tools or ()):
        if not isinstance(tool, Mapping):
            raise RequestError(f"tools[{i}]: {type(tool).__name__} given; allowed: a definition")
    if stop is not None and not _is_text_or_texts(stop):
        raise RequestError("stop: allowed: text, a list of texts, or None")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise RequestError(f"seed: {seed!r:.40} given; allowed: a whole number or None")
    refused = sorted(_OURS & set(extra or ()))
    if refused:
        raise RequestError(f"{refused[0]}: cannot be given beside the prompt")
    if response_format is not None and not isinstance(response_format, Mapping):
        raise RequestError(
            f"response_format: {type(response_format).__name__} given; allowed: a mapping"
        )
    return Request(
        messages=messages,
        tools=tools,
        response_format=response_format,
        temperature=None if temperature is None else float(temperature),
        max_tokens=max_tokens,
        stop=stop,
        seed=seed,
        extra=dict(extra) if extra else {},
    )


def check_labels(tenant: str | None, metadata: Mapping[str, Any] | None) -> None:
    """Check what goes into the decision record beside the request.

    Raises:
        RequestError: A text in it, or a key, cannot be written there; the message names the place.
    """
    if tenant is not None:
        if not isinstance(tenant, str):
            raise RequestError(f"tenant: {type(tenant).__name__} given; allowed: text or None")
        _check_text(tenant, "tenant")
    if metadata is None:
        return
    if not isinstance(metadata, Mapping):
        raise RequestError(f"metadata: {type(metadata).__name__} given; allowed: a mapping or None")
    _check_texts(metadata)


def make_context(
    *, deadline: float | None, tenant: str | None, session: str | None, idempotent: bool
) -> CallContext:
    """Return whose ask it is; `tenant` has been checked by `check_labels`.

    Raises:
        RequestError: The session is not text, or `idempotent` neither true nor false.
    """
    if session is not None and not isinstance(session, str):
        raise RequestError(f"session: {type(session).__name__} given; allowed: text or None")
    if not isinstance(idempotent, bool):
        raise RequestError(f"idempotent: {idempotent!r:.40} given; allowed: True or False")
    if deadline is None and tenant is None and session is None and idempotent:
        return NO_CONTEXT
    return CallContext(deadline=deadline, tenant=tenant, session=session, idempotent=idempotent)


def make_demand(
    *,
    min_confidence: float | None = None,
    max_cost_usd: float | None = None,
    max_total_tokens: int | None = None,
    deadline_s: float | None = None,
    cache: CacheUse = "use",
    max_age_s: float | None = None,
    cache_tags: Sequence[str] = (),
) -> Demand:
    """Return what the ask demands.

    Raises:
        RequestError: A number is out of its range.
    """
    _check_number("min_confidence", min_confidence, low=0.0, high=1.0)
    _check_number("max_cost_usd", max_cost_usd, low=0.0)
    _check_number("deadline_s", deadline_s, low=0.0, open_low=True)
    _check_number("max_age_s", max_age_s, low=0.0)
    if cache not in get_args(CacheUse):
        raise RequestError(f"cache: {cache!r:.40} given; allowed: {', '.join(get_args(CacheUse))}")
    if isinstance(cache_tags, str) or not all(isinstance(tag, str) for tag in cache_tags):
        raise RequestError("cache_tags: allowed: a list of texts")
    if max_total_tokens is not None:
        _check_number("max_total_tokens", max_total_tokens, low=1)
    return Demand(
        min_confidence=min_confidence,
        max_cost_usd=max_cost_usd,
        max_total_tokens=max_total_tokens,
        deadline_s=deadline_s,
        cache=cache,
        max_age_s=max_age_s,
        cache_tags=tuple(cache_tags),
    )


_CACHE_USES = get_args(CacheUse)
_OURS = frozenset({"messages", "model", "stream"})
_CONTAINERS = (dict, list, tuple, set, frozenset, Mapping)


def _is_text_or_texts(value: object) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, Sequence) and all(isinstance(item, str) for item in value)


def _message(given: Any, where: str) -> Message:
    if not isinstance(given, Mapping):
        raise RequestError(f"{where}: {type(given).__name__} given; allowed: a mapping with `role`")
    if "role" not in given:
        raise RequestError(f"{where}.role: missing; allowed: {', '.join(ROLES)}")
    extra = {k: v for k, v in given.items() if k not in ("role", "content")}
    message = Message(role=given["role"], content=given.get("content"), extra=extra)
    return _checked(message, where)


def _checked(message: Message, where: str) -> Message:
    if message.role not in ROLES:
        raise RequestError(f"{where}.role: {message.role!r:.40} given; allowed: {', '.join(ROLES)}")
    content = message.content
    place = where if where == "prompt" else f"{where}.content"
    if isinstance(content, str):
        if message.role == "user" and (not content or content.isspace()):
            raise RequestError(f"{place}: empty; give some text")
        _check_text(content, place)
    elif content is None:
        if message.role != "assistant" or not message.extra:
            raise RequestError(
                f"{place}: None given; only an assistant's tool calls have no content"
            )
    elif isinstance(content, Sequence):
        if not content:
            raise RequestError(f"{place}: empty; give at least one part")
        for i, part in enumerate(content):
            if not isinstance(part, Mapping):
                raise RequestError(
                    f"{place}[{i}]: {type(part).__name__} given; allowed: a content part (mapping)"
                )
            if isinstance(part.get("text"), str):
                _check_text(part["text"], f"{place}[{i}].text")
    else:
        raise RequestError(
            f"{place}: {type(content).__name__} given; allowed: text or a list of content parts"
        )
    return message


def _check_text(text: str, where: str) -> None:
    """Refuse what UTF-8 cannot hold. ASCII, the usual case, is known without a copy."""
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise RequestError(
            f"{where}: lone surrogate U+{ord(text[exc.start]):04X} at character {exc.start} "
            "cannot be sent as UTF-8; decode the source with errors='replace'"
        ) from None


def _check_texts(metadata: Mapping[str, Any]) -> None:
    """Check every text inside, and every key, however deep; a container met again is passed over."""
    seen: set[int] = set()
    stack: list[tuple[Any, tuple[Any, ...]]] = [(metadata, ())]
    while stack:
        container, path = stack.pop()
        if id(container) in seen:
            continue
        seen.add(id(container))
        is_mapping = isinstance(container, Mapping)
        for key, value in container.items() if is_mapping else enumerate(container):
            if is_mapping and isinstance(key, str) and not key.isascii():
                _check_text(key, f"a key of {_metadata_place(path)}")
            if isinstance(value, str):
                if not value.isascii():
                    _check_text(value, _metadata_place((*path, key)))
            elif isinstance(value, _CONTAINERS):
                stack.append((value, (*path, key)))


def _metadata_place(path: tuple[Any, ...]) -> str:
    return "metadata" + "".join(f"[{part!r:.60}]" for part in path)


def _check_number(
    name: str,
    value: float | None,
    *,
    low: float,
    high: float = math.inf,
    open_low: bool = False,
) -> None:
    if value is None:
        return
    allowed = (
        f"{'>' if open_low else '>='} {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
    )
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RequestError(f"{name}: {value!r:.40} given; allowed: a number {allowed} or None")
    # An int of four hundred digits is no float: the comparison comes first.
    if (
        not (low <= value <= min(high, sys.float_info.max))
        or not math.isfinite(value)
        or (open_low and value == low)
    ):
        raise RequestError(f"{name}: {value!r} given; allowed: a number {allowed} or None")
