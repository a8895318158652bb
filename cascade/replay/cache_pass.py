"""What a response cache in front of a policy would have done with a log, in the order of its rows.

The first ask of a question is answered by the policy, and its answer is kept; later asks of the same
question, or of one that is verified to have the same answer, get that answer for nothing. A hit is
false when the answer it serves scores otherwise than the one the policy would have got.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .walks import Outcome

__all__ = ["CachePass", "FindNear", "pass_through_cache"]

FindNear = Callable[[int], int | None]
"""Says which earlier row has the same answer as a row, or None; told of every row, in order."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CachePass:
    """What the cache did.

    Attributes:
        n: Requests whose quality and cost the log knows.
        exact: Hits on the same question.
        near: Hits on another question.
        false: Hits whose answer scores otherwise.
        saved_usd: US dollars that the hits saved, all together.
        quality: Mean score of the answers served, hits included.
        cost_usd: Mean US dollars a request, hits at nothing.
    """

    n: int
    exact: int
    near: int
    false: int
    saved_usd: float
    quality: float
    cost_usd: float

    @property
    def hits(self) -> int:
        """All hits."""
        return self.exact + self.near

    @property
    def hit_rate(self) -> float | None:
        """Hits as a share of requests; None without any."""
        return self.hits / self.n if self.n else None

    @property
    def false_hit_rate(self) -> float | None:
        """False hits as a share of hits; None without any."""
        return self.false / self.hits if self.hits else None


def pass_through_cache(
    asked: Sequence[str], done: Outcome, find_near: FindNear | None = None
) -> CachePass:
    """Return what a cache would have done.

    Args:
        asked: What is asked, the same word for the same question, in the order of time. Length n.
        done: What the policy did with each. Rows that the log does not know pass the cache by.
        find_near: Finds near-duplicates among the rows that were not hits; None: only the same
            question is a hit.
    """
    quality, cost = done.quality, done.cost
    known: NDArray[np.bool_] = np.isfinite(quality) & np.isfinite(cost)
    kept: dict[str, int] = {}
    exact = near = false = 0
    saved = served_quality = paid = 0.0
    for row in np.flatnonzero(known).tolist():
        source = kept.get(asked[row])
        if source is not None:
            exact += 1
        elif find_near is not None:
            source = find_near(row)
            near += source is not None
        if source is None:
            kept[asked[row]] = row
            served_quality += float(quality[row])
            paid += float(cost[row])
            continue
        false += abs(float(quality[source]) - float(quality[row])) > 1e-9
        served_quality += float(quality[source])
        saved += float(cost[row])
    n = int(known.sum())
    return CachePass(
        n=n,
        exact=exact,
        near=near,
        false=false,
        saved_usd=saved,
        quality=served_quality / n if n else float("nan"),
        cost_usd=paid / n if n else float("nan"),
    )
