"""What a policy, or a whole frontier, did on a log: one summary with intervals and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..policy import Policy
from .holes import Bounds, bounds
from .metrics import Curve, aiq, bootstrap, lift, saving, saving_at
from .table import Table
from .walks import Outcome, outcome, replay_policy

__all__ = ["Point", "Summary", "summarise", "summarise_frontier"]

LEVELS = (0.95, 0.99, 1.0)
"""Shares of the strongest model's quality that savings are stated at."""

FRONTIER_DRAWS = 200
"""Bootstrap draws of the figures of a whole frontier, all paired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What one policy did.

    Every mean is over the requests that the log can answer for: every call the policy would make
    is in it and the answer kept is scored.

    Attributes:
        n: Requests that the log can answer for.
        unknown: Requests it cannot.
        quality: Mean score of the answers kept.
        quality_ci: Its 95 % interval, paired bootstrap over requests.
        cost: Mean US dollars a request.
        strongest: The model everything is held against.
        strongest_quality: Its mean score on the same requests; NaN where some lack it.
        strongest_cost: Its mean cost there.
        saving: 1 - cost / strongest's cost; None if that is free or unknown.
        saving_ci: Its 95 % interval; None with `saving`.
        gap_ci: 95 % interval of quality less the strongest model's; None when that is unknown.
        calls: Share of requests in which each model was called.
        latency: Mean, median and 95th percentile of seconds, calls one after the other; None if
            not logged.
        bounds: Mean quality over all requests with unknown ones counted as wrong, and as right.
        aiq: Average quality over the cost range of the single models and this policy together.
    """

    n: int
    unknown: int
    quality: float
    quality_ci: tuple[float, float]
    cost: float
    strongest: str
    strongest_quality: float
    strongest_cost: float
    saving: float | None
    saving_ci: tuple[float, float] | None
    gap_ci: tuple[float, float] | None
    calls: dict[str, float]
    latency: tuple[float, float, float] | None
    bounds: Bounds
    aiq: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One policy of a frontier.

    Attributes:
        policy: The policy.
        summary: What it did.
    """

    policy: Policy
    summary: Summary


def summarise(policy: Policy, table: Table, strongest: str, *, draws: int = 2_000) -> Summary:
    """Replay one policy and return what it did.

    Args:
        policy: A built-in policy.
        table: The log.
        strongest: Model that was best on the tuning rows.
        draws: Of the bootstrap.
    """
    done = outcome(replay_policy(policy, table), table)
    known = np.isfinite(done.quality) & np.isfinite(done.cost)
    rows = np.flatnonzero(known)
    column = table.models.index(strongest)
    quality, cost = done.quality[rows], done.cost[rows]
    strong = table.score[rows, column].astype(np.float64)
    dear = table.cost[rows, column].astype(np.float64)
    priced = bool(len(rows)) and bool(np.isfinite(dear).all())
    scored = bool(len(rows)) and bool(np.isfinite(strong).all())
    empty = (np.nan, np.nan)
    quality_ci = bootstrap(quality[:, None], lambda x: x[:, 0], draws=draws) if len(rows) else empty
    saved = saving(float(cost.mean()), float(dear.mean())) if priced else None
    return Summary(
        n=len(rows),
        unknown=table.n - len(rows),
        quality=_mean(quality),
        quality_ci=quality_ci,
        cost=_mean(cost),
        strongest=strongest,
        strongest_quality=_mean(strong),
        strongest_cost=_mean(dear),
        saving=saved,
        saving_ci=None
        if saved is None
        else bootstrap(
            np.stack([cost, dear], axis=1), lambda x: 1.0 - x[:, 0] / x[:, 1], draws=draws
        ),
        gap_ci=bootstrap(
            np.stack([quality, strong], axis=1), lambda x: x[:, 0] - x[:, 1], draws=draws
        )
        if scored
        else None,
        calls={
            model: _mean((done.asked[rows] >> j & 1).astype(np.float64))
            for j, model in enumerate(table.models)
        },
        latency=_latency(done, rows),
        bounds=bounds(done),
        aiq=_aiq_with_singles(quality, cost, table, rows),
    )


def summarise_frontier(
    policies: Sequence[Policy], table: Table, strongest: str
) -> tuple[list[Point], dict[str, Any]]:
    """Replay a whole frontier; return its points and lift, savings and AIQ with 95 % intervals.

    All but the points are None where some request lacks the score or cost of a model.
    """
    points = [
        Point(policy=policy, summary=summarise(policy, table, strongest, draws=400))
        for policy in policies
    ]
    rows = np.flatnonzero(table.complete)
    if len(rows) < table.n or not points:
        absent = ("lift", "lift_ci", "saving_at", "saving_at_ci", "aiq", "aiq_ci")
        return points, dict.fromkeys(absent)
    points.sort(key=lambda point: point.summary.cost)
    done = [outcome(replay_policy(point.policy, table), table) for point in points]
    cost, quality = np.stack([o.cost for o in done]), np.stack([o.quality for o in done])
    column = table.models.index(strongest)
    even = np.full(table.n, 1.0 / table.n)
    value = _curve_figures(cost, quality, table, column, even)
    drawn = np.random.default_rng(0).multinomial(table.n, even, FRONTIER_DRAWS) / table.n
    drawn_values = np.array([_curve_figures(cost, quality, table, column, w) for w in drawn])
    low, high = np.quantile(drawn_values, [0.025, 0.975], axis=0).tolist()
    keys = [str(level) for level in LEVELS]
    return points, {
        "lift": value[0],
        "lift_ci": [low[0], high[0]],
        "aiq": value[1],
        "aiq_ci": [low[1], high[1]],
        "saving_at": dict(zip(keys, value[2:], strict=True)),
        "saving_at_ci": {key: [a, b] for key, a, b in zip(keys, low[2:], high[2:], strict=True)},
    }


def _curve_figures(
    cost: NDArray[np.float64],
    quality: NDArray[np.float64],
    table: Table,
    strongest: int,
    weights: NDArray[np.float64],
) -> list[float]:
    """Return lift, AIQ and the saving at each level for one weighing of the requests.

    Args:
        cost: By policy and request. Shape (k, n).
        quality: The same.
        table: The log.
        strongest: Column of the model that everything is held against.
        weights: Of the requests, summing to 1. Shape (n,).
    """
    paid, earned = cost @ weights, quality @ weights
    order = np.argsort(paid, kind="stable")
    ours = Curve(cost=paid[order], quality=earned[order])
    singles = Curve(cost=weights @ table.cost, quality=weights @ table.score)
    top = float(singles.cost[strongest]), float(singles.quality[strongest])
    return [
        lift(ours, singles, strongest),
        aiq(ours, float(singles.cost.min()), top[0]),
        *(saving_at(level, ours, *top) for level in LEVELS),
    ]


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _latency(done: Outcome, rows: NDArray[np.intp]) -> tuple[float, float, float] | None:
    if done.latency is None:
        return None
    seconds = done.latency[rows]
    seconds = seconds[np.isfinite(seconds)]
    if not len(seconds):
        return None
    return (
        float(seconds.mean()),
        float(np.quantile(seconds, 0.5)),
        float(np.quantile(seconds, 0.95)),
    )


def _aiq_with_singles(
    quality: NDArray[np.float64], cost: NDArray[np.float64], table: Table, rows: NDArray[np.intp]
) -> float | None:
    singles_cost = table.cost[rows].mean(axis=0, dtype=np.float64) if len(rows) else np.zeros(0)
    singles = table.score[rows].mean(axis=0, dtype=np.float64) if len(rows) else np.zeros(0)
    if not len(rows) or not (np.isfinite(singles).all() and np.isfinite(singles_cost).all()):
        return None
    both = Curve(
        cost=np.append(singles_cost, cost.mean()), quality=np.append(singles, quality.mean())
    )
    return aiq(both, float(singles_cost.min()), float(singles_cost.max()))
