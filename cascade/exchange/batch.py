"""The requests of an OpenAI batch, kept by `custom_id` until the answers in its output file ask for them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Self

from .skips import Skips

__all__ = ["Asked", "BatchRequests"]

_CACHE_KIB = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of a batch.

    Attributes:
        messages: The chat, as JSON.
        model: The model that was asked, or None when several requests of this id asked several.
    """

    messages: bytes
    model: str | None


class BatchRequests:
    """Requests by `custom_id`, on disk where they are many: SQLite's private temporary database.

    Batches may share their ids: then the model that answered tells which request was meant.
    """

    def __init__(self) -> None:
        """Make an empty one; `close` it, or use it with `with`."""
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._base.execute("PRAGMA synchronous = OFF")
        self._base.execute(
            "CREATE TABLE asked (id TEXT, model TEXT, messages BLOB, place TEXT UNIQUE, "
            "answered INTEGER DEFAULT 0)"
        )
        self._base.execute("CREATE INDEX by_id ON asked (id)")
        self._base.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget everything. Calling it twice is harmless."""
        self._base.close()

    def add(self, id: str, model: str, messages: bytes, place: str) -> None:
        """Keep a request; the same place twice is one request."""
        self._base.execute(
            "INSERT OR IGNORE INTO asked (id, model, messages, place) VALUES (?, ?, ?, ?)",
            (id, model, messages, place),
        )

    def find(self, id: str, answered_by: str) -> Asked | str:
        """Return the request that was answered, or in words why it cannot be told.

        Args:
            id: Its `custom_id`.
            answered_by: The model as the answer names it; "" when it names none.
        """
        found = self._base.execute(
            "SELECT rowid, model, messages FROM asked WHERE id = ?", (id,)
        ).fetchall()
        if not found:
            return "the request is in none of the files; give the batch's input file too"
        # gpt-4o-2024-08-06 answers for gpt-4o; of gpt-4o and gpt-4o-mini the longer name counts.
        named = [r for r in found if r[1] and f"{answered_by}-".startswith(f"{r[1]}-")]
        if named:
            longest = max(len(r[1]) for r in named)
            named = [r for r in named if len(r[1]) == longest]
        meant = named or found
        if len({r[2] for r in meant}) > 1:
            return "several requests have this custom_id; import one batch at a time"
        self._base.executemany(
            "UPDATE asked SET answered = 1 WHERE rowid = ?", [(r[0],) for r in meant]
        )
        models = {r[1] for r in meant}
        return Asked(messages=meant[0][2], model=models.pop() if len(models) == 1 else None)

    def mark(self, id: str) -> None:
        """Note that a request came to an end, although there is no answer that can be used."""
        self._base.execute("UPDATE asked SET answered = 1 WHERE id = ?", (id,))

    def count_unanswered(self, skips: Skips) -> None:
        """Count the requests that nothing was found for."""
        for (place,) in self._base.execute(
            "SELECT place FROM asked WHERE NOT answered ORDER BY rowid"
        ):
            skips.add("a batch request without an answer", str(place))
