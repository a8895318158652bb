"""Find what an answer claims (a number, an option letter, a JSON value, a short text) and compare two claims.

Only general conventions are known here: JSON answer fields, "the answer is", a boxed or marked
last line, a lone letter, a lone number, a short text. Nothing looks for a particular benchmark.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "Claim",
    "find_claim",
    "json_probabilities",
    "normalise_text",
    "parse_number",
    "same_claim",
    "similarity",
]

MAX_CHARS = 20_000
"""An answer longer than this is read at its two ends only, half of this each."""
SHORT_WORDS = 12
"""An unmarked answer of at most this many words is its own claim."""

_MAX_MARKERS = 8
_MAX_PIECE = 400
_TAIL_CHARS = 600
_LINE_CHARS = 300
_PROBABILITY_CHARS = 1_500
_MAX_PROBABILITIES = 16
_SIMILAR_CHARS = 2_000

_CLOSING = re.compile(
    r"(?:####+|\\boxed\s*\{|(?:final\s+|correct\s+|best\s+)?"
    r"(?:answer|option|choice|result|label)\s*(?:is|are|:|=|would be|should be)+\s*:?|"
    r"^\s*(?:A|Ans|Answer|Output)\s*:|"
    r"(?:therefore|thus|hence|so|in total|in conclusion)\b[^.\n]{0,160}?"
    r"\b(?:is|are|=|be|has|have|needs?|total(?:s)?)\b)",
    re.IGNORECASE | re.MULTILINE,
)
_MARKER = re.compile(
    r"(?:####+|\\boxed\s*\{|(?:final\s+|correct\s+|best\s+)?answer\s*(?:is|:|=)+\s*:?|"
    r"^\s*(?:A|Ans|Output)\s*:)",
    re.IGNORECASE | re.MULTILINE,
)
_NUMBER = re.compile(
    r"[-+]?(?:\$|€|£)?\s?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s?/\s?\d+(?:\.\d+)?)?%?"
)
_DATE = re.compile(r"\d{1,4}[/.-]\d{1,2}[/.-]\d{2,4}")
_LETTER = re.compile(r"^[\s(\[*\"'`]*([A-Za-z])(?:[\s)\].:,*\"'`]|$)")
_JSON_FIELD = re.compile(
    r"[\"'](?:final[_ ]?)?(?:answer|result|label|output|choice|prediction|value|solution)[\"']\s*:"
    r"\s*(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[-+\d.eE]+|true|false|null|\[[^\]]*\])",
    re.IGNORECASE,
)
_JSON_PROBABILITY = re.compile(
    r"[\"']([^\"'\n]{1,24})[\"']\s*:\s*[\"']?(\d{1,3}(?:\.\d+)?)(%?)[\"']?\s*(?=[,}\n]|$)"
)
_SPACE = re.compile(r"\s+")
_PUNCTUATION = re.compile(r"[^\w%$./+-]+")
_ARTICLE = re.compile(r"\b(?:the|a|an)\b")
_WORD = re.compile(r"\w+")
_NO_DIGIT_GROUPING = str.maketrans("", "", ",$€£ ")


@dataclass(frozen=True, slots=True)
class Claim:
    """What an answer says in the end.

    Attributes:
        kind: ``number``, ``letter``, ``text`` or ``none``.
        value: The normalised form that is compared across answers; "" for none.
        number: The number claimed, NaN unless the kind is number.
        marked: Whether a marker or a JSON field introduced it.
        json_field: Whether a JSON field did.
        start: Its position in the text in characters, -1 when unknown.
        markers: How many strong markers stand in the answer.
        conflicts: How many of them introduce another value.
    """

    kind: str
    value: str
    number: float = math.nan
    marked: bool = False
    json_field: bool = False
    start: int = -1
    markers: int = 0
    conflicts: int = 0


_NONE = Claim("none", "")


class _Value(NamedTuple):
    """Kind, normalised value and number of a claim, before it is known where it stands."""

    kind: str
    value: str
    number: float = math.nan


def _number_value(number: float) -> _Value:
    return _Value("number", f"{number:.6g}", number)


def normalise_text(text: str) -> str:
    """Lower-case; drop articles, punctuation and repeated blanks.

    >>> normalise_text("The  Gremlins.")
    'gremlins'
    """
    text = _PUNCTUATION.sub(" ", text.lower())
    text = _ARTICLE.sub(" ", text)
    return _SPACE.sub(" ", text).strip(" .-/+")


def parse_number(text: str) -> float:
    """Return the value of a written number, NaN if it is none.

    Thousands commas, currency, a per cent sign at the end and a fraction a/b are understood.

    >>> parse_number("$1,250.50")
    1250.5
    """
    text = text.strip().translate(_NO_DIGIT_GROUPING).rstrip("%")
    try:
        if "/" in text:
            above, below = map(float, text.split("/", 1))
            value = above / below if below != 0 else math.nan
        else:
            value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def find_claim(text: str, *, letters: bool = False) -> Claim:
    """Return the claim of one answer.

    Order: a JSON answer field; the last strong marker (the first one where options are listed);
    a lone letter, number or short text; a closing sentence ("so the total is 7"); the last number.

    Args:
        text: The answer, of any length.
        letters: Whether the prompt lists lettered options.

    Cost: linear, at most ``MAX_CHARS`` characters are read.
    """
    if len(text) > MAX_CHARS:
        text = text[: MAX_CHARS // 2] + "\n" + text[-MAX_CHARS // 2 :]
    text = text.strip()
    if not text:
        return _NONE
    if len(text) == 1:
        return Claim("letter", text.upper(), start=0) if text.isalpha() else Claim("text", text)
    return (
        _json_claim(text, letters)
        or _marked_claim(text, letters)
        or _short_claim(text, letters)
        or _closing_claim(text)
    )


def _json_claim(text: str, letters: bool) -> Claim | None:
    """Read the last JSON field named answer, result, label ..."""
    if '"' not in text or ":" not in text:
        return None
    field = _last(_JSON_FIELD, text)
    if field is None:
        return None
    written = field.group(1).strip()
    if written[:1] in "\"'":
        written = written[1:-1]
    value = _value(written, letters) if len(written.split()) <= SHORT_WORDS else None
    if value is None:
        if not written:
            return None
        value = _Value("text", normalise_text(written)[:200])
    return Claim(*value, marked=True, json_field=True, start=field.start(1), markers=1)


def _marked_claim(text: str, letters: bool) -> Claim | None:
    """Read what follows the strong markers; the last decides, among options the first."""
    found: list[tuple[_Value, int]] = []
    for marker in list(_MARKER.finditer(text))[-_MAX_MARKERS:]:
        value = _value(text[marker.end() : marker.end() + _MAX_PIECE], letters)
        if value is not None:
            found.append((value, marker.end()))
    if not found:
        return None
    chosen, start = found[0] if letters else found[-1]
    conflicts = sum(value.value != chosen.value for value, _ in found)
    return Claim(*chosen, marked=True, start=start, markers=len(found), conflicts=conflicts)


def _short_claim(text: str, letters: bool) -> Claim | None:
    """Read an answer that is nothing but its claim, or that begins with its option's letter."""
    option = _LETTER.match(text) if letters else None
    if option is not None and not option.group(1).isupper():
        option = None
    if text.count(" ") + 1 <= SHORT_WORDS and "\n" not in text:
        if option is not None:
            return Claim("letter", option.group(1), start=option.start(1))
        number = parse_number(text)
        if math.isnan(number):
            return Claim("text", normalise_text(text), start=0)
        return Claim(*_number_value(number), start=0)
    if option is not None:
        end = option.end(1)
        if text[end : end + 1] in ").:\n":
            return Claim("letter", option.group(1), start=0)
    return None


