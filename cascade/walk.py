"""The cascade as a pure procedure: a generator that yields what it needs and is sent what happened.

``ask``, streaming, the server and replay are drivers of this one generator. It does no IO, reads no
clock and awaits nothing, so the same outcomes always lead to the same answer.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from .cached import served
from .ending import Ending, Keep, OnAllRejected, best_of, end_walk
from .errors import BudgetExceeded, CascadeError, ConfigError, NotCalled, ProviderError
from .ladder import Ladder, Rung
from .openings import Outlook, open_rungs
from .policy import Decision, Policy, State
from .pricing import add_costs, cost_usd
from .rules import Gate, failed_gates
from .types import (
    NO_CONTEXT,
    Answer,
    Attempt,
    CacheEntry,
    CacheHit,
    CallContext,
    Demand,
    ModelCall,
    Request,
    Score,
    Try,
    Verdict,
)

__all__ = [
    "Answered",
    "Call",
    "Effect",
    "Ending",
    "Failed",
    "Found",
    "Keep",
    "Look",
    "Lookup",
    "Measure",
    "Missed",
    "OnAllRejected",
    "Outcome",
    "Outlook",
    "Plan",
    "best_of",
    "walk",
]


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
        backups: Whether each call names the rung that may be asked beside it when it is slow.
        cached: Whether the cache is asked first.
    """

    ladder: Ladder
    policy: Policy
    gates: tuple[Gate, ...] = ()
    on_all_rejected: OnAllRejected = "return"
    keep: Keep = "surest"
    backups: bool = False
    cached: bool = False


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: perform this call and send back `Answered` or `Failed`.

    Attributes:
        rung: Index of the rung to call.
        call: What to send.
        attempts: What has been tried.
        backup: The rung above that may be asked as well when this one is slow, with its call; the
            outcome of either is a valid answer to this effect, and says whose it is.
    """

    rung: int
    call: ModelCall
    attempts: tuple[Attempt, ...]
    backup: tuple[int, ModelCall] | None = None


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: say what time is left and send back an `Outlook`."""

    attempts: tuple[Attempt, ...]


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: ask the scorer about these attempts and send back its `Score`."""

    attempts: tuple[Attempt, ...]


class Lookup(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: look for the request in the cache and send back `Found` or `Missed`."""

    attempts: tuple[Attempt, ...] = ()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome: the cache holds an answer that may be served to this ask.

    Attributes:
        entry: What it holds.
        hit: How it was found.
    """

    entry: CacheEntry
    hit: CacheHit


class Missed(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome: the cache holds none; `reason` says why."""

    reason: str


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome: the model answered.

    Attributes:
        answer: What it said.
        latency_s: Wall seconds of the call.
        rung: Index of the rung, when it is not the one that was to be called but its backup.
    """

    answer: Answer
    latency_s: float
    rung: int | None = None


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome: the call failed.

    Attributes:
        error: Why.
        latency_s: Wall seconds until it failed.
        cost_usd: What it cost all the same, US dollars, earlier tries aside; None if unknown. See
            `budget.cost_of_failure`.
        final: Whether the walk is to end here: no time is left, or nothing more may be tried.
        rung: Index of the rung, when it is not the one that was to be called but its backup.
    """

    error: CascadeError
    latency_s: float
    cost_usd: float | None
    final: bool = False
    rung: int | None = None


Effect = Lookup | Call | Measure | Look
Outcome = Found | Missed | Answered | Failed | Score | Outlook


