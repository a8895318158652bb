"""Takes padding out of prompts: spaces and lines that mean nothing, and those of JSON and pipe tables.

Nothing is lost that a reader would see: indentation, single blank lines, code, quotations, URLs and
tables set by spaces or tabs stay as they are.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from operator import itemgetter

from .draft import Draft, Slot
from .json_text import without_padding
from .protected import Span, merge

__all__ = ["Minify"]

_LINE_ENDS = re.compile(r"[ \t]+(?=\n)")
_BLANK_LINES = re.compile(r"\n{3,}")
_INNER = re.compile(r"(?<=\S) {2,}(?=\S|\Z)")
_INNER_FROM_START = re.compile(r"(?:(?<=\S)|\A) {2,}(?=\S|\Z)")
_SIGNS = ("  ", " \n", "\t\n", "\n\n\n", "\r\n", "|", "{", "[")
"""Without one of these there is no padding; looking for them takes a microsecond."""

_CELL_PADDING = re.compile(r"(?<=\|)[ \t]+|[ \t]+(?=\|)")
_RULER_DASHES = re.compile(r"(?<=[|:\-])-{2,}(?=-[|:\s]|-\Z)")


class Minify:
    """The lossless stage.

    Args:
        json: Whether JSON outside of code loses its padding.
        tables: Whether pipe tables do.
    """

    name = "minify"
    lossy = False

    def __init__(self, *, json: bool = True, tables: bool = True) -> None:
        self._json = json
        self._tables = tables
        self.version = f"minify:{json:d}{tables:d}"

    def apply(self, draft: Draft) -> str:
        """Take padding out of every text that may change; return what was removed, in words."""
        removed: Counter[str] = Counter()
        for slot in draft.open_slots():
            if any(sign in slot.text for sign in _SIGNS):
                slot.text = self._minified(slot, removed)
        return ", ".join(f"{count:,} {what}" for what, count in removed.items() if count)

    def _minified(self, slot: Slot, removed: Counter[str]) -> str:
        text, layout = slot.text, slot.layout
        kept = merge([*layout.atoms, *layout.json])  # what lies in them is not plain text
        own = [(*span, True) for span in (layout.json if self._json else ())]
        own += [(*span, False) for span in (layout.tables if self._tables else ())]
        pieces: list[str] = []
        at = 0
        for begin, end, is_json in sorted(own):
            pieces.append(_outside(text, at, begin, kept, _plain, removed))
            if is_json:
                value = without_padding(text[begin:end])
                removed["characters of JSON padding"] += end - begin - len(value)
                pieces.append(value)
            else:
                pieces.append(_outside(text, begin, end, kept, _table, removed))
            at = end
        pieces.append(_outside(text, at, len(text), kept, _plain, removed))
        return "".join(pieces)


def _outside(
    text: str,
    begin: int,
    end: int,
    kept: list[Span],
    shorten: Callable[[str, bool, Counter[str]], str],
    removed: Counter[str],
) -> str:
    """Return a part of a text with `shorten` applied to what is between the kept spans."""
    pieces: list[str] = []
    at = begin
    for i in range(bisect_right(kept, begin, key=itemgetter(1)), len(kept)):
        start, stop = kept[i]
        if start >= end:
            break
        if at < start:
            pieces.append(shorten(text[at:start], _is_line_start(text, at), removed))
        stop = min(stop, end)
        pieces.append(text[max(at, start) : stop])
        at = stop
    if at < end:
        pieces.append(shorten(text[at:end], _is_line_start(text, at), removed))
    return "".join(pieces)


def _is_line_start(text: str, place: int) -> bool:
    return place == 0 or text[place - 1] == "\n"


def _plain(text: str, is_line_start: bool, removed: Counter[str]) -> str:
    """Return text without line-end spaces, doubled blank lines and doubled spaces inside of lines."""
    before = len(text)
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    if " \n" in text or "\t\n" in text:
        text = _LINE_ENDS.sub("", text)
    if "\n\n\n" in text:
        lines = len(text)
        text = _BLANK_LINES.sub("\n\n", text)
        removed["line breaks"] += lines - len(text)
        before -= lines - len(text)
    if "  " in text:
        text = (_INNER if is_line_start else _INNER_FROM_START).sub(" ", text)
    removed["spaces"] += before - len(text)
    return text


def _table(text: str, is_line_start: bool, removed: Counter[str]) -> str:
    """Return rows of a pipe table without the padding around what is in their cells."""
    shorter = _RULER_DASHES.sub("--", _CELL_PADDING.sub("", text))
    removed["characters of table padding"] += len(text) - len(shorter)
    return shorter
