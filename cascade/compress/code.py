"""Where code is in a text: fences, inline code, indented blocks, and lines that can only be code.

Patterns for lines begin with a line break, which the regex engine finds fast; they are searched in
the text with one put before it.
"""

from __future__ import annotations

import re

__all__ = ["code_lines", "fence_spans", "inline_code"]

_Span = tuple[int, int]

BETWEEN_LINES = 2
"""Lines between two that can only be code that are taken for code as well."""

_BETWEEN_CHARS = 240

_FENCE = re.compile(r"`{3,}|\n[ \t>]*~{3,}")
_OPENING = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?\Z")
_INDENTED = re.compile(r"\n(?: {4}|\t| {1,3}\t)[ \t]*\S[^\n]*")
_BULLET = re.compile(r"\n[ \t]*(?:[-*+•◦▪–]|\d{1,3}[.)]|[a-zA-Z][.)])[ \t]+\S")

_BEGINS_CODE = re.compile(r"\n(?:[ \t]*(?://|@[A-Za-z_]|#include)|\$ |>>> )")
_ENDS_CODE = re.compile(r"\n(?<=[;{}()\[\]:,>=]\n)")
_BLANK_END = re.compile(r"\n(?<=[ \t]\n)")
_SIGNS_AT_ENDS = frozenset(";{}()[]:,>=")
_WORDS = (
    "def|class|async|function|func|fn|import|from|const|let|var|return|if|for|while|public|private|"
    "protected|static|else|elif|try|except|catch|finally|switch|case|struct|enum|interface|package|"
    "using|namespace|template|typedef|void|int|double|float|char|bool|string|echo|print|raise|throw|"
    "yield|await|with|select|insert|update|delete|create|alter|drop"
)
_CODE_LINE = re.compile(
    r"[ \t]*(?:"
    r"(?:" + _WORDS + r")\b[^\n]{0,400}(?:[{;,(\[)\]]|\w:|[)\]]:|[^\n=]=[^\n=][^\n]{0,400})"
    r"|[^\n]{0,400}\{"
    r"|[^\n;]{0,400}[=()\[\]{}<>][^\n]{0,400};"
    r"|[\[\](){};,]+"
    r"|[A-Za-z_$][\w$.\[\]]{0,80}[ ]?(?:[-+*/|&]|:)?=[ ]?[^\n=][^\n]{0,400}"
    r"|[A-Za-z_$][\w$.]{0,80}\([^\n]{0,400}\)"
    r"|@[A-Za-z_][\w.]*(?:\([^\n]{0,400}\))?"
    r"|\#include[^\n]*|//[^\n]*|\$ [^\n]*|>>> [^\n]*"
    r")[ \t]*(?=\n|\Z)",
    re.ASCII,
)


def fence_spans(text: str) -> list[_Span]:
    """Return where code fences are, sorted and disjoint; one that is not closed reaches to the end.

    They pair as in CommonMark: one that opens a line is closed by one that is alone on its line. One in
    the middle of a line is closed by the next of its length.
    """
    if "```" not in text and ("~" not in text or "~~~" not in text):
        return []
    found: list[_Span] = []
    opened: tuple[int, str, int, bool] | None = None  # place, sign, length, whether it opens a line
    for match in _FENCE.finditer("\n" + text):
        run = match.group().strip(" \t>\n")
        sign, length = run[0], len(run)
        end = match.end() - 1
        begin = end - length
        if opened is None:
            line = text.rfind("\n", 0, begin) + 1
            opens_line = _OPENING.match(text, line, begin) is not None
            stop = text.find("\n", end)
            rest = text[end : len(text) if stop < 0 else stop]
            opened = (begin, sign, length, opens_line and (sign == "~" or "`" not in rest))
            continue
        place, its_sign, its_length, opens_line = opened
        if sign != its_sign or length < its_length:
            continue
        if opens_line and not _is_alone(text, begin, end):
            continue
        found.append((place, end))
        opened = None
    if opened is not None:
        found.append((opened[0], len(text)))
    return found


