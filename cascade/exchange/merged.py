"""Answers of several models to the same request made into one row, whatever order a log has them in."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator

import msgspec

from ..errors import LogError
from ..records import Response, TrafficRow
from .skips import Skips
from .traffic_file import PlacedRows, encode_row

__all__ = ["merged"]

_CACHE_KIB = 65_536
"""What is held in memory; beyond it SQLite's private temporary database is on disk."""

_TABLES = """
PRAGMA cache_size = -%d;
PRAGMA synchronous = OFF;
PRAGMA journal_mode = OFF;
CREATE TABLE request (n INTEGER PRIMARY KEY, key BLOB UNIQUE, place TEXT, row BLOB);
CREATE TABLE answer (n INTEGER, model TEXT, seq INTEGER, place TEXT, response BLOB,
                     PRIMARY KEY (n, model)) WITHOUT ROWID;
"""


def merged(rows: PlacedRows, skips: Skips) -> Iterator[tuple[str, TrafficRow]]:
    """Yield one row a request, in the order in which requests were first met.

    Requests are the same when their messages are. Id, task, split and reference are those of the
    first row that names them. Of several answers of one model the first counts; the others are
    counted in `skips`.

    Memory: 64 MiB whatever the length of the log. All rows are written to a temporary database
    first, in SQLite's folder for such files ($SQLITE_TMPDIR, $TMPDIR, /var/tmp, …), which needs room
    for the unpacked log.

    Raises:
        LogError: The temporary database cannot be written.
    """
    base = sqlite3.connect("", isolation_level=None)
    try:
        base.executescript(_TABLES % _CACHE_KIB)
        base.execute("BEGIN")
        for seq, (place, row) in enumerate(rows):
            n = _request(base, place, row)
            for response in row.responses:
                new = base.execute(
                    "INSERT OR IGNORE INTO answer VALUES (?, ?, ?, ?, ?)",
                    (n, response.model, seq, place, msgspec.json.encode(response)),
                )
                if not new.rowcount:
                    skips.add("a model twice for one request", place)
        yield from _rows(base)
    except sqlite3.Error as exc:
        raise LogError(f"the temporary database that merges requests: {exc}") from exc
    finally:
        base.close()


def _request(base: sqlite3.Connection, place: str, row: TrafficRow) -> int:
    """Return the number of the row's request, a new one when it has not been met."""
    key = _key(row)
    found = base.execute("SELECT n, row FROM request WHERE key = ?", (key,)).fetchone()
    if found is None:
        head = TrafficRow(
            id=row.id,
            task=row.task,
            split=row.split,
            prompt=row.prompt,
            messages=row.messages,
            reference=row.reference,
            responses=[],
        )
        made = base.execute(
            "INSERT INTO request (key, place, row) VALUES (?, ?, ?)", (key, place, encode_row(head))
        )
        return int(made.lastrowid or 0)
    n, known = int(found[0]), found[1]
    if row.id or row.task or row.split or row.reference is not None:
        head = _decode(known)
        before = encode_row(head)
        for name in ("id", "task", "split", "reference"):
            if not getattr(head, name):
                setattr(head, name, getattr(row, name))
        if (after := encode_row(head)) != before:
            base.execute("UPDATE request SET row = ? WHERE n = ?", (after, n))
    return n


def _rows(base: sqlite3.Connection) -> Iterator[tuple[str, TrafficRow]]:
    for n, place, known in base.execute("SELECT n, place, row FROM request ORDER BY n"):
        row = _decode(known)
        answers = base.execute(
            "SELECT response FROM answer WHERE n = ? ORDER BY seq, model", (n,)
        ).fetchall()
        row.responses = [_decode_response(response) for (response,) in answers]
        yield str(place), row


def _key(row: TrafficRow) -> bytes:
    chat = row.messages or [{"role": "user", "content": row.prompt}]
    return hashlib.sha256(msgspec.json.encode(chat, order="deterministic")).digest()[:16]


_decode = msgspec.json.Decoder(TrafficRow).decode
_decode_response = msgspec.json.Decoder(Response).decode
