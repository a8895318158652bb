"""Puts a text together again from the parts that are kept, with a mark at each cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["MARK", "MARK_TOKENS", "with_cuts", "with_mark"]

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


def with_mark(text: str, cuts: Sequence[tuple[int, int]], mark: str) -> str:
    """Return a text without some of its passages, each run of neighbours replaced by a mark.

    Args:
        text: The text.
        cuts: Where the passages are, sorted and disjoint, each with the space after it.
        mark: What stands in their place.

    >>> with_mark("One.\\n\\nTwo.\\n\\nThree.", [(0, 6), (6, 12)], "[…]")
    '[…]\\n\\nThree.'
    """
    pieces: list[str] = []
    at = 0
    for begin, end in cuts:
        if at < begin or not pieces:
            pieces += [text[at:begin], mark]
        else:
            pieces.pop()  # the space after the mark of the passage before
        passage = text[begin:end]
        pieces.append(passage[len(passage.rstrip()) :])
        at = end
    return "".join([*pieces, text[at:]])
