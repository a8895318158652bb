"""Where decision records go: JSON lines on disk, written by one background thread.

An ask only appends to a list; encoding and writing happen in the thread, in batches. When the list
is full an ask waits, but no longer than `max_wait_s`; after that its record is dropped, counted, said
in the program's log, and written into the decision log itself as a record of kind ``dropped``.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from .clock import SystemClock
from .errors import LogError
from .ports import Clock
from .records import SCHEMA

__all__ = ["JsonlSink", "SinkStatistics"]

_log = logging.getLogger("cascade.log")

_POLL_S = 0.005
"""How often a waiting ask looks for room, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkStatistics:
    """What became of the records so far.

    Attributes:
        taken: Records accepted from asks.
        written: Records on their way to disk: handed to the operating system.
        pending: Records taken and not yet written.
        dropped: Records refused because the writer could not keep up or the disk was full.
        segments: Files opened.
        failures: Writes that failed; the batch is kept and tried again.
    """

    taken: int
    written: int
    pending: int
    dropped: int
    segments: int
    failures: int


class JsonlSink:
    """Appends records to JSON-lines segments in a folder.

    A segment is one file of one process, named by its start; nobody else writes to it. A new one is
    begun after `segment_mb` or `segment_age_s`. A batch that could only be written in part (the disk
    is full) is cut off again and retried, so a line is never torn while the process lives; when the
    process is killed at most the records since the last flush are lost.

    Args:
        folder: Where segments go; created when missing.
        flush_s: Write at least this often, seconds, > 0.
        flush_records: Write as soon as this many records wait, >= 1.
        max_pending: Most records that may wait, >= 1.
        max_wait_s: Longest an ask waits for room, seconds, >= 0.
        segment_mb: Size from which a new segment is begun, megabytes, > 0.
        segment_age_s: Age from which a new segment is begun, seconds, > 0.
        clock: Time source.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        flush_s: float = 0.5,
        flush_records: int = 256,
        max_pending: int = 10_000,
        max_wait_s: float = 0.1,
        segment_mb: float = 64.0,
        segment_age_s: float = 86_400.0,
        clock: Clock | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._flush_s = flush_s
        self._flush_records = flush_records
        self._max_pending = max_pending
        self._wake_at = max(1, min(flush_records, max_pending // 2))  # before it is full
        self._max_wait_s = max_wait_s
        self._segment_bytes = int(segment_mb * 1_000_000)
        self._segment_age_s = segment_age_s
        self._clock = clock or SystemClock()
        self._encoder = msgspec.json.Encoder(enc_hook=_enc_hook)
        self._wake = threading.Condition()
        self._pending: list[Mapping[str, Any]] = []
        self._writing = 0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._file: int | None = None
        self._path: Path | None = None
        self._size = 0
        self._opened_at = 0.0
        self._taken = self._written = self._dropped = self._failures = self._segments = 0
        self._unreported = 0
        self.problem: str | None = None
        """Why the last write failed; None: it did not."""

    def start(self) -> None:
        """Open the first segment and start the writer.

        Raises:
            LogError: The folder cannot be created or written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._open_segment()
        except OSError as exc:
            raise LogError(
                f"log.path: {self.folder} cannot be written ({exc.strerror}); "
                "give a folder this process may write to"
            ) from exc
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="cascade-log", daemon=True)
        self._thread.start()

    async def write(self, record: Mapping[str, Any]) -> None:
        """Take a record; wait for room at most `max_wait_s`, then drop it and say so."""
        if self._append(record):
            return
        give_up = self._clock.monotonic() + self._max_wait_s
        try:
            while self._clock.monotonic() < give_up:
                await self._clock.sleep(_POLL_S)
                if self._append(record):
                    return
        except BaseException:  # cancelled while waiting: the record is lost, and that is counted
            self._drop()
            raise
        self._drop()

    def write_nowait(self, record: Mapping[str, Any]) -> None:
        """Take a record without waiting; drop it and say so when there is no room."""
        if not self._append(record):
            self._drop()

    def statistics(self) -> SinkStatistics:
        """Return what became of the records so far."""
        with self._wake:
            return SinkStatistics(
                taken=self._taken,
                written=self._written,
                pending=len(self._pending) + self._writing,
                dropped=self._dropped,
                segments=self._segments,
                failures=self._failures,
            )

    def close(self) -> None:
        """Write all that was taken, force it to disk and stop the writer."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _append(self, record: Mapping[str, Any]) -> bool:
        with self._wake:
            if self._closing or len(self._pending) + self._writing >= self._max_pending:
                self._wake.notify()
                return False
            self._pending.append(record)
            self._taken += 1
            # One wake-up a batch, not one a record: a thread switch costs more than an append.
            if len(self._pending) >= self._wake_at:
                self._wake.notify()
            return True

    def _drop(self) -> None:
        with self._wake:
            self._dropped += 1
            self._unreported += 1
            total = self._dropped
        if total & (total - 1) == 0:  # 1, 2, 4, 8, …: heard at once, never a flood
            _log.error("decision log %s: %d records dropped, no room", self.folder, total)

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._closing and len(self._pending) < self._wake_at:
                    self._wake.wait(self._flush_s)
                batch, self._pending = self._pending, []
                self._writing = len(batch)
                closing, dropped = self._closing, self._unreported
                self._unreported = 0
            if batch or dropped:
                self._write_batch(batch, dropped)
            if closing:
                with self._wake:
                    done = not self._pending
                if done:
                    break
        self._close_segment()

    def _write_batch(self, batch: list[Mapping[str, Any]], dropped: int) -> None:
        lines = bytearray()
        for record in batch:
            lines += self._line(record)
        if dropped:
            note = {"schema": SCHEMA, "kind": "dropped", "records": dropped}
            lines += self._encoder.encode(note | {"time": self._clock.now_iso()})
            lines += b"\n"
        if self._write_out(bytes(lines)):
            with self._wake:
                self._written += len(batch)
                self._writing = 0
            return
        with self._wake:
            # Back to the front of the queue: nothing already taken is lost while there is hope.
            self._writing = 0
            self._unreported += dropped
            if self._closing:
                self._dropped += len(batch) + len(self._pending)
                lost, self._pending = len(batch) + len(self._pending), []
                _log.error("decision log %s: %d records lost at closing", self.folder, lost)
            else:
                self._pending[:0] = batch

    def _line(self, record: Mapping[str, Any]) -> bytes:
        """Return a record as a line; what JSON cannot carry costs only itself, never another record."""
        for attempt in (record, _without_texts(record), _bare(record)):
            try:
                return self._encoder.encode(attempt) + b"\n"
            except Exception as exc:  # noqa: BLE001 - metadata is the user's own objects
                _log.warning("decision log %s: %s in a record", self.folder, type(exc).__name__)
        with self._wake:
            self._dropped += 1
            self._unreported += 1
        return b""

    def _write_out(self, lines: bytes) -> bool:
        """Write all of `lines` or nothing; return whether it was written."""
        start = self._size
        try:
            if self._file is None or self._is_old():
                self._open_segment()
                start = 0
            assert self._file is not None
            view = memoryview(lines)
            while view:
                done = os.write(self._file, view)
                self._size += done
                view = view[done:]
        except OSError as exc:
            self._failures += 1
            self.problem = exc.strerror or type(exc).__name__
            if self._failures & (self._failures - 1) == 0:
                _log.error(
                    "decision log %s: cannot write (%s), will retry", self.folder, exc.strerror
                )
            self._cut_back(start)
            if not self._closing:
                time.sleep(min(self._flush_s, 1.0))
            return False
        self.problem = None
        return True

    def _cut_back(self, size: int) -> None:
        """Remove what a failed write left behind, or leave the file for a new segment."""
        if self._file is None:
            return
        try:
            os.ftruncate(self._file, size)
            self._size = size
        except OSError:
            self._close_segment()

    def _is_old(self) -> bool:
        age = self._clock.monotonic() - self._opened_at
        return self._size > 0 and (self._size >= self._segment_bytes or age >= self._segment_age_s)

    def _open_segment(self) -> None:
        self._close_segment()
        stamp = self._clock.now_iso().replace(":", "").replace("-", "")
        for attempt in range(1_000):
            name = f"decisions-{stamp}-{os.getpid()}-{attempt}.jsonl"
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
                self._file = os.open(self.folder / name, flags, 0o600)
                self._path = self.folder / name
                break
            except FileExistsError:
                continue
        self._size = 0
        self._opened_at = self._clock.monotonic()
        self._segments += 1

    def _close_segment(self) -> None:
        if self._file is None:
            return
        try:
            os.fsync(self._file)
        except OSError as exc:
            _log.error("decision log %s: cannot be forced to disk (%s)", self.folder, exc.strerror)
        finally:
            os.close(self._file)
            self._file = None
            if self._size == 0 and self._path is not None:
                self._path.unlink(missing_ok=True)  # nothing was asked: leave no empty file behind


def _enc_hook(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    return repr(type(value))


def _without_texts(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record without what users put into it: metadata, tenant and texts."""
    kept = {k: v for k, v in record.items() if k not in ("metadata", "tenant", "messages")}
    attempts = [
        {k: v for k, v in attempt.items() if k not in ("text", "tool_calls", "reason")}
        for attempt in record.get("attempts", ())
    ]
    return kept | {"attempts": attempts, "degraded": None, "unloggable": True}


def _bare(record: Mapping[str, Any]) -> dict[str, Any]:
    """What is left when even that cannot be written."""
    names = ("schema", "kind", "id", "time", "outcome", "cost_usd", "latency_s")
    return {name: record.get(name) for name in names} | {"unloggable": True}
