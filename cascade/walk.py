"""The cascade as a pure procedure: a generator that yields what it needs and is sent what happened.

``ask``, streaming, the server and replay are drivers of this one generator. It does no IO, reads no
clock and awaits nothing, so the same outcomes always lead to the same answer.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from msgspec.structs import replace

from .budget import refusal_to_spend, spent_usd
from .errors import (
    AllRungsFailed,
    BudgetExceeded,
    CascadeError,
    ConfigError,
    DeadlineExceeded,
    RunError,
)
from .ladder import Ladder, Rung
from .policy import Decision, Policy, State
from .pricing import add_costs, cost_usd
from .rules import Gate, failed_gates
from .types import Answer, Attempt, Demand, ModelCall, Request, Score, Verdict

__all__ = [
    "Answered",
    "Call",
    "Effect",
    "Ending",
    "Failed",
    "Keep",
    "Measure",
    "OnAllRejected",
    "Outcome",
    "Plan",
    "best_of",
    "walk",
]

OnAllRejected = Literal["return", "raise"]
Keep = Literal["surest", "last"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a walk runs by; compiled once, shared by every ask.

    Attributes:
        ladder: The rungs.
        policy: Decides after every outcome.
        gates: What an answer must be before it is scored.
        on_all_rejected: What to do when every answer failed a gate: return the last of them, marked
            as degraded, or raise.
        keep: Which of the answers tried to return: the surest, or the last. The last is for scorers
            whose confidences cannot be compared between models.
    """

    ladder: Ladder
    policy: Policy
    gates: tuple[Gate, ...] = ()
    on_all_rejected: OnAllRejected = "return"
    keep: Keep = "surest"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: perform this call and send back `Answered` or `Failed`."""

    rung: int
    call: ModelCall
    attempts: tuple[Attempt, ...]


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: ask the scorer about these attempts and send back its `Score`."""

    attempts: tuple[Attempt, ...]


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome: the model answered.

    Attributes:
        answer: What it said.
        latency_s: Wall seconds of the call.
    """

    answer: Answer
    latency_s: float


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome: the call failed.

    Attributes:
        error: Why. `DeadlineExceeded` ends the walk; anything else goes on with another rung.
        latency_s: Wall seconds until it failed.
        cost_usd: What it cost all the same, US dollars; None if unknown. See `budget.cost_of_failure`.
    """

    error: CascadeError
    latency_s: float
    cost_usd: float | None


_REVISED = 0.005
"""Changes of a confidence below this are not told."""

Effect = Call | Measure
Outcome = Answered | Failed | Score


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
    """

    attempts: tuple[Attempt, ...]
    kept: int | None
    degraded: str | None
    error: RunError | None
    cost_usd: float | None
    saving_usd_estimate: float | None
    opening: Mapping[str, float] = {}


def walk(plan: Plan, request: Request, demand: Demand) -> Generator[Effect, Outcome, Ending]:
    """Yield effects until the policy stops; return how it ended.

    Raises:
        RequestError: A gate cannot work with the request; raised before the first effect.
    """
    for gate in plan.gates:
        gate.prepare(request)
    attempts: tuple[Attempt, ...] = ()
    forecast: dict[int, float] = {}
    if plan.policy.needs_forecast:
        said = yield Measure(attempts=())
        assert isinstance(said, Score)
        forecast = dict(said.forecast)
    decision = Decision(rung=None, reason="")
    opening: Mapping[str, float] = {}
    out_of_time = False
    while not out_of_time:
        attempts, allowed = _skip_unaffordable(plan.ladder, attempts, demand)
        decision = plan.policy.decide(
            State(
                ladder=plan.ladder,
                attempts=attempts,
                open=allowed,
                forecast=forecast,
                demand=demand,
                request=request,
            )
        )
        attempts = _close_last(attempts, decision)
        opening = opening or decision.probabilities or {decision.action: 1.0}
        if decision.rung is None:
            break
        if decision.rung not in allowed:
            raise ConfigError(
                f"policy {plan.policy.version} named rung {decision.rung}; open: {list(allowed)}"
            )
        rung = plan.ladder.rungs[decision.rung]
        outcome = yield Call(rung=decision.rung, call=_model_call(rung, request), attempts=attempts)
        if isinstance(outcome, Failed):
            attempts = (*attempts, _failed_attempt(decision.rung, rung, outcome))
            out_of_time = isinstance(outcome.error, DeadlineExceeded)
            continue
        assert isinstance(outcome, Answered)
        attempt = _answered_attempt(decision.rung, rung, outcome, plan.gates, request)
        if attempt.verdict != "rejected":
            score = yield Measure(attempts=(*attempts, attempt))
            assert isinstance(score, Score)
            attempt = replace(
                attempt, score=score, cost_usd=add_costs(attempt.cost_usd, score.cost_usd)
            )
            forecast = dict(score.forecast) or forecast
        attempts = (*attempts, attempt)
    return replace(_end(plan, attempts, decision, demand, forecast), opening=opening)


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
    candidates = [i for i, attempt in enumerate(attempts) if _usable(attempt)]
    if not candidates or keep == "last" or attempts[candidates[-1]].confidence is None:
        return candidates[-1] if candidates else None

    def key(i: int) -> tuple[float, int]:
        confidence = (revised or {}).get(attempts[i].rung, attempts[i].confidence)
        return (-1.0 if confidence is None else confidence, i)

    return max(candidates, key=key)


def _usable(attempt: Attempt) -> bool:
    return attempt.answer is not None and not attempt.failed_gates


def _model_call(rung: Rung, request: Request) -> ModelCall:
    return ModelCall(
        model=rung.model,
        request=request,
        max_tokens=rung.max_tokens,
        top_logprobs=rung.top_logprobs,
        extra=rung.extra,
    )


def _skip_unaffordable(
    ladder: Ladder, attempts: tuple[Attempt, ...], demand: Demand
) -> tuple[tuple[Attempt, ...], tuple[int, ...]]:
    """Return the attempts with newly barred rungs noted before the newest, and the open rungs."""
    called = {attempt.rung for attempt in attempts}
    unseen = [i for i in range(len(ladder.rungs)) if i not in called]
    if demand.max_cost_usd is None:
        return attempts, tuple(unseen)
    allowed, barred = [], []
    for i in unseen:
        why = refusal_to_spend(ladder.rungs[i], attempts, demand.max_cost_usd)
        if why is None:
            allowed.append(i)
        else:
            rung = ladder.rungs[i]
            barred.append(
                Attempt(
                    rung=i,
                    model=rung.model,
                    provider=rung.provider,
                    verdict="skipped",
                    reason=why,
                    cost_usd=0.0,
                )
            )
    # The newest attempt stays last: it is the one the policy decides about.
    return (*attempts[:-1], *barred, *attempts[-1:]), tuple(allowed)


def _failed_attempt(index: int, rung: Rung, outcome: Failed) -> Attempt:
    return Attempt(
        rung=index,
        model=rung.model,
        provider=rung.provider,
        verdict="failed",
        reason=f"{type(outcome.error).__name__}: {outcome.error}",
        error=outcome.error,
        cost_usd=outcome.cost_usd,
        latency_s=outcome.latency_s,
    )


def _answered_attempt(
    index: int, rung: Rung, outcome: Answered, gates: Sequence[Gate], request: Request
) -> Attempt:
    answer = outcome.answer
    failed = failed_gates(gates, request, answer)
    verdict: Verdict = "rejected" if failed else "escalated"
    stated = answer.cost_usd
    return Attempt(
        rung=index,
        model=rung.model,
        provider=rung.provider,
        verdict=verdict,
        reason=f"failed gate {_names(failed)}" if failed else "",
        answer=answer,
        failed_gates=failed,
        cost_usd=cost_usd(answer.usage, rung.price) if stated is None else stated,
        latency_s=outcome.latency_s,
    )


def _names(failed: Sequence[str]) -> str:
    """Names of gates only: the reason of a user's gate may quote the answer."""
    return ", ".join(gate.partition(":")[0] for gate in failed)


