"""What a prompt alone tells: size, form, operations asked for, lettered options.

Computed once a request, then shared by all rungs.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterable
from dataclasses import dataclass

from .phrases import PhraseCounter

__all__ = [
    "PROMPT_NAMES",
    "Prompt",
    "count_bytes",
    "count_upper",
    "lists_options",
    "numbers_in",
    "read_prompt",
    "written_numbers",
]

MAX_CHARS = 12_000
"""A longer prompt is read at its two ends, half of this each."""

_MAX_NUMBERS = 200
_MAX_OPTIONS = 16
_STEM_CHARS = 1_500

DIGITS = string.digits.encode()
UPPER = string.ascii_uppercase.encode()
_SYMBOLS = b"+*/=^<>\\{}[]|_"

_NUMBER = re.compile(r"\d(?<![\w.]\d)(?:\d{0,2}(?:,\d{3})+|\d*)(?:\.\d+)?")
_WORD = re.compile(r"[^\W\d_]+(?:'[a-z]+)?")
# The same of ASCII text, in two thirds of the time.
_ASCII_NUMBER = re.compile(_NUMBER.pattern, re.ASCII)
_ASCII_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_TOKEN = re.compile(r"\w+")
_OPTION = re.compile(r"^[ \t]*\(?([A-P])[).:]\)?[ \t]+(\S.*)$", re.MULTILINE)
_CAPITALISED = re.compile(r" (?<=[a-z,] )([A-Z][a-z]+)")
_SENTENCE_END = re.compile(r"[.?!\n]+")

_QUESTION_WORDS = ("what", "which", "who", "when", "where", "why", "how")
_TIMES = ("hour", "minute", "day", "week", "month", "year", "today", "tomorrow", "yesterday")
_ASKS = {
    "quantity": ("how many", "how much"),
    "explain": ("prove", "show that", "explain", "describe", "derive"),
    "compare": ("compare", "difference", "versus", "vs"),
    "code": ("write", "implement", "function", "code", "program", "def"),
    "compute": (
        *("calculate", "compute", "find", "solve", "total"),
        *("sum", "average", "percent", "ratio"),
    ),
    "negation": ("not", "except", "never", "least", "false", "incorrect"),
    "truth": ("true", "correct", "statement", "statements"),
    "multiples": (
        *("half", "twice", "third", "quarter", "double"),
        *("triple", "times", "each", "per", "every"),
    ),
    "remainder": ("left", "remain*", "more", "less", "fewer", "than"),
    "time": (*_TIMES, *(f"{word}s" for word in _TIMES)),
    "condition": ("if", "suppose", "assume", "given", "unless"),
    "all_of": tuple(
        f"{word} of {end}"
        for word in ("all", "none", "both", "neither")
        for end in ("the", "these")
    ),
    "superlative": ("most", "best", "primary", "main", "likely"),
}
_COUNT_ASKS = PhraseCounter(_ASKS)
_COMPUTE = list(_ASKS).index("compute")

PROMPT_NAMES: tuple[str, ...] = (
    *("p_log_chars", "p_log_words", "p_lines", "p_word_len", "p_digit_share", "p_upper_share"),
    *("p_symbol_share", "p_non_ascii", "p_numbers", "p_number_max_log", "p_decimals"),
    *("p_questions", "p_sentences", "p_last_sentence_words", "p_fence", "p_math_marks"),
    *("p_capitalised", "p_quotes", "p_blank", "p_options", "p_option_len", "p_option_len_sd"),
    *("p_option_numeric", "p_unique_share"),
    *(f"p_wh_{word}" for word in _QUESTION_WORDS),
    *(f"p_ask_{kind}" for kind in _ASKS),
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt read once.

    Attributes:
        text: The prompt, cut to its two ends when longer than ``MAX_CHARS``.
        values: The numbers named by ``PROMPT_NAMES``, same order; NaN where absent.
        numbers: Every number the prompt states.
        words: Its words in lower case.
        capitalised: Capitalised words inside sentences.
        options: Option letter -> lower-cased text; empty when fewer than two are listed.
        option_words: Option letter -> words of that option.
        stem_words: Words of the question before the options; empty without options.
    """

    text: str
    values: tuple[float, ...]
    numbers: frozenset[float]
    words: frozenset[str]
    capitalised: frozenset[str]
    options: dict[str, str]
    option_words: dict[str, frozenset[str]]
    stem_words: frozenset[str] = frozenset()


