"""What comes in over HTTP, counted by path and kind of answer, for whoever shows metrics."""

from __future__ import annotations

from collections import Counter

__all__ = ["ELSEWHERE", "LEFT", "Traffic"]

ELSEWHERE = "other"
"""Stands for every path that there is not, and for what is no request."""

LEFT = "left"
"""Kind of answer of a request whose client went away."""


class Traffic:
    """Requests of one process. Names of paths are those of the application: there are few.

    Attributes:
        ended: Requests answered since they were last taken, by path and kind of answer: ``2xx``, ``4xx``,
            ``5xx``, ``left``.
        in_flight: Requests under way, by path.
    """

    def __init__(self) -> None:
        self.ended: Counter[tuple[str, str]] = Counter()
        self.in_flight: Counter[str] = Counter()

    def count(self, path: str, status: int, *, left: bool = False) -> None:
        """Count a request that has been answered, or whose client has left."""
        self.ended[path, LEFT if left else f"{status // 100}xx"] += 1

    def take(self) -> dict[tuple[str, str], int]:
        """Return what has been counted since the last time."""
        taken = dict(self.ended)
        self.ended.clear()
        return taken
