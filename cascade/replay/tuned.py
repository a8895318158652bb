"""What tuning is asked for, and what it comes to."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import ConfigError
from .search import Candidate

__all__ = ["Goal", "Promise", "Tuned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the policy is to be picked for: exactly one of the three.

    Attributes:
        quality: At least this share of the strongest model's quality, at the least cost.
        budget_usd: At most this mean cost a request, at the best quality.
        tradeoff_usd: The best quality less cost, one unit of quality being worth this many dollars.
    """

    quality: float | None = None
    budget_usd: float | None = None
    tradeoff_usd: float | None = None

    def __post_init__(self) -> None:
        given = [x for x in (self.quality, self.budget_usd, self.tradeoff_usd) if x is not None]
        if len(given) != 1:
            raise ConfigError(
                f"{len(given)} goals given; allowed: one of --quality, --budget, --tradeoff"
            )
        if not 0 < given[0] < math.inf:
            raise ConfigError(f"goal: {given[0]!r} given; allowed: a number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What may be said about the policy, and on what grounds.

    Attributes:
        certified: Whether anything is promised.
        ratio: Share of the strongest model's quality that is kept at least.
        confidence: Over the draw of the rows.
        n: Rows of the test.
        text: The promise, or why there is none, in words.
        more_rows: About how many further labelled rows would let the policy that was wanted
            promise; None when it is promised, or never could.
    """

    certified: bool
    ratio: float
    confidence: float
    n: int
    text: str
    more_rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What tuning came to.

    Attributes:
        chosen: The policy, with its figures on the tuning rows.
        saving: 1 - its cost / the strongest model's; None when that is free.
        quality_ci: 95 % interval of its quality on the tuning rows.
        strongest: Model with the best mean quality on the tuning rows.
        strongest_quality: That quality.
        strongest_cost: Its cost, US dollars a request.
        frontier: The hull of cost and quality on the tuning rows, by rising cost.
        promise: None when no confidence was asked for.
        n: Tuning rows used.
        tried: Policies compared.
        advice: What the user should know before trusting this, in words.
    """

    chosen: Candidate
    saving: float | None
    quality_ci: tuple[float, float]
    strongest: str
    strongest_quality: float
    strongest_cost: float
    frontier: tuple[Candidate, ...]
    promise: Promise | None
    n: int
    tried: int
    advice: tuple[str, ...]
