"""Who may go now and who waits: the limits on the calls to one model, or of one tenant, as a state machine.

Nothing here waits or reads a clock; `limits` does. Every `now` is a reading of one monotonic clock.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple

from ..errors import ConfigError, ProviderError, ProviderTimeout, RateLimited
from ..types import Answer, ModelCall, Usage
from .adaptive import AdaptiveLimit
from .buckets import TokenBucket
from .ranges import check_number, check_one_of, check_whole

__all__ = ["CallLimits", "Limiter", "LimiterState", "Order", "Waiter", "WhenFull"]

Order = Literal["fifo", "lifo"]
WhenFull = Literal["wait", "escalate", "refuse"]

BURST_S = 10.0
"""Seconds' worth of requests or tokens that may be used at once: a sixth of the minute's. Providers
fill their buckets the same way; one that counts whole minutes sees at most a sixth more in one."""

MOST_PAUSE_S = 3600.0
"""Longest pause that is believed, seconds; then the deployment may ask for another."""

CHARS_PER_TOKEN = 4
FIRST_COMPLETION_TOKENS = 256.0
"""Completion tokens reckoned with before any answer has told."""

_NEWEST = 0.05
"""Weight of the newest answer in the running mean of completion tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """What may be asked at once and a minute, and what becomes of calls beyond it.

    Attributes:
        concurrent: Most calls in flight; None: no limit.
        requests_per_min: Most calls a minute; None: no limit.
        tokens_per_min: Most tokens a minute, prompt and completion; None: no limit.
        queue: Most calls that wait.
        order: Who goes first when there is room: who came first, or (``lifo``) who came last, so that
            under lasting overload some are answered in time instead of none.
        when_full: ``wait`` for room, ``escalate`` (`LimitReached` at once, the ladder goes on), or
            ``refuse`` (the same, marked `LimitReached.refuse`: the engine ends the ask with it).
        max_wait_s: Longest wait, seconds; the call's deadline bounds it too.
        adaptive: Whether fewer than `concurrent` are let through while the deployment bears less.

    Raises:
        ConfigError: A value is out of range; names it.
    """

    concurrent: int | None = None
    requests_per_min: float | None = None
    tokens_per_min: float | None = None
    queue: int = 1_000
    order: Order = "fifo"
    when_full: WhenFull = "wait"
    max_wait_s: float = 30.0
    adaptive: bool = False

    def __post_init__(self) -> None:
        if self.concurrent is not None:
            check_whole("limits.concurrent", self.concurrent, 1, 1_000_000)
        if self.requests_per_min is not None:
            check_number("limits.requests_per_min", self.requests_per_min, 0, 1e9, above=True)
        if self.tokens_per_min is not None:
            check_number("limits.tokens_per_min", self.tokens_per_min, 0, 1e12, above=True)
        check_whole("limits.queue", self.queue, 0, 1_000_000)
        check_one_of("limits.order", self.order, ("fifo", "lifo"))
        check_one_of("limits.when_full", self.when_full, ("wait", "escalate", "refuse"))
        check_number("limits.max_wait_s", self.max_wait_s, 0, 86_400)
        if self.adaptive and self.concurrent is None:
            raise ConfigError(
                "limits.adaptive: true (allowed: with `concurrent` as its upper bound)"
            )


class LimiterState(NamedTuple):
    """What a limiter is doing, for telemetry.

    Attributes:
        in_flight: Calls out.
        waiting: Calls in the queue.
        limit: Calls that may be out now; None: any number.
        paused_s: Seconds left of the pause that the deployment asked for; 0: none.
    """

    in_flight: int
    waiting: int
    limit: int | None
    paused_s: float


class Waiter:
    """A call in the queue.

    Attributes:
        tokens: What it is reckoned to use.
        give_up_at: When it stops waiting, a reading of the clock.
        granted: Whether it may go; it then counts as in flight.
        wake: Called when it should look again.
    """

    __slots__ = ("give_up_at", "granted", "tokens", "wake")

    def __init__(self, tokens: float, give_up_at: float) -> None:
        self.tokens = tokens
        self.give_up_at = give_up_at
        self.granted = False
        self.wake: Callable[[], object] = _nobody


def _nobody() -> None:
    """Stand in until somebody waits."""


