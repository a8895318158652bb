"""Small LightGBM heads with fixed settings; fitted models are LightGBM's own text."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np

__all__ = ["BOOST", "fit_boost", "predict_boost"]

BOOST: dict[str, object] = {
    "num_leaves": 7,
    "learning_rate": 0.03,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "max_bin": 63,
    "verbosity": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
}
"""What the heads have in common. Source: methods 11, point 3."""

_LEAF_ROWS, _LEAST_LEAF_ROWS, _MANY_ROWS = 25, 8, 500


def fit_boost(
    x: np.ndarray,
    y: np.ndarray,
    *,
    seed: int,
    difference: bool = False,
    trees: int = 150,
    leaves: int = 7,
    rate: float = 0.03,
    min_leaf: int | None = None,
    weight: np.ndarray | None = None,
) -> lgb.Booster:
    """Fit one head: cross-entropy for labels in [0, 1], or least squares.

    Args:
        x: Values, NaN where absent. Shape (n, f).
        y: Labels in [0, 1], soft ones too; a number in [-1, 1] for a ``difference``. Shape (n,).
        seed: Of the samples of rows and columns.
        difference: Least squares instead of cross-entropy.
        trees: Rounds.
        leaves: Leaves of a tree.
        rate: Learning rate.
        min_leaf: Rows a leaf at least; None for 25, below 500 rows n / 20 and at least 8.
        weight: Of the rows, shape (n,); None for 1 each.

    Source: methods 11, point 3.
    """
    n = len(y)
    if min_leaf is None:
        min_leaf = _LEAF_ROWS if n >= _MANY_ROWS else max(_LEAST_LEAF_ROWS, n // 20)
    params = {
        **BOOST,
        "objective": "regression" if difference else "cross_entropy",
        "seed": seed,
        "num_leaves": leaves,
        "learning_rate": rate,
        "min_data_in_leaf": min_leaf,
    }
    data = lgb.Dataset(
        np.asarray(x, dtype=np.float32),
        label=np.asarray(y, dtype=np.float64),
        weight=weight,
        params={"max_bin": BOOST["max_bin"], "verbosity": -1},
        free_raw_data=True,
    )
    return lgb.train(params, data, num_boost_round=trees)


def predict_boost(booster: lgb.Booster, x: np.ndarray) -> np.ndarray:
    """Return what a head says of rows ``x`` of shape (n, f). Shape (n,)."""
    return np.asarray(booster.predict(x, num_threads=1))
