"""What the report page shows: policies chosen on tuning rows, everything about them measured on other rows.

Plain values, ready to be written as JSON; a number that is not known is NaN here and null there.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..policies import Fixed
from .metrics import Curve, bootstrap, hull, lift, saving_at
from .mistakes import Mistakes, mistakes
from .reliability import Reliability, reliability
from .search import Candidate
from .summary import Summary, summarise, summarise_frontier
from .table import Table
from .tune import LEAST_ROWS, Goal, frontier, pick, strongest_alone
from .walks import outcome, replay_policy
from .words import in_words, name_of, setting_of

__all__ = ["Bar", "Figures", "Level", "Line", "Position", "Range", "Spot", "figures"]

LEVELS = (1.0, 0.99, 0.95)
"""Shares of the strongest model's quality that savings are stated at."""

START = 0.99
"""The slider starts at the policy that keeps this share on the tuning rows at the least cost."""

DRAWS = 400
"""Bootstrap draws of an interval."""

RIVALS = (
    ("routing", "prompt-only routing"),
    ("chain", "threshold chains"),
    ("agreement", "agreement of two"),
)
"""Families drawn as curves of their own: the best each can do together with single models."""

Array = NDArray[np.float64]


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """A number and its 95 % interval; NaN where unknown."""

    value: float
    low: float
    high: float


