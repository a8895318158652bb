"""Turn an HTTP answer that is not a completion into the error that says what happened.

The upstream's own words may quote the prompt: they reach `ProviderError.body` and nothing else. A
message holds the status and, where they are plain identifiers, the upstream's error type and code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from ..errors import (
    BadResponse,
    ContentRefused,
    ContextTooLong,
    ProviderError,
    ProviderTimeout,
    RateLimited,
    RequestRefused,
    ServerFailed,
    Unauthorized,
)
from .rate_limits import MAX_PAUSE_S, http_date, pause_s

__all__ = ["body_text", "error_from_status", "error_words"]

_BODY_CHARS = 2_000
"""Most characters of an upstream's body that an error keeps."""

_REFUSALS = frozenset({400, 403, 404, 413, 422})
"""Statuses under which providers report a prompt that is too long or against their policy."""

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")

_TOO_LONG = re.compile(
    r"context[ _]?(?:length|window|size)|maximum (?:context|prompt|input)|(?:prompt|input)(?: is)? too long"
    r"|too many (?:input )?tokens|input_too_long|string_above_max_length",
    re.IGNORECASE,
)
_POLICY = re.compile(
    r"content[ _](?:filter|policy|management|moderation)|responsible_?ai_?policy|usage policy"
    r"|\bmoderation\b|\bsafety (?:system|filter|polic)",
    re.IGNORECASE,
)


def error_from_status(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    provider: str,
    model: str,
    now: datetime,
) -> ProviderError:
    """Return the error for an answer that is not a completion.

    Args:
        status: HTTP status.
        headers: The answer's headers; names in any case.
        body: The answer's body, whatever it is.
        provider: Provider asked, for the message.
        model: Model asked, for the message.
        now: The present, aware of its time zone. Only a `Retry-After` given as a date needs it, and
            then the server's own `Date` header is preferred: the two clocks may differ.

    `retry_after_s` is in [0, `MAX_PAUSE_S`], whatever the header says; one that says nothing of use is
    taken for absent. Of a 429 without one the rate-limit headers say it, if a limit is used up.

    >>> from datetime import UTC
    >>> error = error_from_status(
    ...     429, {"Retry-After": "3"}, b"", provider="p", model="m", now=datetime.now(UTC)
    ... )
    >>> error, error.retry_after_s
    (RateLimited('p/m: HTTP 429'), 3.0)
    """
    kind, code, words = error_words(body)
    names = [name for name in (kind, code) if name and _IDENTIFIER.fullmatch(name)]
    error_class = _class_of(status, " ".join((kind, code, words)))
    message = " ".join([f"HTTP {status}", "/".join(dict.fromkeys(names))]).rstrip()
    if 300 <= status < 400:
        message += ": redirects are not followed; check base_url"
    return error_class(
        message,
        provider=provider,
        model=model,
        status=status,
        retry_after_s=_retry_after_s(status, headers, now),
        body=body_text(body),
    )


def error_words(body: bytes) -> tuple[str, str, str]:
    """Return (type, code, message) of a provider's error body, "" where it does not say.

    Understood are `{"error": {…}}`, `{"error": "…"}`, `{"detail": …}`, a list holding one of
    these, and `{"message": …}`; any other body is one long message.
    """
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", "", body_text(body)
    if isinstance(found, list) and found:
        found = found[0]
    if isinstance(found, dict):
        found = found.get("error") or found.get("detail") or found
    if isinstance(found, dict):
        kind = found.get("type") or found.get("status") or ""
        words = found.get("message") or found.get("detail") or ""
        return _text(kind), _text(found.get("code") or ""), _text(words)
    return "", "", _text(found)


def body_text(body: bytes) -> str:
    """Return the beginning of a body as text, for `ProviderError.body`."""
    return body[: 4 * _BODY_CHARS].decode("utf-8", "replace")[:_BODY_CHARS]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text[: 4 * _BODY_CHARS]


def _class_of(status: int, words: str) -> type[ProviderError]:
    if status in _REFUSALS:
        if status == 413 or _TOO_LONG.search(words):
            return ContextTooLong
        if _POLICY.search(words):
            return ContentRefused
    if status in (401, 403):
        return Unauthorized
    if status in (408, 504):
        return ProviderTimeout
    if status == 429:
        return RateLimited
    if status >= 500:
        return ServerFailed
    return RequestRefused if 400 <= status < 500 else BadResponse


def _retry_after_s(status: int, headers: Mapping[str, str], now: datetime) -> float | None:
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    milliseconds = _seconds(lower.get("retry-after-ms", ""))
    if milliseconds is not None:
        return min(milliseconds / 1000.0, MAX_PAUSE_S)
    given = lower.get("retry-after", "")
    seconds = _seconds(given)
    if seconds is None:
        until = http_date(given)
        if until is not None:
            present = http_date(lower.get("date", "")) or now
            seconds = max(0.0, (until - present).total_seconds())
    if seconds is not None:
        return min(seconds, MAX_PAUSE_S)
    return pause_s(lower, lambda: now) if status == 429 else None


def _seconds(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
