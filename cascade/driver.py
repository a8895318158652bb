"""The live driver of the walk: performs what it asks for, within the time the ask has.

It calls clients within the budgets, asks the scorer, and tells the walk what time is left.
Everything it knows of one ask is in that ask's `Ask`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Mapping
from functools import partial
from typing import Any

import anyio

from .budget import cost_of_failure
from .ending import with_unneeded
from .errors import (
    CascadeError,
    DeadlineExceeded,
    EngineClosed,
    LimitReached,
    ProviderError,
    ProviderTimeout,
    RunError,
)
from .ladder import Ladder
from .latency import LatencyWindow
from .ports import Client, Clock, Scorer
from .pricing import add_costs, cost_usd
from .resilience.hedge import Hedge, Hedging
from .side_by_side import SideBySide
from .spending import Held, Spending
from .types import Answer, Attempt, CallContext, Demand, ModelCall, Request, Score
from .walk import Answered, Call, Effect, Ending, Failed, Look, Outcome, Outlook

__all__ = ["Ask", "Driver"]

_log = logging.getLogger("cascade")

EXPECTED_SHARE = 0.75
"""A rung is expected to take as long as this share of its last calls did at most."""

_UNSCORED = Score(confidence=None, why_unknown="no scorer")


class Ask:
    """What is known of one ask while it runs.

    Attributes:
        id: As in the decision log.
        began_at: Reading of the monotonic clock.
        began_iso: Reading of the wall clock.
        request: What was asked.
        digest: Digest of the request.
        demand: What was demanded.
        context: Whose ask it is, and until when it may run.
        metadata: The caller's own fields.
        policy: Version of the policy.
        attempts: What has been tried.
        calling: Rungs that are being called.
        recorded: Whether its decision record has been made.
    """

    __slots__ = (
        "attempts",
        "began_at",
        "began_iso",
        "calling",
        "context",
        "demand",
        "digest",
        "id",
        "metadata",
        "policy",
        "recorded",
        "request",
    )

    def __init__(
        self,
        *,
        id: str,
        began_at: float,
        began_iso: str,
        request: Request,
        digest: str,
        demand: Demand,
        context: CallContext,
        metadata: Mapping[str, Any],
        policy: str,
    ) -> None:
        self.id = id
        self.began_at = began_at
        self.began_iso = began_iso
        self.request = request
        self.digest = digest
        self.demand = demand
        self.context = context
        self.metadata = metadata
        self.policy = policy
        self.attempts: tuple[Attempt, ...] = ()
        self.calling: set[int] = set()
        self.recorded = False


class Driver:
    """Performs the effects of walks.

    Args:
        ladder: The rungs.
        client: Performs the calls, each at its rung.
        scorer: Says how sure an answer is; None: every confidence is unknown.
        clock: Time source.
        spending: Keeps calls within budgets; None: there are none.
        hedge: When the next rung is asked beside a slow one; None: never.
    """

    def __init__(
        self,
        ladder: Ladder,
        client: Client,
        scorer: Scorer | None,
        clock: Clock,
        *,
        spending: Spending | None = None,
        hedge: Hedge | None = None,
    ) -> None:
        self._ladder = ladder
        self._client = client
        self._scorer = scorer
        self._clock = clock
        self._latencies = [LatencyWindow(rung.expected_s) for rung in ladder.rungs]
        self._spending = spending
        self._hedging = None if hedge is None else Hedging(hedge)
        self._scopes: set[anyio.CancelScope] = set()
        self._cut = False

    def open(self) -> None:
        """Take calls, after `cut` too."""
        self._cut = False

    def cut(self) -> None:
        """End every call in flight and make no more; the asks they belong to end with what they have."""
        self._cut = True
        for scope in self._scopes:
            scope.cancel()

    async def run(self, steps: Generator[Effect, Outcome, Ending], ask: Ask) -> Ending:
        """Run a walk to its end: perform each effect, send back its outcome."""
        if self._hedging is None or not ask.context.idempotent:
            return await self._perform(steps, ask, partial(self._call_alone, ask))
        return await self._run_side_by_side(steps, ask, self._hedging)

    async def _run_side_by_side(
        self, steps: Generator[Effect, Outcome, Ending], ask: Ask, hedging: Hedging
    ) -> Ending:
        ending: Ending | None = None
        raised: Exception | None = None
        async with anyio.create_task_group() as group:
            calls = SideBySide(partial(self._call, ask), group, hedging, self._clock)
            try:
                ending = await self._perform(steps, ask, calls.call)
            except Exception as exc:  # noqa: BLE001 - raised again, out of the task group's own wrapping
                raised = exc
            group.cancel_scope.cancel()
        if ending is None:
            assert raised is not None
            raise raised
        unneeded = calls.unneeded(self._ladder, ending)
        return with_unneeded(ending, unneeded) if unneeded else ending

    async def _perform(
        self,
        steps: Generator[Effect, Outcome, Ending],
        ask: Ask,
        call: Callable[[Call], Awaitable[Answered | Failed]],
    ) -> Ending:
        try:
            effect = next(steps)
            while True:
                ask.attempts = effect.attempts
                outcome: Outcome
                if isinstance(effect, Call):
                    outcome = await call(effect)
                elif isinstance(effect, Look):
                    outcome = self._look(ask)
                else:
                    outcome = await self._measure(effect.attempts, ask)
                effect = steps.send(outcome)
        except StopIteration as end:
            ending: Ending = end.value
            return ending

    async def _call_alone(self, ask: Ask, effect: Call) -> Answered | Failed:
        return await self._call(ask, effect.rung, effect.call)

    def _look(self, ask: Ask) -> Outlook:
        """Return what time the ask has left, and what each rung is expected to take."""
        deadline = ask.context.deadline
        assert deadline is not None
        known = [window.quantile(EXPECTED_SHARE) for window in self._latencies]
        return Outlook(
            left_s=deadline - self._clock.monotonic(),
            expected_s={i: seconds for i, seconds in enumerate(known) if seconds is not None},
        )

    def _scope(self, ask: Ask) -> anyio.CancelScope:
        """Return a scope that ends with the time of the ask."""
        deadline = ask.context.deadline
        if deadline is None:
            return anyio.CancelScope()
        return anyio.move_on_after(deadline - self._clock.monotonic())

    async def _call(self, ask: Ask, rung: int, call: ModelCall) -> Answered | Failed:
        """Perform one call, within the budgets if there are any."""
        if self._spending is None:
            return await self._complete(ask, rung, call)
        held = await self._spending.hold(rung, call, ask.attempts)
        if not isinstance(held, Held):
            error, when_spent = held
            return Failed(error=error, latency_s=0.0, cost_usd=0.0, final=when_spent == "refuse")
        outcome: Answered | Failed | None = None
        try:
            outcome = await self._complete(ask, rung, call)
        finally:
            # Cancelled or not, the call may have cost something; the ledger is quick.
            with anyio.CancelScope(shield=True):
                await self._settle(held, outcome)
        return outcome

    async def _settle(self, held: Held, outcome: Answered | Failed | None) -> None:
        assert self._spending is not None
        if outcome is None:
            await self._spending.settle(held, None, None)
        elif isinstance(outcome, Answered):
            answer = outcome.answer
            price = self._ladder.rungs[held.rung].price
            paid = cost_usd(answer.usage, price) if answer.cost_usd is None else answer.cost_usd
            paid = add_costs(paid, *(request.cost_usd for request in answer.tries))
            await self._spending.settle(held, answer.usage, paid)
        else:
            error = outcome.error
            tries = error.tries if isinstance(error, ProviderError) else ()
            paid = add_costs(outcome.cost_usd, *(request.cost_usd for request in tries))
            if paid == 0.0:
                await self._spending.release(held)
            else:
                await self._spending.settle(held, None, paid)

    async def _complete(self, ask: Ask, rung: int, call: ModelCall) -> Answered | Failed:
        started = self._clock.monotonic()
        if self._cut:  # closed while this ask was running: open no new connection
            return Failed(error=_closed(), latency_s=0.0, cost_usd=0.0, final=True)
        ask.calling.add(rung)
        scope = self._scope(ask)
        self._scopes.add(scope)
        answer: Answer | None = None
        error: CascadeError | None = None
        try:
            with scope:
                answer = await self._client.complete(call)
        except CascadeError as exc:
            # A client that cannot send this request (`ConfigError`) is one failed rung like any other:
            # what earlier rungs answered is paid for, and another rung may take it.
            error = exc
        finally:
            self._scopes.discard(scope)
        ask.calling.discard(rung)
        latency_s = self._clock.monotonic() - started
        if answer is not None:
            self._latencies[rung].add(latency_s)
            return Answered(answer=answer, latency_s=latency_s)
        if error is None:
            error = _closed() if self._cut else _out_of_time(ask)
        if isinstance(error, (DeadlineExceeded, ProviderTimeout)):
            self._latencies[rung].add(latency_s)  # it would have taken longer still
        return Failed(
            error=error,
            latency_s=latency_s,
            cost_usd=cost_of_failure(error),
            final=isinstance(error, (DeadlineExceeded, EngineClosed))
            or (isinstance(error, LimitReached) and error.refuse),
        )

    async def _measure(self, attempts: tuple[Attempt, ...], ask: Ask) -> Score:
        scorer = self._scorer
        if scorer is None:
            return _UNSCORED
        try:
            if ask.context.deadline is None:
                return await scorer.score(ask.request, attempts)
            with self._scope(ask):
                return await scorer.score(ask.request, attempts)
            return Score(confidence=None, why_unknown="deadline_s ran out", cost_usd=None)
        except RunError as exc:
            # A judge that cannot be reached leaves the confidence unknown; the answer stands.
            _log.warning("scorer %s failed: %s", scorer.version, type(exc).__name__)
            return Score(
                confidence=None, why_unknown=f"scorer failed: {type(exc).__name__}", cost_usd=None
            )


def _closed() -> EngineClosed:
    return EngineClosed("the engine was closed")


def _out_of_time(ask: Ask) -> DeadlineExceeded:
    return DeadlineExceeded(f"deadline_s {ask.demand.deadline_s:g} ran out")
