"""Ask a second deployment when the first takes long: the first good answer wins, the other is cancelled.

When a call may be hedged is a plain state machine (`Hedging`); `race` runs the two.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import msgspec

from ..budget import cost_of_failure
from ..errors import NotCalled, ProviderError
from ..latency import LatencyWindow
from ..ports import Clock, Listener
from ..pricing import cost_usd
from ..types import Answer, Chunk, Try
from .deployment import Deployment
from .deputy import Alarms, Deputy

__all__ = ["Hedge", "Hedging", "race"]

LEAST_KNOWN = 20
"""Latencies from which a quantile of them is taken for the delay."""

BURST = 10.0
"""Hedges that may follow each other at once, saved up in quiet times."""

_MOST_MODELS = 256
"""Models whose latencies are kept apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """When a second deployment is asked beside the first.

    Attributes:
        after_s: Seconds without an answer, > 0; None: a quantile of the latencies seen.
        quantile: That quantile, in (0, 1); nothing is hedged before 20 latencies of a model are known.
        share: Most calls that are hedged, as a share of all, in (0, 1].
    """

    after_s: float | None = None
    quantile: float = 0.95
    share: float = 0.05

    def __post_init__(self) -> None:
        if self.after_s is not None and not (math.isfinite(self.after_s) and self.after_s > 0):
            raise ValueError(f"after_s: {self.after_s!r} is not a number of seconds > 0")
        if not 0 < self.quantile < 1:
            raise ValueError(f"quantile: {self.quantile!r} is not between 0 and 1")
        if not 0 < self.share <= 1:
            raise ValueError(f"share: {self.share!r} is not in (0, 1]")


class Hedging:
    """Says whether a call may be hedged, and after which time.

    Every call adds `Hedge.share` of a token, every hedge takes a whole one: at no time have more
    than that share of the calls been hedged. At most `BURST` tokens are saved up.

    Attributes:
        alarms: Tell calls that the time is over.
    """

    def __init__(self, hedge: Hedge) -> None:
        self.alarms = Alarms()
        self._hedge = hedge
        self._tokens = 0.0
        self._latencies: dict[str, LatencyWindow] = {}

    def count_call(self) -> None:
        """Take note of a call, whether it may be hedged or not."""
        self._tokens = min(BURST, self._tokens + self._hedge.share)

    def delay_s(self, model: str) -> float | None:
        """Return the seconds after which a call may be hedged; None: not this one."""
        if self._tokens < 1.0:
            return None
        if self._hedge.after_s is not None:
            return self._hedge.after_s
        known = self._latencies.get(model)
        if known is None or len(known) < LEAST_KNOWN:
            return None
        return known.quantile(self._hedge.quantile)

    def take_nowait(self) -> bool:
        """Take a token; return False, and take none, when there is none."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def give_back(self) -> None:
        """Return the token of a hedge that came to nothing: nobody took the call."""
        self._tokens += 1.0

    def note_latency(self, model: str, seconds: float) -> None:
        """Take in how long the first request of an answered call took, or had taken when it was cancelled.

        Cancelled it had taken longer than the delay, so that it counts on the right side of the quantile.
        """
        if self._hedge.after_s is not None:
            return
        known = self._latencies.get(model)
        if known is None:
            if len(self._latencies) >= _MOST_MODELS:
                self._latencies.clear()
            known = self._latencies[model] = LatencyWindow()
        known.add(seconds)


@dataclass(slots=True, eq=False)
class _Run:
    """One of the two requests: who it went to, and what became of it."""

    began: float
    deployment: Deployment | None = None
    answer: Answer | None = None
    error: Exception | None = None
    ended_at: float | None = None

    @property
    def decides(self) -> bool:
        """Whether the race is over with it: by an answer, or by what is no provider's failure."""
        failed = self.error is not None and not isinstance(self.error, ProviderError)
        return self.answer is not None or failed


class _Race:
    """The two requests of one call: the first in the caller's task, the second in its deputy's."""

    __slots__ = (
        "_ask",
        "_candidates",
        "_deputy",
        "_hedging",
        "_listener",
        "_refusals",
        "clock",
        "heard",
        "runs",
    )

    def __init__(
        self,
        ask: Callable[[Deployment, Listener | None], Awaitable[Answer]],
        candidates: Iterator[Deployment],
        hedging: Hedging,
        clock: Clock,
        refusals: list[NotCalled],
        listener: Listener | None,
    ) -> None:
        self._ask = ask
        self._candidates = candidates
        self._deputy = Deputy(self._ask_second, hedging.alarms)
        self._hedging = hedging
        self._listener = listener
        self._refusals = refusals
        self.clock = clock
        self.heard: _Run | None = None
        self.runs: list[_Run] = []

    async def run(self, delay_s: float) -> None:
        """Run it to its end."""
        await self._deputy.wait_for(self._ask_one(self._enter()), delay_s)
        if len(self.runs) > 1 and self.runs[1].deployment is None:
            self._hedging.give_back()

    async def _ask_second(self, deputy: Deputy) -> None:
        if self.heard is None and self._hedging.take_nowait():
            await self._ask_one(self._enter())

    def _enter(self) -> _Run:
        run = _Run(self.clock.monotonic())
        self.runs.append(run)
        return run

    async def _ask_one(self, run: _Run) -> None:
        """Ask one deployment after the other until one takes the call."""
        ear = None if self._listener is None else _Ear(self, run, self._listener)
        try:
            for deployment in self._candidates:
                run.deployment, run.began = deployment, self.clock.monotonic()
                try:
                    answer = await self._ask(deployment, ear)
                    if self.heard in (None, run):
                        run.answer = answer
                    break
                except NotCalled as exc:
                    self._refusals.append(exc)
                    run.deployment = None
        except Exception as exc:  # noqa: BLE001 - raised again by `race`
            run.error = exc
        finally:
            run.ended_at = self.clock.monotonic()
        if run.decides:
            self._end_other(run)

    def hear(self, run: _Run) -> bool:
        """Let the run that is heard first win, and end the other; return whether it is this one."""
        if self.heard is None:
            self.heard = run
            self._end_other(run)
        return self.heard is run

    def _end_other(self, run: _Run) -> None:
        if run is self.runs[0]:
            self._deputy.dismiss()
        else:
            self._deputy.stop_waiting()


