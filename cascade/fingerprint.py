"""Digests that are the same in every process, version and dict order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from .errors import RequestError
from .types import Message, Request

__all__ = ["cache_key", "cache_keys", "cache_scope", "digest", "request_digest"]


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
    """Return the key of a request in a cache, and its scope; see `cache_key` and `cache_scope`.

    Raises:
        RequestError: The request holds a value that JSON cannot carry.
    """
    key = cache_key(request_digest(request), ladder=ladder, tenant=tenant)
    return key, cache_scope(request, ladder=ladder, tenant=tenant)


def cache_key(of_request: str, *, ladder: str, tenant: str | None) -> str:
    """Return the key of a request in a cache: 32 hex digits over all that can change the answer.

    Args:
        of_request: What `request_digest` says of it: the whole conversation, tools, response format,
            sampling and further fields.
        ladder: Version of the ladder.
        tenant: Whose ask it is, or None.
    """
    whose = "-" if tenant is None else f"+{tenant}"
    content = f"{of_request}\n{ladder}\n{whose}".encode()
    return hashlib.sha256(content).hexdigest()[:32]


def cache_scope(request: Request, *, ladder: str, tenant: str | None) -> str:
    """Return the scope of a request: what its key covers, without the last user's text.

    Only requests of one scope can be near each other. If the last message is not plain text of the
    user, its content is part of the scope, and nothing is near.

    Raises:
        RequestError: The request holds a value that JSON cannot carry.
    """
    last = request.messages[-1]
    plain = last.role == "user" and isinstance(last.content, str)
    before = request.messages[:-1] if plain else request.messages
    about = {"ladder": ladder, "tenant": tenant, "last": dict(last.extra), "plain": plain}
    return _digest_of({**about, **_content(request, before)})


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
