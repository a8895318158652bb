"""Answers kept in Redis, for several processes on several machines."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from ..clock import SystemClock
from ..errors import ConfigError
from ..ports import Clock
from ..types import CacheEntry
from .codec import decode, encode
from .counters import Counters
from .life import Wall, is_alive, life_s
from .redis_line import Commands, RedisLine

__all__ = ["RedisCache"]

_log = logging.getLogger("cascade")

_AT_ONCE = 500
"""Keys removed by one command, or looked for in one step."""

_STEP = 20
"""Entries read in one step of a listing: few, because each may be large."""


class RedisCache:
    """Keeps entries in Redis (5 or newer, or what speaks like it).

    Lookups of many tasks share one round trip. Redis drops entries when their time is over, and the least
    recently used ones when it is full, if it is set to (``maxmemory-policy allkeys-lru``): how much it
    may hold is its own setting. An answer of Redis that is no entry of the key is a miss.

    While Redis cannot be asked, every lookup is a miss at once, and nothing is kept. It is tried again
    when somebody asks, by the thread, after 0.1 s and then ever more rarely, up to 5 s.

    Args:
        url: Where it is: ``redis://host:6379/0``, ``rediss://…`` or ``unix://…``.
        timeout_s: Longest an ask waits for Redis, seconds, > 0.
        max_entry_mb: Largest entry kept or read, in units of 1,000,000 bytes, > 0.
        prefix: What the names of all keys begin with.
        clock: Time source of the entries' times.

    Raises:
        ConfigError: An argument is out of range.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 0.25,
        max_entry_mb: float = 16.0,
        prefix: str = "cascade:cache",
        clock: Clock | None = None,
    ) -> None:
        if not 0.001 <= timeout_s <= 1e6:
            raise ConfigError(f"cache: timeout_s {timeout_s!r} is not in [0.001, 1e6] seconds")
        if not 0 < max_entry_mb <= 500:  # Redis itself takes 512 MiB
            raise ConfigError(f"cache: max_entry_mb {max_entry_mb!r} is not in (0, 500]")
        self._url = url
        self._timeout_s = timeout_s
        self._max_bytes = int(max_entry_mb * 1e6)
        self._prefix = _bytes(prefix) + b":"
        self._wall = Wall(clock or SystemClock())
        self._counts = Counters()
        self._line: RedisLine | None = None

    @property
    def down(self) -> bool:
        """Whether Redis cannot be asked just now."""
        return self._line is None or self._line.down

    @property
    def attempts(self) -> int:
        """How often Redis was tried again since the start."""
        return 0 if self._line is None else self._line.attempts

    def start(self) -> None:
        """Connect, and start the thread that speaks to Redis. Waits `timeout_s` or two at most.

        A Redis that is away just now is an outage like any other.

        Raises:
            ConfigError: redis-py is missing, the address is none, or Redis refuses the password.
        """
        if self._line is None:
            line = RedisLine(self._url, timeout_s=self._timeout_s)
            line.start()
            self._line = line

    async def get(self, key: str) -> CacheEntry | None:
        """Return the entry, or None when it is not there, past its time, or cannot be had."""
        replies = await self._ask((self._read(key),), idle=True)
        entry = None if replies is None else self._entry(key, replies[0])
        if entry is None:
            self._counts.misses += 1
        else:
            self._counts.hits += 1
        return entry

    async def put(self, entry: CacheEntry) -> bool:
        """Keep an entry; return whether Redis has it."""
        data = encode(entry)
        life = 0.0 if data is None else life_s(entry, self._wall.now())
        if data is None or life <= 0:
            self._counts.unstorable += 1
            return False
        if len(data) > self._max_bytes:
            self._counts.too_large += 1
            return False
        command: tuple[Any, ...] = ("SET", self._name(entry.key), data)
        if life != math.inf:
            command += ("PX", max(1, int(life * 1000)))
        replies = await self._ask((command,), weight=len(data))
        if replies is None:
            return False
        if isinstance(replies[0], Exception):  # it is full, or a replica
            self._counts.failures += 1
            return False
        self._counts.puts += 1
        return True

    async def remove(self, keys: Iterable[str]) -> int:
        """Drop entries; return how many there were. That they could not be dropped is logged."""
        names = [self._name(key) for key in keys]
        if not names:
            return 0
        chunks = [names[i : i + _AT_ONCE] for i in range(0, len(names), _AT_ONCE)]
        replies = await self._ask(tuple(("UNLINK", *chunk) for chunk in chunks))
        counts = [0] if replies is None else [n for n in replies if isinstance(n, int)]
        if replies is None or len(counts) < len(replies):
            _log.error("cache in Redis: not all of %d entries could be removed", len(names))
        return sum(counts)

    async def entries(self) -> AsyncIterator[CacheEntry]:
        """Yield what is kept, in no order. It ends early when Redis does not answer."""
        pattern = _escaped(self._prefix) + b"*"
        cursor: Any = 0
        seen: set[bytes] = set()  # Redis may name a key twice
        while True:
            replies = await self._ask((("SCAN", cursor, "MATCH", pattern, "COUNT", _AT_ONCE),))
            if replies is None or not isinstance(replies[0], tuple | list):
                return
            cursor, names = replies[0]
            names = [name for name in names if name not in seen]
            seen.update(names)
            for i in range(0, len(names), _STEP):
                keys = [_text(name[len(self._prefix) :]) for name in names[i : i + _STEP]]
                found = await self._ask(tuple(self._read(key) for key in keys))
                for key, data in zip(keys, found or (), strict=False):
                    entry = decode(data, key)
                    if entry is not None and is_alive(entry, self._wall.now()):
                        yield entry
            if not int(cursor):
                return

    def stats(self) -> Mapping[str, int]:
        """Return counters by name. How much there is in all, only Redis knows."""
        here = 0 if self._line is None else self._line.outages
        return {**self._counts.as_dict(), "outages": self._counts.outages + here}

    async def aclose(self) -> None:
        """Disconnect."""
        line, self._line = self._line, None
        if line is not None:
            self._counts.outages += line.outages
            await line.aclose()

    def _name(self, key: str) -> bytes:
        return self._prefix + _bytes(key)

    def _read(self, key: str) -> tuple[Any, ...]:
        """Return the command that reads a value: one byte more than is allowed at most, however long it is.

        Like GET it marks the key as used, for Redis's choice of what to drop.
        """
        return ("GETRANGE", self._name(key), 0, self._max_bytes)

    def _entry(self, key: str, data: Any) -> CacheEntry | None:
        if data == b"":
            return None
        if isinstance(data, Exception) and not str(data).startswith("WRONGTYPE"):
            self._counts.failures += 1
            return None
        entry = decode(data, key)
        if entry is None:
            self._counts.unreadable += 1
        elif not is_alive(entry, self._wall.now()):
            self._counts.expired += 1
            return None
        return entry

    async def _ask(
        self, commands: Commands, *, weight: int = 0, idle: bool = False
    ) -> list[Any] | None:
        """Return a reply or an exception for each command; None, and a failure, when there is none."""
        line = self._line
        replies = None if line is None else await line.ask(commands, weight=weight, idle=idle)
        if replies is None:
            self._counts.failures += 1
        return replies


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _text(key: bytes) -> str:
    return key.decode("utf-8", "replace")


def _escaped(prefix: bytes) -> bytes:
    """Return a prefix so that Redis does not take it for a pattern."""
    return b"".join(b"\\" + bytes((c,)) if c in b"*?[]\\^-" else bytes((c,)) for c in prefix)
