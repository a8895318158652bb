"""How long a provider wants no further request, by the rate-limit headers of its answers.

Only a limit of which nothing is left asks for a pause. What the header says is when the limit is
whole again (OpenAI, Anthropic: "resets", "fully replenished"): the pause is as long as that, so that
it is rather too long than answered with a 429, and never longer than `MAX_PAUSE_S`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = [
    "ANTHROPIC_LIMITS",
    "EVERY_LIMIT",
    "MAX_PAUSE_S",
    "OPENAI_LIMITS",
    "http_date",
    "pause_s",
]

MAX_PAUSE_S = 3600.0
"""Longest pause that is believed, seconds: after it one request finds out whether it is over."""

Limits = tuple[tuple[str, str], ...]
"""Of each limit the header that says what is left, and the one that says when it is whole again."""

OPENAI_LIMITS: Limits = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
)

ANTHROPIC_LIMITS: Limits = (
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
)

EVERY_LIMIT: Limits = OPENAI_LIMITS + ANTHROPIC_LIMITS

_DURATION = re.compile(
    r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII
)
"""A Go duration as OpenAI and Groq write it: 6m0s, 1s, 250ms, 2m59.56s, 1h2m3s."""

_UNIT_S = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)

_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,15})?", re.ASCII)

_EPOCH_FROM = 1e9
"""Plain numbers from here on are seconds since 1970, smaller ones seconds from now."""


def pause_s(
    headers: Mapping[str, str], now: Callable[[], datetime], limits: Limits = EVERY_LIMIT
) -> float | None:
    """Return for how long no request is wanted, seconds in [0, `MAX_PAUSE_S`]; None: as long as it likes.

    Args:
        headers: The answer's headers; names in lower case, or a mapping that does not care.
        now: The present, aware of its time zone. Asked only where a date says when, and then the
            server's own `Date` header is preferred: the two clocks may differ.
        limits: Which to look at.

    >>> pause_s({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, datetime.now)
    360.0
    """
    longest: float | None = None
    for left, reset in limits:
        remaining = headers.get(left)
        if remaining is None or not _is_nothing(remaining):
            continue
        seconds = _seconds_until(headers.get(reset, ""), headers, now)
        if seconds is not None and (longest is None or seconds > longest):
            longest = seconds
    return longest


def http_date(text: str) -> datetime | None:
    """Return the date of an HTTP header, aware of its time zone, or None when it is none."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def _is_nothing(remaining: str) -> bool:
    try:
        return float(remaining) <= 0
    except ValueError:
        return False


def _seconds_until(
    reset: str, headers: Mapping[str, str], now: Callable[[], datetime]
) -> float | None:
    reset = reset.strip()
    if _NUMBER.fullmatch(reset):
        seconds = float(reset)
        if seconds < _EPOCH_FROM:
            return min(seconds, MAX_PAUSE_S)
        return _bounded(seconds - _present(headers, now).timestamp())
    match = _DURATION.fullmatch(reset)
    if reset and match:
        parts = zip(match.groups(), _UNIT_S, strict=True)
        return _bounded(sum(float(part) * unit for part, unit in parts if part))
    try:
        until = datetime.fromisoformat(reset)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return _bounded((until - _present(headers, now)).total_seconds())


def _present(headers: Mapping[str, str], now: Callable[[], datetime]) -> datetime:
    return http_date(headers.get("date", "")) or now()


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_PAUSE_S)
