"""The processes of a supervisor, and what it has asked them to load."""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import time
from collections.abc import Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any

from .orders import Load, Loaded, Ready, Refuse, Take
from .settings import ServeSettings
from .worker import work

__all__ = ["Reload", "Slot", "pause_after"]

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
"""Pause before a worker that has died is replaced: doubled for each that lives no longer than this, too."""

LOADING_S = 120.0
"""Seconds that workers have to load what is new, before it counts as not good."""


def pause_after(died_young: int) -> float:
    """Return the seconds until a worker is replaced, after so many in a row that have died young.

    >>> [pause_after(n) for n in (0, 1, 2, 3, 100)]
    [0.1, 0.1, 0.2, 0.4, 10.0]
    """
    doubled = 2.0 ** min(max(0, died_young - 1), 32)
    return min(FIRST_PAUSE_S * doubled, LONGEST_PAUSE_S)


class Slot:
    """One worker after the other under one number.

    Attributes:
        number: From 1.
        process: The present one.
        turn: The newest reload it was given.
        ready: Whether it serves.
        grace_s: Seconds it needs at its end.
        outdated: Whether it is to end, as others have been given something newer.
        begins_at: When the next one is started, a reading of the monotonic clock; None: one runs.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: Any = None
        self.turn = 0
        self.ready = False
        self.grace_s = 0.0
        self.outdated = False
        self.begins_at: float | None = None
        self._line: connection.Connection | None = None
        self._since = 0.0
        self._died_young = 0

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.exitcode is None

    def start(self, settings: ServeSettings, listener: socket.socket, first: Load) -> None:
        """Start a process."""
        self.close()
        # Not a fork: threads and OpenMP's state of this process must not come along.
        spawning = multiprocessing.get_context("spawn")
        self._line, theirs = spawning.Pipe()
        self.process = spawning.Process(
            target=work,
            args=(self.number, settings, listener, theirs, first),
            name=f"cascade-worker-{self.number}",
        )
        self.process.start()
        theirs.close()
        self.turn = first.turn
        self.outdated = False
        self.begins_at = None
        self._since = time.monotonic()

    def begun(self, said: Ready) -> None:
        """Note that it serves."""
        self.ready = True
        self.grace_s = said.grace_s

    def replace(self) -> None:
        """Have it end, and another begin."""
        self.outdated = True
        self.process.terminate()

    def died(self) -> float:
        """Note that it has died; return the seconds until the next one begins."""
        self.ready = False
        young = time.monotonic() - self._since < LONGEST_PAUSE_S
        self._died_young = self._died_young + 1 if young else 0
        pause_s = 0.0 if self.outdated else pause_after(self._died_young)
        self.begins_at = time.monotonic() + pause_s
        return pause_s

    def sources(self) -> list[Any]:
        """Return what can be waited for: words from it, and its death."""
        if self.process is None or self.begins_at is not None:
            return []
        line = [] if self._line is None else [self._line]
        return [*line, self.process.sentinel]

    def said(self) -> list[Any]:
        """Return what it has said since the last time."""
        found: list[Any] = []
        try:
            while self._line is not None and self._line.poll():
                found.append(self._line.recv())
        except (EOFError, OSError):
            self._hang_up()
        return found

    def send(self, order: Load | Take | Refuse) -> None:
        """Tell it something; if it has gone, that is noticed elsewhere."""
        if self._line is not None:
            with contextlib.suppress(OSError):
                self._line.send(order)

    def close(self) -> None:
        """Let go of a process that has ended."""
        self._hang_up()
        self.ready = False
        if self.process is not None:
            self.process.join()
            self.process.close()
            self.process = None

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None


class Reload:
    """What workers are asked to load, and what they have said of it.

    Attributes:
        turn: Its number.
        texts: What is new, by file.
        waiting: Numbers of the workers that have said nothing yet.
        names: Ladders that were loaded.
        failures: Why it is not good, by file.
        ends_at: When the wait is over, a reading of the monotonic clock.
    """

    def __init__(self, turn: int, texts: dict[Path, bytes], waiting: Sequence[int]) -> None:
        self.turn = turn
        self.texts = texts
        self.waiting = set(waiting)
        self.names: set[str] = set()
        self.failures: dict[Path, tuple[str, ...]] = {}
        self.ends_at = time.monotonic() + LOADING_S

    def hear(self, slot: Slot, said: Loaded) -> None:
        """Note what a worker says of it."""
        if said.turn == self.turn:
            self.waiting.discard(slot.number)
            self.failures.update(said.failures)
            self.names.update(said.ladders)
