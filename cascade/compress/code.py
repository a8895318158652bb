"""Where code is in a text: fences, inline code, indented blocks, and lines that can only be code."""

from __future__ import annotations

import re

__all__ = ["code_lines", "fence_spans", "inline_code"]

_Span = tuple[int, int]

_FENCE = re.compile(r"`{3,}|^[ \t>]*~{3,}", re.MULTILINE)
_OPENING = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?\Z")
_INDENTED = re.compile(r"^(?: {4}|\t| {1,3}\t)[ \t]*\S[^\n]*(?:\n|\Z)", re.MULTILINE)
_BULLET = re.compile(r"[ \t]*(?:[-*+•◦▪–]|\d{1,3}[.)]|[a-zA-Z][.)])[ \t]+\S")

_SIGN_OF_CODE = re.compile(r"[;{}()\[\]=]|//|^@", re.MULTILINE)
_WORDS = (
    "def|class|async|function|func|fn|import|from|const|let|var|return|if|for|while|public|private|"
    "protected|static|else|elif|try|except|catch|finally|switch|case|struct|enum|interface|package|"
    "using|namespace|template|typedef|void|int|double|float|char|bool|string|echo|print|raise|throw|"
    "yield|await|with|select|insert|update|delete|create|alter|drop"
)
_CODE_LINE = re.compile(
    r"^[ \t]{0,3}(?:"
    r"(?:" + _WORDS + r")\b[^\n]*(?:[{;:,(\[]|\)|\]|=[^\n]*)"
    r"|[^\n]{0,400}[{]"
    r"|[^\n;]{0,400}[=()\[\]{}<>][^\n]{0,400};"
    r"|[\[\](){};,]+"
    r"|[A-Za-z_$][\w$.\[\]]{0,80}[ ]?(?:[-+*/|&]|:)?=[ ]?[^\n=][^\n]{0,400}"
    r"|[A-Za-z_$][\w$.]{0,80}\([^\n]{0,400}\)"
    r"|@[A-Za-z_][\w.]*(?:\([^\n]*\))?"
    r"|\#include[^\n]*|//[^\n]*|\$ [^\n]*|>>> [^\n]*"
    r")[ \t]*$",
    re.MULTILINE,
)


def fence_spans(text: str) -> list[_Span]:
    """Return where code fences are, sorted and disjoint; one that is not closed reaches to the end."""
    return _fences(text) if "```" in text or "~~~" in text else []


def inline_code(text: str, fences: list[_Span]) -> list[_Span]:
    """Return where backticks are around code, outside of `fences`."""
    return _inline(text, fences) if "`" in text else []


def code_lines(text: str) -> list[_Span]:
    """Return indented blocks, and lines that can only be code; in no order, and some may overlap."""
    found = _indented(text) if "    " in text or "\t" in text else []
    if _SIGN_OF_CODE.search(text):
        found += [match.span() for match in _CODE_LINE.finditer(text)]
    return found


def _fences(text: str) -> list[_Span]:
    """Pair fences as CommonMark does: one that opens a line is closed by one alone on its line."""
    found: list[_Span] = []
    opened: tuple[int, str, int, bool] | None = None  # place, sign, length, whether it opens a line
    for match in _FENCE.finditer(text):
        run = match.group().strip(" \t>")
        sign, length = run[0], len(run)
        begin = match.end() - length
        if opened is None:
            line = text.rfind("\n", 0, begin) + 1
            at_line_start = _OPENING.match(text, line, begin) is not None
            stop = text.find("\n", match.end())
            rest = text[match.end() : len(text) if stop < 0 else stop]
            opened = (
                match.start(),
                sign,
                length,
                at_line_start and (sign == "~" or "`" not in rest),
            )
            continue
        place, its_sign, its_length, opens_line = opened
        if sign != its_sign or length < its_length:
            continue
        if opens_line and not _alone(text, begin, match.end()):
            continue
        found.append((place, match.end()))
        opened = None
    if opened is not None:
        found.append((opened[0], len(text)))
    return found


def _alone(text: str, begin: int, end: int) -> bool:
    """Whether nothing else is on the line of a fence."""
    line = text.rfind("\n", 0, begin) + 1
    stop = text.find("\n", end)
    after = text[end : len(text) if stop < 0 else stop]
    return not text[line:begin].strip(" \t>") and not after.strip()


def _inline(text: str, fences: list[_Span]) -> list[_Span]:
    """Pair the backticks of each line; with an odd one, all from the first to the last is code."""
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
        found += _of_line(text, first, stop)
        at = stop
    return found


def _of_line(text: str, first: int, stop: int) -> list[_Span]:
    places = [match.start() for match in re.finditer("`", text[first:stop])]
    doubled = "``" in text[first:stop]
    if len(places) % 2 or doubled:
        return [(first, first + places[-1] + 1)]
    return [(first + places[i], first + places[i + 1] + 1) for i in range(0, len(places), 2)]


def _indented(text: str) -> list[_Span]:
    """Blocks of lines indented by four spaces or a tab, save lists that are nothing but bullets."""
    found: list[_Span] = []
    begin = end = -1
    bullets = True
    for match in _INDENTED.finditer(text):
        if match.start() != end:
            if begin >= 0 and not bullets:
                found.append((begin, end))
            begin, bullets = match.start(), True
        end = match.end()
        bullets = bullets and _BULLET.match(text, match.start()) is not None
    if begin >= 0 and not bullets:
        found.append((begin, end))
    return found
