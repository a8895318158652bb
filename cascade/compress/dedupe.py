"""Leaves out passages that are in the prompt before: the same, or by choice nearly the same.

A near-duplicate is left out only if the earlier passage has the same numbers, names and negations, and
if nothing protected is in it; what is protected in an exact one is in the earlier passage, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .draft import Draft, Slot
from .protected import Span, overlapping
from .rendering import with_mark
from .shingles import ShingleIndex

__all__ = ["Dedupe", "passages"]

MIN_CHARS = 80
"""Characters of a passage that is looked at; a shorter one may be meant to be said again."""

MARK = "[as above]"
"""Stands where passages were left out."""

_BREAK = re.compile(r"\n[ \t\r]*\n\s*")


class Dedupe:
    """The stage that keeps each passage once, where it stands first.

    Args:
        near: Whether nearly the same passages go too; then the stage is lossy.
        min_chars: Characters that a passage has at least, >= 20.

    Raises:
        ValueError: `min_chars` is too small.
    """

    name = "dedupe"

    def __init__(self, *, near: bool = False, min_chars: int = MIN_CHARS) -> None:
        if min_chars < 20:
            raise ValueError(f"min_chars: {min_chars!r} given; allowed: a number >= 20")
        self._min_chars = min_chars
        self.lossy = near
        self.version = f"dedupe:1:{near:d}:{min_chars}"

    def apply(self, draft: Draft) -> str:
        """Leave out what is repeated, wherever it may change; return what was removed, in words."""
        seen: set[str] = set()
        index = ShingleIndex() if self.lossy else None
        exact = alike = 0
        for slot in draft.kept_slots():
            if len(slot.text) < self._min_chars:
                continue
            cuts: list[Span] = []
            for begin, end in passages(slot.text, None if slot.frozen else slot):
                passage = slot.text[begin:end].strip()
                if len(passage) < self._min_chars:
                    continue
                if passage in seen:
                    if _is_open(slot, begin, end):
                        cuts.append((begin, end))
                        exact += 1
                    continue
                if index is not None:
                    alike_to = index.has_like(passage)
                    if alike_to and _is_open(slot, begin, end) and not _touches(slot, begin, end):
                        cuts.append((begin, end))
                        alike += 1
                        continue
                    index.add(passage)
                seen.add(passage)
            if cuts:
                slot.text = with_mark(slot.text, cuts, MARK)
        said = [f"{exact:,} repeated passages"] if exact else []
        return ", ".join([*said, f"{alike:,} near-duplicates"] if alike else said)


def passages(text: str, slot: Slot | None) -> Iterator[Span]:
    """Yield the passages of a text, parted by blank lines, each with the space after it.

    Args:
        text: The text.
        slot: Whose layout says where no passage ends; None: that does not matter.
    """
    breaks = _BREAK.finditer(text)
    first = next(breaks, None)
    if first is None:
        yield 0, len(text)
        return
    whole = slot.layout.whole if slot is not None else []
    at = span = 0
    match: re.Match[str] | None = first
    while match is not None:
        begin, end = match.span()
        while span < len(whole) and whole[span][1] <= begin:
            span += 1
        if span == len(whole) or whole[span][0] >= end:
            yield at, end
            at = end
        match = next(breaks, None)
    if at < len(text):
        yield at, len(text)


def _touches(slot: Slot, begin: int, end: int) -> bool:
    return next(overlapping(slot.layout.whole, begin, end), None) is not None


def _is_open(slot: Slot, begin: int, end: int) -> bool:
    return not slot.frozen and not _is_held(slot, begin, end)


def _is_held(slot: Slot, begin: int, end: int) -> bool:
    """Return whether the question, or a block of code or a table, is in a passage: it stays where it is."""
    question = slot.question_at()
    if question is not None and begin < question + slot.question_length and question < end:
        return True
    inside = sum(stop - start for start, stop in overlapping(slot.layout.whole, begin, end))
    return inside * 2 > end - begin
