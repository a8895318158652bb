"""The mistakes to read: answers of other models that were kept and wrong where the strongest was right."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from .table import Table
from .walks import Walks

__all__ = ["MOST", "RIGHT", "Mistake", "Mistakes", "mistakes"]

MOST = 20
"""Mistakes listed for one policy."""

RIGHT = 0.5
"""Score from which an answer counts as right."""


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """One answer kept and wrong.

    Attributes:
        row: Of the report table.
        id: Of the request.
        kept: The model whose answer was kept.
        confidence: P(right) of it when the policy stopped; None when nothing was forecast.
        score: Of the answer kept.
        strongest_score: Of the strongest model's answer.
        asked: Models called, in order.
    """

    row: int
    id: str
    kept: str
    confidence: float | None
    score: float
    strongest_score: float
    asked: list[str]


class Mistakes(msgspec.Struct, frozen=True, kw_only=True):
    """What keeping other answers than the strongest model's cost and gained.

    Attributes:
        others: Requests answered by another model than the strongest.
        wrong: Of these, wrong where the strongest was right.
        better: Of these, right where the strongest was wrong.
        worst: The surest of the wrong ones, at most `MOST`.
    """

    others: int
    wrong: int
    better: int
    worst: list[Mistake]


def mistakes(
    walks: Walks, table: Table, strongest: int, numbers: NDArray[np.intp] | None = None
) -> Mistakes:
    """Return the mistakes of a policy, surest first; rows whose confidence is unknown in log order.

    Args:
        walks: What the policy did.
        table: The log, every score known.
        strongest: Column of the strongest model.
        numbers: What to call the rows in `Mistake.row`; None: by their place in `table`. Shape (n,).
    """
    rows = np.arange(table.n)
    kept = walks.kept.astype(np.intp)
    mine, strong = table.score[rows, kept], table.score[:, strongest]
    other = kept != strongest
    wrong = np.flatnonzero(other & (mine < RIGHT) & (strong >= RIGHT))
    sure = np.full(len(wrong), np.nan)
    if table.q is not None:
        sure = table.q[walks.asked[wrong], wrong, kept[wrong]].astype(np.float64)
    order = np.argsort(-np.nan_to_num(sure, nan=-1.0), kind="stable")[:MOST]
    return Mistakes(
        others=int(other.sum()),
        wrong=len(wrong),
        better=int((other & (mine >= RIGHT) & (strong < RIGHT)).sum()),
        worst=[
            Mistake(
                row=int(row if numbers is None else numbers[row]),
                id=str(table.ids[int(row)]),
                kept=table.models[kept[row]],
                confidence=None if np.isnan(p) else float(p),
                score=float(mine[row]),
                strongest_score=float(strong[row]),
                asked=[table.models[j] for j in walks.sequence(int(row))],
            )
            for row, p in zip(wrong[order], sure[order], strict=True)
        ],
    )