class Spot(msgspec.Struct, frozen=True, kw_only=True):
    """One policy of the chart.

    Attributes:
        name: In a few words.
        cost: Mean US dollars a request.
        quality: Mean score of the answers kept.
        saving: 1 - cost / the strongest model's; None when that is free.
    """

    name: str
    cost: float
    quality: Range
    saving: float | None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A curve of the chart and a row of the table below it.

    Attributes:
        key: Names its colour and mark.
        label: For the legend.
        spots: By rising cost.
        lift: Points of 100 above the random mix of single models.
        saved: Saving at each of `LEVELS`.
    """

    key: str
    label: str
    spots: list[Spot]
    lift: Range
    saved: list[Range]


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """A headline: what is saved at a share of the strongest model's quality.

    Attributes:
        share: Of the strongest model's quality.
        saved: Read off the frontier on the report rows.
        reached: Whether a policy of the frontier cheaper than the strongest model reaches it there.
        picked: Position of the policy that the tuning rows chose for it.
    """

    share: float
    saved: Range
    reached: bool
    picked: int


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One model under one policy, as shares of requests and of money.

    Attributes:
        model: Its name.
        called: Share of requests in which it was called.
        kept: Share of requests whose answer is its answer.
        money: Share of the cost spent on it, for answers kept; NaN when nothing was spent.
        left: The same for answers that were not kept.
    """

    model: str
    called: float
    kept: float
    money: float
    left: float


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """One policy of the frontier, as the slider shows it."""

    version: str
    name: str
    words: list[str]
    setting: str | None
    cost: float
    quality: Range
    share: float
    saving: float | None
    saving_ci: tuple[float, float] | None
    gap: Range
    latency: tuple[float, float, float] | None
    bars: list[Bar]
    mistakes: Mistakes


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of the page.

    Attributes:
        n: Requests measured.
        unknown: Requests left out: some model's answer, score or price is not in the log.
        tuned_on: Requests the policies were chosen on.
        tried: Policies compared.
        strongest: The model that was best on the tuning rows.
        strongest_quality: Its mean score on the report rows.
        strongest_cost: Its mean cost there.
        levels: Headlines.
        start: Position of the slider at first.
        frontier: By rising cost.
        singles: Always the same model.
        lines: The curves, ours first.
        judges: What nobody can do: know which answer is right.
        reliability: One entry a model; empty without a scorer.
    """

    n: int
    unknown: int
    tuned_on: int
    tried: int
    strongest: str
    strongest_quality: Range
    strongest_cost: float
    levels: list[Level]
    start: int
    frontier: list[Position]
    singles: list[Spot]
    lines: list[Line]
    judges: list[Spot]
    reliability: list[Reliability]


def figures(tuning: Table, report: Table, *, seed: int = 0) -> Figures:
    """Choose policies on one table and measure them on another.

    Args:
        tuning: Rows to choose on; forecasts out of fold. Rows with holes are passed over.
        report: Rows to measure on, of the same models, none of them in `tuning`. The same.
        seed: Of everything drawn.

    Raises:
        ConfigError: Too few rows.
    """
    tuning = tuning.take(_whole(tuning, "tune on", LEAST_ROWS))
    every, numbers = report.n, _whole(report, "report on", 2)
    report = report.take(numbers)
    found = {
        family: frontier(tuning, families=(family,), seed=seed)
        for family in ("fixed", "induction", "cascade_routing", *(key for key, _ in RIVALS))
    }
    everything = [candidate for family in found.values() for candidate in family]
    reference = strongest_alone(tuning)
    assert isinstance(reference.policy, Fixed)
    top = reference.policy.model
    column = report.models.index(top)
    ours = _on_hull(everything)
    points, _ = summarise_frontier([c.policy for c in ours], report, top)
    tuned = {c.policy.version: c for c in ours}
    chosen = [tuned[point.policy.version] for point in points]  # now by rising cost
    positions = [
        _position(c, point.summary, report, column, numbers)
        for c, point in zip(chosen, points, strict=True)
    ]
    line = _line("ours", "cascade, all families together", chosen, report, column)
    lines = [
        line,
        *(
            _line(key, label, _on_hull([*found["fixed"], *found[key]]), report, column)
            for key, label in RIVALS
            if found[key]
        ),
        _line("mix", "random mix of single models", _on_hull(found["fixed"]), report, column),
    ]
    single = [summarise(Fixed(model=m), report, top, draws=DRAWS) for m in report.models]
    picked = {share: _picked(chosen, reference, share) for share in (*LEVELS, START)}
    goals = [float(report.score[:, column].mean(dtype=np.float64)) * share for share in LEVELS]
    return Figures(
        n=report.n,
        unknown=every - report.n,
        tuned_on=tuning.n,
        tried=len(everything),
        strongest=top,
        strongest_quality=_quality(single[column]),
        strongest_cost=single[column].cost,
        levels=[
            Level(
                share=share,
                saved=saved,
                reached=any(
                    p.quality.value >= goal - 1e-12 and p.cost < single[column].cost
                    for p in positions
                ),
                picked=picked[share],
            )
            for share, goal, saved in zip(LEVELS, goals, line.saved, strict=True)
        ],
        start=picked[START],
        frontier=positions,
        singles=[
            _spot(f"always {model}", summary)
            for model, summary in zip(report.models, single, strict=True)
        ],
        lines=lines,
        judges=_judges(report, column),
        reliability=reliability(report),
    )


def _whole(table: Table, what: str, least: int) -> NDArray[np.intp]:
    rows = np.flatnonzero(table.complete)
    if len(rows) < least:
        raise ConfigError(
            f"{len(rows)} rows with every model's answer, score and price are left to {what}; "
            f"at least {least} are needed"
        )
    return rows


def _on_hull(found: Sequence[Candidate]) -> list[Candidate]:
    return [found[i] for i in hull([c.cost for c in found], [c.quality for c in found])]


def _picked(chosen: Sequence[Candidate], reference: Candidate, share: float) -> int:
    """Return the position that the tuning rows would choose for a share of the strongest's quality."""
    best = pick(chosen, Goal(quality=share), reference)
    return next(i for i, c in enumerate(chosen) if c is best)


def _position(
    chosen: Candidate, summary: Summary, table: Table, column: int, numbers: NDArray[np.intp]
) -> Position:
    walks = replay_policy(chosen.policy, table)
    spent = table.cost.sum(axis=0, dtype=np.float64, where=_called(walks.asked, table))
    mine = walks.kept[:, None] == np.arange(len(table.models))
    kept = table.cost.sum(axis=0, dtype=np.float64, where=mine)
    total = float(spent.sum())
    money = kept / total if total > 0 else np.full(len(kept), np.nan)
    left = (spent - kept) / total if total > 0 else np.full(len(kept), np.nan)
    strong = summary.strongest_quality
    gap = summary.quality - strong
    low, high = summary.gap_ci or (np.nan, np.nan)
    return Position(
        version=chosen.policy.version,
        name=name_of(chosen.policy),
        words=in_words(chosen.policy),
        setting=setting_of(chosen.policy),
        cost=summary.cost,
        quality=_quality(summary),
        share=summary.quality / strong if strong > 0 else np.nan,
        saving=summary.saving,
        saving_ci=summary.saving_ci,
        gap=Range(value=gap, low=low, high=high),
        latency=summary.latency,
        bars=[
            Bar(
                model=model,
                called=summary.calls[model],
                kept=float(mine[:, j].mean()),
                money=float(money[j]),
                left=max(0.0, float(left[j])) if total > 0 else float("nan"),
            )
            for j, model in enumerate(table.models)
        ],
        mistakes=mistakes(walks, table, column, numbers),
    )


