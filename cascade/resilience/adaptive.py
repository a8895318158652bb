"""How many calls at once a deployment bears, found by trying: AIMD, as in TCP.

One more after each window of calls that went well (additive increase); half after a 429, a timeout
or a window several times as slow as the quickest one (multiplicative decrease). Calls that had begun
before a cut tell of the load before it, and cannot cut again.
Source: Chiu and Jain, "Analysis of the increase and decrease algorithms …", 1989.
"""

from __future__ import annotations

from math import inf

__all__ = ["AdaptiveLimit"]

CUT = 0.5
"""What is left of the limit after a cut."""

SLOWER = 3.0
"""Times the quickest window's mean latency from which a window means overload. Completions differ
in length, so single calls say nothing and less than this is noise."""

FORGET = 1.02
"""The quickest window is forgotten by this factor a window: models and prompts change."""

SMALLEST_WINDOW = 10
"""Fewest calls whose mean latency says something."""


class AdaptiveLimit:
    """A limit between 1 and `most` that follows what the deployment bears.

    Attributes:
        limit: Calls that may be in flight now.

    Args:
        most: Upper bound, and what it starts with.
    """

    __slots__ = ("_calls", "_cut_at", "_most", "_quickest_s", "_sum_s", "_used", "limit")

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit = most
        self._cut_at = -inf
        self._quickest_s = inf
        self._calls = self._used = 0
        self._sum_s = 0.0

    def answered(self, began: float, now: float, in_flight: int) -> None:
        """Note an answer to a call begun at `began`, with `in_flight` calls out, itself included."""
        if began < self._cut_at:
            return
        self._calls += 1
        self._sum_s += now - began
        self._used = max(self._used, in_flight)
        if self._calls < self.limit or self._calls < SMALLEST_WINDOW:
            return
        mean_s = self._sum_s / self._calls
        self._quickest_s = min(self._quickest_s * FORGET, mean_s)
        if mean_s > SLOWER * self._quickest_s:
            self._cut(now)
        elif self._used >= self.limit:  # what was not used is not known to be borne
            self.limit = min(self._most, self.limit + 1)
        self._start_window()

    def overloaded(self, began: float, now: float) -> None:
        """Note a 429 or a timeout of a call begun at `began`."""
        if began >= self._cut_at:
            self._cut(now)
            self._start_window()

    def _cut(self, now: float) -> None:
        self.limit = max(1, int(self.limit * CUT))
        self._cut_at = now

    def _start_window(self) -> None:
        self._calls = self._used = 0
        self._sum_s = 0.0
