"""A ledger of one process that survives its end: counted in memory, written behind to SQLite.

What was spent is stored, what is held is not: the calls of a process that has died are over. One
thread writes, `flush_s` after the first change at the latest, so a process that is killed forgets
what was settled in its last 50 ms; closing forgets nothing. A power cut can cost what the operating
system had not written yet (SQLite's `synchronous=NORMAL` in WAL mode), on Linux about half a minute.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import anyio.to_thread

from ..clock import SystemClock
from ..errors import ConfigError
from ..ports import Clock
from .budgets import LENGTH, Budget, Left, Per, Refusal, Reservation, Spend, period_end
from .ledger import Books, Row

__all__ = ["SqliteLedger"]

_log = logging.getLogger("cascade")

_MAGIC = 0x63617363
"""SQLite's application id of a ledger: ``casc``."""

_FORMAT = 1
"""SQLite's user version of a ledger: the layout of its tables."""

_LOCK_WAIT_S = 1.0
"""How long a file in use is waited for at opening: a predecessor may be about to close it."""

_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PASSING = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_PASSING_OS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
"""Errors of a full or failing disk: somebody will mend it, and no setting is wrong."""

_TABLE = """
CREATE TABLE spent (
    account BLOB NOT NULL, per TEXT NOT NULL, period TEXT NOT NULL,
    nano_usd INTEGER NOT NULL, tokens INTEGER NOT NULL,
    PRIMARY KEY (account, per)
) WITHOUT ROWID
"""

_UPSERT = "INSERT OR REPLACE INTO spent VALUES (?, ?, ?, ?, ?)"

_MOST = 2**63 - 1


