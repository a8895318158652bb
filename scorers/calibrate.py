"""Monotone maps from raw scores to probabilities, fitted on out-of-fold scores: Platt below 1,000 rows, isotonic blended above."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .linear_head import sigmoid

__all__ = [
    "ISOTONIC_FROM",
    "Calibration",
    "fit_calibration",
    "isotonic",
    "logit",
    "logit_one",
    "sigmoid_one",
]

ISOTONIC_FROM = 1_000
"""Rows from which on half of the map is isotonic."""

_LOW, _HIGH = 0.005, 0.995
_PULL_ROWS = 5.0  # what the pull of the slope towards 1 is worth
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
    """(1 - blend) * sigmoid(slope * logit(raw) + bias) + blend * (steps at raw, linear between).

    Attributes:
        slope: > 0, so the order is kept.
        bias: Log odds.
        knots: Mean raw score of each isotonic block, ascending; empty without that part. Shape (k,).
        steps: Its probability, non-decreasing. Shape (k,).
        blend: Share of the isotonic part, in [0, 1].
    """

    slope: float
    bias: float
    knots: np.ndarray
    steps: np.ndarray
    blend: float

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Return probabilities in [0, 1], non-decreasing in ``raw``. Shape as ``raw``."""
        p = sigmoid(self.slope * logit(raw) + self.bias)
        if self.blend and len(self.knots):
            p = (1.0 - self.blend) * p + self.blend * np.interp(raw, self.knots, self.steps)
        return p

    def one(self, raw: float) -> float:
        """Return what a call gives for one score, ten times as fast."""
        p = sigmoid_one(self.slope * logit_one(raw) + self.bias)
        if self.blend and len(self.knots):
            p = (1.0 - self.blend) * p + self.blend * float(np.interp(raw, self.knots, self.steps))
        return p


def fit_calibration(
    raw: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None
) -> Calibration:
    """Fit on out-of-fold scores.

    Platt: two parameters by Newton with a weak pull of the slope towards 1 (worth five rows), never
    negative, so the order is kept. Isotonic: pool-adjacent-violators, each block at its mean score;
    half the weight, because alone it ties many rows.

    Args:
        raw: Scores in [0, 1]. Shape (n,).
        y: Labels in [0, 1]. Shape (n,).
        weight: Of the rows, shape (n,); None for 1 each.

    Source: Platt 1999; Zadrozny and Elkan 2002.
    """
    raw = np.asarray(raw, float)
    y = np.asarray(y, float)
    w = np.ones(len(y)) if weight is None else np.asarray(weight, float)
    base = float(np.clip(np.average(y, weights=w), 1e-3, 1 - 1e-3))
    slope, bias = _platt(logit(raw), y, w, base)
    if len(y) < ISOTONIC_FROM:
        empty = np.zeros(0)
        return Calibration(slope=slope, bias=bias, knots=empty, steps=empty, blend=0.0)
    knots, right, size = isotonic(raw, y, w)
    steps = np.maximum.accumulate((right + base) / (size + 1.0))  # one row of prior a block
    return Calibration(slope=slope, bias=bias, knots=knots, steps=steps, blend=_ISOTONIC_SHARE)


def _platt(z: np.ndarray, y: np.ndarray, w: np.ndarray, base: float) -> tuple[float, float]:
    """Return slope and bias on log odds ``z``."""
    slope, bias = 1.0, 0.0
    for _ in range(50):
        p = sigmoid(slope * z + bias)
        v = w * np.maximum(p * (1 - p), 1e-6)
        error = w * (p - y)
        gradient = np.array([np.sum(error * z) + _PULL_ROWS * (slope - 1.0), np.sum(error)])
        cross = np.sum(v * z)
        hessian = np.array([[np.sum(v * z * z) + _PULL_ROWS, cross], [cross, np.sum(v) + 1e-9]])
        step = np.linalg.solve(hessian, gradient)
        slope -= float(np.clip(step[0], -1, 1))
        bias -= float(np.clip(step[1], -2, 2))
        if np.abs(step).max() < 1e-7:
            break
    if slope < _LEAST_SLOPE:  # the score says nothing: keep the order, promise the base rate
        slope = _LEAST_SLOPE
        bias = float(np.log(base / (1 - base)) - slope * np.average(z, weights=w))
    return slope, bias


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
