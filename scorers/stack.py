"""Weigh the groups of heads by a penalised logistic fit on out-of-fold scores, then calibrate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .calibrate import Calibration, fit_calibration
from .linear_head import sigmoid

__all__ = ["PRIOR", "PULL_ROWS", "Stack", "fit_stack"]

PRIOR: dict[str, float] = {
    "hand": 0.40,
    "core": 0.10,
    "pool": 0.25,
    "signal": 0.25,
    "prompt": 0.10,
    "text": 0.20,
}
"""Weights of the groups before anything is known; those present are scaled to sum to 1."""
PULL_ROWS = 150.0
"""How many rows the prior weights are worth."""

_STEPS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """calibration(sigmoid(scores @ weights + bias)).

    Attributes:
        weights: One a group, >= 0. Shape (g,).
        bias: Log odds.
        calibration: From the stacked score to a probability.
    """

    weights: np.ndarray
    bias: float
    calibration: Calibration

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, shape (n,), from group log odds (n, g)."""
        return self.calibration(sigmoid(scores @ self.weights + self.bias))


def fit_stack(
    scores: np.ndarray,
    y: np.ndarray,
    names: tuple[str, ...],
    folds: np.ndarray,
    *,
    pull: float = PULL_ROWS,
) -> tuple[Stack, np.ndarray]:
    """Return the stack, and the probabilities of the training rows from out-of-fold heads.

    The calibration is fitted on scores whose weights were fitted on the other folds: calibrating
    the stack on its own training output left it too sure (slopes .79 to .95 on rows not seen). The
    returned probabilities use the one final stack: a stack a fold ranks rows of different folds on
    different scales, which cost .01 to .02 APGR and would mislead a policy tuned on them. They are
    for tuning; a promise needs rows that nothing here has seen.

    Args:
        scores: Out-of-fold log odds of the heads' groups. Shape (n, g).
        y: Labels in [0, 1]. Shape (n,).
        names: The groups, keys of ``PRIOR``. Length g.
        folds: Fold number of each row, the same folds as the heads'. Shape (n,).
        pull: How many rows the prior weights are worth.
    """
    y = np.asarray(y, float)
    crossed = np.zeros(len(y))
    for k in np.unique(folds):
        inside = folds == k
        weights, bias = _weights(scores[~inside], y[~inside], names, pull)
        crossed[inside] = sigmoid(scores[inside] @ weights + bias)
    weights, bias = _weights(scores, y, names, pull)
    stack = Stack(weights=weights, bias=bias, calibration=fit_calibration(crossed, y))
    return stack, stack(scores)


def _weights(
    scores: np.ndarray, y: np.ndarray, names: tuple[str, ...], pull: float
) -> tuple[np.ndarray, float]:
    """Fit with penalty pull * 0.2 * sd_g^2 * (w_g - prior_g)^2 / 2.

    Negative weights are set to 0 and the rest is fitted again (active set).
    """
    deviation = scores.std(0)
    present = deviation > 1e-9
    prior = np.array([PRIOR[name] for name in names]) * present
    if prior.sum() > 0:
        prior = prior / prior.sum()
    penalty = pull * 0.2 * np.maximum(deviation, 1e-3) ** 2
    active = present.copy()
    weights, bias = prior.copy(), 0.0
    for _ in range(len(names) + 1):
        weights, bias = _newton(scores, y, prior, penalty, active)
        if (weights >= 0).all():
            break
        active &= weights > 0
    return np.maximum(weights, 0.0), bias


def _newton(
    scores: np.ndarray,
    y: np.ndarray,
    prior: np.ndarray,
    penalty: np.ndarray,
    active: np.ndarray,
) -> tuple[np.ndarray, float]:
    """Return the weights, 0 where not ``active``, and the bias."""
    columns = np.flatnonzero(active)
    a = np.hstack([scores[:, columns], np.ones((len(y), 1))])
    strength = np.append(penalty[columns], 1e-6)
    centre = np.append(prior[columns], 0.0)
    found = centre.copy()
    for _ in range(_STEPS):
        p = sigmoid(a @ found)
        v = np.maximum(p * (1 - p), 1e-5)
        gradient = a.T @ (p - y) + strength * (found - centre)
        hessian = (a * v[:, None]).T @ a + np.diag(strength)
        step = np.clip(np.linalg.solve(hessian, gradient), -2, 2)
        found = found - step
        if np.abs(step).max() < 1e-7:
            break
    weights = np.zeros(scores.shape[1])
    weights[columns] = found[:-1]
    return weights, float(found[-1])
