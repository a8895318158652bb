"""Stops calling a deployment that fails, and lets one call through now and then to see if it is back.

``closed`` (calls go through, failures are counted) → ``open`` (none does, for `open_s`) →
``half_open`` (one call at a time, the probe) → closed when the probe succeeds, open for twice as long
when it fails (Nygard, "Release It!", 2007). A failure is that of the deployment, not of the request:
no connection, no answer in time, 5xx, an answer that is none. A 4xx, 429 included, is an answer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..clock import SystemClock
from ..errors import (
    BadResponse,
    CircuitOpen,
    ConnectFailed,
    ProviderError,
    ProviderTimeout,
    ServerFailed,
)
from ..ports import Client, Clock
from ..types import Answer, ModelCall
from .ranges import check_number, check_whole
from .shared_verdicts import SharedVerdicts

__all__ = [
    "FAILURES",
    "Breaker",
    "BreakerSettings",
    "BreakerState",
    "Breaking",
    "breaker_states",
]

_log = logging.getLogger("cascade")

BreakerState = Literal["closed", "open", "half_open"]

FAILURES = (ConnectFailed, ProviderTimeout, ServerFailed, BadResponse)
"""What counts against a deployment."""

MOST_MODELS = 1_000
"""Most models of one provider that are kept apart; the oldest is forgotten."""

BLAMED_S = 1.0
"""Seconds from which a call that the end of its ask has cut counts against the deployment: it would
otherwise never be found out when asks have less time than its own timeout. Shorter, the ask had come
too late to blame anybody."""

_TIMERS_S = 0.005
"""Seconds by which a timer may be early."""

_NO_NEWS_S = 0.1
"""Seconds by which what another process says may differ from what is known, and be the same verdict."""

_BUCKETS = 10
"""Parts of the window: it slides by a tenth of its length."""

_MOST_DOUBLED = 8.0
"""Most times `open_s` that a breaker stays open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When a breaker opens, and for how long.

    Attributes:
        failure_rate: Share of calls in the window that failed, in (0, 1], from which it opens.
        window_s: Length of that window, seconds.
        min_calls: Calls the window must hold before its rate counts.
        consecutive: Failures in a row from which it opens, whatever the rate.
        open_s: Seconds it stays open; doubled for each probe that fails, up to eightfold.

    Raises:
        ConfigError: A value is out of range; names it.
    """

    failure_rate: float = 0.5
    window_s: float = 30.0
    min_calls: int = 10
    consecutive: int = 5
    open_s: float = 5.0

    def __post_init__(self) -> None:
        check_number("breaker.failure_rate", self.failure_rate, 0, 1, above=True)
        check_number("breaker.window_s", self.window_s, 0, 86_400, above=True)
        check_whole("breaker.min_calls", self.min_calls, 1, 1_000_000)
        check_whole("breaker.consecutive", self.consecutive, 1, 1_000_000)
        check_number("breaker.open_s", self.open_s, 0, 86_400, above=True)


class Breaker:
    """The state machine of one deployment; every `now` is a reading of one monotonic clock, seconds.

    A call that `enter` lets through brings its ticket back, exactly once, with how it ended. A ticket
    from before the last change of state is no news of the present one, and is ignored.
    Memory: O(1); the window is a ring of ten counters.
    """

    __slots__ = (
        "_at",
        "_calls",
        "_consecutive",
        "_ends",
        "_failures",
        "_open_s",
        "_opened_until",
        "_probing",
        "_settings",
        "_state",
        "_ticket",
        "_total_calls",
        "_total_failures",
        "_width",
    )

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._state: BreakerState = "closed"
        self._ticket = 0
        self._open_s = settings.open_s
        self._opened_until = 0.0
        self._probing = False
        self._width = settings.window_s / _BUCKETS
        self._clear()

    @property
    def state(self) -> BreakerState:
        """What it was left in by the last call; an open one whose time is over is still `open`."""
        return self._state

    def retry_after_s(self, now: float) -> float | None:
        """Return the seconds until a call may be let through; None: when the probe has ended."""
        if self._state == "half_open":
            return None if self._probing else 0.0
        return max(0.0, self._opened_until - now) if self._state == "open" else 0.0

    def enter(self, now: float) -> int | None:
        """Return a ticket for one call, or None when none may be made."""
        if self._state == "closed":
            return self._ticket
        if self._state == "open":
            if now < self._opened_until:
                return None
            self._state = "half_open"
        elif self._probing:
            return None
        self._probing = True
        self._ticket += 1
        return self._ticket

    def succeeded(self, ticket: int, now: float) -> bool:
        """Note that a call was answered; return whether that closed the breaker."""
        if ticket != self._ticket:
            return False
        if self._state == "closed":
            self._consecutive = 0
            if now >= self._ends:
                self._turn(now)
            self._calls[self._at] += 1
            self._total_calls += 1
            return False
        self._state = "closed"
        self._open_s = self._settings.open_s
        self._probing = False
        self._ticket += 1
        self._clear()
        return True

    def failed(self, ticket: int, now: float) -> bool:
        """Note that a call failed; return whether that opened the breaker."""
        if ticket != self._ticket:
            return False
        if self._state == "closed":
            if now >= self._ends:
                self._turn(now)
            self._calls[self._at] += 1
            self._failures[self._at] += 1
            self._total_calls += 1
            self._total_failures += 1
            self._consecutive += 1
            if not self._is_too_much():
                return False
        else:
            self._open_s = min(2 * self._open_s, _MOST_DOUBLED * self._settings.open_s)
        self._state = "open"
        self._opened_until = now + self._open_s
        self._probing = False
        self._ticket += 1
        return True

    def told_open(self, seconds: float, now: float) -> bool:
        """Open, as another process has found that for so long no call should be made.

        Args:
            seconds: How much longer; no more than it could stay open by itself is believed.
            now: The present.

        Returns:
            Whether that is news.
        """
        until = now + min(seconds, _MOST_DOUBLED * self._settings.open_s)
        if until <= max(now, self._opened_until + _NO_NEWS_S):
            return False
        self._state = "open"
        self._opened_until = until
        self._probing = False
        self._ticket += 1
        return True

    def gave_up(self, ticket: int) -> None:
        """Note that a call ended without news of the deployment: cancelled, or never sent."""
        if ticket == self._ticket and self._state == "half_open":
            self._probing = False
            self._ticket += 1

    def _is_too_much(self) -> bool:
        settings = self._settings
        if self._consecutive >= settings.consecutive:
            return True
        enough = self._total_calls >= settings.min_calls
        return enough and self._total_failures >= settings.failure_rate * self._total_calls

    def _clear(self) -> None:
        self._calls = [0] * _BUCKETS
        self._failures = [0] * _BUCKETS
        self._total_calls = self._total_failures = self._consecutive = 0
        self._at = 0
        self._ends = float("-inf")  # the first call begins the first bucket

    def _turn(self, now: float) -> None:
        """Move on to the bucket that `now` is in, emptying those that leave the window."""
        behind = (now - self._ends) / self._width
        if behind >= _BUCKETS:  # nothing in the window is as young; -inf at the start
            consecutive = self._consecutive
            self._clear()
            self._consecutive = consecutive
            self._ends = now + self._width
            return
        for _ in range(int(behind) + 1):
            self._at = (self._at + 1) % _BUCKETS
            self._total_calls -= self._calls[self._at]
            self._total_failures -= self._failures[self._at]
            self._calls[self._at] = self._failures[self._at] = 0
            self._ends += self._width


class Breaking:
    """A client with a breaker for each model: while it is open, no call is made.

    Args:
        client: Makes the calls.
        settings: When a breaker opens, and for how long.
        provider: Name of the deployment, for errors and the log.
        clock: Time source.
        verdicts: What breakers of other processes have found; None: this one goes by itself.
    """

    def __init__(
        self,
        client: Client,
        settings: BreakerSettings,
        *,
        provider: str,
        clock: Clock | None = None,
        verdicts: SharedVerdicts | None = None,
    ) -> None:
        self._client = client
        self._verdicts = verdicts
        self.keeps_deadlines: bool = getattr(client, "keeps_deadlines", False)
        self._settings = settings
        self._provider = provider
        self._clock = clock or SystemClock()
        self._breakers: dict[str, Breaker] = {}

    async def complete(self, call: ModelCall) -> Answer:
        """Return the client's answer.

        Raises:
            CircuitOpen: The breaker is open, or its one probe is under way; no call was made.
            ProviderError: The call failed.
        """
        breaker = self._breakers.get(call.model) or self._add(call.model)
        began = self._clock.monotonic()
        if self._verdicts is not None:
            self._heed(self._verdicts, breaker, call.model, began)
        ticket = breaker.enter(began)
        if ticket is None:
            raise self._refusal(breaker, call.model)
        try:
            answer = await self._client.complete(call)
        except ProviderError as exc:
            if isinstance(exc, ProviderTimeout) and self._is_out_of_time(call):
                self._blame_for_time(breaker, ticket, call.model, began)
            else:
                self._note(breaker, ticket, call.model, exc)
            raise
        except BaseException:  # cancelled, or a mistake of ours
            if self._is_out_of_time(call):
                self._blame_for_time(breaker, ticket, call.model, began)
            else:  # no news of the deployment
                breaker.gave_up(ticket)
            raise
        if breaker.succeeded(ticket, self._clock.monotonic()):
            self._tell_closed(call.model)
        return answer

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()

    def states(self) -> Mapping[str, BreakerState]:
        """Return each model's state; an open breaker whose time is over is `half_open`."""
        now = self._clock.monotonic()
        return {
            model: "half_open"
            if breaker.state == "open" and not breaker.retry_after_s(now)
            else breaker.state
            for model, breaker in self._breakers.items()
        }

    def breaker_states(self) -> Mapping[str, Mapping[str, BreakerState]]:
        """Return the same under the deployment's name."""
        return {self._provider: self.states()}

    def _add(self, model: str) -> Breaker:
        if len(self._breakers) >= MOST_MODELS:
            del self._breakers[next(iter(self._breakers))]
        breaker = self._breakers[model] = Breaker(self._settings)
        return breaker

    def _refusal(self, breaker: Breaker, model: str) -> CircuitOpen:
        left = breaker.retry_after_s(self._clock.monotonic())
        words = "one call is out to see if it is back" if left is None else f"for {left:.1f} s more"
        return CircuitOpen(
            f"its breaker is open: {words}",
            provider=self._provider,
            model=model,
            retry_after_s=left,
        )

    def _note(self, breaker: Breaker, ticket: int, model: str, error: ProviderError) -> None:
        if isinstance(error, FAILURES):
            self._failed(breaker, ticket, model, type(error).__name__)
        elif not error.sent:
            breaker.gave_up(ticket)
        elif breaker.succeeded(ticket, self._clock.monotonic()):
            self._tell_closed(model)

    def _is_out_of_time(self, call: ModelCall) -> bool:
        if call.listener is not None and not call.listener.may_repeat:
            return False  # it was answering, and a slow reader may have used up the time
        deadline = call.context.deadline
        return deadline is not None and self._clock.monotonic() >= deadline - _TIMERS_S

    def _blame_for_time(self, breaker: Breaker, ticket: int, model: str, began: float) -> None:
        """Note that the end of the ask has cut a call: its deployment's fault if it had time enough."""
        if self._clock.monotonic() - began >= BLAMED_S:
            self._failed(breaker, ticket, model, "no answer within the ask's deadline")
        else:
            breaker.gave_up(ticket)

    def _heed(self, verdicts: SharedVerdicts, breaker: Breaker, model: str, now: float) -> None:
        """Open, if another process has found that the deployment fails."""
        left_s = verdicts.open_for_s(self._provider, model)
        if left_s > 0.0 and breaker.told_open(left_s, now):
            words = "breaker of %s/%s opened for %.3g s, as another process has found"
            _log.warning(words, self._provider, model, left_s)

    def _failed(self, breaker: Breaker, ticket: int, model: str, why: str) -> None:
        now = self._clock.monotonic()
        if breaker.failed(ticket, now):
            words = "breaker of %s/%s opened for %.3g s after %s"
            left_s = breaker.retry_after_s(now)
            _log.warning(words, self._provider, model, left_s, why)
            if self._verdicts is not None and left_s is not None:
                self._verdicts.opened(self._provider, model, left_s)

    def _tell_closed(self, model: str) -> None:
        _log.info("breaker of %s/%s closed: it answers again", self._provider, model)


def breaker_states(*clients: Client) -> Mapping[str, Mapping[str, BreakerState]]:
    """Return the states of all breakers behind these clients, by deployment and model."""
    found: dict[str, Mapping[str, BreakerState]] = {}
    for client in clients:
        states = getattr(client, "breaker_states", None)
        if states is not None:
            found |= states()
    return found
