"""The file of a disk cache: diskcache's tables, opened only when they are exactly that.

A cache file may come from a stranger. diskcache would unpickle what a row says is a pickle, open and
delete the files that rows name, and run pragmas out of its table of settings. So values are bytes inside
the database and nothing else (no pickles, no files), and a database whose tables or settings are others
than those a new cache has is not opened. Imports diskcache and sqlite3: only `disk` imports it, late.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import diskcache

from ..errors import ConfigError

__all__ = ["NAME", "Damaged", "DiskFile", "Unusable"]

T = TypeVar("T")

NAME = diskcache.core.DBNAME
"""Name of the file in the cache's folder; SQLite adds ``-wal`` and ``-shm`` beside it."""

_MAGIC = 0x63616368
"""SQLite's application id of a cache: ``cach``."""

_LOCK_WAIT_S = 0.02
"""How long SQLite waits for another process's write: the thread that asks may be the event loop's."""

_PATIENCE_S = 1.0
"""How long a write is tried again while another process writes, and opening waits for it."""

_SETTINGS = {
    "eviction_policy": "none",  # ours goes by bytes; diskcache's drops ten entries whatever their size
    "cull_limit": 0,
    "disk_min_file_size": 2**31,  # every value goes into the database
    "sqlite_mmap_size": 0,  # a mapped file that somebody truncates kills the process (SIGBUS)
    "sqlite_journal_size_limit": 4_000_000,  # a write-ahead log shrinks again after large entries
}

_TABLES = "ad54981b9216c2b2cffda6ad92e9ec13d072c74d9aa52246048d5ccb15ab64be"
"""Digest of the tables that diskcache 5.6 makes, to spare making them for comparison."""

_SHRINK = 0.95
"""Part of its size to which a full cache is brought, so that not every entry drops another."""

_MOST_DROPPED = 64
"""Most entries dropped in one transaction: the file shrinks at its end, and is looked at again."""

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_PASSING = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
)


class Damaged(Exception):
    """The file is no cache any more, or never was one of ours."""


class Unusable(Exception):
    """The file cannot be used just now.

    Attributes:
        reopen: Whether it has to be opened anew; otherwise it can still be read.
        busy: Whether another process is writing.
    """

    def __init__(self, said: object, *, reopen: bool, busy: bool = False) -> None:
        super().__init__(str(said))
        self.reopen = reopen
        self.busy = busy


