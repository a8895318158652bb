"""Monotone maps from raw scores to probabilities, fitted on out-of-fold scores: beta calibration, isotonic blended in from 1,000 rows on.

Beta calibration is Platt's map with one parameter more, the skew, which is pulled to 0: with few
rows it is Platt's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .linear_head import sigmoid

__all__ = [
    "CLIP",
    "ISOTONIC_FROM",
    "Calibration",
    "fit_calibration",
    "isotonic",
    "logit",
    "logit_one",
    "sigmoid_one",
]

ISOTONIC_FROM = 1_000
"""Rows, counted by their weights, from which on half of the map is isotonic."""

CLIP = _LOW, _HIGH = 0.005, 0.995
"""Probabilities are cut to this before their logarithms are taken."""
_SLOPE_PULL = 30.0
"""Pull of the slope towards 1. Of 5 and 30, and of skews pulled by 3, 10, 30 and not fitted, these two
were best in cross-validation on nine shared logs (Brier score .15851 against .15904 for Platt's map)."""
_SKEW_PULL = 3.0
"""Pull of the skew towards 0."""
_LEAST_SLOPE = 0.02
_ISOTONIC_SHARE = 0.5


def logit(p: np.ndarray) -> np.ndarray:
    """Return log odds of probabilities clipped to [0.005, 0.995]. Shape as ``p``."""
    q = np.clip(p, _LOW, _HIGH)
    return np.asarray(np.log(q / (1.0 - q)))


def logit_one(p: float) -> float:
    """Return `logit` of one probability; NaN stays NaN."""
    q = min(max(p, _LOW), _HIGH)
    return math.log(q / (1.0 - q)) if p == p else math.nan


def sigmoid_one(z: float) -> float:
    """Return `sigmoid` of one number."""
    return 0.5 * (1.0 + math.tanh(0.5 * z))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """(1 - blend) * sigmoid(slope * logit(raw) + skew * (ln raw + ln(1 - raw)) + bias) + blend * (steps at raw, linear between).

    Attributes:
        slope: > abs(skew), so the order is kept.
        skew: How much faster it rises near 0 than near 1; 0 for Platt's map.
        bias: Log odds.
        knots: Mean raw score of each isotonic block, ascending; empty without that part. Shape (k,).
        steps: Its probability, non-decreasing. Shape (k,).
        blend: Share of the isotonic part, in [0, 1].
    """

    slope: float
    skew: float
    bias: float
    knots: np.ndarray
    steps: np.ndarray
    blend: float

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Return probabilities in [0, 1], non-decreasing in ``raw``. Shape as ``raw``."""
        p = sigmoid(self.slope * logit(raw) + self.skew * _spread(raw) + self.bias)
        if self.blend and len(self.knots):
            p = (1.0 - self.blend) * p + self.blend * np.interp(raw, self.knots, self.steps)
        return p

    def inverse(self, p: np.ndarray) -> np.ndarray:
        """Return the scores that it made ``p`` of; it rises strictly between its clips. Shape as ``p``."""
        grid = np.linspace(0.0, 1.0, 8_001)
        return np.asarray(np.interp(p, self(grid), grid))

    def one(self, raw: float) -> float:
        """Return what a call gives for one score, ten times as fast."""
        q = min(max(raw, _LOW), _HIGH) if raw == raw else math.nan
        up, down = math.log(q), math.log(1.0 - q)
        p = sigmoid_one(self.slope * (up - down) + self.skew * (up + down) + self.bias)
        if self.blend and len(self.knots):
            p = (1.0 - self.blend) * p + self.blend * float(np.interp(raw, self.knots, self.steps))
        return p


def fit_calibration(
    raw: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None
) -> Calibration:
    """Fit on out-of-fold scores.

    Beta: three parameters by Newton, with a pull of the slope towards 1 and of the
    skew towards 0; never falling, so the order is kept. Isotonic: pool-adjacent-violators, each
    block at its mean score; half the weight, because alone it ties many rows.

    Args:
        raw: Scores in [0, 1]. Shape (n,).
        y: Labels in [0, 1]. Shape (n,).
        weight: Of the rows, shape (n,); None for 1 each.

    Source: Platt 1999; Kull, Silva Filho and Flach 2017 (a = slope + skew, b = slope - skew);
    Zadrozny and Elkan 2002.
    """
    raw = np.asarray(raw, float)
    y = np.asarray(y, float)
    w = np.ones(len(y)) if weight is None else np.asarray(weight, float)
    base = float(np.clip(np.average(y, weights=w), 1e-3, 1 - 1e-3))
    slope, skew, bias = _beta(raw, y, w, base)
    if w.sum() < ISOTONIC_FROM:
        empty = np.zeros(0)
        return Calibration(slope=slope, skew=skew, bias=bias, knots=empty, steps=empty, blend=0.0)
    knots, right, size = isotonic(raw, y, w)
    steps = np.maximum.accumulate((right + base) / (size + 1.0))  # one row of prior a block
    return Calibration(
        slope=slope, skew=skew, bias=bias, knots=knots, steps=steps, blend=_ISOTONIC_SHARE
    )


def _spread(raw: np.ndarray) -> np.ndarray:
    """Return ln p + ln(1 - p) of probabilities clipped as in `logit`. Shape as ``raw``."""
    q = np.clip(raw, _LOW, _HIGH)
    return np.asarray(np.log(q) + np.log1p(-q))


def _beta(raw: np.ndarray, y: np.ndarray, w: np.ndarray, base: float) -> tuple[float, float, float]:
    """Return slope, skew and bias; without the skew where it would make the map fall."""
    z = logit(raw)
    columns = np.stack([z, _spread(raw), np.ones(len(y))], axis=1)
    slope, skew, bias = _newton(columns, y, w, np.array([_SLOPE_PULL, _SKEW_PULL, 1e-9]))
    if slope - abs(skew) >= _LEAST_SLOPE:
        return slope, skew, bias
    slope, bias = _newton(columns[:, [0, 2]], y, w, np.array([_SLOPE_PULL, 1e-9]))
    if slope < _LEAST_SLOPE:  # the score says nothing: keep the order, promise the base rate
        slope = _LEAST_SLOPE
        bias = float(np.log(base / (1 - base)) - slope * np.average(z, weights=w))
    return slope, 0.0, bias


def _newton(
    columns: np.ndarray, y: np.ndarray, w: np.ndarray, pull: np.ndarray
) -> tuple[float, ...]:
    """Return the weights of a logistic fit; the first is pulled to 1, the others to 0."""
    centre = np.zeros(columns.shape[1])
    centre[0] = 1.0

    def loss(weights: np.ndarray) -> float:
        z = columns @ weights
        return float(w @ (np.logaddexp(0.0, z) - y * z) + 0.5 * pull @ (weights - centre) ** 2)

    found, now = centre, loss(centre)
    for _ in range(50):
        p = sigmoid(columns @ found)
        v = w * np.maximum(p * (1 - p), 1e-6)
        gradient = columns.T @ (w * (p - y)) + pull * (found - centre)
        hessian = (columns * v[:, None]).T @ columns + np.diag(pull)
        step = np.linalg.solve(hessian, gradient)
        share = 1.0
        # A whole step may go too far where scores are extreme and wrong.
        while (new := loss(found - share * step)) > now and share > 1e-6:
            share *= 0.5
        found, now = found - share * step, min(new, now)
        if np.abs(share * step).max() < 1e-7:
            break
    return tuple(found.tolist())


def isotonic(
    raw: np.ndarray, y: np.ndarray, w: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pool adjacent violators.

    Args:
        raw: Scores. Shape (n,).
        y: Labels in [0, 1]. Shape (n,).
        w: Weights > 0. Shape (n,).

    Returns:
        Mean score, weighted sum of labels and weight of each block, ascending; each (blocks,).
    """
    scored, place = np.unique(raw, return_inverse=True)  # rows of equal score are one block
    right = np.bincount(place, weights=y * w).tolist()
    size = np.bincount(place, weights=w).tolist()
    blocks: list[tuple[float, float, float]] = []  # labels, weight, scores
    for score, labels, weight in zip(scored.tolist(), right, size, strict=True):
        block = (labels, weight, score * weight)
        while blocks and blocks[-1][0] / blocks[-1][1] >= block[0] / block[1]:
            last = blocks.pop()
            block = (last[0] + block[0], last[1] + block[1], last[2] + block[2])
        blocks.append(block)
    rights, sizes, scores = np.array(blocks, float).T
    # Means of blocks that nearly touch may lie the wrong way round by a rounding error.
    return np.maximum.accumulate(scores / sizes), rights, sizes
