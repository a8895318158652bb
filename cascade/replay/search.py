"""Candidate policies of every family on tuning rows, with what each would have earned and cost there."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ..policies import Agreement, CascadeRouting, Chain, Fixed, Routing
from ..policy import Policy
from .induction import InductionFitter
from .metrics import hull
from .table import Columns, Table
from .walks import outcome, replay_policy

__all__ = ["FAMILIES", "Candidate", "best_ladder", "candidates", "strongest", "tradeoffs"]

FAMILIES = ("fixed", "routing", "cascade_routing", "induction", "chain", "agreement")
"""Kinds of policies that are searched."""

THRESHOLDS = (0.3, 0.45, 0.6, 0.7, 0.8, 0.88, 0.94, 0.97)
"""Cuts of calibrated P(right) that chains are tried with. Cuts at every row's own value were
left out: with a few hundred rows they fit the rows, not the traffic."""

TRADEOFFS = 26
"""Trade-offs tried, evenly spaced in their logarithm."""

MAX_LADDER = 5
"""Most models of one ladder."""

THREADS = 2
"""Policies replayed at once; numpy lets go of the interpreter's lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A policy and what it did on the tuning rows.

    Attributes:
        policy: The policy.
        family: Its kind.
        quality: Mean score of the answers kept.
        cost: Mean US dollars a request.
    """

    policy: Policy
    family: str
    quality: float
    cost: float


def strongest(table: Table) -> int:
    """Return the column of the model with the best mean score where it answered; the cheaper one of equals."""
    quality, cost = _means(table)
    return int(np.lexsort((cost, -quality))[0])


def best_ladder(table: Table, size: int = MAX_LADDER) -> tuple[str, ...]:
    """Return at most `size` models worth having in one ladder, cheapest first.

    The strongest and all that are not dearer; of more than `size`, those on the hull of price and
    quality and then those nearest below it; of more hull members than that, without the ones whose
    absence lowers it least.
    """
    quality, cost = _means(table)
    top = strongest(table)
    able = [j for j in range(len(quality)) if cost[j] <= cost[top]]
    on = [able[i] for i in hull(cost[able], quality[able])]
    gap = np.interp(cost, cost[on], quality[on]) - quality
    for j in sorted(set(able) - set(on), key=lambda j: float(gap[j])):
        if len(on) < size:
            on.append(j)
    while len(on) > size:
        on.remove(min((j for j in on[1:] if j != top), key=lambda j: _loss(j, on, cost, quality)))
    return tuple(table.models[j] for j in sorted(on, key=lambda j: (cost[j], j)))


def _loss(j: int, on: list[int], cost: NDArray[np.float64], quality: NDArray[np.float64]) -> float:
    rest = [i for i in on if i != j]
    return float(quality[j] - np.interp(cost[j], cost[rest], quality[rest]))


def tradeoffs(table: Table, models: Sequence[str], count: int = TRADEOFFS) -> list[float]:
    """Return trade-offs to try, US dollars a unit of quality, from money-minded to quality-minded.

    Centred on what the models themselves offer: their span of cost over their span of quality.
    """
    at = list(table.columns(models).at)
    quality, cost = (values[at] for values in _means(table))
    span = float(np.ptp(cost)) / max(float(np.ptp(quality)), 0.02)
    span = max(span, 1e-12)
    return [float(t) for t in span / np.geomspace(30, 0.02, count)]


def candidates(
    table: Table,
    models: Sequence[str],
    *,
    families: Sequence[str] = FAMILIES,
    seed: int = 0,
) -> list[Candidate]:
    """Return the policies of `families` over one ladder, evaluated on the rows of `table`.

    Args:
        table: Tuning rows, every model answered, scored and priced; forecasts out of fold.
        models: The ladder, cheapest first.
        families: Of `FAMILIES`.
        seed: Of the rows that continuations are fitted on when there are very many.
    """
    found = [c for c in _fixed(table, models) if "fixed" in families]
    if table.q is not None:
        if "chain" in families:
            for size in (2, 3):
                for chain in combinations(models, size):
                    found += _chains(table, chain)
        policies = list(_valued(table, models, families, seed))
        with ThreadPoolExecutor(THREADS) as pool:
            found += pool.map(lambda policy: _evaluated(policy, table), policies)
    if table.same is not None and "agreement" in families:
        for first, second in combinations(models, 2):
            found += [
                _evaluated(Agreement(models=(first, second, last)), table)
                for last in models
                if last not in (first, second)
            ]
    return found


def _valued(
    table: Table, models: Sequence[str], families: Sequence[str], seed: int
) -> Iterator[Policy]:
    fitter = InductionFitter(table, models, seed=seed) if "induction" in families else None
    at = list(table.columns(models).at)
    cost = tuple(_means(table)[1][at].tolist())
    for tradeoff in tradeoffs(table, models):
        if fitter is not None:
            yield fitter.fit(tradeoff)
        if "cascade_routing" in families:
            yield CascadeRouting(models=tuple(models), cost_usd=cost, tradeoff_usd=tradeoff)
        if "routing" in families:
            yield Routing(models=tuple(models), cost_usd=cost, tradeoff_usd=tradeoff)


def _evaluated(policy: Policy, table: Table) -> Candidate:
    found = outcome(replay_policy(policy, table), table)
    return Candidate(
        policy=policy,
        family=policy.version.partition("/")[0],
        quality=float(found.quality.mean()),
        cost=float(found.cost.mean()),
    )


def _fixed(table: Table, models: Sequence[str]) -> list[Candidate]:
    quality, cost = _means(table)
    return [
        Candidate(
            policy=Fixed(model=model),
            family="fixed",
            quality=float(quality[j]),
            cost=float(cost[j]),
        )
        for model, j in zip(models, table.columns(models).at, strict=True)
    ]


def _means(table: Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a model that never answered has no mean
        return (
            np.nanmean(table.score, axis=0, dtype=np.float64),
            np.nanmean(table.cost, axis=0, dtype=np.float64),
        )


def _chains(table: Table, chain: tuple[str, ...]) -> list[Candidate]:
    """Evaluate every combination of thresholds of one chain in one pass over the rows.

    The rows are counted by the bins that their confidences fall in, rung by rung; sums over
    those counts then give every combination. O(rows x rungs + combinations).
    """
    columns, cuts = table.columns(chain), np.array(THRESHOLDS)
    bins, length = len(cuts), len(chain)
    bin_of: list[NDArray[np.intp]] = []
    spent = np.zeros(table.n)
    quality, cost = np.zeros((bins,) * (length - 1)), np.zeros((bins,) * (length - 1))
    for i in range(length):
        best, kept = _surest(columns, i)
        spent = spent + table.cost[:, columns.at[i]]
        earned = np.take_along_axis(
            np.stack([table.score[:, j] for j in columns.at[: i + 1]], axis=1),
            kept[:, None],
            axis=1,
        )[:, 0]
        if i < length - 1:
            bin_of.append(np.searchsorted(cuts, best, side="right"))
        cells = (bins + 1,) * len(bin_of)
        cell = np.ravel_multi_index(bin_of, cells)
        for total, value in ((quality, earned), (cost, spent)):
            sums = np.bincount(cell, weights=value, minlength=(bins + 1) ** len(bin_of)).astype(
                np.float64
            )
            total += _stopping(sums.reshape(cells), i, length)
    return [
        Candidate(
            policy=Chain(models=chain, accept=tuple(float(cuts[t]) for t in at)),
            family="chain",
            quality=float(quality[at] / table.n),
            cost=float(cost[at] / table.n),
        )
        for at in np.ndindex(quality.shape)
    ]


def _stopping(sums: NDArray[np.float64], rung: int, length: int) -> NDArray[np.float64]:
    """Return the total over rows that stop at `rung`, for every combination of thresholds.

    A row passes on below threshold t when its bin is <= t, and stops when it is > t.
    """
    for axis in range(sums.ndim):
        up_to = np.cumsum(sums, axis=axis)
        below = np.take(up_to, range(up_to.shape[axis] - 1), axis=axis)
        if axis == rung and rung < length - 1:
            sums = np.take(up_to, [-1], axis=axis) - below
        else:
            sums = below
    return sums.reshape(sums.shape + (1,) * (length - 1 - sums.ndim))


def _surest(columns: Columns, last: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the greatest P(right) among the first models of a chain, and which has it, later ones first."""
    seen = (1 << (last + 1)) - 1
    every = slice(None)
    p = np.stack([columns.p(seen, j, every) for j in range(last + 1)], axis=1)
    kept = last - p[:, ::-1].argmax(axis=1)
    best: NDArray[np.float64] = np.take_along_axis(p, kept[:, None], axis=1)[:, 0]
    return best, kept