def _closing_claim(text: str) -> Claim:
    """Read the number or date of the last conclusion, or the right side of a last equation."""
    tail = text[-_TAIL_CHARS:]
    closing = _last(_CLOSING, tail)
    piece = tail.rstrip().split("\n")[-1] if closing is None else tail[closing.end() :]
    line = piece.strip().split("\n", 1)[0][:_LINE_CHARS]
    dates = _DATE.findall(line)
    if dates:
        return Claim("text", dates[-1])
    if closing is None and "=" not in tail:
        return _NONE
    after = line.rsplit("=", 1)[1] if "=" in line else line
    found = _NUMBER.findall(after) or _NUMBER.findall(line)
    number = parse_number(found[0] if "=" in line else found[-1]) if found else math.nan
    return _NONE if math.isnan(number) else Claim(*_number_value(number))


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    last = None
    for last in pattern.finditer(text):  # noqa: B007 - the last match is what is wanted
        pass
    return last


def _value(piece: str, letters: bool) -> _Value | None:
    """Read the words that follow a marker: a letter, a date, a first number or a short text."""
    line = piece.lstrip(" \t:*=-\"'`({[\\\n")[:_MAX_PIECE].split("\n", 1)[0]
    if not line:
        return None
    letter = _LETTER.match(line)
    if letter and (letters or len(line.strip(" .)*\"'`}]\\")) == 1):
        character = letter.group(1)
        if character.isupper() or len(line.strip(" .)*\"'`}]")) == 1:
            return _Value("letter", character.upper())
    date = _DATE.search(line)
    if date and date.start() < 40:
        return _Value("text", date.group(0))
    number = _NUMBER.search(line)
    if number:
        value = parse_number(number.group())
        if not math.isnan(value):
            return _number_value(value)
    if len(line.split()) <= SHORT_WORDS:
        words = normalise_text(line)
        if words:
            return _Value("text", words)
    return None


