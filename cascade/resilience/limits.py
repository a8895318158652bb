"""A client that keeps to limits on its calls, and to the pauses its deployment asks for.

While there is room nothing waits and nothing is awaited beside the call. What has to wait does so
in one bounded queue for each model (or tenant), with one timer each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Literal

import anyio

from ..clock import SystemClock
from ..errors import CoolingDown, LimitReached, NotCalled, ProviderError
from ..ports import Client, Clock
from ..types import Answer, ModelCall
from .limiter import CallLimits, Limiter, LimiterState, Waiter
from .shared_limits import Full, SharedLimits

__all__ = ["CallLimits", "Limited", "LimiterState"]

MOST_KEPT = 10_000
"""Most models or tenants that limits are kept for, beside those with calls in flight or waiting."""

_LOOKED_AT = 16
"""Entries looked at for one to forget, when all places are taken."""

_SHORTEST_S = 0.001
"""Shortest timer, seconds: rounding must not make a waiter spin."""


class Limited:
    """A client that lets no more calls through than `limits` allow.

    A deployment's pause (`RateLimited.retry_after_s`, `Answer.pause_s`) holds for every call to that
    model: a call that can wait it out does, any other ends in `CoolingDown`.

    Args:
        client: Makes the calls.
        limits: What is allowed, and what becomes of the rest.
        provider: Name of the deployment, for errors.
        clock: Time source, the one that deadlines are readings of.
        by: Whose calls are counted together: those to a model, or those of a tenant. By tenant, calls
            without one are not limited, and pauses are left to the limits by model.
        shared: The same limits as all processes keep them together; None: they are this one's own.
    """

    def __init__(
        self,
        client: Client,
        limits: CallLimits,
        *,
        provider: str,
        clock: Clock | None = None,
        by: Literal["model", "tenant"] = "model",
        shared: SharedLimits | None = None,
    ) -> None:
        self.when_full = limits.when_full
        self._client = client
        self._shared = shared
        self.keeps_deadlines: bool = shared is None and getattr(client, "keeps_deadlines", False)
        self._limits = limits
        self._provider = provider
        self._clock = clock or SystemClock()
        self._by_model = by == "model"
        self._limiters: dict[str, Limiter] = {}

    async def complete(self, call: ModelCall) -> Answer:
        """Return the client's answer, once there is room for the call.

        Raises:
            LimitReached: There is none, and none in the time or the queue there is.
            CoolingDown: The deployment asked for a pause that the call cannot wait out.
            ProviderError: The call failed.
        """
        key = call.model if self._by_model else call.context.tenant
        if key is None:
            return await self._client.complete(call)
        began = self._clock.monotonic()
        limiter = self._limiters.get(key) or self._add(key, began)
        tokens = limiter.tokens_of(call)
        if not limiter.enter(tokens, began):
            began = await self._wait(limiter, call, tokens, began)
        if self._shared is None:
            return await self._make(limiter, call, tokens, began)
        return await self._make_shared(self._shared, key, limiter, call, tokens)

    async def _make(self, limiter: Limiter, call: ModelCall, tokens: float, began: float) -> Answer:
        """Make a call that has been let through."""
        try:
            answer = await self._client.complete(call)
        except ProviderError as exc:
            limiter.failed(exc, tokens, began, self._clock.monotonic())
            raise
        except BaseException:  # cancelled, or a mistake of ours: its place is free again
            limiter.left(self._clock.monotonic())
            raise
        limiter.answered(answer, tokens, began, self._clock.monotonic())
        return answer

    async def _make_shared(
        self, shared: SharedLimits, key: str, limiter: Limiter, call: ModelCall, tokens: float
    ) -> Answer:
        """Make a call that this process lets through, once all of them together do."""
        give_up_at = self._give_up_at(call, self._clock.monotonic())
        patient = self.when_full == "wait" and call.context.may_wait
        try:
            said = await shared.enter(key, tokens, give_up_at if patient else None)
        except BaseException:
            limiter.turned_back(tokens, self._clock.monotonic())
            raise
        if isinstance(said, Full):
            limiter.turned_back(tokens, self._clock.monotonic())
            raise self._shared_refusal(said, call)
        used: float | None = None
        made = True
        try:
            answer = await self._make(limiter, call, tokens, self._clock.monotonic())
            usage = answer.usage
            if usage.prompt_tokens is not None and usage.completion_tokens is not None:
                used = float(usage.prompt_tokens + usage.completion_tokens)
        except ProviderError as exc:
            made = exc.sent
            raise
        finally:
            shared.leave(said, used, made=made)
        return answer

    async def aclose(self) -> None:
        """Send away all that wait, and close the client."""
        for limiter in self._limiters.values():
            limiter.dismiss_all()
        await self._client.aclose()

    def states(self) -> Mapping[str, LimiterState]:
        """Return what each model's (or tenant's) limiter is doing."""
        now = self._clock.monotonic()
        return {key: limiter.state(now) for key, limiter in self._limiters.items()}

    async def _wait(self, limiter: Limiter, call: ModelCall, tokens: float, now: float) -> float:
        """Wait for room; return when it was granted."""
        give_up_at = self._give_up_at(call, now)
        patient = self.when_full == "wait" and call.context.may_wait
        if not patient or not limiter.has_place():
            raise self._refusal(limiter, call, tokens, now)
        if now + limiter.least_wait_s(now) > give_up_at:  # it would wait in vain
            raise self._refusal(limiter, call, tokens, now)
        waiter = Waiter(tokens, give_up_at)
        limiter.join(waiter)
        try:
            while limiter.is_waiting(waiter) and now < give_up_at:
                rest_s = max(_SHORTEST_S, limiter.look_again_s(waiter, now))
                await self._sleep(waiter, min(rest_s, give_up_at - now))
                now = self._clock.monotonic()
                limiter.admit(now)
            if not waiter.granted:
                raise self._refusal(limiter, call, tokens, now)
        except BaseException:
            limiter.forget(waiter, self._clock.monotonic())
            raise
        return now

    def _give_up_at(self, call: ModelCall, now: float) -> float:
        give_up_at, deadline = now + self._limits.max_wait_s, call.context.deadline
        return give_up_at if deadline is None else min(give_up_at, deadline)

    async def _sleep(self, waiter: Waiter, seconds: float) -> None:
        """Wait to be woken, but no longer than `seconds` of the clock."""
        woken = anyio.Event()
        waiter.wake = woken.set
        async with anyio.create_task_group() as group:
            group.start_soon(self._ring, woken.set, seconds)
            await woken.wait()
            group.cancel_scope.cancel()

    async def _ring(self, wake: Callable[[], object], seconds: float) -> None:
        await self._clock.sleep(seconds)
        wake()

    def _refusal(self, limiter: Limiter, call: ModelCall, tokens: float, now: float) -> NotCalled:
        paused_s = limiter.paused_s(now)
        if paused_s:
            return CoolingDown(
                f"it asked for a pause, {paused_s:.1f} s of it left",
                provider=self._provider,
                model=call.model,
                retry_after_s=paused_s,
            )
        wait_s = max(limiter.least_wait_s(now), limiter.room_in_s(tokens, now))
        whose = "" if self._by_model else " for this tenant"
        error = LimitReached(
            f"no room{whose}: {limiter.why_full(now)}",
            provider=self._provider,
            model=call.model,
            retry_after_s=wait_s or None,  # unknown where another call must end first
        )
        error.refuse = self.when_full == "refuse"
        return error

    def _shared_refusal(self, full: Full, call: ModelCall) -> LimitReached:
        whose = "" if self._by_model else " for this tenant"
        error = LimitReached(
            f"no room{whose}: {full.why} is used up by all processes together",
            provider=self._provider,
            model=call.model,
            retry_after_s=full.wait_s or None,
        )
        error.refuse = self.when_full == "refuse"
        return error

    def _add(self, key: str, now: float) -> Limiter:
        if len(self._limiters) >= MOST_KEPT:
            self._forget_one(now)
        limiter = self._limiters[key] = Limiter(self._limits, now, heeds_pauses=self._by_model)
        return limiter

    def _forget_one(self, now: float) -> None:
        """Forget one of the oldest few that is as good as new, or else one that nobody uses."""
        unused: str | None = None
        for key in list(islice(self._limiters, _LOOKED_AT)):
            limiter = self._limiters.pop(key)
            if limiter.is_as_new(now):
                return
            self._limiters[key] = limiter  # last now: others are looked at the next time
            if unused is None and not limiter.is_used:
                unused = key
        if unused is not None:
            del self._limiters[unused]
