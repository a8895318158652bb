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
    "paired_bootstrap",
]


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


def hull_value(cost: np.ndarray, quality: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the quality of the best random mix of points at costs ``at``.

    Linear between the points of the upper concave hull, flat after its last. For a handful of
    points: every pair around a cost is tried. `cascade.replay.metrics.hull_value` is for many;
    scorers may not import it.

    Args:
        cost: US dollars of each point. Shape (k,).
        quality: Of each point. Shape (k,).
        at: Not below the least cost. Shape (n,).

    Returns:
        Shape (n,).
    """
    c, q, x = np.asarray(cost, float), np.asarray(quality, float), np.asarray(at, float)
    below, above = c[:, None, None], c[None, :, None]  # the two points, then the costs
    width = np.where(above > below, above - below, 1.0)
    share = np.where(above > below, (x - below) / width, 0.0)
    mixed = q[:, None, None] + share * (q[None, :, None] - q[:, None, None])
    return np.asarray(np.where((below <= x) & (share <= 1.0), mixed, -np.inf).max(axis=(0, 1)))
