"""Metrics exactly as the methods page defines them (section 9), with paired bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = [
    "DeferralCurve",
    "auroc",
    "brier",
    "deferral",
    "ece",
    "hull_value",
    "lift",
    "paired_bootstrap",
    "saving_at",
]

_GRID = 2_001  # points of the mean over a cost range


def auroc(p: np.ndarray, y: np.ndarray) -> float:
    """Return P(score of a right one > score of a wrong one), ties half; NaN with one class.

    Args:
        p: Scores. Shape (n,).
        y: Labels in [0, 1]; soft ones are cut at 0.5. Shape (n,).
    """
    right = y >= 0.5
    n_right, n_wrong = int(right.sum()), int((~right).sum())
    if n_right == 0 or n_wrong == 0:
        return math.nan
    _, inverse, counts = np.unique(p, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2.0
    above = rank[inverse][right].sum() - n_right * (n_right + 1) / 2.0
    return float(above / (n_right * n_wrong))


def brier(p: np.ndarray, y: np.ndarray) -> float:
    """Return the mean squared difference of probability and label."""
    return float(np.mean((p - y) ** 2))


def ece(p: np.ndarray, y: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error: |mean p - mean y| averaged over equal-mass bins."""
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(len(part) * abs(p[part].mean() - y[part].mean()) for part in parts) / len(p))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferralCurve:
    """What escalating more and more queries brings.

    Attributes:
        share: Every attainable strong-call share, ascending from 0 to 1. Shape (m,).
        pgr: Performance gap recovered at each. Shape (m,).
        apgr: Area under it; 0.5 at random, NaN where the strong model is no better.
        cpt50: Least share that recovers half of the gap; NaN if none does.
        cpt80: Least share that recovers 80 % of it; NaN if none does.
    """

    share: np.ndarray
    pgr: np.ndarray
    apgr: float
    cpt50: float
    cpt80: float


def deferral(
    value: np.ndarray, weak: np.ndarray, strong: np.ndarray, payoff: np.ndarray | None = None
) -> DeferralCurve:
    """Escalate in descending ``value``; ties together, so that between two shares it is linear.

    Args:
        value: Of escalating. Shape (n,).
        weak: Quality of the weak answers. Shape (n,).
        strong: Quality of the strong answers. Shape (n,).
        payoff: What an escalated query earns; None for ``strong`` (no best of tried). Shape (n,).

    Source: methods 9: PGR = (r - w) / (s - w); APGR by the trapezoid at every attainable share.
    """
    n = len(value)
    earned = strong if payoff is None else payoff
    gap = strong.mean() - weak.mean()
    if gap <= 0:
        unknown = np.array([math.nan, math.nan])
        return DeferralCurve(
            share=np.array([0.0, 1.0]), pgr=unknown, apgr=math.nan, cpt50=math.nan, cpt80=math.nan
        )
    order = np.argsort(-value, kind="stable")
    gain = np.concatenate([[0.0], np.cumsum((earned - weak)[order])]) / n / gap
    distinct = np.concatenate([[True], np.diff(value[order]) != 0, [True]])
    share = np.flatnonzero(distinct) / n
    pgr = gain[distinct]
    return DeferralCurve(
        share=share,
        pgr=pgr,
        apgr=float(np.sum((pgr[1:] + pgr[:-1]) / 2.0 * np.diff(share))),
        cpt50=_least_share(share, pgr, 0.5),
        cpt80=_least_share(share, pgr, 0.8),
    )


def _least_share(share: np.ndarray, pgr: np.ndarray, goal: float) -> float:
    reached = np.flatnonzero(pgr >= goal)
    if reached.size == 0:
        return math.nan
    i = int(reached[0])
    if i == 0:
        return float(share[0])
    part = (goal - pgr[i - 1]) / (pgr[i] - pgr[i - 1])
    return float(share[i - 1] + part * (share[i] - share[i - 1]))


