"""Where tables are in a text: pipe tables, and lines whose columns are set by tabs, commas or spaces."""

from __future__ import annotations

import re

__all__ = ["column_spans", "pipe_tables"]

_Span = tuple[int, int]

_RULER = re.compile(
    r"^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$", re.MULTILINE
)
_PIPE_LINE = re.compile(r"^[ \t]*\|[^\n]*\|[ \t]*$", re.MULTILINE)
_TAB_LINE = re.compile(r"^[^\n\t]*\S\t[^\n]*$", re.MULTILINE)
_COMMA_LINE = re.compile(r"^[^,\n ]+(?:[ ][^,\n ]+)*(?:,[^,\n ][^,\n]*|,){2,}$", re.MULTILINE)
_SPACED_LINE = re.compile(r"^[^\n]*[^\s.!?:;,] {2,}\S[^\n]*$", re.MULTILINE)
_SPACED_CELL = re.compile(r"(?<=[^\s.!?:;,]) {2,}(?=\S)")
_HTML = re.compile(r"<table\b[^>]*>.*?(?:</table>|\Z)", re.IGNORECASE | re.DOTALL)


def column_spans(text: str) -> list[_Span]:
    """Return where tables are whose columns padding, tabs or commas make; in no order."""
    found: list[_Span] = []
    if "\t" in text:
        found += _runs(_TAB_LINE, text, 2)
    if "," in text:
        found += _same_commas(text)
    if "  " in text:
        found += _aligned(text)
    if "<table" in text or "<TABLE" in text:
        found += [match.span() for match in _HTML.finditer(text)]
    return found


def pipe_tables(text: str) -> list[_Span]:
    """Return where tables of pipes are: from the line over the ruler to the last line with a pipe.

    Two or more lines that begin and end with a pipe are a table without a ruler.
    """
    found: list[_Span] = []
    for ruler in _RULER.finditer(text):
        if "|" not in ruler.group() or (found and ruler.start() < found[-1][1]):
            continue
        head = text.rfind("\n", 0, max(0, ruler.start() - 1)) + 1
        if ruler.start() == 0 or "|" not in text[head : ruler.start()]:
            continue
        end = ruler.end()
        while end < len(text):
            stop = text.find("\n", end + 1)
            stop = len(text) if stop < 0 else stop
            if "|" not in text[end:stop]:
                break
            end = stop
        found.append((head, end))
    return found + _runs(_PIPE_LINE, text, 2)


def _runs(line: re.Pattern[str], text: str, least: int) -> list[_Span]:
    """Return where at least `least` neighbouring lines match."""
    found: list[_Span] = []
    begin = end = count = 0
    for match in line.finditer(text):
        if count and match.start() == end + 1:
            count += 1
        else:
            if count >= least:
                found.append((begin, end))
            begin, count = match.start(), 1
        end = match.end()
    if count >= least:
        found.append((begin, end))
    return found


def _same_commas(text: str) -> list[_Span]:
    """Three or more neighbouring lines with as many commas each, none of them followed by a space."""
    found: list[_Span] = []
    begin = end = count = commas = 0
    for match in _COMMA_LINE.finditer(text):
        number = match.group().count(",")
        if count and match.start() == end + 1 and number == commas:
            count += 1
        else:
            if count >= 3:
                found.append((begin, end))
            begin, count, commas = match.start(), 1, number
        end = match.end()
    if count >= 3:
        found.append((begin, end))
    return found


def _aligned(text: str) -> list[_Span]:
    """Neighbouring lines with gaps of two or more spaces, and a cell that begins or ends in the same column."""
    found: list[_Span] = []
    begin = end = -1
    columns: set[int] = set()
    joined = False
    for match in _SPACED_LINE.finditer(text):
        line = match.group()
        here = {edge for gap in _SPACED_CELL.finditer(line) for edge in gap.span()}
        here.add(len(line.rstrip()))
        if match.start() == end + 1 and here & columns:
            joined = True
        else:
            if joined:
                found.append((begin, end))
            begin, joined = match.start(), False
        end, columns = match.end(), here
    if joined:
        found.append((begin, end))
    return found
