"""How long an entry lives: pure functions of times, and a wall clock that is cheap to read."""

from __future__ import annotations

import math
from datetime import datetime

from ..ports import Clock
from ..types import CacheEntry

__all__ = ["AHEAD_S", "Wall", "is_alive", "life_s", "seconds_of"]

AHEAD_S = 60.0
"""Most seconds that an entry's clock may be ahead of ours. One from further ahead was stored before our
clock was set back, and would outlive its time: it is not served."""

_TRUSTED_S = 0.1
"""How long a reading of the wall clock is carried on by the monotonic one: reading costs 4 µs."""


def seconds_of(text: str) -> float | None:
    """Return a time such as ``2026-01-31T12:00:00.000Z`` as seconds since 1970; None if it is none.

    >>> seconds_of("1970-01-01T00:01:00.500Z"), seconds_of("soon")
    (60.5, None)
    """
    if len(text) != 24 or text[-1] != "Z" or text[10] != "T":
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def life_s(entry: CacheEntry, now: float) -> float:
    """Return for how many seconds from now an entry may be served; inf: for ever, <= 0: not at all.

    Never longer than it was given when it was stored, wherever the clock has been set since.
    """
    if entry.expires_at is None:
        return math.inf
    stored, expires = seconds_of(entry.stored_at), seconds_of(entry.expires_at)
    if stored is None or expires is None or stored > now + AHEAD_S:
        return 0.0
    return min(expires - now, expires - stored)


def is_alive(entry: CacheEntry, now: float) -> bool:
    """Return whether an entry may be served now."""
    return entry.expires_at is None or life_s(entry, now) > 0


class Wall:
    """The wall clock as seconds since 1970, at most a tenth of a second behind its being set."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._read_at = -math.inf
        self._seconds = 0.0

    def now(self) -> float:
        """Return seconds since 1970."""
        monotonic = self._clock.monotonic()
        since = monotonic - self._read_at
        if since > _TRUSTED_S:
            self._seconds = seconds_of(self._clock.now_iso()) or 0.0
            self._read_at = monotonic
            return self._seconds
        return self._seconds + since
