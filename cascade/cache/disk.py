"""Answers kept in a folder on disk, for one process after another or several at once."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..clock import SystemClock
from ..errors import ConfigError
from ..ports import Clock
from ..types import CacheEntry
from .codec import decode, encode
from .counters import Counters
from .life import Wall, is_alive, life_s

if TYPE_CHECKING:
    from .disk_file import DiskFile
    from .disk_keeper import Keeper

__all__ = ["DiskCache"]

_log = logging.getLogger("cascade")

_SLOW_S = 0.05
_SLOW_FOR_S = 10.0
"""After a lookup that took longer, lookups go through the thread for so many seconds."""

_LONG_S = 30.0
"""Longest that removing or listing entries waits for one step."""

_PAGE = 100
_PAGE_BYTES = 4_000_000
"""Most that is listed in one step, in entries and in bytes."""


class DiskCache:
    """Keeps entries in a SQLite database by way of diskcache: as JSON, never as pickles.

    Lookups run in the task that asks, where handing them to a thread takes six times as long. One that
    takes 50 ms or longer sends those of the next 10 s to the thread, where each waits `timeout_s` at
    most: a disk that hangs for good holds the event loop once. The folder must be on a local disk: the
    write-ahead log of SQLite does not work over a network. Everything else runs in the thread.

    What was kept first is dropped first when `max_mb` is reached. Several processes may share a folder,
    and one may be killed at any time. A damaged file is renamed, and begun anew. While the disk is full
    or fails nothing is kept; that is said once, and tried again every `retry_s`.

    Args:
        folder: Where to keep them; it is created when missing.
        max_mb: Size of the file, in units of 1,000,000 bytes, >= 1. A log of some megabytes and, for a
            moment, the newest entries come on top. An entry may take half of it.
        timeout_s: Longest an ask waits for the thread, seconds, > 0.
        retry_s: Seconds between tries after a failure, >= 0.
        clock: Time source of the entries' times.

    Raises:
        ConfigError: An argument is out of range.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        max_mb: float = 1000.0,
        timeout_s: float = 0.25,
        retry_s: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        if not 1 <= max_mb < math.inf:
            raise ConfigError(f"cache: max_mb {max_mb!r} is not a number from 1")
        if not 0.001 <= timeout_s <= 1e6:
            raise ConfigError(f"cache: timeout_s {timeout_s!r} is not in [0.001, 1e6] seconds")
        if not 0 <= retry_s <= 1e6:
            raise ConfigError(f"cache: retry_s {retry_s!r} is not in [0, 1e6] seconds")
        self._folder = Path(folder)
        self._max_bytes = int(max_mb * 1e6)
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._clock = clock or SystemClock()
        self._wall = Wall(self._clock)
        self._counts = Counters()
        self._keeper: Keeper | None = None
        self._read_from: DiskFile | None = None
        self._slow_until = -math.inf

    @property
    def set_aside(self) -> list[Path]:
        """Where damaged files were kept, oldest first."""
        return [] if self._keeper is None else list(self._keeper.set_aside)

    def start(self) -> None:
        """Open the file, and start the thread that writes.

        Raises:
            ConfigError: The folder cannot be used, or holds another program's database.
        """
        if self._keeper is not None:
            return
        from .disk_keeper import Keeper

        keeper = Keeper(
            self._folder,
            max_bytes=self._max_bytes,
            timeout_s=self._timeout_s,
            retry_s=self._retry_s,
            clock=self._clock,
            counts=self._counts,
        )
        keeper.start()
        self._keeper = keeper
        self._read_from = keeper.file

    async def get(self, key: str) -> CacheEntry | None:
        """Return the entry, or None when it is not there, past its time, or cannot be read."""
        data = await self._data(key)
        entry = None
        if data is not None:
            entry = decode(data, key)
            if entry is None:
                self._counts.unreadable += 1
            elif not is_alive(entry, self._wall.now()):
                self._counts.expired += 1
                entry = None
        if entry is None:
            self._counts.misses += 1
        else:
            self._counts.hits += 1
        return entry

    async def put(self, entry: CacheEntry) -> bool:
        """Keep an entry; return whether it is in the file by now."""
        data = encode(entry)
        life = 0.0 if data is None else life_s(entry, self._wall.now())
        if data is None or life <= 0:
            self._counts.unstorable += 1
            return False
        if len(data) > self._max_bytes // 2:
            self._counts.too_large += 1
            return False
        keeper = self._keeper
        if keeper is not None and keeper.takes_writes:
            put = (entry.key, data, None if life == math.inf else life)
            if await keeper.line.ask(put, weight=len(data)):
                self._counts.puts += 1
                return True
        self._counts.failures += 1
        return False

    async def remove(self, keys: Iterable[str]) -> int:
        """Drop entries; return how many there were. That they could not be dropped is logged."""
        keeper, keys = self._keeper, list(keys)
        if keeper is None or not keys:
            return 0

        def drop() -> int | None:
            file = keeper.file
            return None if file is None else keeper.do(file, lambda: file.remove(keys))

        removed = await keeper.line.ask(drop, timeout_s=_LONG_S)
        if removed is None:
            self._counts.failures += 1
            _log.error("cache %s: %d entries could not be removed", self._folder, len(keys))
        return removed or 0

    async def entries(self) -> AsyncIterator[CacheEntry]:
        """Yield what is kept, oldest first."""
        keeper = self._keeper
        file = None if keeper is None else keeper.file
        if keeper is None or file is None:
            self._counts.failures += 1
            return
        keys: Iterator[str] | None = None

        def page() -> list[tuple[str, bytes]]:
            nonlocal keys
            if keys is None:
                keys = file.keys()
            return file.page(keys, _PAGE, _PAGE_BYTES)

        while listed := await keeper.line.ask(lambda: keeper.do(file, page), timeout_s=_LONG_S):
            for key, data in listed:
                entry = decode(data, key)
                if entry is not None and is_alive(entry, self._wall.now()):
                    yield entry

    def stats(self) -> Mapping[str, int]:
        """Return counters by name; entries (those past their time too) and bytes as of the last write."""
        measures = {} if self._keeper is None else self._keeper.measures
        return {"entries": 0, "bytes": 0, **measures, **self._counts.as_dict()}

    async def aclose(self) -> None:
        """Write what waits and close the file."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await keeper.line.aclose()
        if self._read_from is not None:
            self._read_from.close()
            self._read_from = None

    async def _data(self, key: str) -> bytes | None:
        keeper = self._keeper
        file = None if keeper is None else keeper.file
        if keeper is None or file is None:
            self._counts.failures += 1
            if keeper is not None:
                keeper.try_again()
            return None
        if time.monotonic() < self._slow_until:
            return await keeper.line.ask(lambda: keeper.look_up(file, key), idle=True)
        if self._read_from is not file:
            if self._read_from is not None:
                self._read_from.close()
            self._read_from = file
        started = time.monotonic()
        data = keeper.look_up(file, key)
        ended = time.monotonic()
        if ended - started > _SLOW_S:
            self._slow_until = ended + _SLOW_FOR_S
        return data
