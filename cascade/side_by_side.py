"""Calls of one ask that run side by side: the next rung is asked as well while one is slow.

The first answer goes to the walk, which judges it like any other. The other call runs on: if the walk
then asks for that rung, its answer is waited for; if not, it is cancelled at the end, and paid for.

A call that is quick enough runs where the walk does. Once it is too slow, the walk goes on beside it,
in a task of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import anyio
from anyio.abc import TaskGroup
from msgspec.structs import replace

from .ladder import Ladder
from .ports import Clock
from .pricing import cost_usd
from .resilience.deputy import Deputy
from .resilience.hedge import Hedging
from .types import Attempt, Compression, ModelCall
from .walk import Answered, Call, Ending, Failed

__all__ = ["SideBySide"]

Perform = Callable[[int, ModelCall], Awaitable[Answered | Failed]]

GoOn = Callable[[Callable[[Call], Awaitable[Answered | Failed]]], Awaitable[Ending]]
"""Runs the walk from where it is to its end, with what performs its calls."""


class _Ended(Exception):
    """The walk has come to its end elsewhere."""

    def __init__(self, ending: Ending) -> None:
        self.ending = ending


class _Run:
    """One call: its outcome once it has one, or the mistake of ours that it came to."""

    __slots__ = ("began", "error", "outcome")

    def __init__(self, began: float) -> None:
        self.began = began
        self.outcome: Answered | Failed | None = None
        self.error: Exception | None = None


class SideBySide:
    """The calls of one ask.

    Args:
        go_on: Runs the walk from where it is to its end.
        perform: Performs one call.
        hedging: Says after which time a second call may be started.
        clock: Time source.
        chosen: Returns the rung whose answer a reader is being told already: only its outcome counts
            then, and no other call is started. None: nobody reads.
    """

    __slots__ = (
        "_changed",
        "_chosen",
        "_clock",
        "_ending",
        "_go_on",
        "_group",
        "_hedging",
        "_perform",
        "_runs",
    )

    def __init__(
        self,
        go_on: GoOn,
        perform: Perform,
        hedging: Hedging,
        clock: Clock,
        chosen: Callable[[], int | None] | None = None,
    ) -> None:
        self._go_on = go_on
        self._perform = perform
        self._chosen = chosen
        self._hedging = hedging
        self._clock = clock
        self._runs: dict[int, _Run] = {}
        self._changed: anyio.Event | None = None
        self._group: TaskGroup | None = None
        self._ending: Ending | None = None

    @property
    def ending(self) -> Ending | None:
        """What the walk came to beside a slow call; None if it did not."""
        return self._ending

    async def run(self) -> Ending:
        """Run the walk to its end."""
        try:
            return await self._go_on(self._call)
        except _Ended as end:
            return end.ending

    async def _call(self, effect: Call) -> Answered | Failed:
        """Return the outcome of the rung that was to be called, or of its backup if that is the first."""
        if effect.rung not in self._runs:
            self._hedging.count_call()
            if not self._runs:
                return await self._call_here(effect)
            self._start(effect.rung, effect.call)
        return await self._first_outcome(effect.rung)

    async def _call_here(self, effect: Call) -> Answered | Failed:
        """Return the outcome of a call beside which there is none.

        Raises:
            _Ended: It was slow, and the walk has come to its end beside it.
        """
        if effect.backup is None:
            return await self._perform(effect.rung, effect.call)
        model = effect.call.model
        delay_s = self._hedging.delay_s(model)
        run = self._runs[effect.rung] = _Run(self._clock.monotonic())
        performing = self._run(run, effect.rung, effect.call)
        if delay_s is None:
            await performing
        else:
            take_over = partial(self._take_over, model, effect.backup, run)
            await Deputy(take_over, self._hedging.alarms).wait_for(performing, delay_s)
        if self._ending is not None:
            raise _Ended(self._ending)
        self._hedging.note_latency(model, self._clock.monotonic() - run.began)
        return self._outcome(effect.rung)

    def unneeded(
        self, ladder: Ladder, ending: Ending, compressed: Mapping[int, Compression]
    ) -> list[Attempt]:
        """Return what was asked and not needed, as attempts; to be called at the end.

        Args:
            ladder: The rungs.
            ending: How the walk ended.
            compressed: What was done to the prompts that were sent, by rung.
        """
        now = self._clock.monotonic()
        told = {attempt.rung for attempt in ending.attempts}
        return [
            replace(
                self._unneeded(rung, run, ladder, ending, now), compression=compressed.get(rung)
            )
            for rung, run in self._runs.items()
            if rung not in told
        ]

    async def _take_over(
        self, model: str, backup: tuple[int, ModelCall], wanted: _Run, deputy: Deputy
    ) -> None:
        """Start the backup of a slow call and go on with the walk, unless that must not be."""
        read = self._chosen is not None and self._chosen() is not None
        if wanted.outcome is not None or read or not self._hedging.take_nowait():
            return
        self._hedging.note_latency(model, self._clock.monotonic() - wanted.began)
        raised: Exception | None = None
        async with anyio.create_task_group() as self._group:
            self._start(*backup)
            try:
                self._ending = await self.run()
            except Exception as exc:  # noqa: BLE001 - raised again, out of the group's own wrapping
                raised = exc
            self._group.cancel_scope.cancel()
        if raised is not None:
            raise raised
        deputy.stop_waiting()

    def _start(self, rung: int, call: ModelCall) -> None:
        assert self._group is not None
        run = self._runs[rung] = _Run(self._clock.monotonic())
        self._group.start_soon(self._run, run, rung, call)

    async def _run(self, run: _Run, rung: int, call: ModelCall) -> None:
        try:
            run.outcome = await self._perform(rung, call)
        except Exception as exc:  # noqa: BLE001 - raised again, where the walk is
            run.error = exc
        if self._changed is not None:
            self._changed.set()

    async def _first_outcome(self, wanted: int) -> Answered | Failed:
        """Wait for the wanted rung's outcome, or for the answer of another one if that is the first."""
        while True:
            chosen = None if self._chosen is None else self._chosen()
            if self._is_over(wanted) and chosen in (None, wanted):
                return self._outcome(wanted)
            for rung, run in self._runs.items():
                passed_on = chosen == rung and self._is_over(rung)
                is_first = chosen is None and isinstance(run.outcome, Answered)
                if passed_on or is_first or run.error is not None:
                    return replace(self._outcome(rung), rung=rung)
            self._changed = anyio.Event()
            await self._changed.wait()

    def _is_over(self, rung: int) -> bool:
        run = self._runs[rung]
        return run.outcome is not None or run.error is not None

    def _outcome(self, rung: int) -> Answered | Failed:
        """Return what became of a call that is over, and forget it."""
        run = self._runs.pop(rung)
        if run.error is not None:
            raise run.error
        assert run.outcome is not None
        return run.outcome

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
