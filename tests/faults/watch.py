"""What is watched while asks run: each ask as its caller saw it, the loop's lag, and leaks."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio

from cascade.errors import CascadeError, NotCalled, ProviderError, ProviderTimeout, RunError
from cascade.types import Attempt, Result

from .plan import is_intact

__all__ = ["Lag", "Resources", "Seen", "Tried", "describe"]

_TICK_S = 0.005
"""Seconds between looks at the clock."""

_LATE_S = 0.001
"""Seconds from which a late look is worth noting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One request of an attempt, or one that was not made.

    Attributes:
        deployment: Provider and model.
        error: Class of its error; None when it answered.
        called: Whether a request was made.
        sent: Whether it may have reached the upstream.
        timed_out: Whether it was waited for in vain.
        retry_after_s: What the upstream asked for.
    """

    deployment: str
    error: str | None
    called: bool = True
    sent: bool = True
    timed_out: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One ask as its caller saw it.

    Attributes:
        ask: Its number.
        began: Monotonic seconds.
        ended: Monotonic seconds.
        outcome: answered, degraded, failed, cancelled, or `broken`: something was raised that is no
            `RunError`.
        model: Model whose answer was returned.
        intact: Whether that answer is whole and right.
        cost_usd: What the engine says it cost.
        costs: Model → what the engine says its attempt cost; None if unknown.
        tries: Every request, those not made included.
        error: What was raised, in words.
        id: The engine's id of the ask.
    """

    ask: int
    began: float
    ended: float
    outcome: str
    model: str | None = None
    intact: bool = True
    cost_usd: float | None = None
    costs: dict[str, float | None] = field(default_factory=dict)
    tries: tuple[Tried, ...] = ()
    error: str | None = None
    id: str | None = None

    @property
    def latency_s(self) -> float:
        """Seconds its caller waited."""
        return self.ended - self.began

    def tries_of(self, model: str) -> list[Tried]:
        """Return the requests for one model."""
        return [tried for tried in self.tries if tried.deployment.endswith(f"/{model}")]


def describe(
    ask: int, began: float, result: Result | None, error: BaseException | None = None
) -> Seen:
    """Return an ask that has just ended, by what was returned or raised."""
    ended = time.monotonic()
    source = result if result is not None else error
    if not isinstance(source, Result | RunError):
        outcome = "cancelled" if error is None else "broken"
        return Seen(ask=ask, began=began, ended=ended, outcome=outcome, error=repr(error))
    attempts = source.attempts
    common: dict[str, Any] = {
        "ask": ask,
        "began": began,
        "ended": ended,
        "cost_usd": source.cost_usd,
        "costs": {a.model: a.cost_usd for a in attempts if a.verdict != "skipped"},
        "tries": tuple(tried for attempt in attempts for tried in _tries(attempt)),
    }
    if isinstance(source, RunError):
        words = f"{type(source).__name__}: {source}"
        return Seen(**common, outcome="failed", error=words, id=source.ask_id)
    return Seen(
        **common,
        outcome="answered" if source.degraded is None else "degraded",
        model=source.model,
        intact=is_intact(source.text, source.model, ask),
        id=source.id,
    )


def _tries(attempt: Attempt) -> Iterator[Tried]:
    for earlier in attempt.tries:
        yield _tried(f"{earlier.deployment}/{attempt.model}", earlier.error)
    error, deployment = attempt.error, attempt.provider
    if isinstance(error, ProviderError):
        deployment = error.provider
    last = _tried(f"{deployment}/{attempt.model}", error)
    yield last if attempt.verdict != "skipped" else replace(last, called=False)


def _tried(deployment: str, error: CascadeError | None) -> Tried:
    return Tried(
        deployment=deployment,
        error=None if error is None else type(error).__name__,
        called=not isinstance(error, NotCalled),
        sent=error.sent if isinstance(error, ProviderError) else True,
        timed_out=isinstance(error, ProviderTimeout),
        retry_after_s=error.retry_after_s if isinstance(error, ProviderError) else None,
    )


class Lag:
    """Measures by how much the event loop is late, all the while; run it as a task."""

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            due = time.monotonic() + _TICK_S
            await anyio.sleep(_TICK_S)
            now = time.monotonic()
            if now - due > _LATE_S:
                self.note(now, now - due)

    def note(self, at: float, late: float) -> None:
        """Take note that at `at` the loop was `late` seconds late."""
        self._late.append((at, late))

    def within(self, began: float, ended: float) -> float:
        """Return the seconds for which the loop did not get round between two moments, together."""
        return sum(late for at, late in self._late if began <= at <= ended + late)

    @property
    def most(self) -> float:
        """Longest the loop has been late, seconds."""
        return max((late for _, late in self._late), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a process holds: descriptors by kind, and tasks."""

    sockets: int
    files: int
    tasks: int

    @classmethod
    def held(cls) -> Resources:
        """Count them now."""
        gc.collect()
        links = []
        for name in os.listdir("/proc/self/fd"):
            try:
                links.append(os.readlink(Path("/proc/self/fd") / name))
            except OSError:  # the one that this very listing has used
                continue
        sockets = sum(1 for link in links if link.startswith("socket:"))
        tasks = len(anyio.get_running_tasks())
        return cls(sockets=sockets, files=len(links) - sockets, tasks=tasks)
