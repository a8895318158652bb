"""One cache over another: a quick small one over a slow large one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping

from ..ports import Cache
from ..types import CacheEntry

__all__ = ["TieredCache"]


class TieredCache:
    """Looks above first; what is found below is kept above as well, until its own time is over.

    What others remove from the store below is served from above until it has left there: give the
    `MemoryCache` above a `keep_s`. What is removed here while it is being looked up is not lifted.

    Args:
        above: The quick one, of this process alone.
        below: The one that lasts.
    """

    def __init__(self, above: Cache, below: Cache) -> None:
        self._above = above
        self._below = below
        self._lifting: dict[str, object] = {}

    def start(self) -> None:
        """Open both.

        Raises:
            ConfigError: One of them cannot be used at all.
        """
        self._below.start()
        self._above.start()

    @property
    def down(self) -> bool:
        """Whether the store below cannot be asked just now."""
        return getattr(self._below, "down", False)

    async def get(self, key: str) -> CacheEntry | None:
        """Return the entry from above, or from below."""
        entry = await self._above.get(key)
        if entry is not None:
            return entry
        mark = self._lifting[key] = object()
        try:
            entry = await self._below.get(key)
            if entry is not None and self._lifting.get(key) is mark:
                await self._above.put(entry)
        finally:
            if self._lifting.get(key) is mark:
                del self._lifting[key]
        return entry

    async def put(self, entry: CacheEntry) -> bool:
        """Keep an entry in both; return whether one of them keeps it."""
        below = await self._below.put(entry)
        self._lifting.pop(entry.key, None)
        return await self._above.put(entry) or below

    async def remove(self, keys: Iterable[str]) -> int:
        """Drop entries from both; return how many the one that held more of them had."""
        keys = list(keys)
        below = await self._below.remove(keys)
        for key in keys:
            self._lifting.pop(key, None)
        return max(await self._above.remove(keys), below)

    async def entries(self) -> AsyncIterator[CacheEntry]:
        """Yield what is kept below, and then what is kept only above."""
        seen: set[str] = set()
        for store in (self._below, self._above):
            listed = store.entries()
            try:
                async for entry in listed:
                    if entry.key not in seen:
                        seen.add(entry.key)
                        yield entry
            finally:
                if isinstance(listed, AsyncGenerator):
                    await listed.aclose()

    def stats(self) -> Mapping[str, int]:
        """Return hits and misses of the two together, and the counters of each by ``above_``, ``below_``."""
        above, below = self._above.stats(), self._below.stats()
        return {
            "hits": above["hits"] + below["hits"],
            "misses": below["misses"],
            **{name: below[name] for name in ("entries", "bytes") if name in below},
            **{f"above_{name}": count for name, count in above.items()},
            **{f"below_{name}": count for name, count in below.items()},
        }

    async def aclose(self) -> None:
        """Close both."""
        try:
            await self._above.aclose()
        finally:
            await self._below.aclose()