class _Ear:
    """The listener of one of the two: only what the first to be heard says is passed on."""

    def __init__(self, race: _Race, run: _Run, listener: Listener) -> None:
        self._race = race
        self._run = run
        self._listener = listener

    @property
    def may_repeat(self) -> bool:
        return self._listener.may_repeat

    def begin(self) -> None:
        if self._race.heard is self._run:
            self._listener.begin()

    async def take(self, chunk: Chunk) -> bool:
        first = self._race.heard is None
        if not self._race.hear(self._run):
            return False
        if first:
            self._listener.begin()
        return await self._listener.take(chunk)


async def race(
    ask: Callable[[Deployment, Listener | None], Awaitable[Answer]],
    candidates: Iterator[Deployment],
    *,
    delay_s: float,
    hedging: Hedging,
    model: str,
    clock: Clock,
    refusals: list[NotCalled],
    listener: Listener | None = None,
) -> Answer | None:
    """Return the first good answer of one deployment, or of two when the first takes long.

    In a stream the race is over with the first chunk: whoever is heard first is listened to.

    Args:
        ask: Performs the call at a deployment, for this listener.
        candidates: Whom to ask, best first; each is asked once.
        delay_s: Seconds after which the second is asked.
        hedging: Gives leave for that.
        model: Whose latencies are noted.
        clock: Measures latencies.
        refusals: Takes the errors of deployments that were passed over.
        listener: Is told of the answer while it comes; None: nobody listens.

    Returns:
        The answer, its `tries` holding the other request; None when nobody took the call.

    Raises:
        ProviderError: Of the first request; its `tries` hold the second.
    """
    race = _Race(ask, candidates, hedging, clock, refusals, listener)
    await race.run(delay_s)
    return _outcome(race, hedging, model)


def _outcome(race: _Race, hedging: Hedging, model: str) -> Answer | None:
    """Return the answer or raise the error that the finished race has come to."""
    now = race.clock.monotonic()
    asked = [run for run in race.runs if run.deployment is not None]
    for run in asked:
        if run.error is not None and not isinstance(run.error, ProviderError):
            raise run.error
    winner = next((run for run in asked if run.answer is not None), None)
    if winner is not None:
        assert winner.answer is not None
        if asked[0] is race.runs[0]:
            hedging.note_latency(model, (asked[0].ended_at or now) - asked[0].began)
        others = tuple(_try_of(run, winner, now) for run in asked if run is not winner)
        if not others:
            return winner.answer
        return msgspec.structs.replace(winner.answer, tries=(*winner.answer.tries, *others))
    if not asked:
        return None
    failed = next(run for run in asked if run.error is not None)
    error = failed.error
    assert isinstance(error, ProviderError)
    others = tuple(_try_of(run, None, now) for run in asked if run is not failed)
    error.tries = (*error.tries, *others)
    raise error


def _try_of(run: _Run, winner: _Run | None, now: float) -> Try:
    """Return what is to be told, and paid, of a request that was not the one to answer."""
    assert run.deployment is not None
    latency_s = (run.ended_at or now) - run.began
    name = run.deployment.member.name
    if isinstance(run.error, ProviderError):
        cost = cost_of_failure(run.error)
        return Try(deployment=name, error=run.error, latency_s=latency_s, cost_usd=cost)
    if run.answer is not None:  # both were there at once
        cost = run.answer.cost_usd
        return Try(deployment=name, error=None, latency_s=latency_s, cost_usd=cost)
    return Try(
        deployment=name,
        error=None,
        latency_s=latency_s,
        cost_usd=None if winner is None else _most_it_cost(run.deployment, winner),
        estimated=True,
    )


def _most_it_cost(loser: Deployment, winner: _Run) -> float | None:
    """Return the price of the winner's tokens at the loser: it was cut before it had written as many."""
    assert winner.deployment is not None
    assert winner.answer is not None
    if loser.member.price is not None:
        return cost_usd(winner.answer.usage, loser.member.price)
    return winner.answer.cost_usd if winner.deployment.member.price is None else None
