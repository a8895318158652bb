"""Answers kept in the memory of one process: the most recently used ones, up to a number of bytes."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping

from anyio.lowlevel import checkpoint

from ..clock import SystemClock
from ..errors import ConfigError
from ..ports import Clock
from ..types import CacheEntry
from .codec import decode_own, encode
from .counters import Counters
from .life import Wall, life_s, seconds_of

__all__ = ["MemoryCache"]

_BREATH = 100
"""Entries listed before other tasks get a turn."""


class MemoryCache:
    """Keeps entries as bytes, so that no two asks share what one of them could change.

    An entry counts as long as it is written (`codec`): some 600 bytes and its texts. In memory it takes
    about 290 bytes more, for its key, its times and its place in the order.

    Args:
        max_mb: Most bytes of all entries, in units of 1,000,000, > 0.
        keep_s: Seconds after which an entry is dropped whatever its own time says; None: its own time
            alone. Over a store that others write to, what they removed is served no longer than that.
        clock: Time source.

    Raises:
        ConfigError: An argument is out of range.
    """

    is_immediate = True
    """`get` and `put` wait for nothing."""

    def __init__(
        self, *, max_mb: float = 256.0, keep_s: float | None = None, clock: Clock | None = None
    ) -> None:
        if not 0 < max_mb < math.inf:
            raise ConfigError(f"cache: max_mb {max_mb!r} is not a number above 0")
        if keep_s is not None and not keep_s > 0:
            raise ConfigError(f"cache: keep_s {keep_s!r} is not a number of seconds above 0")
        self._max_bytes = int(max_mb * 1e6)
        self._keep_s = math.inf if keep_s is None else keep_s
        self._clock = clock or SystemClock()
        self._wall = Wall(self._clock)
        self._kept: OrderedDict[str, tuple[bytes, float, float]] = OrderedDict()
        self._bytes = 0
        self._counts = Counters()

    def start(self) -> None:
        """Nothing is to be opened."""

    async def get(self, key: str) -> CacheEntry | None:
        """Return the entry, or None when it is not there or past its time."""
        found = self._kept.get(key)
        if found is None:
            self._counts.misses += 1
            return None
        data, until, expires = found
        if until != math.inf and self._is_over(until, expires):
            self._drop(key)
            self._counts.expired += 1
            self._counts.misses += 1
            return None
        entry = decode_own(data, key)
        if entry is None:  # what was put was no entry: its fields are of the wrong types
            self._drop(key)
            self._counts.unreadable += 1
            self._counts.misses += 1
            return None
        self._kept.move_to_end(key)
        self._counts.hits += 1
        return entry

    async def put(self, entry: CacheEntry) -> bool:
        """Keep an entry, dropping what was used least recently to make room."""
        self._drop(entry.key)
        data = encode(entry)
        life = 0.0 if data is None else min(life_s(entry, self._wall.now()), self._keep_s)
        if data is None or life <= 0:
            self._counts.unstorable += 1
            return False
        if len(data) > self._max_bytes:
            self._counts.too_large += 1
            return False
        expires = entry.expires_at and seconds_of(entry.expires_at)
        self._kept[entry.key] = (data, self._clock.monotonic() + life, expires or math.inf)
        self._bytes += len(data)
        while self._bytes > self._max_bytes:
            _, (dropped, _, _) = self._kept.popitem(last=False)
            self._bytes -= len(dropped)
            self._counts.evictions += 1
        self._counts.puts += 1
        return True

    async def remove(self, keys: Iterable[str]) -> int:
        """Drop entries; return how many there were."""
        return sum(self._drop(key) for key in list(keys))

    async def entries(self) -> AsyncIterator[CacheEntry]:
        """Yield what is kept, least recently used first."""
        for number, key in enumerate(list(self._kept)):
            if number % _BREATH == 0:
                await checkpoint()
            found = self._kept.get(key)
            if found is None or self._is_over(*found[1:]):
                continue
            entry = decode_own(found[0], key)
            if entry is not None:
                yield entry

    def stats(self) -> Mapping[str, int]:
        """Return counters by name. Entries past their time count until they are looked up or dropped."""
        return {"entries": len(self._kept), "bytes": self._bytes, **self._counts.as_dict()}

    async def aclose(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._bytes = 0

    def _is_over(self, until: float, expires: float) -> bool:
        """Both clocks must allow it: one stands still while the machine sleeps, one can be set back."""
        return self._clock.monotonic() >= until or self._wall.now() >= expires

    def _drop(self, key: str) -> bool:
        found = self._kept.pop(key, None)
        if found is None:
            return False
        self._bytes -= len(found[0])
        return True
