"""Doubles for code that waits: a clock that stands until it is moved, a client that answers when told."""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio
import anyio.lowlevel

from cascade.errors import ConnectFailed, RateLimited, ServerFailed
from cascade.testing import FakeClock, reply
from cascade.types import Answer, CallContext, Message, ModelCall, Request


async def settle() -> None:
    """Let every task run until it waits. anyio's own way to wait for that polls, and sees no cancellation."""
    for _ in range(30):
        await anyio.lowlevel.checkpoint()


class ManualClock(FakeClock):
    """A clock on which sleepers wait until `advance` reaches their time."""

    def __init__(self) -> None:
        super().__init__()
        self._sleepers: list[tuple[float, anyio.Event]] = []

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock is moved past it."""
        event = anyio.Event()
        entry = (self.seconds + seconds, event)
        self._sleepers.append(entry)
        try:
            await event.wait()
        finally:
            self._sleepers.remove(entry)

    async def advance(self, seconds: float) -> None:
        """Move the time on, stopping wherever somebody is to wake, until all tasks are blocked."""
        end = self.seconds + seconds
        await settle()
        while True:
            due = min((at for at, event in self._sleepers if not event.is_set()), default=math.inf)
            self.seconds = max(self.seconds, min(due, end))
            if due > end:
                return
            for at, event in self._sleepers:
                if at <= self.seconds:
                    event.set()
            await settle()


class HeldClient:
    """Holds every call until `release`; then it gives the answer or raises what was said."""

    def __init__(self) -> None:
        self.calls: list[ModelCall] = []
        self.in_flight = 0
        self._held: list[tuple[anyio.Event, list[Answer | Exception]]] = []
        self.closed = False

    async def complete(self, call: ModelCall) -> Answer:
        """Wait for `release`."""
        self.calls.append(call)
        self.in_flight += 1
        outcome: list[Answer | Exception] = []
        event = anyio.Event()
        self._held.append((event, outcome))
        try:
            await event.wait()
        finally:
            self.in_flight -= 1
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    async def release(self, outcome: Answer | Exception | None = None) -> None:
        """End the oldest call that is held, and let everybody run."""
        event, box = self._held.pop(0)
        box.append(reply("ok") if outcome is None else outcome)
        event.set()
        await settle()

    async def aclose(self) -> None:
        """Note it."""
        self.closed = True


class FailingClient:
    """Makes a fresh error, or an answer, from each function in turn; the last one again and again."""

    def __init__(self, *script: Callable[[], Exception | Answer]) -> None:
        self._script = list(script)
        self.calls: list[ModelCall] = []
        self.closed = False

    async def complete(self, call: ModelCall) -> Answer:
        """Play the next."""
        self.calls.append(call)
        make = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        made = make()
        if isinstance(made, Exception):
            raise made
        return made

    async def aclose(self) -> None:
        """Note it."""
        self.closed = True


def call(
    prompt: str = "Which?",
    *,
    model: str = "m",
    deadline: float | None = None,
    tenant: str | None = None,
    max_tokens: int | None = None,
) -> ModelCall:
    """A call to make."""
    return ModelCall(
        model=model,
        request=Request(messages=(Message(role="user", content=prompt),), max_tokens=max_tokens),
        context=CallContext(deadline=deadline, tenant=tenant),
    )


def down() -> ServerFailed:
    """A 500."""
    return ServerFailed("HTTP 500", provider="p", model="m", status=500)


def cut() -> ConnectFailed:
    """A connection that broke after the request had left."""
    return ConnectFailed("it was cut", provider="p", model="m")


def busy(retry_after_s: float | None = None) -> RateLimited:
    """A 429."""
    return RateLimited("HTTP 429", provider="p", model="m", status=429, retry_after_s=retry_after_s)
