"""Digests that are the same in every process, version and dict order."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from .errors import RequestError
from .types import Request

__all__ = ["digest", "request_digest"]


def digest(value: Any) -> str:
    """Return 32 hex digits of SHA-256 over canonical JSON: sorted keys, UTF-8, no spaces."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:32]


def request_digest(request: Request) -> str:
    """Return the digest of everything in a request that can change the answer.

    Raises:
        RequestError: The request holds a value that JSON cannot carry.
    """
    content = {
        "messages": [[m.role, m.content, dict(m.extra)] for m in request.messages],
        "tools": request.tools,
        "response_format": request.response_format,
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        "stop": request.stop,
        "seed": request.seed,
        "extra": dict(request.extra),
    }
    try:
        return digest(content)
    except (TypeError, ValueError, RecursionError) as exc:
        raise RequestError(f"request: cannot be written as JSON ({type(exc).__name__})") from exc
