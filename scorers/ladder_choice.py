"""Which models: those of a log that make its default ladder, and those that help to judge a pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .evaluate import hull_value

__all__ = ["PAIR", "donors", "pick_models"]

PAIR = 2
"""Up to so many models there is no learner over states, and models outside the ladder help."""
MOST_READ = 6
"""Models whose answers are read for a ladder of one or two, itself included."""
DONOR_SHARE = 0.5
"""Share of the rows on which a model outside the ladder must have a score."""
FEW_MODELS_ROWS = 600
"""Below it a default ladder has three models: further ones are further chances to overfit."""


def donors(known: Sequence[str], score: np.ndarray, models: Sequence[str]) -> list[str]:
    """Return models outside the ladder whose answers help to judge its own, nearest in quality first.

    Args:
        known: The columns of `score`.
        score: In [0, 1], NaN unknown. Shape (n, k).
        models: The ladder.
    """
    enough = np.isfinite(score).mean(axis=0) >= DONOR_SHARE
    mean = {m: float(np.nanmean(score[:, j])) for j, m in enumerate(known) if enough[j]}
    own = [mean[m] for m in models if m in mean]
    others = [m for m in mean if m not in models]
    if not own:
        return []
    others.sort(key=lambda m: (min(abs(mean[m] - x) for x in own), m))
    return others[: max(0, MOST_READ - len(models))]


def pick_models(score: np.ndarray, cost: np.ndarray) -> list[int]:
    """Return the default ladder of a log with many models, cheapest first: three to five of them.

    The models on the hull of price and quality, up to the best; gaps are filled by those nearest
    below the hull, and of more than five the ones that add least are dropped.

    Args:
        score: In [0, 1]; NaN is passed over. Shape (n, k).
        cost: US dollars; NaN is passed over. Shape (n, k).
    """
    q, c = np.nanmean(score, axis=0), np.nanmean(cost, axis=0)
    best = int(np.argmax(q))
    affordable = [j for j in range(len(q)) if c[j] <= c[best] + 1e-15]
    hull = hull_value(c[affordable], q[affordable], c)
    on = [j for j in affordable if q[j] >= hull[j] - 1e-12]
    least = 5 if len(score) >= FEW_MODELS_ROWS else 3
    rest = sorted((j for j in affordable if j not in on), key=lambda j: float(hull[j] - q[j]))
    on += rest[: max(0, min(least, len(affordable)) - len(on))]
    while len(on) > 5:
        cheapest = min(on, key=lambda j: float(c[j]))
        inner = [j for j in on if j not in (best, cheapest)]
        on.remove(min(inner, key=lambda j: float(q[j] - _without(j, on, c, q))))
    return sorted(on, key=lambda j: (float(c[j]), j))


def _without(j: int, on: Sequence[int], c: np.ndarray, q: np.ndarray) -> float:
    rest = sorted((i for i in on if i != j), key=lambda i: float(c[i]))
    return float(np.interp(c[j], c[rest], q[rest]))
