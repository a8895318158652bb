"""Makes the decision record of every ask, exactly one, and hands it to the sink and the observers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import anyio

from .budget import spent_usd
from .driver import Ask
from .errors import EngineClosed
from .ladder import Ladder
from .ports import Clock, Observer, Sink
from .records import Outcome, decision_record
from .walk import Ending

__all__ = ["Recorder"]

_log = logging.getLogger("cascade")


class Recorder:
    """Records asks; without a sink and observers it does nothing.

    Args:
        ladder: The ladder the asks run on.
        scorer: Version of the scorer, or None without one.
        sink: Takes the records; None: no log.
        text: Whether records keep prompts and answers.
        observers: Told of every record.
        clock: Time source.
    """

    def __init__(
        self,
        ladder: Ladder,
        scorer: str | None,
        sink: Sink | None,
        *,
        text: bool,
        observers: Sequence[Observer],
        clock: Clock,
    ) -> None:
        self._ladder = {
            "name": ladder.name,
            "version": ladder.version,
            "metadata": dict(ladder.metadata),
        }
        self._rungs = ladder.rungs
        self._scorer = scorer
        self._sink = sink
        self._text = text
        self._observers = tuple(observers)
        self._clock = clock
        self._idle = sink is None and not self._observers

    async def record(self, ask: Ask, ending: Ending) -> None:
        """Record an ask that has come to its ending."""
        if self._idle:
            return
        ask.recorded = True
        record = self._make(
            ask,
            outcome=_outcome(ending),
            attempts=ending.attempts,
            kept=ending.kept,
            degraded=ending.degraded,
            error=ending.error,
            cost_usd=ending.cost_usd,
            saving_usd_estimate=ending.saving_usd_estimate,
            opening=ending.opening,
            cache=ending.cache,
            cache_miss=ending.cache_miss,
        )
        if self._sink is not None:
            await self._sink.write(record)

    def record_lost(self, ask: Ask, error: BaseException) -> None:
        """Record an ask that a cancellation, a user's own code or a configuration error ended.

        The call in flight may have cost something that nobody reported: the total is then unknown. Of
        a stream it is what had come of it.
        """
        if ask.recorded or self._idle:
            return
        cancelled = isinstance(error, anyio.get_cancelled_exc_class())
        known = [attempt.cost_usd for attempt in ask.attempts]
        cost = None if ask.calling else sum(cost for cost in known if cost is not None)
        attempts = ask.attempts
        if ask.outlet is not None:
            unfinished = ask.outlet.unfinished(self._rungs, ask.calling, ask.compressed)
            attempts = (*attempts, *unfinished)
            cost = spent_usd(attempts)
        record = self._make(
            ask,
            outcome="cancelled" if cancelled else "failed",
            attempts=attempts,
            kept=None,
            degraded=None,
            error=error,
            cost_usd=cost,
            saving_usd_estimate=None,
        )
        record["calling"] = min(ask.calling, default=None)
        if self._sink is not None:
            self._sink.write_nowait(record)

    def _make(self, ask: Ask, **fields: Any) -> dict[str, Any]:
        record = decision_record(
            id=ask.id,
            time=ask.began_iso,
            ladder=self._ladder,
            policy=ask.policy,
            scorer=self._scorer,
            request=ask.request,
            request_digest=ask.digest,
            tenant=ask.context.tenant,
            metadata=ask.metadata,
            latency_s=self._clock.monotonic() - ask.began_at,
            text=self._text,
            **fields,
        )
        for observer in self._observers:
            try:
                observer.on_record(record)
            except Exception as exc:  # noqa: BLE001 - an observer must not cost anybody an answer
                _log.error("observer %s raised %s", type(observer).__name__, type(exc).__name__)
        return record


def _outcome(ending: Ending) -> Outcome:
    if any(isinstance(attempt.error, EngineClosed) for attempt in ending.attempts):
        return "cut"
    if ending.kept is None:
        return "failed"
    return "degraded" if ending.degraded else "answered"
