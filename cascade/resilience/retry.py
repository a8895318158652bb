"""Repeats calls that failed in a way that may pass: the only place that decides about a repetition.

What is repeated, by class of error (`errors` is the root: the classes with `retryable`):

=================  =========  ==================================================================
error              repeated   why
=================  =========  ==================================================================
ConnectFailed      yes        the next connection may hold
ServerFailed       yes        an overload or a restart passes
BadResponse        yes        a gateway's error page, a cut body
RateLimited        yes        after the wait it asks for, if that is at most `max_backoff_s`
ProviderTimeout    elsewhere  nobody waits twice for the same dead upstream
CoolingDown        wait       no request was made; its pause ends, if within `max_backoff_s`
CircuitOpen        no         the breaker says that it would fail
LimitReached       no         what may be waited was waited in the queue
Unauthorized       no         the key stays wrong
RequestRefused     no         the request stays wrong
ContextTooLong     no         another rung has a larger window
ContentRefused     no         the policy stays
NotRecorded        no         the log stays as it is
=================  =========  ==================================================================

Anything else that is raised passes through untouched. *Elsewhere*: where the client has several
deployments and says that another one may be tried; then the wait asked for by the failed one does
not count either. Waits are "full jitter" (Brooker, "Exponential backoff and jitter", AWS 2015)
on top of the wait asked for, so that those sent away together do not come back together.

tenacity runs the loop of waits, and only once a call has failed: around every call it would cost the
good ones some 50 µs. It takes our sleep and our waits; stamina, which is built on it, sets its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..budget import cost_of_failure
from ..clock import SystemClock
from ..errors import ConfigError, CoolingDown, NotCalled, ProviderError, ProviderTimeout
from ..ports import Client, Clock
from ..types import Answer, ModelCall, Try
from .breaker import BreakerState, breaker_states
from .ranges import check_number, check_whole

if TYPE_CHECKING:
    from tenacity import RetryCallState

__all__ = ["BURST", "Elsewhere", "RetryBudget", "RetryPolicy", "Retrying", "delay_s", "may_repeat"]

BURST = 10.0
"""Repetitions that may be made beyond the share of traffic: enough for a quiet service to have any."""

Elsewhere = Callable[[ModelCall, ProviderError], bool]
"""Says whether another deployment than the one that failed can take this call now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and after which waits a call is repeated.

    Attributes:
        attempts: Most calls made, the first included; 1: nothing is repeated.
        backoff_s: Longest wait before the first repetition, seconds; it doubles with every further one.
        max_backoff_s: Longest wait, seconds; a deployment that asks for a longer one is not waited for.
        share: Most repetitions as a share of calls, in [0, 1], beside a burst of `BURST`; 0: none.

    Raises:
        ConfigError: A value is out of range; names it.
    """

    attempts: int = 3
    backoff_s: float = 0.5
    max_backoff_s: float = 8.0
    share: float = 0.2

    def __post_init__(self) -> None:
        check_whole("retry.attempts", self.attempts, 1, 100)
        check_number("retry.backoff_s", self.backoff_s, 0, 3600)
        check_number("retry.max_backoff_s", self.max_backoff_s, 0, 3600)
        check_number("retry.share", self.share, 0, 1)
        if self.backoff_s > self.max_backoff_s:
            raise ConfigError(
                f"retry.backoff_s: {self.backoff_s!r} (allowed: at most max_backoff_s, "
                f"{self.max_backoff_s:g})"
            )


def may_repeat(error: ProviderError, policy: RetryPolicy, *, elsewhere: bool) -> bool:
    """Return whether a call that ended in `error` may be made again; see the table above."""
    if isinstance(error, ProviderTimeout):
        return elsewhere
    if not error.retryable and not isinstance(error, CoolingDown):
        return False
    return elsewhere or (error.retry_after_s or 0.0) <= policy.max_backoff_s


def delay_s(policy: RetryPolicy, repetition: int, chance: float, asked_s: float = 0.0) -> float:
    """Return how long to wait before a repetition, seconds.

    Args:
        policy: The waits.
        repetition: 0 for the first.
        chance: A random number, uniform in [0, 1).
        asked_s: The wait the deployment asked for, seconds.

    >>> delay_s(RetryPolicy(backoff_s=0.5, max_backoff_s=8.0), 2, 0.5)
    1.0
    """
    return asked_s + chance * min(policy.max_backoff_s, policy.backoff_s * 2.0**repetition)


class RetryBudget:
    """Allows repetitions for at most a share of all calls, so that an outage is not amplified.

    Over any time: repetitions <= burst + share · calls. May be shared by several clients.

    Args:
        share: Repetitions earned by each first call, in [0, 1]; 0: none at all, no burst either.
        burst: Most that is saved up, and what it starts with.

    Raises:
        ConfigError: A value is out of range; names it.
    """

    def __init__(self, share: float, burst: float = BURST) -> None:
        check_number("retry.share", share, 0, 1)
        check_number("burst", burst, 0, 1e6)
        self._share = share
        self._burst = burst if share > 0 else 0.0
        self._left = self._burst

    def earn(self) -> None:
        """Note a first call."""
        left = self._left + self._share
        self._left = left if left < self._burst else self._burst

    def spend(self) -> bool:
        """Take one repetition; return False, taking nothing, when none is left."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Retrying:
    """A client that repeats what failed, within the policy, the budget and the call's deadline.

    A wait that would pass `call.context.deadline` is not begun: the error leaves at once. Every
    failed call is kept in `Answer.tries`, or in `tries` of the error that leaves.

    Args:
        client: Makes the calls.
        policy: How often and after which waits.
        clock: Time source, the one that deadlines are readings of.
        rng: Spreads the waits.
        budget: Bounds the repetitions; None: one of its own, by `policy.share`.
        elsewhere: Whether `client` has another deployment for a call that failed; None: it is one.
    """

    def __init__(
        self,
        client: Client,
        policy: RetryPolicy,
        *,
        rng: random.Random,
        clock: Clock | None = None,
        budget: RetryBudget | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._client = client
        self.keeps_deadlines: bool = getattr(client, "keeps_deadlines", False)
        self._policy = policy
        self._rng = rng
        self._clock = clock or SystemClock()
        self._budget = budget or RetryBudget(policy.share)
        self._elsewhere = elsewhere
        self._closings = 0

    async def complete(self, call: ModelCall) -> Answer:
        """Return the answer of the first call that succeeds.

        Raises:
            ProviderError: What the last call made ended in; `tries` holds the earlier ones.
        """
        self._budget.earn()
        began, closings = self._clock.monotonic(), self._closings
        try:
            return await self._client.complete(call)
        except ProviderError as exc:
            if not may_repeat(exc, self._policy, elsewhere=True):  # an open breaker, above all
                raise
            if closings != self._closings:  # closing is what has cut it
                raise
            if not _may_be_replaced(call):
                raise
            return await _Repetition(self, call, exc, began).run()

    def breaker_states(self) -> Mapping[str, Mapping[str, BreakerState]]:
        """Return the states of the breakers behind it, by deployment and model."""
        return breaker_states(self._client)

    async def aclose(self) -> None:
        """Close the client; calls that wait for a repetition make none any more."""
        self._closings += 1
        await self._client.aclose()


def _may_be_replaced(call: ModelCall) -> bool:
    """Return whether nobody has read a part of what the call has said so far."""
    return call.listener is None or call.listener.may_repeat


class _Repetition:
    """One call whose first try has failed: what tenacity asks about it, and what is kept of it."""

    def __init__(
        self, owner: Retrying, call: ModelCall, error: ProviderError, began: float
    ) -> None:
        self._owner = owner
        self._call = call
        self._error = error
        self._latency_s = owner._clock.monotonic() - began
        self._closings = owner._closings
        self._tries: list[Try] = []
        self._beside: list[ProviderError] = []
        self._begun = False
        self._elsewhere = False

    async def run(self) -> Answer:
        from tenacity import AsyncRetrying  # 15 ms to load, which a good day does without

        loop = AsyncRetrying(
            sleep=self._owner._clock.sleep,
            retry=self._may_repeat,
            wait=self._wait_s,
            stop=self._is_over,
            reraise=True,
        )
        try:
            answer: Answer = await loop(self._try)
        except ProviderError as exc:
            exc.tries = (*self._tries, *exc.tries)
            raise
        return replace(answer, tries=(*self._tries, *answer.tries))

    async def _try(self) -> Answer:
        if not self._begun:  # the first call was made before tenacity came in
            self._begun = True
            raise self._error
        owner = self._owner
        if owner._closings != self._closings:
            self._tries.pop()  # it is the error that leaves, not one before it
            raise self._error
        if owner._elsewhere is not None:  # so that it goes to another deployment first
            context = self._call.context
            failures = (*context.failures, self._error, *self._beside)
            self._call = replace(self._call, context=replace(context, failures=failures))
        began = owner._clock.monotonic()
        try:
            return await owner._client.complete(self._call)
        except ProviderError as exc:
            self._error = exc
            self._latency_s = owner._clock.monotonic() - began
            raise

    def _may_repeat(self, state: RetryCallState) -> bool:
        owner = self._owner
        failed = state.outcome is not None and state.outcome.exception() is self._error
        if not failed or owner._closings != self._closings or not _may_be_replaced(self._call):
            return False
        ask = owner._elsewhere
        self._elsewhere = ask is not None and ask(self._call, self._error)
        return may_repeat(self._error, owner._policy, elsewhere=self._elsewhere)

    def _wait_s(self, state: RetryCallState) -> float:
        asked_s = 0.0 if self._elsewhere else self._error.retry_after_s or 0.0
        chance = self._owner._rng.random()
        return delay_s(self._owner._policy, state.attempt_number - 1, chance, asked_s)

    def _is_over(self, state: RetryCallState) -> bool:
        """Return whether the error leaves; if not, note it as a try. Asked once the wait is known."""
        owner, error, deadline = self._owner, self._error, self._call.context.deadline
        if state.attempt_number >= owner._policy.attempts:
            return True
        if deadline is not None and owner._clock.monotonic() + state.upcoming_sleep >= deadline:
            return True
        if not isinstance(error, NotCalled) and not owner._budget.spend():
            return True
        self._tries += error.tries
        self._beside = [t.error for t in error.tries if isinstance(t.error, ProviderError)]
        error.tries = ()
        self._tries.append(
            Try(
                deployment=error.provider,
                error=error,
                latency_s=self._latency_s,
                cost_usd=cost_of_failure(error),
            )
        )
        return False
