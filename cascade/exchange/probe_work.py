"""Buys the answers of a probe, several at once, and keeps each as soon as it is there."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import anyio

from ..errors import CascadeError
from ..ports import Client, Clock
from ..pricing import Price
from .probe_journal import Bought, Journal
from .probe_plan import Purchase

__all__ = ["FAILURES_IN_A_ROW", "Progress", "buy"]

FAILURES_IN_A_ROW = 20
"""After so many calls in a row without an answer the provider is taken to be down."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far the buying has come; true at any moment.

    Attributes:
        bought: Answers bought.
        cost_usd: What those cost whose cost is known, US dollars.
        cost_unknown: Answers whose cost is not known.
        failures: Why there is no answer → calls.
        stopped: Why no further call is made, in words; None while there is no reason.
    """

    bought: int = 0
    cost_usd: float = 0.0
    cost_unknown: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    stopped: str | None = None


async def buy(
    purchases: Sequence[Purchase],
    clients: Mapping[str, Client],
    prices: Mapping[int, Price | None],
    journal: Journal,
    progress: Progress,
    clock: Clock,
    *,
    at_once: int,
) -> None:
    """Make the calls and keep their answers.

    Ctrl-C: no further call is made, and those in flight, which are paid for, are waited for; a second
    one cuts them too.

    Args:
        purchases: Each key once; what the journal has is passed over.
        clients: By provider.
        prices: By rung.
        journal: Keeps what was bought.
        progress: Told of every step.
        clock: Times the calls.
        at_once: Most calls in flight, >= 1.

    Raises:
        LogError: The journal cannot be written.
    """
    waiting = iter([p for p in purchases if p.key not in journal.answers])
    in_a_row = 0

    async def work() -> None:
        nonlocal in_a_row
        for purchase in waiting:
            if progress.stopped is not None:
                return
            started = clock.monotonic()
            try:
                answer = await clients[purchase.provider].complete(purchase.call)
            except CascadeError as exc:
                progress.failures[f"{purchase.call.model}: {type(exc).__name__}"] += 1
                in_a_row += 1
                if in_a_row >= FAILURES_IN_A_ROW:
                    progress.stopped = f"{in_a_row} calls in a row failed"
                continue
            in_a_row = 0
            bought = Bought.of(answer, prices[purchase.call.rung], clock.monotonic() - started)
            journal.note_answer(purchase.key, bought)
            progress.bought += 1
            if bought.cost_usd is None:
                progress.cost_unknown += 1
            else:
                progress.cost_usd += bought.cost_usd

    try:
        async with anyio.create_task_group() as watching:
            watching.start_soon(_listen, progress, watching.cancel_scope)
            async with anyio.create_task_group() as workers:
                for _ in range(at_once):
                    workers.start_soon(work)
            watching.cancel_scope.cancel()
    except ExceptionGroup as group:
        raise _first(group) from group


async def _listen(progress: Progress, scope: anyio.CancelScope) -> None:
    """Stop at the first Ctrl-C, cut at the second; where signals cannot be waited for, the first one cuts."""
    try:
        with anyio.open_signal_receiver(signal.SIGINT) as signals:
            async for _ in signals:
                if progress.stopped is not None:
                    scope.cancel()
                    return
                progress.stopped = "interrupted"
    except NotImplementedError:
        return


def _first(group: ExceptionGroup[Exception]) -> Exception:
    first: Exception = group
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first
