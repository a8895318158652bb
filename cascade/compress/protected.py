"""What must not change in a text, byte for byte: code, quotations, URLs, images and the numbers of tables.

Whatever is in doubt is protected: an open fence reaches to the end of the text, an odd backtick to the
last one of its line. Each pattern is tried only where a sign that it needs is in the text at all, and
every scan is linear in the length of the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from .code import code_lines, fence_spans, inline_code
from .json_text import json_values
from .tabular import column_spans, pipe_tables

__all__ = ["Layout", "Span", "gaps", "merge", "overlapping", "read_layout"]

Span = tuple[int, int]
"""Beginning and end of a part of a text, in characters; the end is not in it."""

_URL_SIGNS = ("www.", "://", "mailto:", "data:")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,20}\Z", re.ASCII)
_URL_REST = re.compile(r"[^\s<>\"`]*")
_LINK = re.compile(r"\]\([^()\n]{0,100000}\)")
_TAG_LINE = re.compile(r"\n[ \t]*</?[A-Za-z][^<>\n]*>[ \t]*(?=\n|\Z)")
_BLOCKQUOTE = re.compile(r"\n[ \t]{0,3}>[^\n]*")

# A quotation is on one line and has at most 4,000 characters: a mark without a partner in that reach is none.
# Each pattern begins with the mark itself, which the regex engine finds fast; what is before it comes after.
_CLOSES = r"(?=[\s.,;:!?)\]}<>/—–\-'’\"*_]|\Z)"
_STRAIGHT = re.compile(r'"(?<![^\s(\[{<>=:,;/—–*_\'-]")(?=[^\s"])[^"\n]{0,4000}(?<=\S)"' + _CLOSES)
_SINGLE = re.compile(r"'(?<![^\s(\[{=:\"]')(?=[^\s'])[^'\n]{1,200}(?<=\S)'" + _CLOSES)
_PAIRED = {
    "“": re.compile(r"“[^“”\n]{1,4000}”"),
    "„": re.compile(r"„[^„“”\n]{1,4000}[“”]"),
    "«": re.compile(r"«[^«»\n]{1,4000}»"),
    "»": re.compile(r"»[^«»\n]{1,4000}«"),
    "「": re.compile(r"「[^「」\n]{1,4000}」"),
    "『": re.compile(r"『[^『』\n]{1,4000}』"),
    "‘": re.compile(r"‘[^‘\n]{1,200}?’(?![^\W\d_])"),
    "‹": re.compile(r"‹[^‹›\n]{1,4000}›"),
    "《": re.compile(r"《[^《》\n]{1,4000}》"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What was found in a text; all spans sorted, disjoint and non-empty.

    Attributes:
        atoms: What must stay byte for byte where it is: code, quotations, URLs, tables set by spaces.
        json: JSON outside of code: its strings and numbers must stay, its padding need not.
        tables: Pipe tables: what is in their cells must stay, the padding around it need not.
        whole: All of these: no part of one may be left out.
    """

    atoms: list[Span]
    json: list[Span]
    tables: list[Span]
    whole: list[Span]


def read_layout(text: str) -> Layout:
    """Return what must not change in a text, and what may only lose padding.

    >>> text = 'Run `a  b`, then read "x  y" at https://a.example/  .'
    >>> [text[begin:end] for begin, end in read_layout(text).atoms]
    ['`a  b`', '"x  y"', 'https://a.example/']
    """
    fences = fence_spans(text)
    values = json_values(text, fences)
    tables = [] if "|" not in text else _apart(merge(pipe_tables(text)), merge([*fences, *values]))
    data = merge([*values, *tables])
    laid_out = _apart(merge([*code_lines(text), *column_spans(text)]), data)
    atoms = merge(
        [*fences, *inline_code(text, fences), *laid_out, *_quoted(text), *_url_spans(text)]
    )
    return Layout(atoms=atoms, json=values, tables=tables, whole=merge([*atoms, *data]))


