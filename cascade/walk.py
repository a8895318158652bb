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
from .ending import Ending, Keep, OnAllRejected, best_of, broken_off, end_walk
from .errors import (
    BudgetExceeded,
    CascadeError,
    ConfigError,
    NotCalled,
    PromptOverBudget,
    ProviderError,
)
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
    Compression,
    Demand,
    ModelCall,
    Request,
    Score,
    Streamed,
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
    "is_last",
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
        is_last: Whether no other rung may be asked once this one has answered; only known in streams.
    """

    rung: int
    call: ModelCall
    attempts: tuple[Attempt, ...]
    backup: tuple[int, ModelCall] | None = None
    is_last: bool = False


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
        streamed: How it was streamed, in a stream. One that was ended early is no answer; one of which a
            part was passed on is the ask's, whatever is thought of the whole.
        stopped: Why it was ended early; None when it was not.
    """

    answer: Answer
    latency_s: float
    rung: int | None = None
    streamed: Streamed | None = None
    stopped: str | None = None


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome: the call failed.

    Attributes:
        error: Why.
        latency_s: Wall seconds until it failed.
        cost_usd: What it cost all the same, US dollars, earlier tries aside; None if unknown. See
            `budget.cost_of_failure`.
        final: Whether the walk is to end here: no time is left, or nothing more may be tried.
        rung: Index of the rung, when it is not the one that was to be called but its backup.
        streamed: How far it was streamed, in a stream. When a part was passed on, the ask has failed.
        compression: What was done to the prompt before it was sent; None where nothing was.
    """

    error: CascadeError
    latency_s: float
    cost_usd: float | None
    final: bool = False
    rung: int | None = None
    streamed: Streamed | None = None
    compression: Compression | None = None


Effect = Lookup | Call | Measure | Look
Outcome = Found | Missed | Answered | Failed | Score | Outlook


def walk(
    plan: Plan,
    request: Request,
    demand: Demand,
    context: CallContext = NO_CONTEXT,
    *,
    streamed: bool = False,
) -> Generator[Effect, Outcome, Ending]:
    """Yield effects until the policy stops; return how it ended.

    `Look` is only yielded for an ask with a deadline. With `streamed`, each `Call` says whether it is
    the last; once a part of an answer has been passed on, the walk ends with that answer.

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
    passed_on: Streamed | None = None
    while not over:
        outlook = None
        if demand.deadline_s is not None:
            seen = yield Look(attempts=attempts)
            assert isinstance(seen, Outlook)
            outlook = seen
        attempts, allowed = open_rungs(plan.ladder, attempts, demand, outlook)
        state = State(
            ladder=plan.ladder,
            attempts=attempts,
            open=allowed,
            forecast=forecast,
            demand=demand,
            request=request,
        )
        decision = plan.policy.decide(state)
        if passed_on is not None:
            decision = _final(decision, passed_on)
        attempts = _close_last(attempts, decision)
        opening = opening or decision.probabilities or {decision.action: 1.0}
        if decision.rung is None:
            break
        if decision.rung not in allowed:
            raise ConfigError(
                f"policy {plan.policy.version} named rung {decision.rung}; open: {list(allowed)}"
            )
        effect = _call(plan, request, context, decision.rung, allowed, attempts)
        if streamed and is_last(plan.policy, state, decision.rung):
            effect = replace(effect, is_last=True)
        outcome = yield effect
        assert isinstance(outcome, (Answered, Failed))
        called = decision.rung if outcome.rung is None else outcome.rung
        rung = plan.ladder.rungs[called]
        if isinstance(outcome, Failed):
            attempts = (*attempts, _failed_attempt(called, rung, outcome))
            if _was_passed_on(outcome.streamed):
                return broken_off(attempts, opening, missed)
            over = outcome.final
            continue
        if outcome.stopped is not None:
            attempts = (*attempts, _stopped_attempt(called, rung, outcome))
            continue
        attempt = _answered_attempt(called, rung, outcome, plan.gates, request)
        if _was_passed_on(outcome.streamed):
            passed_on = outcome.streamed
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
        passed_on=passed_on is not None,
    )
    return ending if missed is None else replace(ending, cache_miss=missed)


def is_last(policy: Policy, state: State, rung: int) -> bool:
    """Return whether no other rung may be asked once `rung` has answered, whatever it says.

    So it is where no other is open, for the ladder's top rung (nobody asks a smaller model after it),
    and where the policy says so: one with a method ``is_last(state, rung)``.
    """
    if len(state.open) == 1 or rung == len(state.ladder.rungs) - 1:
        return True
    says = getattr(policy, "is_last", None)
    return says is not None and bool(says(state, rung))


def _was_passed_on(streamed: Streamed | None) -> bool:
    return streamed is not None and streamed.released_at_tokens is not None


def _final(decision: Decision, passed_on: Streamed) -> Decision:
    """Return what the policy says of an answer that the asker already has: to stop."""
    if passed_on.mode == "early_accept":
        tokens, confidence = passed_on.judged[-1]
        sure = "" if confidence is None else f" at {confidence:.2f}"
        reason = f"passed on from token {tokens}{sure}; {decision.reason}"
    elif decision.rung is None:
        return decision
    else:
        reason = f"passed on from its first byte; {decision.reason}"
    return Decision(rung=None, reason=reason, accepted=True, threshold=decision.threshold)


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
    escalated = any(attempt.verdict != "skipped" for attempt in attempts)
    return Call(
        rung=rung,
        call=_model_call(rung, rungs[rung], request, context, escalated=escalated),
        attempts=attempts,
        backup=None
        if above is None
        else (above, _model_call(above, rungs[above], request, context, escalated=True)),
    )


def _model_call(
    index: int, rung: Rung, request: Request, context: CallContext, *, escalated: bool
) -> ModelCall:
    return ModelCall(
        model=rung.model,
        request=request,
        max_tokens=rung.max_tokens,
        top_logprobs=rung.top_logprobs,
        extra=rung.extra,
        rung=index,
        context=context,
        escalated=escalated,
    )


def _failed_attempt(index: int, rung: Rung, outcome: Failed) -> Attempt:
    error = outcome.error
    tries = error.tries if isinstance(error, ProviderError) else ()
    not_called = isinstance(error, (NotCalled, BudgetExceeded, PromptOverBudget)) and not tries
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
        streamed=outcome.streamed,
        compression=outcome.compression,
    )


def _stopped_attempt(index: int, rung: Rung, outcome: Answered) -> Attempt:
    """Return the attempt of a draft that was ended early: what had come is paid for, and is no answer."""
    answer = outcome.answer
    tries = tuple(_priced(request, None) for request in answer.tries)
    return Attempt(
        rung=index,
        model=rung.model,
        provider=answer.deployment or rung.provider,
        verdict="rejected",
        reason=outcome.stopped or "",
        cost_usd=_with_tries(_paid(answer, rung), tries),
        latency_s=outcome.latency_s,
        tries=tries,
        streamed=outcome.streamed,
        compression=answer.compression,
    )


def _paid(answer: Answer, rung: Rung) -> float | None:
    return cost_usd(answer.usage, rung.price) if answer.cost_usd is None else answer.cost_usd


def _answered_attempt(
    index: int, rung: Rung, outcome: Answered, gates: Sequence[Gate], request: Request
) -> Attempt:
    answer = outcome.answer
    failed = failed_gates(gates, request, answer)
    verdict: Verdict = "rejected" if failed else "escalated"
    paid = _paid(answer, rung)
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
        streamed=outcome.streamed,
        compression=answer.compression,
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
