"""Digests that are the same in every process, version and dict order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from .errors import RequestError
from .types import Message, Request

__all__ = ["cache_keys", "digest", "request_digest"]


def digest(value: Any) -> str:
    """Return 32 hex digits of SHA-256 over canonical JSON: sorted keys, UTF-8, no spaces."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:32]


def request_digest(request: Request) -> str:
    """Return the digest of everything in a request that can change the answer.

    Raises:
        RequestError: The request holds a value that JSON cannot carry.
    """
    return _digest_of(_content(request, request.messages))


def cache_keys(request: Request, *, ladder: str, tenant: str | None) -> tuple[str, str]:
    """Return the key of a request in a cache, and its scope: the same without the last user's text.

    Both cover everything that can change the answer: the whole conversation, tools, response format,
    sampling, further fields, the ladder's version and the tenant. In the scope the text of the last
    message is left out if that is plain text of the user; otherwise key and scope differ in their
    kind alone, and nothing is near.

    Args:
        request: The request.
        ladder: Version of the ladder.
        tenant: Whose ask it is, or None.

    Raises:
        RequestError: The request holds a value that JSON cannot carry.
    """
    about = {"ladder": ladder, "tenant": tenant}
    key = _digest_of({"kind": "key", **about, **_content(request, request.messages)})
    last = request.messages[-1]
    plain = last.role == "user" and isinstance(last.content, str)
    before = request.messages[:-1] if plain else request.messages
    rest = {"last": dict(last.extra), "plain": plain, **_content(request, before)}
    return key, _digest_of({"kind": "scope", **about, **rest})


def _content(request: Request, messages: Sequence[Message]) -> dict[str, Any]:
    return {
        "messages": [[m.role, m.content, dict(m.extra)] for m in messages],
        "tools": request.tools,
        "response_format": request.response_format,
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        "stop": request.stop,
        "seed": request.seed,
        "extra": dict(request.extra),
    }


def _digest_of(content: Any) -> str:
    try:
        return digest(content)
    except (TypeError, ValueError, RecursionError) as exc:
        raise RequestError(f"request: cannot be written as JSON ({type(exc).__name__})") from exc
