"""Made-up tables that tests share."""

from __future__ import annotations

import numpy as np

from cascade.replay.table import Table, make_table


def ladder_table(n: int = 400, seed: int = 0, *, informed: bool = True) -> Table:
    """Three models of rising skill and price; the forecasts know how hard a request is, or nothing."""
    rng = np.random.default_rng(seed)
    skill = np.array([0.5, 0.7, 0.9])
    hard = rng.random(n)
    score = (hard[:, None] < skill + rng.normal(0, 0.05, (n, 3))).astype(float)
    sure = np.clip(skill - hard[:, None] + rng.normal(0, 0.1, (n, 3)) + 0.5, 0.02, 0.98)
    q = np.broadcast_to(sure if informed else score.mean(axis=0) * np.ones((n, 1)), (8, n, 3))
    return make_table(
        models=("small", "middle", "large"),
        ids=[f"r{seed}-{i}" for i in range(n)],
        score=score,
        cost=np.array([1.0, 4.0, 20.0]) * 1e-4 * np.ones((n, 1)),
        latency=np.ones((n, 3)),
        q=q,
        same=(score[:, :, None] == score[:, None, :]).astype(int),
    )
