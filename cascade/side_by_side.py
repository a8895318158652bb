"""Calls of one ask that run side by side: the next rung is asked as well while one is slow.

The first answer goes to the walk, which judges it like any other. The other call runs on: if the walk
then asks for that rung, its answer is waited for; if not, it is cancelled at the end, and paid for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup
from msgspec.structs import replace

from .ladder import Ladder
from .ports import Clock
from .pricing import cost_usd
from .resilience.hedge import Hedging
from .types import Attempt, ModelCall
from .walk import Answered, Call, Ending, Failed

__all__ = ["SideBySide"]

Perform = Callable[[int, ModelCall], Awaitable[Answered | Failed]]


class _Run:
    """One call: its outcome once it has one."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.outcome: Answered | Failed | None = None


class SideBySide:
    """The calls of one ask.

    Args:
        perform: Performs one call.
        hedging: Says after which time a second call may be started.
        clock: Time source.
        chosen: Returns the rung whose answer a reader is being told already: only its outcome counts
            then, and no other call is started. None: nobody reads.

    Attributes:
        group: Runs the calls; to be set before the first, and its end is the end of them all.
    """

    group: TaskGroup

    def __init__(
        self,
        perform: Perform,
        hedging: Hedging,
        clock: Clock,
        chosen: Callable[[], int | None] | None = None,
    ) -> None:
        self._perform = perform
        self._chosen = chosen
        self._hedging = hedging
        self._clock = clock
        self._runs: dict[int, _Run] = {}
        self._changed = anyio.Event()

    async def call(self, effect: Call) -> Answered | Failed:
        """Return the outcome of the rung that was to be called, or of its backup if that is the first."""
        wanted = self._runs.get(effect.rung)
        if wanted is None:
            self._hedging.count_call()
            wanted = self._start(effect.rung, effect.call)
            await self._perhaps_back_up(effect, wanted)
        while True:
            chosen = None if self._chosen is None else self._chosen()
            if wanted.outcome is not None and chosen in (None, effect.rung):
                del self._runs[effect.rung]
                return wanted.outcome
            for rung, run in self._runs.items():
                passed_on = chosen == rung and run.outcome is not None
                if passed_on or (chosen is None and isinstance(run.outcome, Answered)):
                    del self._runs[rung]
                    assert run.outcome is not None
                    return replace(run.outcome, rung=rung)
            self._changed = anyio.Event()
            await self._changed.wait()

    def unneeded(self, ladder: Ladder, ending: Ending) -> list[Attempt]:
        """Return what was asked and not needed, as attempts; to be called at the end."""
        now = self._clock.monotonic()
        told = {attempt.rung for attempt in ending.attempts}
        return [
            self._unneeded(rung, run, ladder, ending, now)
            for rung, run in self._runs.items()
            if rung not in told
        ]

    def _start(self, rung: int, call: ModelCall) -> _Run:
        run = self._runs[rung] = _Run(self._clock.monotonic())
        self.group.start_soon(self._run, run, rung, call)
        return run

    async def _run(self, run: _Run, rung: int, call: ModelCall) -> None:
        run.outcome = await self._perform(rung, call)
        self._changed.set()

    async def _perhaps_back_up(self, effect: Call, wanted: _Run) -> None:
        """Start the backup when the wanted call is not done within the delay."""
        if effect.backup is None or len(self._runs) > 1:
            return
        model = effect.call.model
        delay_s = self._hedging.delay_s(model)
        if delay_s is not None:
            with anyio.move_on_after(delay_s):
                while wanted.outcome is None:
                    self._changed = anyio.Event()
                    await self._changed.wait()
            read = self._chosen is not None and self._chosen() is not None
            if wanted.outcome is None and not read and self._hedging.take_nowait():
                self._start(*effect.backup)
        else:
            while wanted.outcome is None:
                self._changed = anyio.Event()
                await self._changed.wait()
        self._hedging.note_latency(model, self._clock.monotonic() - wanted.began)

    def _unneeded(
        self, rung: int, run: _Run, ladder: Ladder, ending: Ending, now: float
    ) -> Attempt:
        known, outcome = ladder.rungs[rung], run.outcome
        attempt = Attempt(
            rung=rung,
            model=known.model,
            provider=known.provider,
            verdict="hedged",
            reason="asked beside a slow rung, and no longer needed",
            latency_s=now - run.began,
        )
        if isinstance(outcome, Failed):
            return replace(
                attempt, error=outcome.error, cost_usd=outcome.cost_usd, latency_s=outcome.latency_s
            )
        if isinstance(outcome, Answered):
            stated, usage = outcome.answer.cost_usd, outcome.answer.usage
            paid = cost_usd(usage, known.price) if stated is None else stated
            return replace(attempt, cost_usd=paid, latency_s=outcome.latency_s)
        kept = None if ending.kept is None else ending.attempts[ending.kept].answer
        return replace(
            attempt,
            reason=f"{attempt.reason}: cancelled; its cost is that of the answer's tokens there",
            cost_usd=None if kept is None else cost_usd(kept.usage, known.price),
        )
