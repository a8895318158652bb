"""Fits what a continuation is worth, from the fullest state backwards; see `cascade.policies.Induction`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..policies import Induction
from .table import Table
from .walks import continuation_features

__all__ = ["InductionFitter"]

RIDGE = 3.0
"""Pull of the weights towards "worth the greater of what is at hand and P(right) of the next"."""

REALISED = 0.5
"""Share of what following the policy really earned in the target; the rest is what was estimated."""

MAX_ROWS = 20_000
"""Rows that the seven weights of a state are fitted on at most."""

Array = NDArray[np.float64]


class InductionFitter:
    """Fits `Induction` policies of one ladder for many trade-offs.

    What does not depend on the trade-off (features, their products) is computed once.

    Args:
        table: Tuning rows, every model answered and scored; forecasts out of fold.
        models: The ladder, cheapest first.
        seed: Of the choice of rows when there are more than `MAX_ROWS`.

    Source: methods page, section 11, point 4: U(s) = max(best in s, max_j E[U(s + j)] - price_j).
    """

    def __init__(self, table: Table, models: Sequence[str], *, seed: int = 0) -> None:
        columns = table.columns(models)
        m = len(columns.models)
        rows = np.arange(table.n)
        if table.n > MAX_ROWS:
            rows = np.sort(np.random.default_rng(seed).permutation(table.n)[:MAX_ROWS])
        at = np.array(columns.at)
        self._models = columns.models
        self._score = table.score[np.ix_(rows, at)].astype(np.float64)
        self._mean_cost = table.cost[:, at].astype(np.float64).mean(axis=0)
        self._states = sorted(range(1 << m), key=lambda s: -s.bit_count())
        self._best: dict[int, tuple[Array, Array]] = {}
        self._features: dict[tuple[int, int], Array] = {}
        self._solve: dict[tuple[int, int], Array] = {}
        prior = np.zeros(7)
        prior[3] = 1.0
        ridge = RIDGE * np.eye(7)
        ridge[0, 0] = 1e-3  # the constant is free
        self._prior = prior
        n = len(rows)
        for s in self._states:
            p = [columns.p(s, j, rows) for j in range(m)]
            inside = [j for j in range(m) if s >> j & 1]
            best: Array | None = None
            if inside:
                stack = np.stack([p[j] for j in inside], axis=1)
                k = stack.argmax(axis=1)
                best = stack[np.arange(n), k]
                self._best[s] = (best, self._score[np.arange(n), np.array(inside)[k]])
            for j in range(m):
                if s >> j & 1:
                    continue
                phi = np.stack([np.ones(n), *continuation_features(p, best, s, j)], axis=1)
                self._features[s, j] = phi
                self._solve[s, j] = np.asarray(
                    np.linalg.solve(phi.T @ phi + ridge, phi.T), dtype=np.float64
                )

    @property
    def mean_cost(self) -> tuple[float, ...]:
        """Mean US dollars of one call of each model on the tuning rows."""
        return tuple(self._mean_cost.tolist())

    def fit(self, tradeoff_usd: float) -> Induction:
        """Return the policy for one trade-off, US dollars a unit of quality."""
        price = self._mean_cost / tradeoff_usd
        estimated: dict[int, Array] = {}
        realised: dict[int, Array] = {}
        weights: dict[tuple[int, int], tuple[float, ...]] = {}
        n, m = self._score.shape
        for s in self._states:
            worth, earned = self._best[s] if s else (np.full(n, -np.inf), np.zeros(n))
            for j in range(m):
                if s >> j & 1:
                    continue
                after = s | 1 << j
                target = (1 - REALISED) * estimated[after] + REALISED * realised[after]
                phi = self._features[s, j]
                w = self._prior + self._solve[s, j] @ (target - phi[:, 3])
                weights[s, j] = tuple(w.tolist())
                going = phi @ w - price[j]
                more = going > worth
                worth = np.where(more, going, worth)
                earned = np.where(more, realised[after] - price[j], earned)
            estimated[s], realised[s] = worth, earned
        return Induction(
            models=self._models,
            cost_usd=self.mean_cost,
            tradeoff_usd=tradeoff_usd,
            weights=weights,
        )
