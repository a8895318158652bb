"""Logs with holes: what can be said of a policy when the log holds only the rungs that were called.

Three things are told apart and never mixed: what the log answers exactly, bounds that hold
whatever the unknown answers were, and estimates that need the probabilities of the actions taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metrics import bootstrap
from .table import Table
from .walks import Outcome, Walks

__all__ = [
    "LEAST_EFFECTIVE",
    "Bounds",
    "Estimate",
    "Logged",
    "Steps",
    "bounds",
    "estimate",
    "steps_of",
]

LEAST_EFFECTIVE = 100.0
"""Effective sample size below which no estimate is given."""

CLIP = 50.0
"""Greatest weight of a request."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Mean quality over all requests, unknown ones included.

    Attributes:
        low: Unknown answers counted as wrong.
        high: Unknown answers counted as right.
    """

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """A log of random decisions, beside what the policy to be judged would have done.

    Attributes:
        weight: For each request and step, 1 over the logged probability of the action taken if the
            policy takes it too, else 0; NaN after the request's last step. Shape (n, steps).
        reward: Quality of the answer returned at the time; NaN unknown. Shape (n,).
        value: What the policy was expected to earn before each step, by a model fitted on other
            rows; NaN after the last step. Shape (n, steps), or None without such a model.
    """

    weight: Array
    reward: Array
    value: Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the policy would have earned, estimated from random decisions.

    Attributes:
        effective: Effective sample size: (sum of weights)² / sum of squared weights.
        ips: Inverse-propensity estimate; None below `LEAST_EFFECTIVE`.
        snips: Self-normalised; None as well.
        doubly_robust: Step by step, with the model's value as control; None without one.
        interval: 95 % interval of the doubly robust estimate, or else of the self-normalised one.
        refused: Why there are no numbers; None when there are.
    """

    effective: float
    ips: float | None
    snips: float | None
    doubly_robust: float | None
    interval: tuple[float, float] | None
    refused: str | None


def bounds(done: Outcome) -> Bounds:
    """Return the least and the greatest mean quality that the log allows (Manski's bounds).

    >>> import numpy as np
    >>> done = Outcome(quality=np.array([1.0, np.nan]), cost=np.zeros(2), latency=None,
    ...                asked=np.ones(2, np.int32))
    >>> bounds(done)
    Bounds(low=0.5, high=1.0)
    """
    if not len(done.quality):
        return Bounds(low=0.0, high=1.0)
    return Bounds(
        low=float(np.nan_to_num(done.quality, nan=0.0).mean()),
        high=float(np.nan_to_num(done.quality, nan=1.0).mean()),
    )


def estimate(steps: Steps, *, seed: int = 0) -> Estimate:
    """Return inverse-propensity and doubly robust estimates of the policy's mean quality.

    A request counts as long as the policy and the log take the same actions, by the product of its
    steps' weights; the doubly robust one adds only the difference to what the model expected at
    each step, so a good model needs few matching requests.

    Source: methods page, section 5; doubly robust recursion after arXiv:1511.03722, equation 10.
    """
    weight = np.where(np.isnan(steps.weight), 1.0, steps.weight)
    running = np.minimum(np.cumprod(weight, axis=1), CLIP)
    whole = running[:, -1]
    whole = np.where(np.isfinite(steps.reward), whole, 0.0)
    total, squares = float(whole.sum()), float((whole**2).sum())
    effective = total * total / squares if squares > 0 else 0.0
    if effective < LEAST_EFFECTIVE:
        return Estimate(
            effective=effective,
            ips=None,
            snips=None,
            doubly_robust=None,
            interval=None,
            refused=f"effective sample size {effective:.0f}; at least {LEAST_EFFECTIVE:.0f} needed",
        )
    reward = np.nan_to_num(steps.reward, nan=0.0)
    columns = np.stack([whole * reward, whole], axis=1)
    robust = None
    if steps.value is None:
        interval = bootstrap(columns, lambda x: x[:, 0] / x[:, 1], seed=seed)
    else:
        each = _doubly_robust(running, steps.value, reward, whole)
        robust = float(each.mean())
        interval = bootstrap(each[:, None], lambda x: x[:, 0], seed=seed)
    return Estimate(
        effective=effective,
        ips=float(columns[:, 0].mean()),
        snips=float(columns[:, 0].sum() / total),
        doubly_robust=robust,
        interval=interval,
        refused=None,
    )


def _doubly_robust(running: Array, value: Array, reward: Array, whole: Array) -> Array:
    """Return v_0 + sum over steps of W_t (v_{t+1} - v_t), the last v being the reward. Shape (n,)."""
    n, count = value.shape
    found = np.nan_to_num(value[:, 0], nan=0.0).copy()
    rows = np.arange(n)
    last = np.maximum((~np.isnan(value)).sum(axis=1) - 1, 0)
    for t in range(count - 1):
        goes_on = ~np.isnan(value[:, t + 1])
        step = running[:, t] * (value[:, t + 1] - value[:, t])
        found += np.where(goes_on, step, 0.0)
    found += whole * (reward - np.nan_to_num(value[rows, last], nan=0.0))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """What a random policy did with one request.

    Attributes:
        actions: Columns of the table called, in order, and None at the end for stopping.
        probabilities: Of each of those actions. As long as `actions`.
    """

    actions: tuple[int | None, ...]
    probabilities: tuple[float, ...]


def steps_of(walks: Walks, table: Table, logged: Sequence[Logged]) -> Steps:
    """Return where a policy and a log of random decisions agree, step by step.

    A policy that needs forecasts is followed as far as the log's own answers go, which is as far
    as the two agree.

    Args:
        walks: What the policy would do with each row of `table`.
        table: One row a record.
        logged: What was done. Length n.
    """
    longest = max((len(one.actions) for one in logged), default=1)
    shape = (len(logged), longest)
    weight = np.full(shape, np.nan)
    value = None if table.q is None else np.full(shape, np.nan)
    for row, one in enumerate(logged):
        wanted: tuple[int | None, ...] = (*walks.sequence(row), None)
        seen, agree = 0, True
        for t, (action, probability) in enumerate(zip(one.actions, one.probabilities, strict=True)):
            would = wanted[t] if agree and t < len(wanted) else None
            if value is not None and table.q is not None and agree:
                q = table.q[seen, row]
                at_hand = [float(q[j]) for j in range(len(q)) if seen >> j & 1]
                ahead = [] if would is None else [float(q[would])]
                value[row, t] = max(at_hand + ahead, default=0.0)
            agree = agree and action == would
            weight[row, t] = 1.0 / probability if agree else 0.0
            if action is not None:
                seen |= 1 << action
    reward = np.full(len(logged), np.nan)
    agreed = np.nan_to_num(weight, nan=1.0).prod(axis=1) > 0
    rows = np.flatnonzero(agreed)
    reward[rows] = table.score[rows, walks.kept[rows]]
    return Steps(weight=weight, reward=reward, value=value)