def read_prompt(text: str) -> Prompt:
    """Read a prompt. Cost: linear in at most ``MAX_CHARS`` characters, some 100 µs for 500."""
    text = _ends(text)
    lowered = text.lower()
    words = (_ASCII_WORD if lowered.isascii() else _WORD).findall(lowered)
    distinct = frozenset(words)
    numbers = numbers_in(written_numbers(text)[:_MAX_NUMBERS])
    options = _read_options(text)
    stem_end = lowered.find(next(iter(options.values()))) if options else -1
    stem = lowered[:stem_end] or lowered if options else lowered
    capitalised = frozenset(_CAPITALISED.findall(text))
    asks = list(_COUNT_ASKS(lowered))
    asks[_COMPUTE] += text.count("%")
    values = (
        *_form(text, words, numbers),
        *_sentences(stem),
        float("```" in text),
        float(text.count("\\") + text.count("^") + text.count("$")),
        float(len(capitalised)),
        float(text.count('"')),
        float("__" in text),
        *_option_form(options),
        len(distinct) / max(1, len(words)),
        *[float(word in distinct) for word in _QUESTION_WORDS],
        *map(float, asks),
    )
    return Prompt(
        text,
        values,
        frozenset(numbers),
        distinct,
        capitalised,
        options,
        {letter: frozenset(_TOKEN.findall(body)) for letter, body in options.items()},
        frozenset(_TOKEN.findall(text[: max(stem_end, 0)][-_STEM_CHARS:].lower()))
        if options
        else frozenset(),
    )


def lists_options(text: str) -> bool:
    """Return whether a prompt lists lettered options, as `read_prompt` finds them.

    >>> lists_options("Which? A) this B) that"), lists_options("Which?\\nA) this\\nB) that")
    (False, True)
    """
    return bool(_read_options(_ends(text)))


def count_bytes(plain: bytes, wanted: bytes) -> int:
    """Return how many bytes of ``plain`` are among ``wanted``.

    >>> count_bytes(b"a1b22", b"0123456789")
    3
    """
    return len(plain) - len(plain.translate(None, wanted))


def count_upper(text: str) -> int:
    """Return how many characters are in upper case."""
    if text.isascii():
        return count_bytes(text.encode(), UPPER)
    return sum(map(str.isupper, text))


def written_numbers(text: str) -> list[str]:
    """Return the numbers of a text as they are written there.

    >>> written_numbers("1,250.5 of 7, or x1")
    ['1,250.5', '7']
    """
    found: list[str] = (_ASCII_NUMBER if text.isascii() else _NUMBER).findall(text)
    return found


def numbers_in(written: Iterable[str]) -> list[float]:
    """Return the finite values of numbers written with digits, thousands commas and a point.

    >>> numbers_in(["1,250.5", "7"])
    [1250.5, 7.0]
    """
    return [value for w in written if (value := float(w.replace(",", ""))) < math.inf]


def _ends(text: str) -> str:
    if len(text) <= MAX_CHARS:
        return text
    return text[: MAX_CHARS // 2] + "\n" + text[-MAX_CHARS // 2 :]


def _form(text: str, words: list[str], numbers: list[float]) -> tuple[float, ...]:
    """Return size, shares of kinds of characters, and what numbers there are."""
    plain = text.encode("ascii", "ignore")
    length = max(1, len(text))
    return (
        math.log1p(len(text)),
        math.log1p(len(words)),
        float(text.count("\n")),
        sum(map(len, words)) / max(1, len(words)),
        count_bytes(plain, DIGITS) / length,
        count_upper(text) / length,
        count_bytes(plain, _SYMBOLS) / length,
        (length - len(plain)) / length,
        float(len(numbers)),
        math.log1p(max(numbers, default=0.0)),
        float(sum([value != int(value) for value in numbers])),
        float(text.count("?")),
    )


def _sentences(stem: str) -> tuple[float, float]:
    """Return the number of sentences before the options and the words of the last one."""
    sentences = [s for s in _SENTENCE_END.split(stem) if s.strip()]
    return float(len(sentences)), float(len(sentences[-1].split())) if sentences else 0.0


def _read_options(text: str) -> dict[str, str]:
    """Return lettered options in order from A; empty when there are fewer than two."""
    options: dict[str, str] = {}
    for letter, body in _OPTION.findall(text):
        if len(options) < _MAX_OPTIONS and letter == chr(65 + len(options)):
            options[letter] = body.strip().lower()
    return options if len(options) >= 2 else {}


def _option_form(options: dict[str, str]) -> tuple[float, float, float, float]:
    """Return count, mean length, its deviation and the share with digits; NaN without options."""
    if not options:
        return 0.0, math.nan, math.nan, math.nan
    lengths = [len(body) for body in options.values()]
    mean = sum(lengths) / len(lengths)
    deviation = math.sqrt(sum([(x - mean) ** 2 for x in lengths]) / len(lengths))
    numeric = sum([any(map(str.isdigit, body)) for body in options.values()])
    return float(len(options)), mean, deviation, numeric / len(options)