def walk(
    plan: Plan, request: Request, demand: Demand, context: CallContext = NO_CONTEXT
) -> Generator[Effect, Outcome, Ending]:
    """Yield effects until the policy stops; return how it ended.

    `Look` is only yielded for an ask with a deadline.

    Raises:
        RequestError: A gate cannot work with the request; raised before the first effect.
    """
    for gate in plan.gates:
        gate.prepare(request)
    attempts: tuple[Attempt, ...] = ()
    missed: str | None = None
    if plan.cached and demand.cache in ("use", "read"):
        looked = yield Lookup()
        if isinstance(looked, Found):
            return served(looked.entry, looked.hit)
        assert isinstance(looked, Missed)
        missed = looked.reason
    forecast: dict[int, float] = {}
    if plan.policy.needs_forecast:
        said = yield Measure(attempts=())
        assert isinstance(said, Score)
        forecast = dict(said.forecast)
    decision = Decision(rung=None, reason="")
    opening: Mapping[str, float] = {}
    over = False
    while not over:
        outlook = None
        if demand.deadline_s is not None:
            seen = yield Look(attempts=attempts)
            assert isinstance(seen, Outlook)
            outlook = seen
        attempts, allowed = open_rungs(plan.ladder, attempts, demand, outlook)
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
        outcome = yield _call(plan, request, context, decision.rung, allowed, attempts)
        assert isinstance(outcome, (Answered, Failed))
        called = decision.rung if outcome.rung is None else outcome.rung
        rung = plan.ladder.rungs[called]
        if isinstance(outcome, Failed):
            attempts = (*attempts, _failed_attempt(called, rung, outcome))
            over = outcome.final
            continue
        attempt = _answered_attempt(called, rung, outcome, plan.gates, request)
        if attempt.verdict != "rejected":
            score = yield Measure(attempts=(*attempts, attempt))
            assert isinstance(score, Score)
            attempt = replace(
                attempt, score=score, cost_usd=add_costs(attempt.cost_usd, score.cost_usd)
            )
            forecast = dict(score.forecast) or forecast
        attempts = (*attempts, attempt)
    ending = end_walk(
        plan.ladder,
        attempts,
        decision,
        demand,
        forecast,
        opening,
        keep=plan.keep,
        on_all_rejected=plan.on_all_rejected,
    )
    return ending if missed is None else replace(ending, cache_miss=missed)


def _call(
    plan: Plan,
    request: Request,
    context: CallContext,
    rung: int,
    allowed: Sequence[int],
    attempts: tuple[Attempt, ...],
) -> Call:
    rungs = plan.ladder.rungs
    above = next((i for i in allowed if i > rung), None) if plan.backups else None
    return Call(
        rung=rung,
        call=_model_call(rung, rungs[rung], request, context),
        attempts=attempts,
        backup=None
        if above is None
        else (above, _model_call(above, rungs[above], request, context)),
    )


def _model_call(index: int, rung: Rung, request: Request, context: CallContext) -> ModelCall:
    return ModelCall(
        model=rung.model,
        request=request,
        max_tokens=rung.max_tokens,
        top_logprobs=rung.top_logprobs,
        extra=rung.extra,
        rung=index,
        context=context,
    )


def _failed_attempt(index: int, rung: Rung, outcome: Failed) -> Attempt:
    error = outcome.error
    tries = error.tries if isinstance(error, ProviderError) else ()
    not_called = isinstance(error, (NotCalled, BudgetExceeded)) and not tries
    return Attempt(
        rung=index,
        model=rung.model,
        provider=rung.provider,
        verdict="skipped" if not_called else "failed",
        reason=f"{type(error).__name__}: {error}",
        error=error,
        cost_usd=_with_tries(outcome.cost_usd, tries),
        latency_s=outcome.latency_s,
        tries=tries,
    )


def _answered_attempt(
    index: int, rung: Rung, outcome: Answered, gates: Sequence[Gate], request: Request
) -> Attempt:
    answer = outcome.answer
    failed = failed_gates(gates, request, answer)
    verdict: Verdict = "rejected" if failed else "escalated"
    stated = answer.cost_usd
    paid = cost_usd(answer.usage, rung.price) if stated is None else stated
    tries = tuple(_priced(request, paid) for request in answer.tries)
    return Attempt(
        rung=index,
        model=rung.model,
        provider=answer.deployment or rung.provider,
        verdict=verdict,
        reason=f"failed gate {_names(failed)}" if failed else "",
        answer=answer,
        failed_gates=failed,
        cost_usd=_with_tries(paid, tries) if tries else paid,
        latency_s=outcome.latency_s,
        tries=tries,
    )


def _priced(request: Try, paid: float | None) -> Try:
    """Return a hedged request with what it cost at most: as much as the answer that came first."""
    if not request.estimated or request.cost_usd is not None:
        return request
    return replace(request, cost_usd=paid)


def _with_tries(cost: float | None, tries: Sequence[Try]) -> float | None:
    return add_costs(cost, *(request.cost_usd for request in tries))


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