def _is_alone(text: str, begin: int, end: int) -> bool:
    """Return whether nothing else is on the line of a fence."""
    line = text.rfind("\n", 0, begin) + 1
    stop = text.find("\n", end)
    after = text[end : len(text) if stop < 0 else stop]
    return not text[line:begin].strip(" \t>") and not after.strip()


def inline_code(text: str, fences: list[_Span]) -> list[_Span]:
    """Return where backticks are around code, outside of `fences`.

    The backticks of a line pair up; with an odd one, all from the first to the last is code.
    """
    found: list[_Span] = []
    at, fence = 0, 0
    while (first := text.find("`", at)) >= 0:
        while fence < len(fences) and fences[fence][1] <= first:
            fence += 1
        if fence < len(fences) and fences[fence][0] <= first:
            at = fences[fence][1]
            continue
        stop = text.find("\n", first)
        stop = len(text) if stop < 0 else stop
        if fence < len(fences):
            stop = min(stop, fences[fence][0])
        found += _pairs(text, first, stop)
        at = stop
    return found


def _pairs(text: str, first: int, stop: int) -> list[_Span]:
    places = [first + match.start() for match in re.finditer("`", text[first:stop])]
    if len(places) % 2 or "``" in text[first:stop]:
        return [(first, places[-1] + 1)]
    return [(places[i], places[i + 1] + 1) for i in range(0, len(places), 2)]


def code_lines(text: str) -> list[_Span]:
    """Return indented blocks, and lines that can only be code; in no order, and some may overlap.

    Up to `BETWEEN_LINES` lines between two of them are code too.
    """
    found = _indented(text) if "    " in text or "\t" in text else []
    for line in _lines_with_a_sign(text):
        code = _CODE_LINE.match(text, line)
        if code is not None:
            found.append(code.span())
    return _joined(text, sorted(found)) if len(found) > 1 else found


def _lines_with_a_sign(text: str) -> set[int]:
    """Return where lines begin that have a sign which no line of code is without."""
    lined = "\n" + text + "\n"
    lines = {match.start() for match in _BEGINS_CODE.finditer(lined)}
    ends = [match.start() - 1 for match in _ENDS_CODE.finditer(lined)]
    for match in _BLANK_END.finditer(lined):
        end = match.start() - 1
        while lined[end] in " \t":
            end -= 1
        if lined[end] in _SIGNS_AT_ENDS:
            ends.append(end)
    lines.update(text.rfind("\n", 0, max(end - 1, 0)) + 1 for end in ends)
    equals = text.find("=")
    while equals >= 0:
        lines.add(text.rfind("\n", 0, equals) + 1)
        stop = text.find("\n", equals)
        equals = -1 if stop < 0 else text.find("=", stop)
    return lines


def _joined(text: str, spans: list[_Span]) -> list[_Span]:
    """Return spans with the few lines between neighbours in them."""
    joined = [spans[0]]
    for begin, end in spans[1:]:
        last_begin, last_end = joined[-1]
        near = begin - last_end <= _BETWEEN_CHARS
        if near and text.count("\n", last_end, begin) <= BETWEEN_LINES + 1:
            joined[-1] = (last_begin, max(last_end, end))
        else:
            joined.append((begin, end))
    return joined


def _indented(text: str) -> list[_Span]:
    """Return blocks of lines indented by four spaces or a tab, save lists that are nothing but bullets."""
    found: list[_Span] = []
    lined = "\n" + text
    begin = end = -1
    bullets = True
    for match in _INDENTED.finditer(lined):
        if match.start() != end:
            if begin >= 0 and not bullets:
                found.append((begin, end - 1))
            begin, bullets = match.start(), True
        end = match.end()
        bullets = bullets and _BULLET.match(lined, match.start()) is not None
    if begin >= 0 and not bullets:
        found.append((begin, end - 1))
    return found
