"""A logistic or ridge head on hand-made numbers after a monotone map of each column; NaN becomes 0 plus an indicator.

Fitted state is plain arrays (npz-ready); prediction is numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

__all__ = [
    "ColumnMap",
    "LinearHead",
    "fit_linear",
    "fit_map",
    "logistic_newton",
    "place",
    "sigmoid",
]

N_KNOTS = 33
LEAST_VALUES = 10
"""Known values, and also missing ones, that a column needs for them to say anything."""
FEW_ROWS = 32
"""Up to so many rows all columns are mapped in one step; of more rows one column after another."""
MAX_SCORE = 4.0

_L2_LOGISTIC, _L2_SQUARES = 20.0, 80.0


def sigmoid(z: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-z)), safe for large |z|. Shape as ``z``."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


def slopes(knots: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the rise of ``scores`` from each knot to the next, 0 at the last. Knots on axis 0."""
    rise = np.zeros_like(scores)
    width = np.diff(knots, axis=0)
    np.divide(np.diff(scores, axis=0), width, out=rise[:-1], where=width > 0)
    return rise


def place(
    x: np.ndarray, knots: np.ndarray, scores: np.ndarray, rise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Map each value between the knots of its column: `np.interp` for all columns at once.

    Args:
        x: Values. Shape (f,).
        knots: Increasing along axis 0. Shape (k, f), contiguous.
        scores: What the knots are mapped to. Shape (k, f), contiguous.
        rise: `slopes` of both. Shape (k, f), contiguous.

    Returns:
        The mapped values, 0 for NaN, and where NaN was; each (f,).
    """
    missing = np.isnan(x)
    x = np.minimum(np.maximum(x, knots[0]), knots[-1])
    # at most 33 knots: counting in bytes lets numpy add 32 columns at once
    below = np.add.reduce((x >= knots).view(np.uint8), axis=0, dtype=np.uint8)
    at = np.maximum(below.astype(np.intp) - 1, 0) * len(x) + np.arange(len(x))
    mapped = rise.ravel()[at] * (x - knots.ravel()[at]) + scores.ravel()[at]
    mapped[missing] = 0.0
    return mapped, missing


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMap:
    """Maps columns to normal scores by their training quantiles, linearly between them.

    Attributes:
        keep: Which of the f columns are used: those that vary in training. Shape (f,), bool.
        knots: Quantiles of each kept column, increasing. Shape (f', N_KNOTS).
        scores: Normal scores of the knots, ties averaged, of unit variance. Shape (f', N_KNOTS).
        missing: Which kept columns get an indicator of NaN besides. Shape (f',), bool.
    """

    keep: np.ndarray
    knots: np.ndarray
    scores: np.ndarray
    missing: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Map rows.

        Args:
            x: Values, NaN where absent. Shape (n, f).

        Returns:
            The mapped columns, NaN as 0, then the indicators. Shape (n, f' + missing.sum()).
        """
        x = np.asarray(x, dtype=np.float64)[:, self.keep]
        n, f = x.shape
        out = np.zeros((n, f + int(self.missing.sum())))
        if n <= FEW_ROWS and f:
            knots = np.ascontiguousarray(self.knots.T)
            scores = np.ascontiguousarray(self.scores.T)
            rise = slopes(knots, scores)
            for i in range(n):
                out[i, :f], _ = place(x[i], knots, scores, rise)
        else:
            columns = np.ascontiguousarray(x.T)
            for j in range(f):
                mapped = np.interp(columns[j], self.knots[j], self.scores[j])
                out[:, j] = np.where(np.isnan(columns[j]), 0.0, mapped)
        out[:, f:] = np.isnan(x[:, self.missing])
        return out


def fit_map(x: np.ndarray) -> ColumnMap:
    """Learn the map on training rows ``x`` of shape (n, f).

    Columns that are constant (apart from NaN) and never, or nearly always, missing are dropped.
    """
    x = np.asarray(x, dtype=np.float64)
    keep = np.zeros(x.shape[1], bool)
    knots: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    missing: list[bool] = []
    for j in range(x.shape[1]):
        column = x[:, j]
        absent = np.isnan(column)
        known = np.sort(column[~absent])
        tells_by_absence = bool(LEAST_VALUES <= absent.sum() <= len(column) - LEAST_VALUES)
        if known.size < LEAST_VALUES or known[0] == known[-1]:
            if tells_by_absence:
                keep[j] = True
                knots.append(np.linspace(0, 1, N_KNOTS))
                scores.append(np.zeros(N_KNOTS))
                missing.append(True)
            continue
        keep[j] = True
        missing.append(tells_by_absence)
        at, score = _normal_scores(known)
        knots.append(at)
        scores.append(score)
    return ColumnMap(
        keep=keep,
        knots=np.array(knots).reshape(-1, N_KNOTS),
        scores=np.array(scores).reshape(-1, N_KNOTS),
        missing=np.array(missing, bool),
    )


def _normal_scores(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return knots and their normal scores for sorted values, each (N_KNOTS,), the last repeated."""
    n = known.size
    knots = np.unique(np.quantile(known, np.linspace(0, 1, N_KNOTS)))
    low = np.searchsorted(known, knots, "left")
    high = np.searchsorted(known, knots, "right")
    score = ndtri(np.clip((low + high) / 2.0 / n, 0.5 / n, 1 - 0.5 / n))
    every = np.interp(known, knots, score)
    score = np.clip((score - every.mean()) / max(every.std(), 1e-3), -MAX_SCORE, MAX_SCORE)
    spare = N_KNOTS - len(knots)
    return np.pad(knots, (0, spare), mode="edge"), np.pad(score, (0, spare), mode="edge")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearHead:
    """Weights over mapped columns.

    Attributes:
        columns: The map.
        weights: Of the mapped columns and the indicators. Shape (f' + missing.sum(),).
        bias: Added to the sum.
        logistic: Whether the output is a probability, or else a plain number.
    """

    columns: ColumnMap
    weights: np.ndarray
    bias: float
    logistic: bool

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the output for rows ``x`` of shape (n, f). Shape (n,)."""
        z = self.columns(x) @ self.weights + self.bias
        return sigmoid(z) if self.logistic else z


def logistic_newton(
    z: np.ndarray, y: np.ndarray, l2: float, weight: np.ndarray | None = None, steps: int = 12
) -> tuple[np.ndarray, float]:
    """Minimise sum w * cross-entropy(y, sigmoid(z b + c)) + l2 / 2 |b|^2 by Newton steps.

    Args:
        z: Rows. Shape (n, f).
        y: Labels in [0, 1], soft ones too. Shape (n,).
        l2: Penalty of the weights; the bias has next to none.
        weight: Of the rows, shape (n,); None for 1 each.
        steps: At most so many, each cut so that no weight moves by more than 4.

    Returns:
        Weights (f,) and bias.
    """
    n, f = z.shape
    w = np.ones(n) if weight is None else weight
    a = np.hstack([z, np.ones((n, 1))])
    penalty = np.full(f + 1, l2)
    penalty[-1] = 1e-6
    base = np.clip(np.average(y, weights=w), 1e-3, 1 - 1e-3)
    b = np.zeros(f + 1)
    b[-1] = np.log(base / (1 - base))
    for _ in range(steps):
        p = sigmoid(a @ b)
        gradient = a.T @ (w * (p - y)) + penalty * b
        hessian = (a * (w * np.maximum(p * (1 - p), 1e-4))[:, None]).T @ a
        hessian[np.diag_indices_from(hessian)] += penalty
        step = np.linalg.solve(hessian, gradient)
        size = np.abs(step).max()
        b = b - step * min(1.0, 4.0 / max(size, 1e-9))
        if size < 1e-5:
            break
    return b[:-1], float(b[-1])


def fit_linear(
    x: np.ndarray,
    y: np.ndarray,
    *,
    logistic: bool = True,
    l2: float | None = None,
    weight: np.ndarray | None = None,
) -> LinearHead:
    """Fit a head.

    Args:
        x: Values, NaN where absent. Shape (n, f).
        y: Labels in [0, 1], or without ``logistic`` numbers such as a difference in [-1, 1].
        logistic: Cross-entropy, or else least squares.
        l2: Penalty; None for 20 (logistic; mapped columns have unit variance) or 80 (squares).
        weight: Of the rows, shape (n,), for the logistic form; None for 1 each.
    """
    columns = fit_map(x)
    z = columns(x)
    y = np.asarray(y, dtype=np.float64)
    if logistic:
        weights, bias = logistic_newton(z, y, _L2_LOGISTIC if l2 is None else l2, weight)
    else:
        penalty = (_L2_SQUARES if l2 is None else l2) * np.eye(z.shape[1])
        mean = z.mean(0)
        centred = z - mean
        weights = np.linalg.solve(centred.T @ centred + penalty, centred.T @ (y - y.mean()))
        bias = float(y.mean() - mean @ weights)
    return LinearHead(columns=columns, weights=weights, bias=bias, logistic=logistic)
