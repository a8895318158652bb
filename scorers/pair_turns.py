"""Whether a prompt stands alone: does its answer age, does it point to an earlier turn, what language is it in?"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from .pair_words import ANAPHORA, LANGUAGES, LIGHT, TIMES, word_set

__all__ = ["back_word", "language_of", "time_word"]

_THIS = word_set("this next last past coming")
_PERIODS = word_set(
    "year years month months week weeks weekend morning evening afternoon night season semester quarter "
    "summer winter spring autumn century decade monday tuesday wednesday thursday friday saturday "
    "sunday election"
)
_TIMES_OF_TWO = frozenset(
    {
        ("right", "now"),
        ("these", "days"),
        ("so", "far"),
        ("as", "of"),
        ("up", "to-date"),
        ("at", "present"),
        ("present", "day"),
        ("most", "recent"),
        ("just", "now"),
    }
)
_TURNS = (
    ("what", "about"),
    ("how", "about"),
    ("and",),
    ("continue",),
    ("go", "on"),
    ("tell", "me", "more"),
    ("say", "more"),
    ("same", "for"),
    ("now",),
    ("again",),
    ("why", "not"),
    ("what", "else"),
    ("anything", "else"),
)
_BACK = word_set("previous above former latter aforementioned preceding earlier same second")
_ALWAYS_BACK = word_set("former latter aforementioned above")
_OF_THE_TALK = word_set(
    "one ones answer question reply response message example point text code paragraph sentence list "
    "table version step option again two"
)
_CURRENT_IS_PHYSICS = word_set(
    "flow flows flowing in is through density divider source sources transformer transformers and "
    "carrying carry or passing measured of"
)
_BEFORE_PHYSICS = word_set("electric electrical alternating direct eddy ocean ac dc")
_AHEAD = word_set("to that for when if like take takes took cost costs mean rain rains snow")


def time_word(words: Sequence[str]) -> str:
    """Return the word by which an answer depends on when it is given, or ""."""
    for i, word in enumerate(words):
        if word in TIMES:
            return word
        after = words[i + 1] if i + 1 < len(words) else ""
        if word in _THIS and after in _PERIODS:
            return f"{word} {after}"
        before = words[i - 1] if i else ""
        if word == "current" and after and after not in _CURRENT_IS_PHYSICS:
            if before not in _BEFORE_PHYSICS:
                return word
        elif (word, after) in _TIMES_OF_TWO:
            return f"{word} {after}"
    return ""


def back_word(words: Sequence[str], text: str) -> str:
    """Return the word that points to an earlier turn, or ""."""
    if not words:
        return ""
    for opening in _TURNS:
        if tuple(words[: len(opening)]) == opening:
            return " ".join(opening)
    for i, word in enumerate(words):
        after = words[i + 1 : i + 5]
        if word in ANAPHORA:
            if word in ("it", "that") and not _AHEAD.isdisjoint(after):
                continue  # "is it safe to …", "how long does it take …"
            if ":" in text or "\n" in text.strip():
                continue  # what it points to may follow
            if all(w in LIGHT or w in ANAPHORA for w in words[:i]) and (
                word in ("it", "they", "them", "he", "him", "she", "their", "its", "theirs")
                or not after
                or all(w in LIGHT or w in ANAPHORA for w in after)
                or word != "that"
            ):
                return word
        elif word in _BACK and i and words[i - 1] in ("the", "your", "my", "that"):
            if not after or after[0] in _OF_THE_TALK or word in _ALWAYS_BACK:
                return f"{words[i - 1]} {word}"
        elif word == "one" and i and words[i - 1] in ("that", "this", "other", "last"):
            return f"{words[i - 1]} one"
    return ""


def language_of(text: str, words: Sequence[str]) -> str:
    """Return a language's two letters, a script's name, or "" where it cannot be told."""
    if not text.isascii():
        for mark in text:
            if mark > "\u024f" and mark.isalpha():
                return unicodedata.name(mark, "?").split()[0].lower()
    if len(words) < 3:
        return ""
    best, most, second = "", 0, 0
    for language, small in LANGUAGES.items():
        count = sum(1 for w in words if w in small)
        if count > most:
            best, most, second = language, count, most
        elif count > second:
            second = count
    return best if most >= 2 and most > second else ""
