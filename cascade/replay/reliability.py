"""Whether "90 % sure" is right nine times in ten: a model's answers in bins of equal size."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from .table import Table

__all__ = ["BINS", "Bin", "Reliability", "bins_of", "reliability"]

BINS = 10
"""Bins of equal mass; fewer when there would be less than `LEAST` answers in one."""

LEAST = 10

Z = 1.959964
"""Standard normal quantile of a 95 % interval."""

Array = NDArray[np.float64]


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of about the same confidence.

    Attributes:
        n: Answers.
        said: Their mean confidence.
        was: Their mean score.
        low: Lower end of its 95 % interval (Wilson, 1927).
        high: Upper end.
    """

    n: int
    said: float
    was: float
    low: float
    high: float


class Reliability(msgspec.Struct, frozen=True, kw_only=True):
    """One model's answers.

    Attributes:
        model: Its name.
        n: Answers.
        ece: Mean distance of `said` and `was` over the bins, weighted by answers.
        bins: By rising confidence.
    """

    model: str
    n: int
    ece: float
    bins: list[Bin]


def reliability(table: Table) -> list[Reliability]:
    """Return one entry a model, of P(right | prompt, its own answer); empty without forecasts."""
    if table.q is None:
        return []
    found = []
    for j, model in enumerate(table.models):
        p = table.q[1 << j, :, j].astype(np.float64)
        score = table.score[:, j].astype(np.float64)
        rows = np.isfinite(p) & np.isfinite(score)
        bins = bins_of(p[rows], score[rows])
        total = int(rows.sum())
        apart = sum(b.n * abs(b.said - b.was) for b in bins)
        ece = apart / total if total else float("nan")
        found.append(Reliability(model=model, n=total, ece=ece, bins=bins))
    return found


def bins_of(p: Array, score: Array) -> list[Bin]:
    """Return bins of equal mass.

    >>> import numpy as np
    >>> [b] = bins_of(np.array([0.25, 0.75]), np.array([0.0, 1.0]))
    >>> b.n, b.said, b.was
    (2, 0.5, 0.5)
    """
    order = np.argsort(p, kind="stable")
    parts = np.array_split(order, min(BINS, max(1, len(p) // LEAST)))
    made = []
    for part in parts:
        if not len(part):
            continue
        n, was = len(part), float(score[part].mean())
        centre = (was + Z * Z / (2 * n)) / (1 + Z * Z / n)
        half = Z / (1 + Z * Z / n) * float(np.sqrt(was * (1 - was) / n + Z * Z / (4 * n * n)))
        made.append(
            Bin(
                n=n,
                said=float(p[part].mean()),
                was=was,
                low=max(0.0, centre - half),
                high=min(1.0, centre + half),
            )
        )
    return made
