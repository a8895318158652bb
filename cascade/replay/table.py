"""A log as columns: what each model scored, cost and took on each request, and what the scorer said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MAX_MODELS", "Columns", "Floats", "Table", "make_table"]

Floats = NDArray[np.floating[Any]]

MAX_MODELS = 8
"""Most models of a table with forecasts: they take 2**m * m numbers a request."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """A log in columns; n requests, m models. Made by `make_table`.

    What the log does not know is NaN and nothing is put in its place. Arrays are float32 and lie in
    memory a column after the other: replay goes down columns.

    Attributes:
        models: Names, in the order of the columns.
        ids: Of the requests. Length n.
        score: Quality in [0, 1]; NaN unknown. Shape (n, m).
        cost: US dollars of the call; NaN unknown. Shape (n, m).
        latency: Wall seconds of the call; NaN unknown. Shape (n, m), or None when none was logged.
        q: Calibrated P(right) of each model given the answers of the models in a bit mask. Shape
            (2**m, n, m), or None without a scorer.
        same: 1 where two models claim the same, 0 where not, -1 where that cannot be told. Shape
            (n, m, m), or None.
        known: Whether the log holds the model's answer. Shape (n, m).
        asked: What is asked, as a word that is the same for the same question; rows that share it
            never stand on two sides of a division. Length n.
        drawn_by: What random policies draw by: the digest of the request, as live. Length n.
    """

    models: tuple[str, ...]
    ids: Sequence[str]
    score: Floats
    cost: Floats
    latency: Floats | None
    q: Floats | None
    same: NDArray[np.int8] | None
    known: NDArray[np.bool_]
    asked: Sequence[str]
    drawn_by: Sequence[str]

    @property
    def n(self) -> int:
        """Requests."""
        return len(self.score)

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Whether every model answered and was scored and priced, by request. Shape (n,)."""
        whole = self.known & ~np.isnan(self.score) & ~np.isnan(self.cost)
        return np.asarray(whole.all(axis=1))

    def take(self, rows: NDArray[np.intp]) -> Table:
        """Return the table of these requests, in this order."""
        return make_table(
            models=self.models,
            ids=[self.ids[int(i)] for i in rows],
            score=self.score[rows],
            cost=self.cost[rows],
            latency=None if self.latency is None else self.latency[rows],
            q=None if self.q is None else self.q[:, rows],
            same=None if self.same is None else self.same[rows],
            known=self.known[rows],
            asked=[self.asked[int(i)] for i in rows],
            drawn_by=[self.drawn_by[int(i)] for i in rows],
        )

    def only(self, models: Sequence[str]) -> Table:
        """Return the table of these models as columns, in this order; forecasts know of them alone."""
        columns = self.columns(models)
        at = np.array(columns.at)
        square = np.ix_(np.arange(self.n), at, at)
        return make_table(
            models=columns.models,
            ids=self.ids,
            score=self.score[:, at],
            cost=self.cost[:, at],
            latency=None if self.latency is None else self.latency[:, at],
            q=None if self.q is None else self.q[list(columns.masks)][:, :, at],
            same=None if self.same is None else self.same[square],
            known=self.known[:, at],
            asked=self.asked,
            drawn_by=self.drawn_by,
        )

    def columns(self, models: Sequence[str]) -> Columns:
        """Return the columns of `models`, in their order.

        Raises:
            KeyError: The table has no such model; holds its name.
        """
        where = {name: i for i, name in enumerate(self.models)}
        return Columns(table=self, models=tuple(models), at=tuple(where[m] for m in models))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """Some columns of a table, in a policy's own numbering; nothing is copied.

    Attributes:
        table: The table.
        models: Names.
        at: Column of each.
        masks: Bit mask in the table's numbering for each bit mask in this one. Length 2**len(models).
    """

    table: Table
    models: tuple[str, ...]
    at: tuple[int, ...]
    masks: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        masks = [
            sum(1 << column for i, column in enumerate(self.at) if state >> i & 1)
            for state in range(1 << len(self.at))
        ]
        object.__setattr__(self, "masks", tuple(masks))

    def p(self, state: int, model: int, rows: slice | NDArray[np.intp]) -> NDArray[np.float64]:
        """Return P(right) of `model` when the models of the bit mask `state` have answered. Shape (len(rows),)."""
        q = self.table.q
        assert q is not None
        column = q[self.masks[state], :, self.at[model]]
        # `take` is twice as fast as an index array in brackets.
        picked = column[rows] if isinstance(rows, slice) else column.take(rows)
        return picked.astype(np.float64)


def make_table(
    *,
    models: Sequence[str],
    ids: Sequence[str],
    score: ArrayLike,
    cost: ArrayLike,
    latency: ArrayLike | None = None,
    q: ArrayLike | None = None,
    same: ArrayLike | None = None,
    known: ArrayLike | None = None,
    asked: Sequence[str] | None = None,
    drawn_by: Sequence[str] | None = None,
) -> Table:
    """Return a table, shapes checked and arrays laid out for replay.

    `asked` and `drawn_by` are the ids where they are not given.

    Raises:
        ValueError: A shape does not fit; names the array.
    """
    n, m = len(ids), len(models)
    if q is not None and m > MAX_MODELS:
        raise ValueError(f"{m} models; a table with forecasts takes at most {MAX_MODELS}")
    scores = _column_major("score", score, (n, m))
    costs = _column_major("cost", cost, (n, m))
    forecasts = None
    if q is not None:
        given = np.asarray(q, dtype=np.float32)
        if given.shape != (1 << m, n, m):
            raise ValueError(f"q: shape {given.shape}; allowed: {(1 << m, n, m)}")
        forecasts = np.ascontiguousarray(given.transpose(0, 2, 1)).transpose(0, 2, 1)
    alike = None
    if same is not None:
        raw = np.asarray(same)
        alike = np.where(np.isnan(raw), -1, raw).astype(np.int8) if raw.dtype.kind == "f" else raw
        alike = np.asarray(alike, dtype=np.int8)
        if alike.shape != (n, m, m):
            raise ValueError(f"same: shape {alike.shape}; allowed: {(n, m, m)}")
    there = ~np.isnan(costs) if known is None else np.asarray(known, dtype=np.bool_)
    if there.shape != (n, m):
        raise ValueError(f"known: shape {there.shape}; allowed: {(n, m)}")
    return Table(
        models=tuple(models),
        ids=ids,
        score=scores,
        cost=costs,
        latency=None if latency is None else _column_major("latency", latency, (n, m)),
        q=forecasts,
        same=alike,
        known=there,
        asked=ids if asked is None else asked,
        drawn_by=ids if drawn_by is None else drawn_by,
    )


def _column_major(name: str, values: ArrayLike, shape: tuple[int, int]) -> Floats:
    array = np.asfortranarray(values, dtype=np.float32)
    if array.shape != shape:
        raise ValueError(f"{name}: shape {array.shape}; allowed: {shape}")
    return array
