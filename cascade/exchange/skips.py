"""What an import could not use: counted by reason, with the place of the first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Skips", "Unusable"]


class Unusable(Exception):
    """One line cannot be used.

    Attributes:
        reason: What it is counted under.
        what: What was found, where that says more; neither prompt nor answer.
    """

    def __init__(self, reason: str, what: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.what = what


@dataclass(slots=True, kw_only=True)
class Skips:
    """Reasons and how often each was met.

    Attributes:
        counts: Reason → lines or answers passed over.
        first: Reason → ``file:line`` of the first one, and what was found there where that says more.
    """

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, place: str, what: str = "") -> None:
        """Count one; `what` must hold neither prompts nor answers."""
        self.counts[reason] += 1
        self.first.setdefault(reason, f"{place}: {what}" if what else place)

    def add_line(self, problem: Unusable, place: str) -> None:
        """Count a line that cannot be used."""
        self.add(problem.reason, place, problem.what)

    def told(self) -> list[str]:
        """Return one line a reason, the most frequent first."""
        return [
            f"skipped {count:,}: {reason}; the first: {self.first[reason]}"
            for reason, count in self.counts.most_common()
        ]