class Limiter:
    """Concurrency, two token buckets, a pause and a queue.

    Each call that `enter` lets through or `admit` grants ends in exactly one of `answered`, `failed`
    and `left`.

    Args:
        limits: What is allowed.
        now: The present.
        heeds_pauses: Whether a pause that a deployment asks for stops calls here.
    """

    def __init__(self, limits: CallLimits, now: float, *, heeds_pauses: bool = True) -> None:
        self._limits = limits
        self._heeds_pauses = heeds_pauses
        self._in_flight = 0
        self._most = sys.maxsize if limits.concurrent is None else limits.concurrent
        self._adaptive = AdaptiveLimit(self._most) if limits.adaptive else None
        self._requests = _bucket(limits.requests_per_min, 1.0, now)
        self._tokens = _bucket(limits.tokens_per_min, 0.0, now)
        self._paused_until = -inf
        self._waiting: OrderedDict[Waiter, None] = OrderedDict()
        self._fifo = limits.order == "fifo"
        self._completion_tokens = FIRST_COMPLETION_TOKENS

    def state(self, now: float) -> LimiterState:
        """Return what it is doing."""
        return LimiterState(
            in_flight=self._in_flight,
            waiting=len(self._waiting),
            limit=None if self._limits.concurrent is None else self._most,
            paused_s=self.paused_s(now),
        )

    def tokens_of(self, call: ModelCall) -> float:
        """Return the tokens a call is reckoned to use; 0 where they are not limited."""
        if self._tokens is None:
            return 0.0
        request = call.request
        chars = 0
        for message in request.messages:
            content = message.content
            if isinstance(content, str):
                chars += len(content)
            elif content:
                chars += sum(len(p["text"]) for p in content if isinstance(p.get("text"), str))
        most = request.max_tokens if request.max_tokens is not None else call.max_tokens
        return chars / CHARS_PER_TOKEN + (self._completion_tokens if most is None else most)

    def enter(self, tokens: float, now: float) -> bool:
        """Let a call through; return False when it has to wait or be refused."""
        if (self._waiting and self._fifo) or not self._has_room(tokens, now):
            return False
        self._take(tokens)
        return True

    def answered(self, answer: Answer, tokens: float, began: float, now: float) -> None:
        """Note a call's answer: its true tokens, the pause it asks for, its latency."""
        if self._tokens is not None:
            self._correct(self._tokens, tokens, answer.usage)
        if answer.pause_s is not None:
            self.pause(answer.pause_s, now)
        if self._adaptive is not None:
            self._adaptive.answered(began, now, self._in_flight)
            self._most = self._adaptive.limit
        self.left(now)

    def failed(self, error: ProviderError, tokens: float, began: float, now: float) -> None:
        """Note that a call failed: what was not sent used nothing."""
        if not error.sent:
            self._give_back(tokens)
        if isinstance(error, RateLimited) and error.retry_after_s is not None:
            self.pause(error.retry_after_s, now)
        if self._adaptive is not None and isinstance(error, RateLimited | ProviderTimeout):
            self._adaptive.overloaded(began, now)
            self._most = self._adaptive.limit
        self.left(now)

    def turned_back(self, tokens: float, now: float) -> None:
        """Note that a call that was let through is not made after all."""
        self._give_back(tokens)
        self.left(now)

    def left(self, now: float) -> None:
        """Note that a call is over; its place is the next one's."""
        self._in_flight -= 1
        if self._waiting:
            self.admit(now)

    def pause(self, seconds: float, now: float) -> None:
        """Let nothing through for so long; who cannot wait that long leaves the queue at once."""
        until = now + min(seconds, MOST_PAUSE_S)
        if not self._heeds_pauses or not until > self._paused_until:  # NaN is not
            return
        self._paused_until = until
        self._dismiss([waiter for waiter in self._waiting if waiter.give_up_at < until])

    def paused_s(self, now: float) -> float:
        """Return the seconds left of a pause; 0: none."""
        return max(0.0, self._paused_until - now)

    def has_place(self) -> bool:
        """Return whether the queue takes one more."""
        return len(self._waiting) < self._limits.queue

    def join(self, waiter: Waiter) -> None:
        """Put a call in the queue."""
        self._waiting[waiter] = None

    def is_waiting(self, waiter: Waiter) -> bool:
        """Return whether a call is still in the queue."""
        return waiter in self._waiting

    def admit(self, now: float) -> None:
        """Grant all that have room, in order; who is next and waits for time alone is woken to see when."""
        while self._waiting:
            waiter = self._next()
            if not self._has_room(waiter.tokens, now):
                if self._in_flight < self._most:
                    waiter.wake()
                return
            del self._waiting[waiter]
            self._take(waiter.tokens)
            waiter.granted = True
            waiter.wake()

    def forget(self, waiter: Waiter, now: float) -> None:
        """Take a call that was cancelled or gave up out of the queue, or give back what it was granted."""
        if waiter.granted:
            waiter.granted = False
            self.turned_back(waiter.tokens, now)
        elif waiter in self._waiting:
            del self._waiting[waiter]
            self.admit(now)  # the next one is first now

    def dismiss_all(self) -> None:
        """Send away all that wait."""
        self._dismiss(list(self._waiting))

    def least_wait_s(self, now: float) -> float:
        """Return the seconds that a newcomer must wait at least: a pause, and the requests before it."""
        wait_s = self.paused_s(now)
        if self._requests is not None:
            before = len(self._waiting) if self._fifo else 0
            wait_s = max(wait_s, self._requests.filling_s(before + 1.0, now))
        return wait_s

    def look_again_s(self, waiter: Waiter, now: float) -> float:
        """Return the seconds after which time alone may have made room for it; inf: others must leave."""
        if self._in_flight >= self._most or waiter is not self._next():
            return inf
        return self.room_in_s(waiter.tokens, now)

    def room_in_s(self, tokens: float, now: float) -> float:
        """Return the seconds until pause and rates have room for one call, were it alone."""
        wait_s = self.paused_s(now)
        if self._requests is not None:
            wait_s = max(wait_s, self._requests.wait_s(1.0, now))
        if self._tokens is not None:
            wait_s = max(wait_s, self._tokens.wait_s(tokens, now))
        return wait_s

    def why_full(self, now: float) -> str:
        """Return what there is no room in, in words."""
        limits = self._limits
        if self._in_flight >= self._most:
            return f"{self._in_flight} calls are in flight, of {self._most}"
        if self._requests is not None and not self._requests.has(1.0, now):
            return f"requests_per_min {limits.requests_per_min:g} is used up"
        if self._tokens is not None:
            return f"tokens_per_min {limits.tokens_per_min:g} is used up"
        return "the client is being closed"

    @property
    def is_used(self) -> bool:
        """Whether a call is out or waits."""
        return self._in_flight > 0 or bool(self._waiting)

    def is_as_new(self, now: float) -> bool:
        """Return whether a new one would be no different, save for what this one has learnt."""
        return (
            not self.is_used
            and now >= self._paused_until
            and (self._requests is None or self._requests.is_full(now))
            and (self._tokens is None or self._tokens.is_full(now))
        )

    def _next(self) -> Waiter:
        return next(iter(self._waiting) if self._fifo else reversed(self._waiting))

    def _has_room(self, tokens: float, now: float) -> bool:
        return (
            self._in_flight < self._most
            and now >= self._paused_until
            and (self._requests is None or self._requests.has(1.0, now))
            and (self._tokens is None or self._tokens.has(tokens, now))
        )

    def _take(self, tokens: float) -> None:
        self._in_flight += 1
        if self._requests is not None:
            self._requests.take(1.0)
        if self._tokens is not None:
            self._tokens.take(tokens)

    def _give_back(self, tokens: float) -> None:
        if self._requests is not None:
            self._requests.take(-1.0)
        if self._tokens is not None:
            self._tokens.take(-tokens)

    def _correct(self, bucket: TokenBucket, reckoned: float, usage: Usage) -> None:
        completion = usage.completion_tokens
        if completion is not None:
            self._completion_tokens += _NEWEST * (completion - self._completion_tokens)
            if usage.prompt_tokens is not None:
                bucket.take(usage.prompt_tokens + completion - reckoned)

    def _dismiss(self, waiters: list[Waiter]) -> None:
        for waiter in waiters:
            del self._waiting[waiter]
            waiter.wake()


def _bucket(per_min: float | None, least: float, now: float) -> TokenBucket | None:
    if per_min is None:
        return None
    per_s = per_min / 60.0
    return TokenBucket(per_s, max(least, per_s * BURST_S), now)
