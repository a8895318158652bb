"""How long calls take: the last latencies of one rung or deployment, and their quantiles."""

from __future__ import annotations

import math
from collections import deque

__all__ = ["LatencyWindow"]

RECENT = 64
"""Latencies that are kept: enough for a 95 % quantile, few enough to follow an upstream's day."""

LEAST_SEEN = 5
"""Latencies from which a quantile is said; with fewer it is what was expected, if anything was."""

_NEW_BEFORE_ORDERING = 4
"""Latencies after which those kept are put in order anew: 3 µs that not every ask has to spend."""


class LatencyWindow:
    """The latencies of the last `RECENT` calls.

    Args:
        expected_s: What a quantile is as long as fewer than `LEAST_SEEN` calls are known, seconds;
            None: unknown.

    >>> window = LatencyWindow(expected_s=2.0)
    >>> window.quantile(0.5)
    2.0
    >>> for seconds in (1.0, 2.0, 3.0, 4.0, 5.0):
    ...     window.add(seconds)
    >>> window.quantile(0.5), window.quantile(0.95), len(window)
    (3.0, 5.0, 5)
    """

    __slots__ = ("_expected_s", "_new", "_ordered", "_recent")

    def __init__(self, expected_s: float | None = None) -> None:
        self._expected_s = expected_s
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._ordered: list[float] = []
        self._new = 0

    def __len__(self) -> int:
        """Return how many latencies are kept."""
        return len(self._recent)

    def add(self, seconds: float) -> None:
        """Take one more latency in; the oldest is dropped for it."""
        self._recent.append(seconds)
        self._new += 1

    def quantile(self, share: float) -> float | None:
        """Return the least latency that `share` of those kept do not pass, seconds; None if unknown.

        Args:
            share: In (0, 1].
        """
        if len(self._recent) < LEAST_SEEN:
            return self._expected_s
        if self._new >= _NEW_BEFORE_ORDERING or len(self._ordered) < LEAST_SEEN:
            self._ordered, self._new = sorted(self._recent), 0
        return self._ordered[max(0, math.ceil(share * len(self._ordered)) - 1)]
