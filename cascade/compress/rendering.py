"""Puts a text together again from the parts that are kept, with a mark at each cut."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["MARK", "MARK_TOKENS", "with_cuts"]

MARK = "[…]"
"""Stands where something was left out."""

MARK_TOKENS = 3
"""About how many tokens it is, with the space around it."""


def with_cuts(parts: Iterable[tuple[str, bool]]) -> str:
    """Return the kept parts of a text, each run of parts left out replaced by one mark.

    The line break or space after the last part of a run stays.

    Args:
        parts: (text, whether it is kept), in order.

    >>> with_cuts([("One. ", True), ("Two. ", False), ("Three.\\n\\n", False), ("Four.", True)])
    'One. […]\\n\\nFour.'
    """
    pieces: list[str] = []
    run: list[str] = []
    for text, kept in parts:
        if not kept:
            run.append(text)
            continue
        if run:
            pieces.append(_mark(run, pieces))
            run = []
        pieces.append(text)
    if run:
        pieces.append(_mark(run, pieces).rstrip())
    return "".join(pieces)


def _mark(run: list[str], pieces: list[str]) -> str:
    last = run[-1]
    after = last[len(last.rstrip()) :]
    before = pieces[-1][-1:] if pieces else ""
    apart = " " if before and not before.isspace() and run[0][:1].isspace() else ""
    return f"{apart}{MARK}{after}"
