"""Cuts a text into the pieces that may be kept or left out: sentences, list items, and blocks kept whole.

Nothing is assumed of the script: sentences end at the marks of Latin, CJK, Arabic, Devanagari and
other writing, with or without a space; what has no marks is cut at spaces, and what has no spaces
between letters, never inside of one (a letter and its combining marks, a joined emoji).
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter

import msgspec

from .protected import Span

__all__ = ["Unit", "cut_into_units", "is_letter_start"]

LONGEST_CHARS = 800
"""A piece without a sentence end is cut at about this length."""

_END = re.compile(
    # The sign comes first, so that the regex engine finds it fast; what it is decides what must follow.
    r"[.!?…:;\n。！？｡؟۔।॥။](?:"
    # a blank line; or a line break before a list item, a heading, a quotation, a row or a capital
    r"(?<=\n)(?:[ \t\r]*\n\s*"
    r"|(?=[ \t]*(?:[-*+•◦▪–#>|]|\d{1,4}[.)][ \t]|[A-Za-z][.)][ \t]|[^\W\d_a-zß-öø-ÿ])))"
    # sentence marks before a line break, or a space and no small letter
    r"|(?<=[.!?…:;])[\"'”’»)\]*_]*(?:\n\s*|(?<![:;])[ \t]+(?=[\"'“‘«(\[*_]*[^\Wa-z_ß-öø-ÿ]))"
    # marks of scripts that put no space after them
    r"|(?<=[。！？｡؟۔।॥။])[。！？]*[」』”’»）)\]]*[ \t]*\n?)"
)
_ABBREVIATIONS = frozenset(
    (
        "e.g.",
        "i.e.",
        "cf.",
        "vs.",
        "dr.",
        "mr.",
        "mrs.",
        "ms.",
        "prof.",
        "st.",
        "no.",
        "fig.",
        "sec.",
        "ch.",
        "vol.",
        "pp.",
        "p.",
        "al.",
        "ca.",
        "approx.",
        "inc.",
        "ltd.",
        "co.",
        "corp.",
        "jr.",
        "sr.",
        "u.s.",
        "u.k.",
        "z.b.",
        "d.h.",
        "bzw.",
        "bspw.",
        "nr.",
        "str.",
        "abs.",
        "etc.",
    )
)
_JOINERS = frozenset("\u200d\ufe0e\ufe0f")


class Unit(msgspec.Struct, frozen=True, gc=False):
    """A piece of a text, with the space that follows it.

    Attributes:
        begin: Where it begins.
        end: Where the next one begins.
        locked: Whether something in it must not change, so that it cannot be left out.
        heading: Whether it is the heading of what follows it.
    """

    begin: int
    end: int
    locked: bool
    heading: bool


def cut_into_units(text: str, whole: Sequence[Span]) -> list[Unit]:
    """Return the units of a text in order; joined they are the text.

    Args:
        text: Any text.
        whole: Parts that must not be cut, sorted and disjoint.

    >>> text = "One is 1.5 m. Two «is. Two». 三です。四です。"
    >>> [text[u.begin:u.end] for u in cut_into_units(text, [(18, 27)])]
    ['One is 1.5 m. ', 'Two «is. Two». ', '三です。', '四です。']
    """
    cuts: list[int] = []
    at = span = 0
    no_more = (len(text) + 1, len(text) + 1)
    begins, ends = whole[0] if whole else no_more
    for match in _END.finditer(text):
        sign, cut = match.span()
        while ends <= sign:
            span += 1
            begins, ends = whole[span] if span < len(whole) else no_more
        if begins < cut:
            continue  # the sign is in a protected part, or the space after it is
        if text[sign] == "." and _is_abbreviation(text, sign):
            continue
        if cut - at > LONGEST_CHARS:
            cuts += _cuts_between(text, at, cut, whole)
        cuts.append(cut)
        at = cut
    if at < len(text):
        if len(text) - at > LONGEST_CHARS:
            cuts += _cuts_between(text, at, len(text), whole)
        cuts.append(len(text))
    return _units(text, cuts, whole)


def is_letter_start(text: str, place: int) -> bool:
    """Return whether a text may be cut at a place: not before a combining mark or inside a joined emoji."""
    if not 0 < place < len(text):
        return True
    sign, before = text[place], text[place - 1]
    if sign.isascii():
        return before != "\u200d" and not (sign == "\n" and before == "\r")
    if sign in _JOINERS or before == "\u200d" or unicodedata.combining(sign):
        return False
    if unicodedata.category(sign) in ("Mn", "Me", "Mc") or "\U0001f3fb" <= sign <= "\U0001f3ff":
        return False
    flags = "\U0001f1e6" <= sign <= "\U0001f1ff" and "\U0001f1e6" <= before <= "\U0001f1ff"
    return not flags


def _is_abbreviation(text: str, dot: int) -> bool:
    """Return whether a full stop belongs to the word before it: an initial, or a known abbreviation."""
    begin = text.rfind(" ", dot - 7 if dot > 7 else 0, dot) + 1
    if begin == 0:  # a longer word, or one that begins the text or a line
        return False
    word = text[begin : dot + 1].lstrip("(\"'")
    return (len(word) == 2 and word[0].isupper()) or word.lower() in _ABBREVIATIONS


def _cuts_between(text: str, begin: int, end: int, whole: Sequence[Span]) -> list[int]:
    """Cut a long piece without sentence ends, at spaces if it has any."""
    cuts: list[int] = []
    at = begin
    while end - at > LONGEST_CHARS:
        aim = at + LONGEST_CHARS
        space = max(
            text.rfind(" ", at + LONGEST_CHARS // 2, aim),
            text.rfind("\n", at + LONGEST_CHARS // 2, aim),
        )
        cut = aim if space < 0 else space + 1
        while not is_letter_start(text, cut):
            cut += 1
        i = bisect_right(whole, cut, key=itemgetter(1))
        if i < len(whole) and whole[i][0] < cut:
            cut = whole[i][1]
        if cut >= end:
            break
        cuts.append(cut)
        at = cut
    return cuts


def _units(text: str, cuts: Sequence[int], whole: Sequence[Span]) -> list[Unit]:
    units: list[Unit] = []
    at = span = 0
    no_more = (len(text) + 1, len(text) + 1)
    begins, ends = whole[0] if whole else no_more
    for cut in cuts:
        while ends <= at:
            span += 1
            begins, ends = whole[span] if span < len(whole) else no_more
        locked = begins < cut
        if text[cut - 1] != "\n":
            units.append(Unit(at, cut, locked, False))
        else:
            bare = text[at:cut].rstrip()
            heading = text[at] == "#" or (len(bare) < 80 and bare[-1:] == ":")
            units.append(Unit(at, cut, locked, heading))
        at = cut
    return units
