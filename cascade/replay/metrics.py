"""Quality, cost and what they are worth, as docs and papers define them, with paired bootstrap intervals.

Every cost is US dollars a request. Quality between two policies is that of their random mix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Curve",
    "Deferral",
    "Mean",
    "aiq",
    "bootstrap",
    "deferral",
    "hull",
    "hull_value",
    "lift",
    "saving",
    "saving_at",
]

DRAWS = 2_000
"""Bootstrap draws of an interval."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean and its 95 % interval.

    Attributes:
        value: The mean.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """Points of cost and quality, sorted by cost.

    Attributes:
        cost: US dollars a request. Shape (k,).
        quality: In [0, 1]. Shape (k,).
    """

    cost: Array
    quality: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferral:
    """How well a pair of models is used; RouteLLM's measures, exactly and not at ten cuts.

    Attributes:
        apgr: Area under the performance gap recovered against the share of strong calls; random is 0.5.
        cpt50: Smallest share of strong calls that recovers half of the gap; NaN if none does.
        cpt80: The same for 80 %.
    """

    apgr: float
    cpt50: float
    cpt80: float


def saving(cost: float, reference: float) -> float | None:
    """Return 1 - cost / reference; None when the reference costs nothing.

    >>> saving(0.25, 1.0), saving(0.0, 0.0)
    (0.75, None)
    """
    return None if reference <= 0 else 1.0 - cost / reference


def hull(cost: Sequence[float] | Array, quality: Sequence[float] | Array) -> NDArray[np.intp]:
    """Return the indices of the upper concave, non-decreasing hull of the points, by rising cost.

    >>> hull([0.0, 1.0, 2.0, 3.0], [0.0, 0.1, 1.0, 0.9]).tolist()
    [0, 2]
    """
    c, q = np.asarray(cost, float), np.asarray(quality, float)
    kept: list[int] = []
    for i in np.lexsort((-q, c)):
        if kept and q[i] <= q[kept[-1]]:
            continue
        while len(kept) >= 2 and _below(c, q, kept[-2], kept[-1], int(i)):
            kept.pop()
        kept.append(int(i))
    return np.array(kept, dtype=np.intp)


def _below(c: Array, q: Array, a: int, b: int, new: int) -> bool:
    return bool((q[b] - q[a]) * (c[new] - c[a]) <= (q[new] - q[a]) * (c[b] - c[a]))


def hull_value(cost: Sequence[float] | Array, quality: Sequence[float] | Array, at: Array) -> Array:
    """Return the quality of the best random mix of the points at each cost in `at`; flat beyond the ends."""
    on = hull(cost, quality)
    found: Array = np.interp(at, np.asarray(cost, float)[on], np.asarray(quality, float)[on])
    return found


def lift(ours: Curve, singles: Curve, strongest: int) -> float:
    """Return how far policies lie above the random mix of single models, in points of 100.

    The mean difference of quality over costs from the cheapest single model to the strongest one.
    The policies are taken in the order of their cost, chosen elsewhere: no hull is formed here,
    because choosing on the rows that are reported would flatter.

    Args:
        ours: The policies.
        singles: The single models.
        strongest: Index in `singles` of the model that was best on the tuning rows.

    Source: methods page, section 11.
    """
    low, high = float(singles.cost.min()), float(singles.cost[strongest])
    if high <= low:
        return 0.0
    grid = np.linspace(low, high, 2001)
    up_to = singles.cost <= high + 1e-15
    mix = hull_value(singles.cost[up_to], singles.quality[up_to], grid)
    return float(100.0 * (np.interp(grid, ours.cost, ours.quality) - mix).mean())


def saving_at(level: float, ours: Curve, reference_cost: float, reference_quality: float) -> float:
    """Return the saving of the cheapest mix of neighbouring policies that reaches `level` x the reference's quality.

    0 when none is cheaper than the reference itself.
    """
    goal = level * reference_quality
    at = np.flatnonzero(ours.quality >= goal - 1e-12)
    if at.size == 0 or reference_cost <= 0:
        return 0.0
    i = int(at[0])
    cost = float(ours.cost[i])
    if i > 0 and ours.quality[i] > ours.quality[i - 1]:
        share = (goal - ours.quality[i - 1]) / (ours.quality[i] - ours.quality[i - 1])
        cost = float(ours.cost[i - 1] + share * (ours.cost[i] - ours.cost[i - 1]))
    return max(0.0, 1.0 - cost / reference_cost)


