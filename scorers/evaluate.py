"""Metrics exactly as the methods page defines them (section 9), with paired bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

__all__ = [
    "auroc",
    "brier",
    "ece",
    "ece_floor",
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


def ece_floor(
    p: np.ndarray, draws: int = 200, seed: int = 0, bins: int = 15
) -> tuple[float, float]:
    """Return mean and 95 % percentile of the ECE that perfectly calibrated scores have by chance.

    A bin of few rows is seldom right in exactly its share of them: an ECE says something of a
    score only where it is above this.

    Args:
        p: Probabilities. Shape (n,). Labels are drawn from them, and the ECE taken of those.
        draws: Sets of labels.
        seed: Of the draws.
        bins: As in `ece`.
    """
    rng = np.random.default_rng(seed)
    found = [ece(p, (rng.random(len(p)) < p).astype(float), bins) for _ in range(draws)]
    return float(np.mean(found)), float(np.quantile(found, 0.95))


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