def _quoted(text: str) -> list[Span]:
    found: list[Span] = []
    if '"' in text:
        found += _matches(_STRAIGHT, text)
    if "'" in text:
        found += _matches(_SINGLE, text)
    if not text.isascii():
        for sign, pattern in _PAIRED.items():
            if sign in text:
                found += _matches(pattern, text)
    if "](" in text:
        found += [(_label(text, begin), end) for begin, end in _matches(_LINK, text)]
    if ">" in text:
        lined = "\n" + text
        found += [(begin, end - 1) for begin, end in _matches(_BLOCKQUOTE, lined)]
        if "<" in text:
            found += [(begin, end - 1) for begin, end in _matches(_TAG_LINE, lined)]
    return found


def merge(spans: Iterable[Span]) -> list[Span]:
    """Return spans sorted and disjoint: those that overlap or touch are one, empty ones are gone.

    >>> merge([(5, 9), (0, 2), (8, 12), (3, 3)])
    [(0, 2), (5, 12)]
    """
    merged: list[Span] = []
    for begin, end in sorted(spans):
        if begin >= end:
            continue
        if merged and begin <= merged[-1][1]:
            if end > merged[-1][1]:
                merged[-1] = (merged[-1][0], end)
        else:
            merged.append((begin, end))
    return merged


def gaps(spans: Sequence[Span], length: int) -> Iterator[Span]:
    """Yield what is between spans, in a text of that length.

    >>> list(gaps([(2, 4), (6, 8)], 8))
    [(0, 2), (4, 6)]
    """
    at = 0
    for begin, end in spans:
        if at < begin:
            yield at, begin
        at = end
    if at < length:
        yield at, length


def overlapping(spans: Sequence[Span], begin: int, end: int) -> Iterator[Span]:
    """Yield the parts of sorted, disjoint spans that are between two places.

    >>> list(overlapping([(0, 3), (5, 9), (12, 13)], 2, 6))
    [(2, 3), (5, 6)]
    """
    for i in range(bisect_right(spans, begin, key=itemgetter(1)), len(spans)):
        start, stop = spans[i]
        if start >= end:
            break
        yield max(start, begin), min(stop, end)


def _apart(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Return those spans that overlap none of others; both sorted and disjoint."""
    found: list[Span] = []
    at = 0
    for begin, end in spans:
        while at < len(others) and others[at][1] <= begin:
            at += 1
        if at == len(others) or others[at][0] >= end:
            found.append((begin, end))
    return found


def _matches(pattern: re.Pattern[str], text: str) -> list[Span]:
    return [match.span() for match in pattern.finditer(text)]


def _label(text: str, bracket: int) -> int:
    """Return where the label of a link or image begins, whose label ends with this bracket."""
    least = max(text.rfind("\n", max(0, bracket - 1000), bracket) + 1, bracket - 1000)
    begin = text.rfind("[", max(least, 0), bracket)
    if begin < 0:
        return bracket
    return begin - 1 if begin > 0 and text[begin - 1] == "!" else begin


def _url_spans(text: str) -> list[Span]:
    """Return where web addresses are, from the scheme to the next space, quotation mark or bracket."""
    found: list[Span] = []
    at = 0
    for begin, sign in sorted(_places(text, _URL_SIGNS)):
        if begin < at:  # inside of the address before
            continue
        end = begin + len(sign)
        if sign == "://":
            scheme = _SCHEME.search(text[max(at, begin - 21) : begin])
            begin -= 0 if scheme is None else len(scheme.group())
        rest = _URL_REST.match(text, end)
        at = end if rest is None else rest.end()
        found.append((begin, at))
    return found


def _places(text: str, signs: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield where signs are, with the sign; searching for one by one is faster than for all in one pattern."""
    for sign in signs:
        at = text.find(sign)
        while at >= 0:
            yield at, sign
            at = text.find(sign, at + len(sign))
