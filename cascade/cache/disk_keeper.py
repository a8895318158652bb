"""Keeps the file of a disk cache open: what is done when it is damaged, full, busy or gone.

Imports diskcache by way of `disk_file`: only `disk` imports it, late.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ConfigError
from ..ports import Clock
from .counters import Counters
from .disk_file import NAME, Damaged, DiskFile, Unusable
from .line import Job, Line

__all__ = ["Act", "Keeper", "Put"]

T = TypeVar("T")

_log = logging.getLogger("cascade")

_NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
"""Errors of a full or failing disk: somebody will mend it, and no setting is wrong."""

Put = tuple[str, bytes, float | None]
"""A value to keep: its key, it, and its seconds to live."""

Act = Callable[[], Any]


class Keeper:
    """Owns the file and the thread that writes to it.

    Args:
        folder: Where the file is.
        max_bytes: Size of the file from which entries are dropped.
        timeout_s: Longest an ask waits for the thread, seconds.
        retry_s: Seconds between tries after a failure.
        clock: Tells when damaged files were renamed.
        counts: What is counted here: evictions, failures, outages, set_aside.

    Attributes:
        file: The open file, or None while there is none.
        line: The thread.
        set_aside: Where damaged files were kept, oldest first.
        measures: Entries and bytes as of the last write.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        timeout_s: float,
        retry_s: float,
        clock: Clock,
        counts: Counters,
    ) -> None:
        self.file: DiskFile | None = None
        self.line: Line[Put | Act, Any] = Line(
            "cascade-cache", self._perform, self._close, timeout_s=timeout_s
        )
        self.set_aside: list[Path] = []
        self.measures = {"entries": 0, "bytes": 0}
        self._folder = folder
        self._max_bytes = max_bytes
        self._retry_s = retry_s
        self._clock = clock
        self._counts = counts
        self._troubled = False
        self._next_try = 0.0

    def start(self) -> None:
        """Open the file, and start the thread.

        Raises:
            ConfigError: The folder cannot be used, or holds another program's database.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open()
        except OSError as exc:
            if exc.errno not in _NO_PLACE:
                raise ConfigError(
                    f"cache {self._folder}: cannot be used ({exc.strerror}); give a folder this "
                    "process may write to"
                ) from exc
            self._note_trouble(exc)
        except Unusable as exc:
            if isinstance(exc.__cause__, PermissionError | NotADirectoryError | IsADirectoryError):
                raise ConfigError(
                    f"cache {self._folder}: cannot be used ({exc}); give a folder this process may "
                    "write to"
                ) from exc
            self._note_trouble(exc)
        self.line.start()

    @property
    def takes_writes(self) -> bool:
        """Whether something may be written now: always, or after a failure once every `retry_s`."""
        if not self._troubled:
            return True
        now = time.monotonic()
        if now < self._next_try:
            return False
        self._next_try = now + self._retry_s
        return True

    def try_again(self) -> None:
        """Have the file opened when it is time to. Does not wait."""
        if self.takes_writes:
            self.line.tell(self._reopen)

    def look_up(self, file: DiskFile, key: str) -> bytes | None:
        """Return a value, or None; any thread may call this."""
        try:
            return file.get(key)
        except (Damaged, Unusable) as exc:
            self._counts.failures += 1
            self._fail(file, exc)
            return None

    def do(self, file: DiskFile, act: Callable[[], T]) -> T | None:
        """Return what an act on the file returns, or None when the file fails it. For the thread."""
        try:
            done = act()
        except (Damaged, Unusable) as exc:
            self._fail(file, exc)
            return None
        return done

    def _perform(self, jobs: list[Job[Put | Act, Any]]) -> list[Any]:
        puts = [job.ask for job in jobs if isinstance(job.ask, tuple)]
        kept = self._write(puts) if puts else False
        return [
            kept if isinstance(job.ask, tuple) else job.ask() if job.wanted else None
            for job in jobs
        ]

    def _write(self, puts: list[Put]) -> bool:
        file = self.file
        if file is not None and not file.is_in_place:
            self._let_go(file)  # written on, it would be lost with its last reader
            file = None
        if file is None:
            self._reopen()
            file = self.file
        if file is None:
            return False
        dropped = self.do(file, lambda: file.put(puts))
        if dropped is None:
            return False
        self._counts.evictions += dropped
        self._measure(file)
        if self._troubled:
            self._troubled = False
            _log.warning("cache %s: kept again", self._folder)
        return True

    def _measure(self, file: DiskFile) -> None:
        entries, size = self.do(file, file.measures) or (0, 0)
        self.measures = {"entries": entries, "bytes": size}

    def _fail(self, file: DiskFile, exc: Damaged | Unusable) -> None:
        """Have a damaged file replaced and an unusable one opened anew, by the thread."""
        said = str(exc)
        if isinstance(exc, Damaged):
            self.line.tell(lambda: self._replace(file, said))
            return
        self._note_trouble(exc)
        if exc.reopen:
            self.line.tell(lambda: self._let_go(file))

    def _note_trouble(self, exc: Exception) -> None:
        self._next_try = time.monotonic() + self._retry_s
        if not self._troubled:
            self._troubled = True
            self._counts.outages += 1
            _log.error(
                "cache %s: cannot be used (%s); until it can be, nothing new is kept; trying again "
                "every %g s",
                self._folder,
                exc,
                self._retry_s,
            )

    def _reopen(self) -> None:
        if self.file is not None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open()
        except (Unusable, OSError, ConfigError) as exc:
            self._note_trouble(exc)

    def _open(self) -> None:
        try:
            file = DiskFile(self._folder, self._max_bytes)
        except Damaged as exc:
            self._keep_aside(str(exc))
            try:
                file = DiskFile(self._folder, self._max_bytes)
            except Damaged as again:
                raise Unusable(again, reopen=True) from again
        self._measure(file)
        self.file = file

    def _replace(self, file: DiskFile, said: str) -> None:
        """Begin anew in the place of a damaged file, unless that has been done already."""
        if self.file is not file:
            return
        self._let_go(file)
        try:
            if file.is_in_place:
                self._keep_aside(said)
        except OSError as exc:
            self._note_trouble(exc)
        self._reopen()

    def _let_go(self, file: DiskFile) -> None:
        if self.file is file:
            self.file = None
            file.close()

    def _keep_aside(self, said: str) -> None:
        """Rename a damaged file. One such is kept: a disk that fails must not be filled with them."""
        for old in self._folder.glob(f"{NAME}.damaged-*"):
            old.unlink(missing_ok=True)
        stamp = self._clock.now_iso().replace(":", "").replace("-", "")
        kept = self._folder / f"{NAME}.damaged-{stamp}"
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                (self._folder / (NAME + suffix)).rename(kept.with_name(kept.name + suffix))
        with suppress(FileNotFoundError):
            (self._folder / NAME).rename(kept)
        self.set_aside.append(kept)
        self._counts.set_aside += 1
        _log.warning(
            "cache %s: damaged (%s); kept as %s, and begun anew", self._folder, said, kept.name
        )

    def _close(self) -> None:
        if self.file is not None:
            self._let_go(self.file)
