"""A connection to Redis that says whether it can be asked, and when to try again. For one thread.

While Redis is away nobody waits for it; it is tried again after 0.1 s and then ever more rarely, up to 5 s,
each time at a moment drawn from the second half of the pause, so that processes do not come all at once.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any

from .errors import ConfigError

__all__ = ["RedisLink"]

_log = logging.getLogger("cascade")

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
"""Pause before Redis is tried again, doubled after every failure up to the longest."""


class RedisLink:
    """Connects, and keeps count of outages.

    Args:
        url: Where Redis is.
        user: What uses it, in one word for messages: ``cache`` or ``ledger``.
        timeout_s: Longest a reply is waited for, seconds.
        meanwhile: What becomes of its work while Redis cannot be asked, in words, for the program's log.
        probe: Asks Redis for the least that shows it works; raises what redis-py raises.

    Attributes:
        client: The synchronous client of redis-py, after `connect`.
        failures: What it raises when Redis cannot be asked, after `connect`.
        down: Whether Redis cannot be asked just now.
        outages: How often it became so.
        attempts: How often it was tried again.
        place: Where Redis is, without a password, after `connect`.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str,
        timeout_s: float,
        meanwhile: str,
        probe: Callable[[Any], object],
    ) -> None:
        self.client: Any = None
        self.failures: tuple[type[Exception], ...] = ()
        self.down = True
        self.outages = 0
        self.attempts = 0
        self.place = ""
        self._url = url
        self._user = user
        self._timeout_s = timeout_s
        self._meanwhile = meanwhile
        self._probe = probe
        self._random = random.Random()  # noqa: S311 - spreads processes in time, keeps no secret
        self._pause_s = _FIRST_PAUSE_S
        self._next_try = 0.0

    @property
    def next_try_s(self) -> float:
        """Seconds until Redis is to be tried again, >= 0."""
        return max(0.0, self._next_try - time.monotonic())

    def connect(self) -> None:
        """Connect. A Redis that is away just now is an outage like any other.

        Raises:
            ConfigError: redis-py is missing, the address is none, or Redis refuses the password.
        """
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as exc:
            raise ConfigError(
                f"a {self._user} in Redis needs redis-py: pip install 'cascade-ask[redis]'"
            ) from exc
        self.failures = (redis.RedisError, OSError)
        try:
            self.client = redis.Redis.from_url(
                self._url,
                socket_timeout=self._timeout_s,
                socket_connect_timeout=self._timeout_s,
                retry=Retry(NoBackoff(), 0),  # this module tries again itself, and counts once
            )
        except ValueError as exc:  # its message may quote the address, which may hold a password
            raise ConfigError(
                f"{self._user}: url is not redis://host:port/db, rediss://… or unix://path"
            ) from exc
        where = self.client.connection_pool.connection_kwargs
        where["decode_responses"] = False  # an address may ask for it; replies are bytes
        self.place = where.get("path") or f"{where.get('host')}:{where.get('port', 6379)}"
        try:
            self._probe(self.client)
        except self.failures as exc:
            refused = (redis.AuthenticationError, redis.exceptions.NoPermissionError)
            if isinstance(exc, refused) or "Authentication required" in str(exc):
                self.client.close()
                raise ConfigError(f"{self._user}: Redis at {self.place} refuses: {exc}") from exc
            self.note_outage(exc)
        else:
            self.down = False

    def works(self) -> bool:
        """Ask Redis for the least; return whether it did it."""
        try:
            self._probe(self.client)
        except self.failures:
            return False
        return True

    def try_again(self) -> None:
        """Look whether Redis is back; if it is not, pause for longer."""
        self.attempts += 1
        if self.works():
            self.down = False
            _log.warning("%s in Redis at %s: back", self._user, self.place)
        else:
            self._pause()

    def defer(self) -> None:
        """Have nobody else try until the one who is about to has tried."""
        self._next_try = time.monotonic() + _LONGEST_PAUSE_S

    def note_answer(self) -> None:
        """It works: the next outage begins with the shortest pause."""
        self._pause_s = _FIRST_PAUSE_S

    def note_outage(self, exc: Exception) -> None:
        """Redis cannot be asked any more."""
        self.down = True
        self.outages += 1
        self._pause()
        _log.error(
            "%s in Redis at %s: cannot be asked (%s: %s); until it is back %s",
            self._user,
            self.place,
            type(exc).__name__,
            exc,
            self._meanwhile,
        )

    def close(self) -> None:
        """Disconnect."""
        self.client.close()

    def _pause(self) -> None:
        self._next_try = time.monotonic() + self._random.uniform(0.5, 1.0) * self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
