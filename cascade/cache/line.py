"""A thread that speaks to a store which may be slow or stuck: asked by tasks, waited for briefly.

The thread takes whatever waits at once, so that a store may answer it together. It serves any event
loop; whoever has waited long enough leaves, and the thread goes on.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import EventLoopToken, current_token

__all__ = ["Job", "Line"]

A = TypeVar("A")
R = TypeVar("R")

_log = logging.getLogger("cascade")

_MOST_WAITING = 10_000
_MOST_WEIGHT = 64_000_000
"""Most that may wait, in asks and in bytes; one more is refused at once."""

_BATCH = 250
_BATCH_WEIGHT = 4_000_000
"""Most that the thread takes at once, in asks and in bytes (one ask may weigh more)."""

_CLOSE_S = 5.0
"""Longest that closing waits for the thread, seconds."""


class Job(Generic[A, R]):
    """What the thread is asked.

    Attributes:
        ask: What it is.
        weight: Bytes it holds.
    """

    __slots__ = ("ask", "done", "idle", "left", "reply", "token", "weight")

    def __init__(self, ask: A, weight: int, token: EventLoopToken | None, idle: bool) -> None:
        self.ask = ask
        self.weight = weight
        self.idle = idle
        self.token = token
        self.done = anyio.Event() if token is not None else None
        self.reply: R | None = None
        self.left = False

    @property
    def wanted(self) -> bool:
        """Whether it is still to be done: somebody waits for it, or it has to be done anyway."""
        return not (self.left and self.idle)


class Line(Generic[A, R]):
    """Hands asks to a thread and replies back.

    Args:
        name: Name of the thread.
        perform: Called in the thread with what it has taken; returns a reply for each, None for one
            that could not be had.
        finish: Called in the thread when it ends.
        timeout_s: Longest an ask waits for its reply, seconds.
        tick_s: `perform` is called with nothing when no ask has come for so long, seconds; None: never.
    """

    def __init__(
        self,
        name: str,
        perform: Callable[[list[Job[A, R]]], list[R | None]],
        finish: Callable[[], None],
        *,
        timeout_s: float,
        tick_s: float | None = None,
    ) -> None:
        self._tick_s = tick_s
        self._name = name
        self._perform = perform
        self._finish = finish
        self._timeout_s = timeout_s
        self._wake = threading.Condition()
        self._jobs: deque[Job[A, R]] = deque()
        self._weight = 0
        self._closing = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def ask(
        self, ask: A, *, weight: int = 0, idle: bool = False, timeout_s: float | None = None
    ) -> R | None:
        """Return the reply, or None when it cannot be had in time or too many wait already.

        Args:
            ask: What `perform` is given.
            weight: Bytes it holds.
            idle: Whether it need not be done any more once nobody waits for it.
            timeout_s: Longest wait, seconds; None: that of the line.
        """
        job: Job[A, R] = Job(ask, weight, current_token(), idle)
        if not self._add(job):
            return None
        assert job.done is not None
        try:
            with anyio.move_on_after(self._timeout_s if timeout_s is None else timeout_s):
                await job.done.wait()
        finally:
            job.left = True
        return job.reply

    def tell(self, ask: A) -> None:
        """Have something done that nobody waits for."""
        self._add(Job(ask, 0, None, False))

    async def aclose(self) -> None:
        """Do what waits, and end the thread; a stuck one is left behind after some seconds."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.ident is not None:
            await anyio.to_thread.run_sync(self._thread.join, _CLOSE_S)

    def _add(self, job: Job[A, R]) -> bool:
        with self._wake:
            if (
                self._closing
                or self._ended
                or len(self._jobs) >= _MOST_WAITING
                or (job.weight and self._weight and self._weight + job.weight > _MOST_WEIGHT)
            ):
                return False
            self._jobs.append(job)
            self._weight += job.weight
            self._wake.notify()
            return True

    def _run(self) -> None:
        jobs: list[Job[A, R]] = []
        try:
            while True:
                taken = self._take()
                if taken is None:
                    return
                jobs = taken
                replies = self._perform(jobs)
                for job, reply in zip(jobs, replies, strict=True):
                    job.reply = reply
                self._deliver(jobs)
        finally:  # whatever happens, nobody is to wait for a thread that has ended
            with self._wake:
                self._ended = True
                jobs += self._jobs
                self._jobs.clear()
            self._deliver(jobs)
            self._finish()

    def _take(self) -> list[Job[A, R]] | None:
        """Wait for asks and take some, none when it is time for a tick; None: the line is closed."""
        taken: list[Job[A, R]] = []
        weight = 0
        with self._wake:
            while not taken:
                while not (self._jobs or self._closing):
                    if not self._wake.wait(self._tick_s):
                        return []
                if not self._jobs:
                    return None
                while self._jobs and len(taken) < _BATCH:
                    job = self._jobs[0]
                    if taken and weight + job.weight > _BATCH_WEIGHT:
                        break
                    self._jobs.popleft()
                    self._weight -= job.weight
                    if job.wanted:
                        weight += job.weight
                        taken.append(job)
        return taken

    def _deliver(self, jobs: list[Job[A, R]]) -> None:
        waiting: dict[EventLoopToken, list[Job[A, R]]] = {}
        for job in jobs:
            if job.token is not None and not job.left:
                waiting.setdefault(job.token, []).append(job)
        for token, group in waiting.items():
            try:
                anyio.from_thread.run_sync(_wake_all, group, token=token)
            except RuntimeError:
                _log.debug("%s: an event loop has ended with asks under way", self._name)


def _wake_all(jobs: list[Job[A, R]]) -> None:
    for job in jobs:
        assert job.done is not None
        job.done.set()
