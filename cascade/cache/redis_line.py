"""The line of a cache to Redis: one thread, one connection, all that waits sent as one pipeline.

The synchronous client in a thread, because redis-py's asyncio client does not run under trio.
"""

from __future__ import annotations

import logging
import random
import time
from typing import Any

from ..errors import ConfigError
from .counters import Counters
from .line import Job, Line

__all__ = ["Commands", "RedisLine"]

_log = logging.getLogger("cascade")

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
"""Pause before Redis is tried again, doubled after every failure up to the longest."""

Commands = tuple[tuple[Any, ...], ...]
"""What is asked at once; the reply is a list with a reply or an exception for each."""

_PROBE: Commands = ()
"""Asks nothing, and has Redis tried again."""


class RedisLine:
    """Sends commands. While Redis cannot be asked it says so at once, and has it tried again.

    Args:
        url: Where Redis is.
        timeout_s: Longest an ask waits, seconds.
        counts: What is counted here: outages.

    Attributes:
        down: Whether Redis cannot be asked just now.
        attempts: How often it was tried again.
    """

    def __init__(self, url: str, *, timeout_s: float, counts: Counters) -> None:
        self.down = True
        self.attempts = 0
        self._url = url
        self._timeout_s = timeout_s
        self._counts = counts
        self._random = random.Random()  # noqa: S311 - spreads processes in time, keeps no secret
        self._line: Line[Commands, list[Any]] = Line(
            "cascade-cache-redis", self._perform, self._finish, timeout_s=timeout_s
        )
        self._redis: Any = None
        self._failures: tuple[type[Exception], ...] = ()
        self._place = ""
        self._pause_s = _FIRST_PAUSE_S
        self._next_try = 0.0

    def start(self) -> None:
        """Connect and start the thread.

        Raises:
            ConfigError: redis-py is missing, the address is none, or Redis refuses the password.
        """
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as exc:
            raise ConfigError(
                "a cache in Redis needs redis-py: pip install 'cascade-ask[redis]'"
            ) from exc
        self._failures = (redis.RedisError, OSError)
        try:
            self._redis = redis.Redis.from_url(
                self._url,
                socket_timeout=self._timeout_s,
                socket_connect_timeout=self._timeout_s,
                retry=Retry(NoBackoff(), 0),  # this module tries again itself, and counts once
            )
        except ValueError as exc:  # its message may quote the address, which may hold a password
            raise ConfigError(
                "cache: url is not redis://host:port/db, rediss://… or unix://path"
            ) from exc
        where = self._redis.connection_pool.connection_kwargs
        where["decode_responses"] = False  # an address may ask for it; entries are bytes
        self._place = where.get("path") or f"{where.get('host')}:{where.get('port', 6379)}"
        try:
            self._redis.ping()
        except self._failures as exc:
            refused = (redis.AuthenticationError, redis.exceptions.NoPermissionError)
            if isinstance(exc, refused) or "Authentication required" in str(exc):
                self._redis.close()
                raise ConfigError(f"cache: Redis at {self._place} refuses: {exc}") from exc
            self._note_outage(exc)
        else:
            self.down = False
        self._line.start()

    async def ask(self, commands: Commands, *, weight: int, idle: bool) -> list[Any] | None:
        """Return a reply or an exception for each command; None when Redis does not answer in time.

        Args:
            commands: What to send.
            weight: Bytes it holds.
            idle: Whether it need not be sent any more once nobody waits for it.
        """
        if self.down:
            if time.monotonic() >= self._next_try:
                self._next_try = time.monotonic() + _LONGEST_PAUSE_S  # one tries for all
                self._line.tell(_PROBE)
            return None
        return await self._line.ask(commands, weight=weight, idle=idle)

    async def aclose(self) -> None:
        """Send what waits and disconnect."""
        await self._line.aclose()

    # From here on: the thread.

    def _perform(self, jobs: list[Job[Commands, list[Any]]]) -> list[list[Any] | None]:
        asks = [job.ask for job in jobs]
        if self.down and _PROBE in asks:
            self._try_again()
        if self.down:
            return [None] * len(asks)
        try:
            pipe = self._redis.pipeline(transaction=False)
            for commands in asks:
                for command in commands:
                    pipe.execute_command(*command)
            replies = pipe.execute(raise_on_error=False)
        except self._failures as exc:
            self._note_outage(exc)
            return [None] * len(asks)
        self._pause_s = _FIRST_PAUSE_S
        shared = iter(replies)
        return [[next(shared) for _ in commands] for commands in asks]

    def _try_again(self) -> None:
        self.attempts += 1
        try:
            self._redis.ping()
        except self._failures:
            self._pause()
        else:
            self.down = False
            _log.warning("cache in Redis at %s: back", self._place)

    def _note_outage(self, exc: Exception) -> None:
        self.down = True
        self._counts.outages += 1
        self._pause()
        _log.error(
            "cache in Redis at %s: cannot be asked (%s: %s); until it is back every lookup is a miss",
            self._place,
            type(exc).__name__,
            exc,
        )

    def _pause(self) -> None:
        pause = self._random.uniform(0.5, 1.0) * self._pause_s
        self._next_try = time.monotonic() + pause
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _finish(self) -> None:
        self._redis.close()