def same_claim(a: Claim, b: Claim) -> float:
    """Return 1 when two answers claim the same, 0 when they differ, NaN when they cannot be compared.

    Numbers agree within 1e-4 relative; letters and texts when equal, texts also when one contains
    the other as whole words.
    """
    if a.kind == "none" or b.kind == "none":
        return math.nan
    if a.kind == "number" and b.kind == "number":
        slack = 1e-4 * max(1.0, abs(a.number), abs(b.number))
        return float(abs(a.number - b.number) <= slack)
    if a.value == b.value:
        return 1.0
    if a.kind == "text" and b.kind == "text" and a.value and b.value:
        x, y = f" {a.value} ", f" {b.value} "
        return float(min(len(x), len(y)) > 4 and (x in y or y in x))
    return 0.0


def similarity(a: str, b: str) -> float:
    """Return the Jaccard overlap of two answers' word sets, in [0, 1]; NaN if either has no word.

    Of an answer longer than 4,000 characters its two ends are read.
    """
    x, y = _word_set(a), _word_set(b)
    if not x or not y:
        return math.nan
    return len(x & y) / len(x | y)


def _word_set(text: str) -> set[str]:
    if len(text) > 2 * _SIMILAR_CHARS:
        text = text[:_SIMILAR_CHARS] + " " + text[-_SIMILAR_CHARS:]
    return set(_WORD.findall(text.lower()))


def json_probabilities(text: str) -> dict[str, float]:
    """Return numeric JSON fields in [0, 1] (or per cent) of an answer by key, lower-cased.

    Finds stated probabilities or confidences whatever the keys are called, at most 16 of them in
    the last 1,500 characters; broken JSON is read by pattern.

    >>> json_probabilities('{"A": 0.7, "B": "20%"}')
    {'a': 0.7, 'b': 0.2}
    """
    found: dict[str, float] = {}
    for field in _JSON_PROBABILITY.finditer(text[-_PROBABILITY_CHARS:]):
        key, number, percent = field.groups()
        value = float(number) / 100.0 if percent else float(number)
        if 0.0 <= value <= 1.0:
            found[key.strip().lower()] = value
            if len(found) >= _MAX_PROBABILITIES:
                break
    return found
