"""What the processes that serve one ladder share through Redis: limits, and breakers' verdicts.

While Redis cannot be asked each process goes by itself: limits then hold for each of them, and breakers
open where they have seen failures. That is said once in the program's log, and counted.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from ..clock import SystemClock
from ..ports import Clock
from .limiter import CallLimits
from .shared_limits import LEASE_S, Leases, SharedLimits
from .shared_line import Script, SharedLine
from .shared_scripts import quoted
from .shared_verdicts import SharedVerdicts

__all__ = ["SharedState", "SharedStatistics"]

TIMEOUT_S = 0.25
"""Longest a call waits for Redis, seconds; then its process decides alone."""


class SharedStatistics(NamedTuple):
    """How well the sharing goes.

    Attributes:
        down: Whether Redis cannot be asked just now.
        outages: How often it became so.
        alone: Calls that were let through without it.
    """

    down: bool
    outages: int
    alone: int


class SharedState:
    """The shared part of one engine.

    Args:
        url: Where Redis is (5 or newer).
        ladder: Name of the ladder: engines of the same name share.
        prefix: What the names of all keys begin with.
        limits: Whether limits are shared.
        breakers: Whether verdicts are.
        clock: Time source.
    """

    def __init__(
        self,
        url: str,
        *,
        ladder: str,
        prefix: str = "cascade:shared:",
        limits: bool = True,
        breakers: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self._prefix = f"{prefix}{quoted(ladder)}:"
        self._clock = clock or SystemClock()
        self._limits = limits
        self._leases = Leases()
        self._renewed = time.monotonic()
        self._calls_alone = 0
        self.verdicts = SharedVerdicts(self._prefix) if breakers else None
        self._line = SharedLine(url, timeout_s=TIMEOUT_S, due=self._due, learn=self._learn)
        if self.verdicts is not None:
            self.verdicts.connect(self._line)

    def limits_of(self, scope: str, limits: CallLimits) -> SharedLimits | None:
        """Return what keeps limits together with other processes; None: there is nothing to keep.

        Args:
            scope: What they are of, such as the name of a provider.
            limits: They.
        """
        counted = (limits.concurrent, limits.requests_per_min, limits.tokens_per_min)
        if not self._limits or all(one is None for one in counted):
            return None
        return SharedLimits(
            self._line,
            self._leases,
            limits,
            prefix=self._prefix,
            scope=scope,
            clock=self._clock,
            alone=self._count_alone,
        )

    def start(self) -> None:
        """Connect, and start the thread that speaks to Redis.

        Raises:
            ConfigError: redis-py is missing, the address is none, or Redis refuses the password.
        """
        self._line.start()

    async def aclose(self) -> None:
        """Send what waits and disconnect."""
        await self._line.aclose()

    def statistics(self) -> SharedStatistics:
        """Return how well the sharing goes."""
        return SharedStatistics(self._line.down, self._line.outages, self._calls_alone)

    def _count_alone(self) -> None:
        self._calls_alone += 1

    # From here on: the thread.

    def _due(self) -> list[Script]:
        due = [] if self.verdicts is None else [self.verdicts.question()]
        if time.monotonic() - self._renewed >= LEASE_S / 3:
            self._renewed = time.monotonic()
            due += self._leases.renewals()
        return due

    def _learn(self, replies: list[Any]) -> None:
        if self.verdicts is not None and replies and replies[0] is not None:
            self.verdicts.learn(replies[0])
