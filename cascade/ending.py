"""How a walk ends: which of the answers tried is returned, what it is short of, what it cost. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from .budget import spent_usd
from .errors import (
    AllRungsFailed,
    BudgetExceeded,
    DeadlineExceeded,
    EngineClosed,
    RunError,
    StreamBroken,
)
from .ladder import Ladder
from .openings import usable
from .policy import Decision
from .pricing import add_costs, cost_usd
from .types import Answer, Attempt, CacheHit, Demand

__all__ = [
    "Ending",
    "Keep",
    "OnAllRejected",
    "best_of",
    "broken_off",
    "end_walk",
    "ended_by",
    "with_unneeded",
]

OnAllRejected = Literal["return", "raise"]
Keep = Literal["surest", "last"]

_REVISED = 0.005
"""Changes of a confidence below this are not told."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a walk ended.

    Attributes:
        attempts: Every rung tried, with its final verdict.
        kept: Position in `attempts` of the answer to return, or None when there is none.
        degraded: Why the answer is less than was asked for; None when it is not.
        error: What to raise when nothing can be returned; None otherwise.
        cost_usd: All that was spent, US dollars; None if a price is unknown.
        saving_usd_estimate: See `Result.saving_usd_estimate`.
        opening: Probability of each action the policy could have begun with, as in
            `Decision.probabilities`.
        cache: Where the answer came from, if from the cache.
        cache_miss: Why the cache had nothing to give, where it was asked.
    """

    attempts: tuple[Attempt, ...]
    kept: int | None
    degraded: str | None
    error: RunError | None
    cost_usd: float | None
    saving_usd_estimate: float | None
    opening: Mapping[str, float] = {}
    cache: CacheHit | None = None
    cache_miss: str | None = None


def best_of(
    attempts: Sequence[Attempt],
    keep: Keep = "surest",
    revised: Mapping[int, float] | None = None,
) -> int | None:
    """Return the position of the best answer tried that passed every gate, or None.

    The best is the one with the highest confidence, the later one of equals; `revised` confidences
    by rung (an earlier answer looks better once a later model agrees) replace the first ones. If the last answer's
    confidence is unknown it is the best: it was either accepted as such, or asked for because the
    earlier ones were not sure enough, and nobody can show it to be worse.
    """
    candidates = [i for i, attempt in enumerate(attempts) if usable(attempt)]
    if not candidates or keep == "last" or attempts[candidates[-1]].confidence is None:
        return candidates[-1] if candidates else None

    def key(i: int) -> tuple[float, int]:
        confidence = (revised or {}).get(attempts[i].rung, attempts[i].confidence)
        return (-1.0 if confidence is None else confidence, i)

    return max(candidates, key=key)


def ended_by(error: RunError) -> Ending:
    """Return the ending of an ask for which nothing was done: it raises `error`, and cost nothing."""
    return Ending(
        attempts=(), kept=None, degraded=None, error=error, cost_usd=0.0, saving_usd_estimate=None
    )


def broken_off(
    attempts: tuple[Attempt, ...], opening: Mapping[str, float], cache_miss: str | None
) -> Ending:
    """Return the ending of a stream that failed after a part of its last answer had been passed on."""
    last = attempts[-1]
    words = f"rung {last.rung} {last.model} failed after a part of its answer was passed on: "
    error = StreamBroken(f"{words}{last.error}", rung=last.rung, model=last.model)
    error.__cause__ = last.error
    return Ending(
        attempts=attempts,
        kept=None,
        degraded=None,
        error=error,
        cost_usd=spent_usd(attempts),
        saving_usd_estimate=None,
        opening=opening,
        cache_miss=cache_miss,
    )


def with_unneeded(ending: Ending, attempts: Sequence[Attempt]) -> Ending:
    """Return the ending with what was asked beside its rungs and not needed, and its cost."""
    spent = add_costs(ending.cost_usd, *(attempt.cost_usd for attempt in attempts))
    saving = ending.saving_usd_estimate
    if saving is not None and spent is not None and ending.cost_usd is not None:
        saving -= spent - ending.cost_usd
    return replace(
        ending,
        attempts=(*ending.attempts, *attempts),
        cost_usd=spent,
        saving_usd_estimate=None if spent is None else saving,
    )


def end_walk(
    ladder: Ladder,
    attempts: tuple[Attempt, ...],
    decision: Decision,
    demand: Demand,
    forecast: Mapping[int, float],
    opening: Mapping[str, float],
    *,
    keep: Keep,
    on_all_rejected: OnAllRejected,
    passed_on: bool = False,
) -> Ending:
    """Return the ending of a walk that has come to `decision`.

    Args:
        ladder: The rungs.
        attempts: What was tried.
        decision: What the policy said last.
        demand: What was demanded.
        forecast: P(rung j is right) as the scorer said last.
        opening: Probability of each action the policy could have begun with.
        keep: See `walk.Plan`.
        on_all_rejected: See `walk.Plan`.
        passed_on: Whether the asker already has the newest answer, so that no other can be kept.
    """
    kept = len(attempts) - 1 if passed_on else best_of(attempts, keep, forecast)
    degraded = attempts[-1].reason if passed_on and attempts[-1].failed_gates else None
    if kept is None and on_all_rejected == "return":
        kept = next(
            (i for i in reversed(range(len(attempts))) if _holds_something(attempts[i].answer)),
            None,
        )
        degraded = None if kept is None else attempts[kept].reason
    error: RunError | None = None
    if kept is None:
        error = _nothing_to_return(attempts)
    else:
        attempts = _mark_kept(attempts, kept, decision, forecast, passed_on=passed_on)
        degraded = degraded or _shortfall(attempts, kept, decision, demand)
    spent = spent_usd(attempts)
    return Ending(
        attempts=attempts,
        kept=kept,
        degraded=degraded,
        error=error,
        cost_usd=spent,
        saving_usd_estimate=_saving(ladder, attempts, kept, spent),
        opening=opening,
    )


def _holds_something(answer: Answer | None) -> bool:
    if answer is None:
        return False
    return bool((answer.text or "").strip() or answer.tool_calls or answer.refusal)


def _mark_kept(
    attempts: tuple[Attempt, ...],
    kept: int,
    decision: Decision,
    forecast: Mapping[int, float],
    *,
    passed_on: bool,
) -> tuple[Attempt, ...]:
    """Mark the answer returned, with its confidence as last revised, and say why it is that one."""
    best = attempts[kept]
    tried = sum(1 for attempt in attempts if usable(attempt))
    accepted = decision.accepted and kept == len(attempts) - 1
    why = "kept" if tried < 2 else f"kept as the best of {tried}"
    if passed_on:
        why = "kept, as its reader has it already"
    reason = best.reason if accepted or not best.reason else f"{why}: {best.reason}"
    score, revised = best.score, forecast.get(best.rung)
    if score is not None and score.confidence is not None and revised is not None:
        if abs(revised - score.confidence) > _REVISED:
            reason = f"{reason}; revised to {revised:.2f} by what later rungs said"
        score = replace(score, confidence=revised)
    marked = replace(best, verdict="accepted", reason=reason, score=score)
    return (*attempts[:kept], marked, *attempts[kept + 1 :])


def _shortfall(
    attempts: tuple[Attempt, ...], kept: int, decision: Decision, demand: Demand
) -> str | None:
    """Return why the kept answer is less than was asked for, or None."""
    floor, confidence = demand.min_confidence, attempts[kept].confidence
    if floor is not None and (confidence is None or confidence < floor):
        sure = "unknown" if confidence is None else f"{confidence:.2f}"
        return f"confidence {sure} does not reach min_confidence {floor:.2f}"
    if decision.accepted:
        return None
    for attempt in attempts[kept + 1 :]:
        if attempt.verdict in ("failed", "rejected", "skipped"):
            return f"rung {attempt.rung} {attempt.model} was wanted but {attempt.reason}"
    # A rung below the one that answered is no loss: it was passed over for a better one.
    best = attempts[kept].rung
    skipped = next((a for a in attempts if a.verdict == "skipped" and a.rung > best), None)
    return None if skipped is None else f"rung {skipped.rung} {skipped.model}: {skipped.reason}"


def _nothing_to_return(attempts: Sequence[Attempt]) -> RunError:
    causes = [attempt.error for attempt in attempts if attempt.error is not None]
    for ended in (EngineClosed, DeadlineExceeded):
        why = next((cause for cause in causes if isinstance(cause, ended)), None)
        if why is not None and len(causes) == 1:
            return why
    rejected = [
        RunError(f"rung {a.rung} {a.model}: {a.reason}")
        for a in attempts
        if a.verdict == "rejected"
    ]
    unpaid = [cause for cause in causes if isinstance(cause, BudgetExceeded)]
    if len(unpaid) == len(causes) and not rejected:
        reasons = "; ".join(f"rung {a.rung} {a.model}: {a.reason}" for a in attempts)
        waits = [cause.retry_after_s for cause in unpaid if cause.retry_after_s is not None]
        return BudgetExceeded(
            reasons or "the policy called no rung", retry_after_s=min(waits, default=None)
        )
    everything = [*causes, *rejected]
    told = "; ".join(str(cause) for cause in everything)
    return AllRungsFailed(f"no rung gave an answer that can be returned: {told}", everything)


def _saving(
    ladder: Ladder, attempts: Sequence[Attempt], kept: int | None, spent: float | None
) -> float | None:
    if kept is None or spent is None:
        return None
    top = len(ladder.rungs) - 1
    called = next((a for a in attempts if a.rung == top and a.answer is not None), None)
    answer = attempts[kept].answer
    assert answer is not None
    alone = called.cost_usd if called else cost_usd(answer.usage, ladder.rungs[top].price)
    return None if alone is None else alone - spent
