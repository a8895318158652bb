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
from msgspec.structs import replace

from .budget import cost_of_failure
from .caching import Caching
from .clock import SystemClock
from .drafts import Draft, Outlet
from .ending import ended_by, with_unneeded
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
from .types import Attempt, CallContext, Compression, Demand, ModelCall, Request, Score
from .walk import (
    Answered,
    Call,
    Effect,
    Ending,
    Failed,
    Look,
    Lookup,
    Missed,
    Outcome,
    Outlook,
)

__all__ = ["Ask", "Driver"]

_log = logging.getLogger("cascade")

EXPECTED_SHARE = 0.75
"""A rung is expected to take as long as this share of its last calls did at most."""

_TIMERS_S = 0.005
"""Seconds by which a timer may be early."""

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
        pending: The effect that is being performed; None before the first.
        calling: Rungs that are being called.
        called_at: When the newest call was begun, a reading of the monotonic clock; None before one.
        compressed: What was done to the prompts that were sent, by rung.
        recorded: Whether its decision record has been made.
        outlet: Takes what is said while it is said, in a stream; else None.
    """

    __slots__ = (
        "attempts",
        "began_at",
        "began_iso",
        "called_at",
        "calling",
        "compressed",
        "context",
        "demand",
        "digest",
        "id",
        "metadata",
        "outlet",
        "pending",
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
        self.pending: Effect | None = None
        self.calling: set[int] = set()
        self.called_at: float | None = None
        self.compressed: dict[int, Compression] = {}
        self.recorded = False
        self.outlet: Outlet | None = None


class Driver:
    """Performs the effects of walks.

    Args:
        ladder: The rungs.
        client: Performs the calls, each at its rung.
        scorer: Says how sure an answer is; None: every confidence is unknown.
        clock: Time source.
        spending: Keeps calls within budgets; None: there are none.
        hedge: When the next rung is asked beside a slow one; None: never.
        caching: Looks requests up; None: there is no cache.
        compresses: Whether the client may send other prompts than it is given.
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
        caching: Caching | None = None,
        compresses: bool = False,
    ) -> None:
        self._compresses = compresses
        self._ladder = ladder
        self._client = client
        self._scorer = scorer
        self._clock = clock
        self._latencies = [LatencyWindow(rung.expected_s) for rung in ladder.rungs]
        self._longest_s = max((rung.expected_s or 0.0 for rung in ladder.rungs), default=0.0)
        self._spending = spending
        self._caching = caching
        one = len(ladder.rungs) == 1  # there is no other rung to ask beside it
        self._hedging = None if hedge is None or one else Hedging(hedge)
        self._is_bounded = _keep_deadlines(client, scorer, spending, caching, clock)
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

    def out_of_time(self, ask: Ask) -> Ending:
        """Return the ending of an ask whose time was over before anything was done for it."""
        return ended_by(_out_of_time(ask))

    async def run(self, steps: Generator[Effect, Outcome, Ending], ask: Ask) -> Ending:
        """Run a walk to its end: perform each effect, send back its outcome.

        When the time of the ask is over, or the engine is closed, what is going on is cancelled and
        the walk comes to its end with what it has.
        """
        if self._cut:  # closed while this ask was on its way
            return self._wind_up(steps, ask)
        calls: SideBySide | None = None
        if self._hedging is not None and ask.context.idempotent:
            chosen = None if ask.outlet is None else ask.outlet.chosen
            go_on, perform = partial(self._perform, steps, ask), partial(self._call, ask)
            calls = SideBySide(go_on, perform, self._hedging, self._clock, chosen)
        if self._is_bounded and ask.outlet is None:  # nobody bounds the time of who reads a stream
            ending = await self._walk(steps, ask, calls)
        else:
            ending = await self._walk_watched(steps, ask, calls)
        if ask.called_at is None:
            # Let others run: a row of asks that wait for nothing would keep the loop to itself.
            await anyio.lowlevel.cancel_shielded_checkpoint()
        unneeded = None if calls is None else calls.unneeded(self._ladder, ending, ask.compressed)
        return with_unneeded(ending, unneeded) if unneeded else ending

    async def _walk_watched(
        self, steps: Generator[Effect, Outcome, Ending], ask: Ask, calls: SideBySide | None
    ) -> Ending:
        """Run a walk some part of which may not end by itself in time."""
        deadline = ask.context.deadline
        if deadline is None:
            scope = anyio.CancelScope()
        else:
            scope = anyio.move_on_after(deadline - self._clock.monotonic())
        ending: Ending | None = None
        self._scopes.add(scope)
        try:
            with scope:
                ending = await self._walk(steps, ask, calls)
        finally:
            self._scopes.discard(scope)
        if ending is None and calls is not None:
            ending = calls.ending  # it had come to its end when its time was over
        return self._wind_up(steps, ask) if ending is None else ending

    async def _walk(
        self, steps: Generator[Effect, Outcome, Ending], ask: Ask, calls: SideBySide | None
    ) -> Ending:
        if calls is not None:
            return await calls.run()
        return await self._perform(steps, ask, partial(self._call_alone, ask))

    async def _perform(
        self,
        steps: Generator[Effect, Outcome, Ending],
        ask: Ask,
        call: Callable[[Call], Awaitable[Answered | Failed]],
    ) -> Ending:
        """Run a walk from where it is to its end."""
        try:
            effect = ask.pending = next(steps) if ask.pending is None else ask.pending
            while True:
                ask.attempts = effect.attempts
                outcome: Outcome
                if isinstance(effect, Call):
                    if ask.outlet is None:
                        outcome = await call(effect)
                    else:
                        ask.outlet.expect(outcome=True)
                        outcome = await call(effect)
                        ask.outlet.expect(outcome=False)
                elif isinstance(effect, Look):
                    outcome = self._look(ask)
                elif isinstance(effect, Lookup):
                    assert self._caching is not None
                    outcome = await self._caching.find(ask)
                else:
                    outcome = await self._measure(effect.attempts, ask)
                effect = ask.pending = steps.send(outcome)
        except StopIteration as end:
            ending: Ending = end.value
            return ending

    def _wind_up(self, steps: Generator[Effect, Outcome, Ending], ask: Ask) -> Ending:
        """Bring a walk to its end without doing anything any more that it asks for."""
        error = _closed() if self._cut else _out_of_time(ask)
        try:
            effect = next(steps) if ask.pending is None else ask.pending
            while True:
                outcome: Outcome
                if isinstance(effect, Call):
                    read = None if ask.outlet is None else ask.outlet.chosen()
                    rung = effect.rung if read is None else read
                    outcome = replace(self._cancelled(rung, error, ask), rung=rung)
                elif isinstance(effect, Look):
                    outcome = Outlook(left_s=0.0)
                elif isinstance(effect, Lookup):
                    outcome = Missed(reason=str(error))
                else:
                    outcome = Score(confidence=None, why_unknown=str(error), cost_usd=None)
                effect = steps.send(outcome)
        except StopIteration as end:
            ending: Ending = end.value
            return ending

    def _cancelled(self, rung: int, error: CascadeError, ask: Ask) -> Failed:
        """Return what became of a call that was cancelled, or not made any more."""
        draft = None if ask.outlet is None else ask.outlet.draft(rung)
        is_read = draft is not None and not draft.may_repeat
        if rung not in ask.calling and not is_read:
            return Failed(error=error, latency_s=0.0, cost_usd=0.0, final=True)
        ask.calling.discard(rung)
        began = ask.began_at if ask.called_at is None else ask.called_at
        latency_s = self._clock.monotonic() - began
        if not is_read:
            self._note_latency(rung, latency_s)  # it would have taken longer still
        return self._failed(ask, rung, error, latency_s, draft, final=True)

    def _failed(
        self,
        ask: Ask,
        rung: int,
        error: CascadeError,
        latency_s: float,
        draft: Draft | None,
        *,
        final: bool,
    ) -> Failed:
        """Return the outcome of a call that failed, and of its draft if it was one."""
        cost = cost_of_failure(error)
        usage = None if draft is None else draft.usage()
        if draft is None or usage is None:
            return Failed(
                error=error,
                latency_s=latency_s,
                cost_usd=cost,
                final=final,
                compression=ask.compressed.get(rung),
            )
        return Failed(  # what came has been paid for, whatever the error says
            error=error,
            latency_s=latency_s,
            cost_usd=cost_usd(usage, self._ladder.rungs[draft.rung].price),
            final=final,
            streamed=draft.streamed(usage),
            compression=ask.compressed.get(rung),
        )

    async def _call_alone(self, ask: Ask, effect: Call) -> Answered | Failed:
        return await self._call(ask, effect.rung, effect.call)

    def _look(self, ask: Ask) -> Outlook:
        """Return what time the ask has left, and what the rungs are expected to take if that may matter."""
        deadline = ask.context.deadline
        assert deadline is not None
        left_s = deadline - self._clock.monotonic()
        if left_s > self._longest_s:
            return Outlook(left_s=left_s)
        known = [window.quantile(EXPECTED_SHARE) for window in self._latencies]
        expected_s = {i: seconds for i, seconds in enumerate(known) if seconds is not None}
        self._longest_s = max(expected_s.values(), default=0.0)
        return Outlook(left_s=left_s, expected_s=expected_s)

    def _note_latency(self, rung: int, seconds: float) -> None:
        self._latencies[rung].add(seconds)
        if seconds > self._longest_s:  # never too short: brought down again when it would matter
            self._longest_s = seconds

    async def _call(self, ask: Ask, rung: int, call: ModelCall) -> Answered | Failed:
        """Perform one call, within the budgets if there are any."""
        spending = self._spending
        if spending is None:
            return await self._complete(ask, rung, call)
        held = await spending.hold(rung, call, ask.attempts)
        if not isinstance(held, Held):
            error, when_spent = held
            return Failed(error=error, latency_s=0.0, cost_usd=0.0, final=when_spent != "cheaper")
        try:
            outcome = await self._complete(ask, rung, call)
        except BaseException:  # cancelled: what it has cost is known of what came of a stream alone
            draft = None if ask.outlet is None else ask.outlet.draft(rung)
            usage = None if draft is None else draft.usage()
            cost = None if usage is None else cost_usd(usage, self._ladder.rungs[rung].price)
            with anyio.CancelScope(shield=True):
                await spending.settle(held, usage, cost)
            raise
        if spending.is_immediate:
            await self._settle(spending, held, outcome)
        else:
            with anyio.CancelScope(shield=True):  # the ledger bounds its own time
                await self._settle(spending, held, outcome)
        return outcome

    async def _settle(self, spending: Spending, held: Held, outcome: Answered | Failed) -> None:
        if isinstance(outcome, Answered):
            answer = outcome.answer
            price = self._ladder.rungs[held.rung].price
            paid = cost_usd(answer.usage, price) if answer.cost_usd is None else answer.cost_usd
            if answer.tries:
                paid = add_costs(paid, *(request.cost_usd for request in answer.tries))
            await spending.settle(held, answer.usage, paid)
            return
        error = outcome.error
        tries = error.tries if isinstance(error, ProviderError) else ()
        paid = add_costs(outcome.cost_usd, *(request.cost_usd for request in tries))
        if paid == 0.0:
            await spending.release(held)
        else:
            usage = None if outcome.streamed is None else outcome.streamed.usage
            await spending.settle(held, usage, paid)

    async def _complete(self, ask: Ask, rung: int, call: ModelCall) -> Answered | Failed:
        draft = None
        if ask.outlet is not None:
            assert isinstance(ask.pending, Call)
            draft = await ask.outlet.open(ask.pending, rung, call)
            call = replace(call, listener=draft)
        if self._compresses:
            call = replace(call, shortened=partial(ask.compressed.__setitem__, rung))
        started = ask.called_at = self._clock.monotonic()
        ask.calling.add(rung)
        try:
            answer = await self._client.complete(call)
            if draft is not None:
                await draft.complete(answer)
        except CascadeError as exc:
            # A client that cannot send this request (`ConfigError`) is one failed rung like any other:
            # what earlier rungs answered is paid for, and another rung may take it.
            now = self._clock.monotonic()
            latency_s = now - started
            deadline = ask.context.deadline
            if self._cut:
                return self._cancelled(rung, _closed(), ask)
            if isinstance(exc, ProviderTimeout):
                if deadline is not None and now >= deadline - _TIMERS_S:
                    return self._cancelled(rung, _out_of_time(ask), ask)
                self._note_latency(rung, latency_s)
            ask.calling.discard(rung)
            final = isinstance(exc, LimitReached) and exc.refuse
            return self._failed(ask, rung, exc, latency_s, draft, final=final)
        ask.calling.discard(rung)
        latency_s = self._clock.monotonic() - started
        if draft is None:
            self._note_latency(rung, latency_s)
            return Answered(answer=answer, latency_s=latency_s)
        if draft.stopped is None and draft.may_repeat:  # else its reader had a part in the time
            self._note_latency(rung, latency_s)
        return Answered(
            answer=answer,
            latency_s=latency_s,
            streamed=draft.streamed(None if draft.stopped is None else answer.usage),
            stopped=draft.stopped,
        )

    async def _measure(self, attempts: tuple[Attempt, ...], ask: Ask) -> Score:
        scorer = self._scorer
        if scorer is None:
            return _UNSCORED
        try:
            return await scorer.score(ask.request, attempts)
        except RunError as exc:
            # A judge that cannot be reached leaves the confidence unknown; the answer stands.
            _log.warning("scorer %s failed: %s", scorer.version, type(exc).__name__)
            return Score(
                confidence=None, why_unknown=f"scorer failed: {type(exc).__name__}", cost_usd=None
            )


def _keep_deadlines(
    client: Client,
    scorer: Scorer | None,
    spending: Spending | None,
    caching: Caching | None,
    clock: Clock,
) -> bool:
    """Return whether all that an ask waits for ends by itself at its deadline."""
    return (
        isinstance(clock, SystemClock)
        and getattr(client, "keeps_deadlines", False)
        and (scorer is None or getattr(scorer, "is_immediate", False))
        and (spending is None or spending.is_immediate)
        and (caching is None or getattr(caching.store, "is_immediate", False))
    )


def _closed() -> EngineClosed:
    return EngineClosed("the engine was closed")


def _out_of_time(ask: Ask) -> DeadlineExceeded:
    return DeadlineExceeded(f"deadline_s {ask.demand.deadline_s:g} ran out")
