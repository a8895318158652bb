"""Bounds on the share of wrong hits, and the threshold that keeps one: exact, from counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = [
    "Certified",
    "certified_threshold",
    "clopper_pearson",
    "kept_threshold",
    "upper_bound",
]

NEVER = 1.0
"""A threshold that no score reaches."""


def clopper_pearson(wrong: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of a share.

    >>> low, high = clopper_pearson(0, 300)
    >>> low, round(high, 4)
    (0.0, 0.0122)
    """
    from scipy.stats import beta

    tail = (1.0 - confidence) / 2.0
    low = 0.0 if wrong == 0 else float(beta.ppf(tail, wrong, n - wrong + 1))
    high = 1.0 if wrong == n else float(beta.ppf(1.0 - tail, wrong + 1, n - wrong))
    return low, high


def upper_bound(wrong: int, n: int, *, confidence: float) -> float:
    """Return the share that is exceeded with probability 1 - confidence at most; 1 without rows.

    >>> round(upper_bound(0, 69, confidence=0.5), 4)
    0.01
    """
    from scipy.stats import beta

    return 1.0 if wrong >= n else float(beta.ppf(confidence, wrong + 1, n - wrong))


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """A threshold and what is known of it.

    Attributes:
        threshold: The least score that is a hit; `NEVER` when no threshold keeps the rate.
        rate: The share of wrong hits that was not to be passed.
        confidence: With which `upper` was drawn.
        hits: Rows kept apart at or above the threshold.
        wrong: Those of them that are no duplicates.
        upper: Upper bound on the share of wrong hits at `confidence`; 1 without hits.
    """

    threshold: float
    rate: float
    confidence: float
    hits: int
    wrong: int
    upper: float


def certified_threshold(
    score: np.ndarray,
    same: np.ndarray,
    *,
    rate: float,
    confidence: float,
    seen: float = 1.0,
) -> Certified:
    """Return the lowest threshold whose share of wrong hits is bounded by `rate`.

    Fixed-sequence testing: thresholds are tried from the highest on, at numbers of hits fixed in
    advance (the fewest that could pass, then a tenth more each time), and the first that fails ends
    it. So the bound holds for the one chosen, with the stated confidence, and not only for one named
    beforehand.

    Args:
        score: Of rows that were kept apart; refused rows are left out. Shape (n,).
        same: Whether they are duplicates. Shape (n,), bool.
        rate: Greatest share of wrong hits, in (0, 1).
        confidence: In (0, 1).
        seen: Greatest share of wrong hits on these very rows.

    Source: Angelopoulos et al. 2021 (Learn then Test), fixed-sequence testing; Clopper and Pearson 1934.
    """
    order = np.argsort(-score, kind="stable")
    ranked, wrong = score[order], np.cumsum(~same[order])
    found = Certified(threshold=NEVER, rate=rate, confidence=confidence, hits=0, wrong=0, upper=1.0)
    wanted = np.log(1.0 - confidence) / np.log(1.0 - rate)
    while wanted <= len(ranked):
        hits = int(np.ceil(wanted))
        # all rows of a score are hits, or none is
        hits = int(np.searchsorted(-ranked, -ranked[hits - 1], side="right"))
        false = int(wrong[hits - 1])
        upper = upper_bound(false, hits, confidence=confidence)
        if upper > rate:
            break
        wanted = max(wanted * 1.1, hits + 1)
        if false > seen * hits:
            continue
        found = Certified(
            threshold=float(ranked[hits - 1]),
            rate=rate,
            confidence=confidence,
            hits=hits,
            wrong=false,
            upper=upper,
        )
    return found


def kept_threshold(
    score: np.ndarray, same: np.ndarray, *, rate: float, confidence: float
) -> Certified:
    """Return a threshold that keeps `rate`, or else one that keeps twice that with `rate` seen.

    With few pairs no threshold can be shown to keep a low rate. Then the lowest one is taken whose
    share of wrong hits is bounded by twice the rate and, on these rows, not above the rate itself;
    `Certified.rate` says which of the two is promised.
    """
    found = certified_threshold(score, same, rate=rate, confidence=confidence)
    if found.hits or 2.0 * rate >= 1.0:
        return found
    return certified_threshold(score, same, rate=2.0 * rate, confidence=confidence, seen=rate)