def _close_last(attempts: tuple[Attempt, ...], decision: Decision) -> tuple[Attempt, ...]:
    """Write into the newest attempt what the policy made of it."""
    if not attempts:
        return attempts
    last = attempts[-1]
    closed = replace(
        last,
        reason=decision.reason if last.verdict == "escalated" else last.reason,
        threshold=decision.threshold,
        action=decision.action,
        probabilities=decision.probabilities or {decision.action: 1.0},
    )
    return (*attempts[:-1], closed)


def _end(
    plan: Plan,
    attempts: tuple[Attempt, ...],
    decision: Decision,
    demand: Demand,
    forecast: Mapping[int, float],
) -> Ending:
    kept = best_of(attempts, plan.keep, forecast)
    degraded: str | None = None
    if kept is None and plan.on_all_rejected == "return":
        kept = next(
            (i for i in reversed(range(len(attempts))) if _holds_something(attempts[i].answer)),
            None,
        )
        degraded = None if kept is None else attempts[kept].reason
    error: RunError | None = None
    if kept is None:
        error = _nothing_to_return(attempts)
    else:
        attempts = _mark_kept(attempts, kept, decision, forecast)
        degraded = degraded or _shortfall(attempts, kept, decision, demand)
    spent = spent_usd(attempts)
    return Ending(
        attempts=attempts,
        kept=kept,
        degraded=degraded,
        error=error,
        cost_usd=spent,
        saving_usd_estimate=_saving(plan.ladder, attempts, kept, spent),
    )


def _holds_something(answer: Answer | None) -> bool:
    if answer is None:
        return False
    return bool((answer.text or "").strip() or answer.tool_calls or answer.refusal)


def _mark_kept(
    attempts: tuple[Attempt, ...], kept: int, decision: Decision, forecast: Mapping[int, float]
) -> tuple[Attempt, ...]:
    """Mark the answer returned, with its confidence as last revised, and say why it is that one."""
    best = attempts[kept]
    tried = sum(1 for attempt in attempts if _usable(attempt))
    accepted = decision.accepted and kept == len(attempts) - 1
    why = "kept" if tried < 2 else f"kept as the best of {tried}"
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
    skipped = next((a for a in attempts if a.verdict == "skipped"), None)
    return None if skipped is None else f"rung {skipped.rung} {skipped.model}: {skipped.reason}"


def _nothing_to_return(attempts: Sequence[Attempt]) -> RunError:
    causes = [attempt.error for attempt in attempts if attempt.error is not None]
    out_of_time = next((c for c in causes if isinstance(c, DeadlineExceeded)), None)
    if out_of_time is not None and len(causes) == 1:
        return out_of_time
    rejected = [
        RunError(f"rung {a.rung} {a.model}: {a.reason}")
        for a in attempts
        if a.verdict == "rejected"
    ]
    if not causes and not rejected:
        reasons = "; ".join(f"rung {a.rung} {a.model}: {a.reason}" for a in attempts)
        return BudgetExceeded(reasons or "the policy called no rung")
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