class SqliteLedger:
    """Keeps budgets of one process in a file.

    A file can be open in one process only: two would each count for themselves. A file that is damaged
    is kept aside under another name and begun anew. While the file cannot be written, budgets are
    counted in memory; that is said once, and all is written as soon as it can be.

    Args:
        path: The file; it and its folder are created when missing.
        flush_s: Seconds after which a change is written at the latest, > 0.
        retry_s: Seconds between tries to write after one has failed, > 0.
        clock: Time source of the budgets' periods.

    Raises:
        ConfigError: A number of seconds is not above 0.

    Attributes:
        path: The file.
        set_aside: Where damaged files were kept, oldest first.
        failures: Writes that have failed.
        behind: Whether the file lacks something because the last write failed.
    """

    is_immediate = True
    """No method but `aclose` waits for anything."""

    def __init__(
        self,
        path: str | Path,
        *,
        flush_s: float = 0.02,
        retry_s: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        for name, seconds in (("flush_s", flush_s), ("retry_s", retry_s)):
            if not 0 < seconds <= threading.TIMEOUT_MAX:
                raise ConfigError(f"ledger: {name} {seconds!r} is not a number of seconds above 0")
        self.path = Path(path)
        self.set_aside: list[Path] = []
        self.failures = 0
        self.behind = False
        self._flush_s = flush_s
        self._retry_s = retry_s
        self._clock = clock or SystemClock()
        self._books = Books(self._clock)
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._idle = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._file: sqlite3.Connection | None = None
        self._inode = 0
        self._sound = False
        self._loaded = False

    @property
    def open_reservations(self) -> int:
        """Reservations neither settled nor released."""
        return self._books.open_reservations

    def start(self) -> None:
        """Open the file, read it, and start the writer.

        Raises:
            ConfigError: The file cannot be opened, is in use by another process, or is not a ledger.
        """
        if self._thread is not None:
            return
        changed: set[tuple[str, Per]] = set()
        self._books = Books(self._clock)
        self._books.changed = changed
        rows: list[Row] = []
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            rows = self._open()
        except (sqlite3.Error, OSError) as exc:
            if not _will_pass(exc):
                raise ConfigError(_cannot_open(self.path, exc)) from exc
            self._failed(exc)
        self._loaded = self._file is not None
        self._books.load(rows)
        changed.clear()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="cascade-ledger", daemon=True)
        self._thread.start()

    async def reserve(
        self, account: str, amount: Spend, limits: Sequence[Budget]
    ) -> Reservation | Refusal:
        """Hold an amount in every budget, or say which of them does not allow it."""
        with self._lock:
            return self._books.reserve(account, amount, limits)

    async def settle(self, reservation: Reservation, spent: Spend) -> None:
        """Count what a call has cost."""
        with self._lock:
            self._books.settle(reservation, spent)
            # One wake-up a batch, not one a call: a thread switch costs more than all the rest.
            if self._idle and self._books.changed:
                self._idle = False
                self._wake.notify()

    async def release(self, reservation: Reservation) -> None:
        """Hold nothing for a call any more."""
        with self._lock:
            self._books.release(reservation)

    async def left(self, account: str, limits: Sequence[Budget]) -> tuple[Left, ...]:
        """Return what is left of each budget."""
        with self._lock:
            return self._books.left(account, limits)

    async def aclose(self) -> None:
        """Write all that was settled and close the file, in a thread."""
        await anyio.to_thread.run_sync(self.close)

    def close(self) -> None:
        """Write all that was settled and close the file. Calling it twice is harmless."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        closing = False
        while not closing:
            with self._wake:
                while not (self._books.changed or self.behind or self._closing):
                    self._idle = True
                    self._wake.wait()
                self._idle = False
                if not self._closing:
                    self._wake.wait(self._retry_s if self.behind else self._flush_s)
                closing = self._closing
                changed = self._books.changed
                assert changed is not None
                rows = self._books.rows(None if self.behind else changed)
                changed.clear()
            if rows or self.behind:
                self._write(rows, closing)
        self._release_file()

    def _write(self, rows: list[Row], closing: bool) -> None:
        try:
            if self._file is None:
                found = self._open()
                with self._wake:
                    if not self._loaded:  # it could not be read at the start
                        self._books.load(found)
                        self._loaded = True
                    rows = self._books.rows()  # all, not only what has changed: it may be new
            assert self._file is not None
            if not _is_open_file(self.path, self._inode):
                raise OSError(f"{self.path} was removed or replaced")
            self._file.execute("BEGIN IMMEDIATE")
            self._file.executemany(_UPSERT, map(_stored, rows))
            self._file.execute("COMMIT")
        except (sqlite3.Error, OSError, ConfigError) as exc:
            self._failed(exc)
            self._release_file()
            if closing:
                _log.error("ledger %s: %d counts lost at closing", self.path, len(rows))
            return
        if self.behind:
            self.behind = False
            _log.warning("ledger %s: written again; nothing is missing", self.path)

    def _failed(self, exc: Exception) -> None:
        self.failures += 1
        if not self.behind:
            self.behind = True
            _log.error(
                "ledger %s: cannot be written (%s); budgets are counted in memory, which ends with "
                "this process; trying again every %g s",
                self.path,
                exc,
                self._retry_s,
            )

    def _open(self) -> list[Row]:
        """Open the file and return what it holds; keep a damaged one aside and begin a new one."""
        try:
            return self._open_as_it_is()
        except sqlite3.DatabaseError as exc:
            if _code(exc) not in _BROKEN:
                raise
            reason = str(exc)
        except _Damaged as exc:
            reason = str(exc)
        finally:
            if self._file is not None and not self._sound:
                self._release_file()
        self._keep_aside(reason)
        return self._open_as_it_is()

    def _open_as_it_is(self) -> list[Row]:
        self._sound = False
        # Made here, because SQLite would let everybody read it.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        self._inode = self.path.stat().st_ino
        file = sqlite3.connect(
            self.path.absolute(),
            timeout=_LOCK_WAIT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        self._file = file
        file.execute("PRAGMA locking_mode = EXCLUSIVE")  # a second process is refused
        new = _is_new(file, self.path)
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")
        file.execute("BEGIN IMMEDIATE")
        rows = _begin(file) if new else _rows_of(file)
        now = self._clock.now_iso()
        for per, length in LENGTH.items():
            file.execute("DELETE FROM spent WHERE per = ? AND period < ?", (per, now[:length]))
        file.execute("COMMIT")
        self._sound = True
        return rows

    def _keep_aside(self, reason: str) -> None:
        stamp = self._clock.now_iso().replace(":", "").replace("-", "")
        kept = self.path.with_name(f"{self.path.name}.damaged-{stamp}")
        for number in range(1, 1000):
            if not kept.exists():
                break
            kept = kept.with_name(f"{self.path.name}.damaged-{stamp}-{number}")
        for suffix in ("-wal", "-shm"):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.rename(kept.with_name(kept.name + suffix))
        self.path.rename(kept)
        self.set_aside.append(kept)
        _log.warning(
            "ledger %s: damaged (%s); kept as %s, and counting begins anew",
            self.path,
            reason,
            kept.name,
        )

    def _release_file(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
        except sqlite3.Error as exc:
            _log.warning("ledger %s: not closed cleanly (%s)", self.path, exc)


class _Damaged(Exception):
    """The file is a ledger by its mark, and holds what no ledger writes."""


def _is_new(file: sqlite3.Connection, path: Path) -> bool:
    """Return whether a database is empty; refuse one that is no ledger of this format."""
    magic = file.execute("PRAGMA application_id").fetchone()[0]
    layout = file.execute("PRAGMA user_version").fetchone()[0]
    tables = file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if magic == 0 and layout == 0 and tables == 0:
        return True
    if magic != _MAGIC:
        raise ConfigError(f"ledger {path}: this is another program's database; give another path")
    if layout != _FORMAT:
        raise ConfigError(
            f"ledger {path}: its format is {layout}, this version reads {_FORMAT}; "
            "give another path, or use the version that wrote it"
        )
    return False


def _begin(file: sqlite3.Connection) -> list[Row]:
    file.execute(f"PRAGMA application_id = {_MAGIC}")
    file.execute(f"PRAGMA user_version = {_FORMAT}")
    file.execute(_TABLE)
    return []


def _rows_of(file: sqlite3.Connection) -> list[Row]:
    """Return what a ledger file holds."""
    found = file.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise _Damaged(found)
    try:
        return [_read(row) for row in file.execute("SELECT * FROM spent")]
    except (ValueError, TypeError, KeyError, AttributeError, sqlite3.OperationalError) as exc:
        raise _Damaged(f"a row cannot be read: {exc}") from exc


def _stored(row: Row) -> tuple[bytes, Per, str, int, int]:
    account, per, period, usd, tokens = row
    # A name may hold what UTF-8 cannot say (half a surrogate pair out of somebody's JSON).
    name = account.encode("utf-8", "surrogatepass")
    return name, per, period, min(usd, _MOST), min(tokens, _MOST)


def _read(row: tuple[bytes, Per, str, int, int]) -> Row:
    account, per, period, usd, tokens = row
    period_end(per, period)
    if usd < 0 or tokens < 0 or not isinstance(usd + tokens, int):
        raise ValueError(f"{usd!r} and {tokens!r} are not counts")
    return account.decode("utf-8", "surrogatepass"), per, period, usd, tokens


def _is_open_file(path: Path, inode: int) -> bool:
    try:
        return path.stat().st_ino == inode
    except FileNotFoundError:
        return False


def _code(exc: Exception) -> int | None:
    """SQLite's primary error code."""
    code: int | None = getattr(exc, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _will_pass(exc: Exception) -> bool:
    if isinstance(exc, OSError):
        return exc.errno in _PASSING_OS
    return _code(exc) in _PASSING


def _cannot_open(path: Path, exc: Exception) -> str:
    if _code(exc) == sqlite3.SQLITE_BUSY:
        return (
            f"ledger {path}: in use by another process; give each process its own, or let them share "
            "one in Redis"
        )
    said = exc.strerror if isinstance(exc, OSError) else exc
    return f"ledger {path}: cannot be opened ({said}); give a file this process may write to"