def _called(asked: NDArray[np.int32], table: Table) -> NDArray[np.bool_]:
    return (asked[:, None] >> np.arange(len(table.models)) & 1).astype(np.bool_)


def _quality(summary: Summary) -> Range:
    low, high = summary.quality_ci
    return Range(value=summary.quality, low=low, high=high)


def _spot(name: str, summary: Summary) -> Spot:
    return Spot(name=name, cost=summary.cost, quality=_quality(summary), saving=summary.saving)


def _line(key: str, label: str, chosen: Sequence[Candidate], table: Table, column: int) -> Line:
    """Measure a curve; its points by rising cost on the report rows, no hull formed there."""
    done = [outcome(replay_policy(c.policy, table), table) for c in chosen]
    order = np.argsort([float(d.cost.mean()) for d in done], kind="stable")
    k, m = len(done), len(table.models)
    numbers = np.column_stack(
        [
            *(done[i].cost for i in order),
            *(done[i].quality for i in order),
            table.cost.astype(np.float64),
            table.score.astype(np.float64),
        ]
    )

    def each(statistic: int) -> Range:
        def of(means: Array) -> Array:
            return np.array([_figure(row, k, m, column, statistic) for row in means])

        value = float(of(numbers.mean(axis=0)[None])[0])
        if np.isnan(value):
            return Range(value=value, low=value, high=value)
        low, high = bootstrap(numbers, of, draws=DRAWS)
        return Range(value=value, low=low, high=high)

    dear = float(table.cost[:, column].mean(dtype=np.float64))
    spots = []
    for i in order:
        low, high = bootstrap(done[i].quality[:, None], lambda means: means[:, 0], draws=DRAWS)
        cost = float(done[i].cost.mean())
        spots.append(
            Spot(
                name=name_of(chosen[i].policy),
                cost=cost,
                quality=Range(value=float(done[i].quality.mean()), low=low, high=high),
                saving=1.0 - cost / dear if dear > 0 else None,
            )
        )
    return Line(
        key=key,
        label=label,
        spots=spots,
        lift=each(-1),
        saved=[each(i) for i in range(len(LEVELS))],
    )


def _figure(means: Array, k: int, m: int, column: int, statistic: int) -> float:
    """Return lift (-1) or the saving at one of `LEVELS`, from means of costs and qualities."""
    cost, quality = means[:k], means[k : 2 * k]
    order = np.argsort(cost, kind="stable")
    ours = Curve(cost=cost[order], quality=quality[order])
    singles = Curve(cost=means[2 * k : 2 * k + m], quality=means[2 * k + m :])
    if statistic < 0:
        return lift(ours, singles, column)
    reference = float(singles.cost[column])
    if reference <= 0:
        return float("nan")  # a share of nothing
    return saving_at(LEVELS[statistic], ours, reference, float(singles.quality[column]))


def _judges(table: Table, column: int) -> list[Spot]:
    """Return the two bounds: knowing beforehand which answer is right, and seeing it once it is there."""
    score, cost = table.score.astype(np.float64), table.cost.astype(np.float64)
    best = score.max(axis=1)
    right = score >= best[:, None]
    rows = np.arange(table.n)
    alone = np.where(right, cost, np.inf).min(axis=1)
    order = np.argsort(cost.mean(axis=0), kind="stable")
    first = right[:, order].argmax(axis=1)
    paid = np.cumsum(cost[:, order], axis=1)[rows, first]
    low, high = bootstrap(best[:, None], lambda means: means[:, 0], draws=DRAWS)
    quality = Range(value=float(best.mean()), low=low, high=high)
    dear = float(cost[:, column].mean())
    return [
        Spot(
            name=name,
            cost=float(spent.mean()),
            quality=quality,
            saving=1.0 - float(spent.mean()) / dear if dear > 0 else None,
        )
        for name, spent in (
            ("oracle: asks only the cheapest model that is right", alone),
            ("perfect judge: asks from the cheapest up until one is right", paid),
        )
    ]