class _PlainDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Keys are text and values are bytes, in the database. Whatever else a row holds is nothing."""

    def put(self, key: str) -> tuple[str, bool]:
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        return key if raw == 1 and isinstance(key, str) else ""

    def store(self, value: bytes, read: bool, key: Any = None) -> tuple[int, int, None, Any]:
        return 0, diskcache.core.MODE_RAW, None, sqlite3.Binary(value)

    def fetch(self, mode: Any, filename: Any, value: Any, read: bool) -> bytes:
        return value if mode == diskcache.core.MODE_RAW and isinstance(value, bytes) else b""

    def remove(self, file_path: Any) -> None:
        """Delete nothing: no file is ours, whatever a row says."""


class DiskFile:
    """An open cache file. Every method raises `Damaged` or `Unusable`.

    Args:
        folder: Where the file is; it must exist.
        max_bytes: Size of the file from which entries are dropped.

    Raises:
        ConfigError: The file is another program's database.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._path = folder / NAME
        self._max_bytes = max_bytes
        self._inode = _translated(lambda: _inspected(self._path))
        self._cache = _translated(
            lambda: diskcache.Cache(
                str(folder),
                timeout=_LOCK_WAIT_S,
                disk=_PlainDisk,
                **{**diskcache.DEFAULT_SETTINGS, **_SETTINGS, "size_limit": max_bytes},
            )
        )

    @property
    def is_in_place(self) -> bool:
        """Whether it is still what its path leads to: it may have been removed or replaced."""
        try:
            return bool(self._path.stat().st_ino == self._inode)
        except OSError:
            return False

    def get(self, key: str) -> bytes | None:
        """Return the value, b"" when it is none of ours, None when there is none."""
        try:
            value: bytes | None = self._cache.get(key)
        except UnicodeError:  # half a surrogate pair: no such key was ever kept
            return None
        except (diskcache.Timeout, sqlite3.Error, OSError, ValueError, TypeError) as exc:
            if isinstance(exc, sqlite3.OperationalError) and _code(exc) is None:
                return b""  # text in the row that is no UTF-8
            raise _meaning(exc) from exc
        return value

    def put(self, items: Sequence[tuple[str, bytes, float | None]]) -> int:
        """Keep values with their keys and seconds to live, all or none; return how many were dropped."""

        def keep() -> None:
            with self._cache.transact():
                for key, value, life_s in items:
                    self._cache.delete(key)  # what is kept anew is the newest
                    self._cache.set(key, value, expire=life_s)

        self._patiently(keep)
        return _translated(self._make_room)

    def remove(self, keys: Sequence[str]) -> int:
        """Drop values; return how many there were."""

        def drop() -> int:
            with self._cache.transact():
                return sum(self._cache.delete(key) for key in keys)

        return self._patiently(drop)

    def keys(self) -> Iterator[str]:
        """Return an iterator over all keys, oldest first, to be used with `pages`."""
        return _translated(lambda: iter(self._cache))

    def page(self, keys: Iterator[str], most: int, most_bytes: int) -> list[tuple[str, bytes]]:
        """Return the next values with their keys; none: that was all."""
        page: list[tuple[str, bytes]] = []
        size = 0
        while len(page) < most and size < most_bytes:
            key = _translated(lambda: next(keys, None))
            if key is None:
                break
            value = self.get(key)
            if value is not None:
                size += len(value)
                page.append((key, value))
        return page

    def measures(self) -> tuple[int, int]:
        """Return the number of values, and the size of the file in bytes."""
        return _translated(lambda: (len(self._cache), self._cache.volume()))

    def close(self) -> None:
        """Close what this thread has open."""
        try:
            self._cache.close()
        except sqlite3.Error:
            return  # there is nothing more to be done with it

    def _make_room(self) -> int:
        cache = self._cache
        if cache.volume() <= self._max_bytes:
            return 0
        dropped = int(cache.expire())
        while (excess := cache.volume() - self._max_bytes * _SHRINK) > 0:
            count = len(cache)
            # As many as would do if all were of one size, but no more than half: the newest is to stay.
            most = 1 + int(excess * count / cache.volume())
            keys = list(islice(iter(cache), max(1, min(most, count // 2, _MOST_DROPPED))))
            with cache.transact():
                gone = sum(cache.delete(key) for key in keys)
            if not gone:
                raise Damaged("it is full of what cannot be dropped")
            dropped += gone
        return dropped

    def _patiently(self, write: Callable[[], T]) -> T:
        """Write, waiting a while for another process that writes."""
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return _translated(write)
            except Unusable as exc:
                if not exc.busy or time.monotonic() > give_up:
                    raise


def _translated(act: Callable[[], T]) -> T:
    try:
        return act()
    except (diskcache.Timeout, sqlite3.Error, OSError) as exc:
        raise _meaning(exc) from exc
    except (ValueError, TypeError, OverflowError, RuntimeError) as exc:
        raise Damaged(f"{type(exc).__name__}: {exc}") from exc


def _meaning(exc: BaseException) -> Damaged | Unusable:
    """Say whether a file is damaged, or somebody will mend it."""
    if isinstance(exc, diskcache.Timeout):  # what it stands for is not always a lock
        exc = exc.__context__ or exc
    code = _code(exc)
    if code == sqlite3.SQLITE_FULL or code in _BUSY:
        return Unusable(exc, reopen=False, busy=code in _BUSY)
    if code in _PASSING or isinstance(exc, OSError | diskcache.Timeout | sqlite3.ProgrammingError):
        return Unusable(exc, reopen=True)
    return Damaged(str(exc))


def _code(exc: BaseException | None) -> int | None:
    """SQLite's primary error code."""
    code: int | None = getattr(exc, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _inspected(path: Path) -> int:
    """Make a file when there is none, refuse one that is no cache, and return its inode."""
    # Made here, because SQLite would let everybody read it.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    file = sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None)
    try:
        if not _tables(file):
            file.execute("PRAGMA auto_vacuum = FULL")  # before anything is written
        # diskcache would wait a minute for a process that is stopped while it writes.
        file.execute("BEGIN IMMEDIATE")
        if not _tables(file) and _application(file) == 0:
            file.execute(f"PRAGMA application_id = {_MAGIC}")
        file.execute("COMMIT")
        if _application(file) != _MAGIC:
            raise ConfigError(
                f"cache {path}: this is another program's database; give another folder"
            )
        tables = _tables(file)
        if _digest(tables) != _TABLES and not tables <= _tables_of_a_new_one():
            raise Damaged("its tables are not those of a cache")
        if any(name == "Settings" for _, name, _ in tables):
            _check_settings(file)
    finally:
        file.close()
    return path.stat().st_ino


def _application(file: sqlite3.Connection) -> Any:
    return file.execute("PRAGMA application_id").fetchone()[0]


def _tables(file: sqlite3.Connection) -> set[tuple[Any, Any, Any]]:
    return set(file.execute("SELECT type, name, sql FROM sqlite_master"))


def _digest(tables: set[tuple[Any, Any, Any]]) -> str:
    return hashlib.sha256(repr(sorted(map(repr, tables))).encode()).hexdigest()


def _tables_of_a_new_one() -> set[tuple[Any, Any, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        diskcache.Cache(folder, **{**diskcache.DEFAULT_SETTINGS, **_SETTINGS}).close()
        file = sqlite3.connect(Path(folder) / NAME)
        try:
            return _tables(file)
        finally:
            file.close()


def _check_settings(file: sqlite3.Connection) -> None:
    known = {*diskcache.DEFAULT_SETTINGS, *_SETTINGS}
    for name, value in file.execute("SELECT key, value FROM Settings"):
        is_count = name in diskcache.core.METADATA and isinstance(value, int)
        if name not in known and not is_count:
            raise Damaged("its settings are not those of a cache")
