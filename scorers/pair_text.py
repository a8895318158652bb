"""What a prompt is made of, as far as two prompts are compared: read once, in one pass of one pattern."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from .pair_frames import frame_of
from .pair_meanings import POLES, SYNONYMS
from .pair_turns import back_word, language_of, time_word
from .pair_words import (
    FUNCTION,
    MONTHS,
    NAMES,
    NEGATIONS,
    NUMBERS,
    STARTERS,
    UNITS,
    UNITS_AFTER_NUMBER,
    WEEKDAYS,
    word_set,
)

__all__ = ["MAX_CHARACTERS", "PromptText", "read_prompt", "stem"]

MAX_CHARACTERS = 8_000
"""Longer texts are never compared: what differs in them is too easily overlooked."""

_TOKEN = re.compile(
    r"""
    (?P<plain>[A-Za-z]++(?=[\s?!,;]|\Z))
    |(?P<code>```.*?(?:```|\Z)|`[^`\n]{1,400}`)
    |(?P<url>(?:https?://|www\.)[^\s<>"'”]+|[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]{1,64}
        |(?<![\w/.])[\w-]{1,64}(?:\.[\w-]{1,64}){0,3}\.(?:com|org|net|io|edu|gov|dev|ai|app|co|uk|de)(?![\w.]\w)(?:/[^\s<>"']*)?
        |(?<![\w.])(?:~|\.{1,2})?/[\w.-]+/[\w./-]*|[A-Za-z]:\\[^\s"']+)
    |(?P<quote>"[^"\n]{1,400}"|“[^”\n]{1,400}”|«[^»\n]{1,400}»|‘[^’\n]{1,400}’(?!\w)|(?<!\w)'[^'\n]{1,400}'(?!\w)|``[^`'\n]{1,400}(?:''|``))
    |(?P<date>\d{4}-\d{1,2}-\d{1,2}(?!\w)|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}(?!\w)|\d{1,2}:\d{2}(?::\d{2})?(?!\w))
    |(?P<number>(?:(?<![\w)])[-−])?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?(?!\w))
    |(?P<letter>(?<![\w.])[A-Za-z](?:\+\+|\#)(?!\w)|(?<!\w)\.NET\b)
    |(?P<call>\w{0,80}_\w[\w.]{0,80}(?:\(\))?|\w{1,80}(?:(?:\.|::|->)\w{1,80}){0,6}\(\)|\w{1,80}(?:::|->)\w{1,80}|(?<![\w-])--?[A-Za-z][\w-]{0,40}(?<=\w)(?=[\s=]|\Z)(?<!\w-))
    |(?P<word>\w+(?:['’]\w+)*)
    |(?P<symbol>[^\w\s]+)
    """,
    re.VERBOSE | re.DOTALL,
)
_ORDINAL = re.compile(r"(\d+)(st|nd|rd|th)")
_WITH_UNIT = re.compile(r"(\d+(?:\.\d+)?)([^\W\d_]{1,8})")
_PUNCTUATION = frozenset(".,;:!?'\"()-–—…/&*’‘“”`´[]{}<>|•·")
_MONEY = frozenset("$€£¥₹%°")
_CONTRACTED = {"m": "am", "re": "are", "ll": "will", "ve": "have", "d": "would"}
_WITH_IS = word_set("what who where when why how it that there here he she let")
_MONTHS_TOO = ("may", "march")
_BARE_OPERATORS = word_set("() [] {} <> && || // ** < > | << >> -- [ ] { }")


@dataclass(frozen=True, kw_only=True)
class PromptText:
    """A prompt taken apart.

    Attributes:
        words: Its words, in order, lower case, without possessive endings; numbers included.
        stems: The same without the endings of plural and verb.
        content: The stems that are not small words, in order.
        numbers: Numbers in order, in one way of writing: `1,000`, `1000.0` and `thousand` are equal.
        dates: Months, weekdays, feasts, times of day and dates in figures, in order.
        units: Units and currencies in order, in one way of writing.
        negations: How many words of denial.
        quotes: Quoted strings in order, spaces and case evened out.
        code: Code, operators and rare symbols in order.
        urls: Web and mail addresses, and file paths, in order.
        names: Words that name something, in order, lower case.
        poles: One side of a pair of opposites each, in order: (axis, pole, word).
        language: Two letters, a script's name, or "" where it cannot be told.
        time_dependent: The word by which the answer depends on when it is given, or "".
        refers_back: The word that points to an earlier turn, or "".
    """

    words: tuple[str, ...]
    stems: tuple[str, ...]
    content: tuple[str, ...]
    numbers: tuple[str, ...]
    dates: tuple[str, ...]
    units: tuple[str, ...]
    negations: int
    quotes: tuple[str, ...]
    code: tuple[str, ...]
    urls: tuple[str, ...]
    names: tuple[str, ...]
    poles: tuple[tuple[int, int, str], ...]
    language: str
    time_dependent: str
    refers_back: str

    # What follows only a score needs: a pair that a guard refuses never has it worked out.

    @property
    def frame(self) -> int:
        """What kind of question, a position in `pair_frames.FRAMES`."""
        return self._opening[0]

    @property
    def rest(self) -> Sequence[str]:
        """The words without the opening of the question and without what is merely polite."""
        return self._opening[1]

    @cached_property
    def bare(self) -> frozenset[str]:
        """Content without the opening of the question, synonyms evened out."""
        return (
            frozenset(_BARE.get(w) or stem(w) for w in self.rest if w not in FUNCTION) - _WRAPPING
        )

    @cached_property
    def _opening(self) -> tuple[int, list[str]]:
        return frame_of(self.words)


def stem(word: str) -> str:
    """Return a word without the ending of plural, verb or adverb; short words stay.

    >>> [stem(w) for w in ("cities", "running", "walked", "class", "bus")]
    ['city', 'run', 'walk', 'class', 'bus']
    """
    size = len(word)
    if size < 4:
        return word
    last = word[-1]
    if last == "s":
        if word.endswith("ies"):
            return word[:-3] + "y" if size > 4 else word
        if word[-2] in "su":
            return word
        return word[:-2] if word.endswith(("sses", "shes", "ches", "xes")) else word[:-1]
    if last == "g" and size > 5 and word.endswith("ing"):
        return _undouble(word[:-3])
    if last == "d" and size > 4 and word.endswith("ed"):
        return word[:-3] + "y" if word.endswith("ied") else _undouble(word[:-2])
    if last == "y" and size > 5 and word.endswith("ly"):
        return word[:-2]
    if last == "e":
        return word[:-1]  # so that `make` meets `making`
    return word


def _undouble(word: str) -> str:
    return word[:-1] if word[-1] == word[-2:-1] and word[-1] not in "lsz" else word


def read_prompt(text: str) -> PromptText:
    """Take a prompt apart. Linear in its length; some 50 µs for a question of a dozen words."""
    read = _Reader(text)
    words = read.words
    stems = [stem(w) for w in words]
    names = read.names()
    return PromptText(
        words=tuple(words),
        stems=tuple(stems),
        content=tuple(s for w, s in zip(words, stems, strict=True) if w not in FUNCTION),
        numbers=tuple(read.numbers),
        dates=tuple(read.dates),
        units=tuple(read.units),
        negations=read.negations,
        quotes=tuple(read.quotes),
        code=tuple(read.code),
        urls=tuple(read.urls),
        names=tuple(words[i] for i in names),
        poles=tuple((*POLES[w], w) for w in words if w in POLES),
        language=language_of(text, words),
        time_dependent=time_word(words),
        refers_back=back_word(words, text),
    )


_BARE = {word: stem(first) for word, first in SYNONYMS.items()}
_WRAPPING = frozenset(
    stem(word)
    for word in word_set(
        "please kindly tell explain know like want hi hello hey thank thanks wonder wondering curious "
        "question exactly actually really basically simply quick quickly help answer"
    )
)


class _Reader:
    """The pass over one text: one method a kind of token."""

    def __init__(self, text: str) -> None:
        self.words: list[str] = []
        self.shown: list[str] = []  # as written, beside `words`
        self.numbers: list[str] = []
        self.dates: list[str] = []
        self.units: list[str] = []
        self.quotes: list[str] = []
        self.code: list[str] = []
        self.urls: list[str] = []
        self.starts: set[int] = set()  # positions in `words` where a sentence begins
        self.negations = 0
        self.after_number = False
        self.begins = True
        take = {
            "plain": self._word,  # what most words are: no other pattern could match there
            "code": self._code,
            "url": self._url,
            "quote": self._quote,
            "date": self._date,
            "number": self._number,
            "letter": self._code_word,
            "call": self._code_word,
            "word": self._word,
            "symbol": self._symbol,
        }
        for match in _TOKEN.finditer(text):
            take[match.lastgroup or "symbol"](match.group())

    def names(self) -> list[int]:
        """Return the positions of the words that name something."""
        capitals = sum(1 for s in self.shown if s[:1].isupper())
        # Title Case and shouting: capitals say nothing
        shouted = len(self.shown) > 2 and capitals >= 0.75 * len(self.shown)
        found = []
        for i, (low, shown) in enumerate(zip(self.words, self.shown, strict=True)):
            if low in NAMES:
                found.append(i)
            elif len(shown) == 1 and shown.isupper() and shown not in "AI":
                found.append(i)  # vitamin C, George W. Bush
            elif shouted or len(low) < 2 or shown.islower() or low in FUNCTION:
                continue
            elif i in self.starts:
                if low not in STARTERS and not shown[1:].islower():
                    found.append(i)
            elif low not in WEEKDAYS and low not in UNITS and any(c.isupper() for c in shown):
                found.append(i)
        return found

    def _word(self, token: str) -> None:
        if token.isdigit():
            self._number(token)
            return
        low = token.lower()
        if "'" in low or "’" in low:
            low = low.replace("’", "'")
            low, _, end = low.rpartition("'")
            if end in _CONTRACTED or (end == "s" and low in _WITH_IS):
                self._keep(low, token)
                low = _CONTRACTED.get(end, "is")
            elif end == "t" and low.endswith("n"):
                self.negations += 1
                low = low[:-1]
            elif end != "s":
                low = f"{low}'{end}"
        after, self.after_number = self.after_number, False
        if after and low in UNITS_AFTER_NUMBER:
            self.units.append(UNITS_AFTER_NUMBER[low])
        elif low in UNITS:
            self.units.append(UNITS[low])
        elif low in NUMBERS:
            self.numbers.append(NUMBERS[low])
            self.after_number = True
        elif low in NEGATIONS:
            self.negations += 1
        elif low in MONTHS:
            self.dates.append(MONTHS[low])
        elif low in WEEKDAYS:
            self.dates.append(WEEKDAYS[low])
        elif low in _MONTHS_TOO and (after or (self.words and self.words[-1] in ("in", "since"))):
            self.dates.append(low)
        elif not low.isalpha() and any(c.isdigit() for c in low):
            match = _WITH_UNIT.fullmatch(low)
            if match and match[2] in UNITS_AFTER_NUMBER:
                self.numbers.append(match[1])
                self.units.append(UNITS_AFTER_NUMBER[match[2]])
            else:
                self.numbers.append(low)
        self._keep(low, token)

    def _number(self, token: str) -> None:
        plain = token.replace(",", "").replace("−", "-")
        if plain.isdigit():
            plain = plain.lstrip("0") or "0"
        elif "." in plain and "/" not in plain:
            plain = plain.rstrip("0").rstrip(".")
        self.numbers.append(plain)
        self._keep(plain, token)
        self.after_number = True

    def _symbol(self, token: str) -> None:
        if token[0] in ".!?…:;":
            self.begins = True
        if _PUNCTUATION.issuperset(token):
            if token in _BARE_OPERATORS:
                self.code.append(token)
            return
        rest = []
        for mark in token:
            if mark in _MONEY:
                self.units.append(UNITS_AFTER_NUMBER[mark])
            elif mark not in _PUNCTUATION and (
                mark in "@#\\" or unicodedata.category(mark)[0] not in "CPM"
            ):
                rest.append(mark)
        if rest:
            self.code.append(token.strip(".,;:?'\"()"))

    def _quote(self, token: str) -> None:
        inside = token.strip("\"“”«»‘’'`")
        self.quotes.append(" ".join(inside.lower().split()).rstrip(".,;:!?"))
        for word in inside.split():
            bare = word.strip(".,;:!?()\"'").lower()
            if bare:
                self._keep(bare, bare)

    def _code(self, token: str) -> None:
        self.code.append(token.strip("`").strip())

    def _code_word(self, token: str) -> None:
        self.code.append(token if len(token) > 3 else token.lower())
        self._keep(token.lower(), token.lower())

    def _url(self, token: str) -> None:
        low = token.rstrip(".,;:!?)").lower()
        self.urls.append(low)
        self._keep(low, low)

    def _date(self, token: str) -> None:
        self.dates.append(token)
        self._keep(token, token)

    def _keep(self, low: str, shown: str) -> None:
        if self.begins:
            self.starts.add(len(self.words))
            self.begins = False
        self.words.append(low)
        self.shown.append(shown)