def aiq(ours: Curve, low: float, high: float) -> float:
    """Return the average quality over costs in [low, high]: area under the hull ÷ range (RouterBench, arXiv:2403.12031).

    As the paper has it: the non-decreasing hull, extended flat to `high`, divided by
    (high - low). The published code divides by `high` and starts at the first point; this does not.
    A curve that begins above `low` counts from its first point's quality downwards, flat.
    """
    if high <= low:
        return float(ours.quality.max())
    grid = np.linspace(low, high, 2001)
    return float(hull_value(ours.cost, ours.quality, grid).mean())


def deferral(value: Array, weak: Array, strong: Array, payoff: Array | None = None) -> Deferral:
    """Return APGR and CPT when requests are escalated in descending order of `value`.

    PGR = (r - w) / (s - w). Equal values are escalated together.

    Args:
        value: What escalates first. Shape (n,).
        weak: Quality of the weak model. Shape (n,).
        strong: Quality of the strong model. Shape (n,).
        payoff: Quality after escalating where the better answer is kept; None: `strong`. Shape (n,).

    Returns:
        All NaN when the strong model is not better than the weak one: then there is no gap.
    """
    n = len(value)
    gap = float(strong.mean() - weak.mean()) if n else 0.0
    if gap <= 0:
        return Deferral(apgr=np.nan, cpt50=np.nan, cpt80=np.nan)
    after = strong if payoff is None else payoff
    by_value = np.argsort(-value, kind="stable")
    gain = np.concatenate([[0.0], np.cumsum((after - weak)[by_value])]) / n / gap
    cut = np.concatenate([[True], np.diff(value[by_value]) != 0, [True]])
    share, pgr = np.flatnonzero(cut) / n, gain[cut]
    area = float(np.sum((pgr[1:] + pgr[:-1]) / 2.0 * np.diff(share)))
    return Deferral(apgr=area, cpt50=_reach(share, pgr, 0.5), cpt80=_reach(share, pgr, 0.8))


def _reach(share: Array, pgr: Array, goal: float) -> float:
    at = np.flatnonzero(pgr >= goal)
    if at.size == 0:
        return float("nan")
    i = int(at[0])
    if i == 0:
        return float(share[0])
    part = (goal - pgr[i - 1]) / (pgr[i] - pgr[i - 1])
    return float(share[i - 1] + part * (share[i] - share[i - 1]))


def bootstrap(
    columns: Array,
    statistic: Callable[[Array], Array],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of a statistic of column means, requests drawn with replacement.

    All columns are drawn together, so that differences and ratios of systems are paired.

    Args:
        columns: One column a quantity. Shape (n, k).
        statistic: From means of shape (draws, k) to shape (draws,).
        draws: Bootstrap draws.
        seed: Of the draws.
        level: Probability of the interval.

    Cost: multinomial counts, drawn in blocks: O(draws x n) time, 32 MB.
    """
    n = len(columns)
    rng = np.random.default_rng(seed)
    block = max(1, min(draws, 4_000_000 // max(n, 1)))
    found = []
    for start in range(0, draws, block):
        size = min(block, draws - start)
        if n > 20_000:  # the sum over so many rows is normal: draw it directly
            centre, spread = columns.mean(axis=0), np.atleast_2d(np.cov(columns, rowvar=False)) / n
            found.append(statistic(rng.multivariate_normal(centre, spread, size)))
        else:
            counts = rng.multinomial(n, np.full(n, 1.0 / n), size)
            found.append(statistic(counts @ columns / n))
    values = np.concatenate(found)
    edge = (1.0 - level) / 2.0
    return float(np.nanquantile(values, edge)), float(np.nanquantile(values, 1.0 - edge))
