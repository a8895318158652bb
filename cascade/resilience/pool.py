"""Several deployments of one model behind one client: keys, regions, providers.

A call goes to one of them. One that takes no calls (open breaker, pause, full) is passed over at once;
it comes back by itself, as its breaker lets a probe through and its pause ends. A failure is the
caller's to repeat: the call then goes to another deployment first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import get_args

import anyio
import msgspec

from ..clock import SystemClock
from ..errors import (
    CircuitOpen,
    ConfigError,
    LimitReached,
    NotCalled,
    ProviderError,
    ProviderTimeout,
)
from ..ports import Clock
from ..pricing import cost_usd
from ..types import Answer, CallContext, ModelCall
from .breaker import BreakerState, breaker_states
from .deployment import Deployment, Member
from .hedge import Hedge, Hedging, race
from .strategies import STRATEGIES, Sticky, Strategy, chooser, preferred

__all__ = ["Hedge", "Member", "Pool", "Sticky", "Strategy"]


class Pool:
    """A client over several deployments of the same model."""

    def __init__(
        self,
        name: str,
        members: Sequence[Member],
        *,
        strategy: Strategy = "weighted",
        sticky: Sticky = "none",
        hedge: Hedge | None = None,
        clock: Clock | None = None,
        rng: Random | None = None,
    ) -> None:
        """Make a pool; its members' clients are closed with it.

        Args:
            name: The provider's name in the ladder, for errors.
            members: The deployments, at least one; their names differ.
            strategy: How calls are spread.
            sticky: Keeps the calls of a tenant or a session on one deployment, and moves them only
                while it takes none; calls that name none are spread by `strategy`.
            hedge: When a second deployment is asked beside the first; None: never.
            clock: Time source.
            rng: Source of chance for `weighted` and `fastest`.

        Raises:
            ConfigError: A member or an option is none; the message names it.
        """
        _check(name, members, strategy, sticky)
        self.name = name
        self._deployments = tuple(Deployment(member) for member in members)
        self.keeps_deadlines = all(
            getattr(member.client, "keeps_deadlines", False) for member in members
        )
        self._sticky = sticky
        self._clock = clock or SystemClock()
        rng = rng or Random()  # noqa: S311 - spreads calls, keeps no secret
        self._chooser = chooser(strategy, rng, self._clock)
        self._timed = strategy == "fastest"
        self._hedging = None if hedge is None else Hedging(hedge)

    def __repr__(self) -> str:
        names = ", ".join(deployment.member.name for deployment in self._deployments)
        return f"Pool(name={self.name!r}, of={names})"

    async def complete(self, call: ModelCall) -> Answer:
        """Return the answer of one of the deployments; see `ports.Client`.

        `Answer.deployment` names it, and `Answer.cost_usd` is by its own price where it has one.

        Raises:
            NotCalled: No deployment takes the call; the class and `retry_after_s` are of the one that
                will soonest, the message names all.
            ProviderError: The deployment asked has failed; `elsewhere` says whether
                another may do better.
        """
        at_once = _without_waiting(call) if len(self._deployments) > 1 else call
        if self._hedging is not None:
            return await self._complete_hedged(call, at_once, self._hedging)
        refusals: list[NotCalled] | None = None
        for deployment in self._candidates(call.context):
            try:
                return await self._ask(deployment, at_once)
            except NotCalled as exc:
                if refusals is None:
                    refusals = []
                refusals.append(exc)
        return await self._wait_for_one(call, refusals or [])

    def elsewhere(self, call: ModelCall, error: ProviderError) -> bool:
        """Return whether `call`, made again after `error`, would go to another deployment first.

        Whoever makes it again adds `error`, and the errors in its `tries`, to `call.context.failures`:
        the deployments that have failed it least often are asked first, and those that have timed out
        not again.
        """
        if isinstance(error, NotCalled):
            return False
        hedged = [other.error for other in error.tries if isinstance(other.error, ProviderError)]
        groups = self._by_failures((*call.context.failures, error, *hedged))
        names = [deployment.member.name for group in groups[:1] for deployment in group]
        return bool(names) and error.provider not in names

    def breaker_states(self) -> Mapping[str, Mapping[str, BreakerState]]:
        """Return the states of the members' breakers, by deployment and model."""
        return breaker_states(*(deployment.member.client for deployment in self._deployments))

    async def aclose(self) -> None:
        """Close the clients of all members."""
        for deployment in self._deployments:
            await deployment.member.client.aclose()

    def _candidates(self, context: CallContext) -> Iterator[Deployment]:
        """Yield whom to ask, one after the other, each once."""
        groups: Sequence[Sequence[Deployment]] = (self._deployments,)
        if context.failures:
            groups = self._by_failures(context.failures) or groups
        key = None
        if self._sticky != "none":
            key = context.tenant if self._sticky == "tenant" else context.session
        for group in groups:
            left = group
            while left:
                chosen = self._chooser.choose(left) if key is None else preferred(key, left)
                yield chosen
                left = [deployment for deployment in left if deployment is not chosen]

    def _by_failures(self, failures: Sequence[ProviderError]) -> list[list[Deployment]]:
        """Return the deployments that have not timed out, grouped by how often they have failed."""
        groups: dict[int, list[Deployment]] = {}
        for deployment in self._deployments:
            name = deployment.member.name
            own = [error for error in failures if error.provider == name]
            if not any(isinstance(error, ProviderTimeout) for error in own):
                groups.setdefault(len(own), []).append(deployment)
        return [groups[count] for count in sorted(groups)]

    async def _ask(self, deployment: Deployment, call: ModelCall) -> Answer:
        """Return the answer of one deployment."""
        member = deployment.member
        if member.model is not None:
            call = msgspec.structs.replace(call, model=member.model)
        deployment.in_flight += 1
        try:
            if self._timed:
                answer = await self._ask_timed(deployment, call)
            else:
                answer = await member.client.complete(call)
        finally:
            deployment.in_flight -= 1
        if member.price is None or answer.cost_usd is not None:
            return msgspec.structs.replace(answer, deployment=member.name)
        cost = cost_usd(answer.usage, member.price)
        return msgspec.structs.replace(answer, deployment=member.name, cost_usd=cost)

    async def _ask_timed(self, deployment: Deployment, call: ModelCall) -> Answer:
        """Return the answer, and note how long it took, or had taken when it was given up."""
        monotonic = self._clock.monotonic
        began = monotonic()
        try:
            answer = await deployment.member.client.complete(call)
        except ProviderError as exc:
            if exc.retryable:  # others say nothing of the deployment: no call, or a bad request
                now = monotonic()
                deployment.note_failure(now - began, now)
            raise
        except anyio.get_cancelled_exc_class():
            now = monotonic()
            deployment.note_unfinished(now - began, now)
            raise
        if (
            call.listener is None or call.listener.may_repeat
        ):  # else its reader had a part in the time
            now = monotonic()
            deployment.note_latency(now - began, now)
        return answer

    async def _complete_hedged(
        self, call: ModelCall, at_once: ModelCall, hedging: Hedging
    ) -> Answer:
        """Return the answer of one deployment, or of the quicker of two."""
        hedging.count_call()
        delay_s = None
        if call.context.idempotent and len(self._deployments) > 1:
            delay_s = hedging.delay_s(call.model)
        candidates = self._candidates(call.context)
        refusals: list[NotCalled] = []
        if delay_s is not None:
            answer = await race(
                lambda deployment, listener: self._ask(
                    deployment,
                    at_once
                    if listener is None
                    else msgspec.structs.replace(at_once, listener=listener),
                ),
                candidates,
                delay_s=delay_s,
                hedging=hedging,
                model=call.model,
                clock=self._clock,
                refusals=refusals,
                listener=call.listener,
            )
            if answer is not None:
                return answer
        for deployment in candidates:  # none is left after a race
            began = self._clock.monotonic()
            try:
                answer = await self._ask(deployment, at_once)
            except NotCalled as exc:
                refusals.append(exc)
            else:
                hedging.note_latency(call.model, self._clock.monotonic() - began)
                return answer
        return await self._wait_for_one(call, refusals)

    async def _wait_for_one(self, call: ModelCall, refusals: list[NotCalled]) -> Answer:
        """Ask those again that had no room just now, soonest first: now the call may wait for it."""
        if call.context.may_wait and len(self._deployments) > 1:
            for i, refusal in sorted(
                enumerate(refusals), key=lambda item: _seconds_to_wait(item[1])
            ):
                if isinstance(refusal, CircuitOpen):
                    continue
                try:
                    return await self._ask(self._named(refusal.provider), call)
                except NotCalled as exc:
                    refusals[i] = exc
        raise self._refusal(call, refusals)

    def _named(self, name: str) -> Deployment:
        return next(found for found in self._deployments if found.member.name == name)

    def _refusal(self, call: ModelCall, refusals: Sequence[NotCalled]) -> NotCalled:
        """Return the refusal that ends soonest, naming all."""
        soonest = min(refusals, key=_seconds_to_wait)
        all_of_them = "; ".join(f"{error.provider}: {error.message}" for error in refusals)
        error = type(soonest)(
            f"no deployment takes the call: {all_of_them}",
            provider=self.name,
            model=call.model,
            retry_after_s=soonest.retry_after_s,
        )
        if isinstance(error, LimitReached):
            error.refuse = getattr(soonest, "refuse", False)
        error.__cause__ = soonest
        return error


