"""Where tables are in a text: pipe tables, and lines whose columns are set by tabs, commas or spaces.

Patterns for lines begin with a line break, which the regex engine finds fast; they are searched in
the text with one put before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

__all__ = ["column_spans", "pipe_tables"]

_Span = tuple[int, int]

_RULER = re.compile(r"\n[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*(?=\n|\Z)")
_PIPE_LINE = re.compile(r"\n[ \t]*\|[^\n]*\|[ \t]*(?=\n|\Z)")
_TAB = re.compile(r"\t(?<=\S\t)")
_TIGHT_COMMA = re.compile(r",(?=\S)")
_COMMAS = re.compile(r"[^,\n ]+(?:[ ][^,\n ]+)*(?:,[^,\n ][^,\n]*|,){2,}")
_WIDE_GAP = re.compile(r"  (?<=[^\s.!?:;,]  ) *(?=\S)")
_HTML_END = re.compile(r"</table>", re.IGNORECASE)
_HTML_BEGIN = re.compile(r"<table\b", re.IGNORECASE)


def pipe_tables(text: str) -> list[_Span]:
    """Return where tables of pipes are: from the line over the ruler to the last line with a pipe.

    Two or more lines that begin and end with a pipe are a table without a ruler.
    """
    if "|" not in text:
        return []
    found: list[_Span] = []
    for ruler in _RULER.finditer("\n" + text):
        begin, end = ruler.start(), ruler.end() - 1
        if "|" not in text[begin:end] or begin == 0 or (found and begin < found[-1][1]):
            continue
        head = text.rfind("\n", 0, begin - 1) + 1
        if "|" not in text[head:begin]:
            continue
        while end < len(text):
            stop = text.find("\n", end + 1)
            stop = len(text) if stop < 0 else stop
            if "|" not in text[end:stop]:
                break
            end = stop
        found.append((head, end))
    return found + _neighbours(_pipe_lines(text), 2)


def column_spans(text: str) -> list[_Span]:
    """Return where tables are whose columns padding, tabs or commas make; in no order."""
    found: list[_Span] = []
    if "\t" in text:
        found += _neighbours(_lines_with(_TAB, text), 2)
    if _TIGHT_COMMA.search(text):
        found += _same_commas(text)
    if "  " in text:
        found += _aligned(text)
    if "<" in text and ("<table" in text or "<TABLE" in text):
        found += _html_tables(text)
    return found


def _lines_with(sign: re.Pattern[str], text: str) -> Iterator[_Span]:
    """Yield the lines that a sign is in, without their line breaks."""
    at = 0
    while (match := sign.search(text, at)) is not None:
        begin = text.rfind("\n", at, match.start()) + 1 or at
        end = text.find("\n", match.end())
        end = len(text) if end < 0 else end
        yield begin, end
        at = end + 1


def _pipe_lines(text: str) -> Iterator[_Span]:
    return ((m.start(), m.end() - 1) for m in _PIPE_LINE.finditer("\n" + text))


def _neighbours(lines: Iterable[_Span], least: int) -> list[_Span]:
    """Return where at least `least` of these lines follow each other."""
    found: list[_Span] = []
    begin = end = count = 0
    for line_begin, line_end in lines:
        if count and line_begin == end + 1:
            count += 1
        else:
            if count >= least:
                found.append((begin, end))
            begin, count = line_begin, 1
        end = line_end
    if count >= least:
        found.append((begin, end))
    return found


def _same_commas(text: str) -> list[_Span]:
    """Three or more neighbouring lines with as many commas each, none of them followed by a space."""
    by_number: dict[int, list[_Span]] = {}
    for begin, end in _lines_with(_TIGHT_COMMA, text):
        if _COMMAS.fullmatch(text, begin, end):
            by_number.setdefault(text.count(",", begin, end), []).append((begin, end))
    return [span for lines in by_number.values() for span in _neighbours(lines, 3)]


def _aligned(text: str) -> list[_Span]:
    """Neighbouring lines with gaps of two or more spaces, and a cell that begins or ends in the same column."""
    found: list[_Span] = []
    begin = end = -1
    columns: set[int] = set()
    joined = False
    for line_begin, line_end in _lines_with(_WIDE_GAP, text):
        line = text[line_begin:line_end].rstrip()
        here = {edge for gap in _WIDE_GAP.finditer(line) for edge in gap.span()} | {len(line)}
        if line_begin == end + 1 and not here.isdisjoint(columns):
            joined = True
        else:
            if joined:
                found.append((begin, end))
            begin, joined = line_begin, False
        end, columns = line_end, here
    if joined:
        found.append((begin, end))
    return found


def _html_tables(text: str) -> list[_Span]:
    """Return HTML tables; one that is not closed reaches to the end of the text."""
    found: list[_Span] = []
    at = 0
    while (begins := _HTML_BEGIN.search(text, at)) is not None:
        ends = _HTML_END.search(text, begins.end())
        at = len(text) if ends is None else ends.end()
        found.append((begins.start(), at))
    return found