def paired_bootstrap(
    stat: Callable[[np.ndarray], float], n: int, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the 2.5 and 97.5 % percentiles of ``stat(rows)`` over resampled rows.

    The same seed draws the same rows, so the intervals of several systems are paired.

    Args:
        stat: Takes row numbers, shape (n,), with repetitions.
        n: Rows.
        draws: Resamples.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    values = np.array([stat(rng.integers(0, n, n)) for _ in range(draws)])
    return float(np.nanquantile(values, 0.025)), float(np.nanquantile(values, 0.975))


def _hull(cost: np.ndarray, quality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the upper concave, non-decreasing hull of points, sorted by cost."""
    points = sorted(
        zip(cost.tolist(), quality.tolist(), strict=True), key=lambda point: (point[0], -point[1])
    )
    hull: list[tuple[float, float]] = []
    for c, q in points:
        if hull and q <= hull[-1][1]:
            continue
        while len(hull) >= 2 and _is_below(hull[-2], hull[-1], (c, q)):
            hull.pop()
        hull.append((c, q))
    return np.array([c for c, _ in hull]), np.array([q for _, q in hull])


def _is_below(
    left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]
) -> bool:
    """Return whether the middle point is on or below the line through the others."""
    rise = (middle[1] - left[1]) * (right[0] - left[0])
    return rise <= (right[1] - left[1]) * (middle[0] - left[0])


def hull_value(cost: np.ndarray, quality: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the quality of the best random mix of points at costs ``at``.

    Linear between the points of the upper concave hull, flat after its last, and the first point's
    quality before it. Shape as ``at``.
    """
    hull_cost, hull_quality = _hull(np.asarray(cost, float), np.asarray(quality, float))
    return np.asarray(np.interp(at, hull_cost, hull_quality))


def lift(
    cost: np.ndarray, quality: np.ndarray, single_cost: np.ndarray, single_quality: np.ndarray
) -> float:
    """Return by how much policies beat the random mix of single models, in points of 100.

    The mean over costs from the cheapest to the best model's of the difference in quality. Quality
    between two policies is their random mix; a policy below the cheapest single cost counts from
    there. 0 where the best model is the cheapest.

    Args:
        cost: US dollars of each policy (chosen elsewhere, reported here). Shape (p,).
        quality: In [0, 1]. Shape (p,).
        single_cost: US dollars of each model. Shape (m,).
        single_quality: In [0, 1]. Shape (m,).

    Source: methods 11.
    """
    low, high = float(np.min(single_cost)), float(single_cost[int(np.argmax(single_quality))])
    if high <= low:
        return 0.0
    grid = np.linspace(low, high, _GRID)
    order = np.argsort(cost, kind="stable")
    ours = np.interp(grid, np.asarray(cost)[order], np.asarray(quality)[order])
    mix = hull_value(single_cost, single_quality, grid)
    return float(100.0 * (ours - mix).mean())


def saving_at(
    level: float,
    cost: np.ndarray,
    quality: np.ndarray,
    best_cost: float,
    best_quality: float,
) -> float:
    """Return what the cheapest mix of policies saves that reaches a level of the best model's quality.

    Args:
        level: Share of ``best_quality`` to reach.
        cost: US dollars of each policy. Shape (p,).
        quality: In [0, 1]. Shape (p,).
        best_cost: US dollars of the best model.
        best_quality: Its quality.

    Returns:
        1 - cost / ``best_cost``, at least 0; 0 if no policy gets there.
    """
    order = np.argsort(cost, kind="stable")
    costs, qualities = np.asarray(cost, float)[order], np.asarray(quality, float)[order]
    goal = level * best_quality
    reached = np.flatnonzero(qualities >= goal - 1e-12)
    if reached.size == 0:
        return 0.0
    i = int(reached[0])
    spent = costs[i]
    if i > 0 and qualities[i] > qualities[i - 1]:
        part = (goal - qualities[i - 1]) / (qualities[i] - qualities[i - 1])
        spent = costs[i - 1] + part * (costs[i] - costs[i - 1])
    return float(max(0.0, 1.0 - spent / best_cost))