def _without_waiting(call: ModelCall) -> ModelCall:
    context = msgspec.structs.replace(call.context, may_wait=False)
    return msgspec.structs.replace(call, context=context)


def _seconds_to_wait(error: NotCalled) -> float:
    return math.inf if error.retry_after_s is None else error.retry_after_s


def _check(name: str, members: Sequence[Member], strategy: str, sticky: str) -> None:
    place = f"providers.{name}"
    names = [member.name for member in members]
    if not names:
        raise ConfigError(f"{place}.of: names no deployment; allowed: one or more")
    twice = next((known for i, known in enumerate(names) if known in names[:i]), None)
    if twice is not None:
        raise ConfigError(f"{place}.of: {twice!r} is named twice; allowed: each deployment once")
    for i, member in enumerate(members):
        if not (math.isfinite(member.weight) and member.weight > 0):
            raise ConfigError(f"{place}.of[{i}].weight: {member.weight!r} given; allowed: > 0")
    if strategy not in STRATEGIES:
        allowed = ", ".join(STRATEGIES)
        raise ConfigError(f"{place}.strategy: {strategy!r} given; allowed: {allowed}")
    if sticky not in get_args(Sticky):
        allowed = ", ".join(get_args(Sticky))
        raise ConfigError(f"{place}.sticky: {sticky!r} given; allowed: {allowed}")
    for i, member in enumerate(members):
        if strategy == "cheapest" and member.price is None:
            raise ConfigError(f"{place}.of[{i}].price: missing; strategy cheapest compares prices")
