"""Find what an answer claims (a number, an option letter, a JSON value, a short text) and compare two claims.

Only general conventions are known here: JSON answer fields, "the answer is", a boxed or marked
last line, a lone letter, a lone number, a short text. Nothing looks for a particular benchmark.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
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


def _starting(rests: Mapping[str, str]) -> re.Pattern[str]:
    """Compile what may follow each first letter; the search leaps between first letters."""
    each = [re.escape(letter) + rest for letters, rest in rests.items() for letter in letters]
    return re.compile("|".join(each))


# What stands in front of "answer" ("the final answer is") does not change where the marker ends, so
# it is not looked for. A group is a marker only at the start of a line, see `_ends`. Some letters
# have odd relatives: these are the ones that `re.IGNORECASE` knows.
_IS = r"\s*(?i:is|are|:|=|would be|should be)+\s*:?"
_CONCLUDES = (
    r"\b[^.\n]{0,160}?\b(?:[iIıİ][sSſ]|[aA](?i:re)|=|[bB](?i:e)|[hH](?i:as|ave)|[nN](?i:eeds?)|"
    r"[tT](?i:otals?))\b"
)
_CLOSING = _starting(
    {
        "#": "###+",
        "\\": r"(?i:boxed)\s*\{",
        "aA": rf"(?:(?i:nswer){_IS}|((?i:ns(?:wer)?)?\s*:))",
        "oO": rf"(?:(?i:ption){_IS}|((?i:utput)\s*:))",
        "cC": rf"(?i:hoice){_IS}",
        "rR": rf"(?i:esult){_IS}",
        "lL": rf"(?i:abel){_IS}",
        "tT": rf"(?i:herefore|hus){_CONCLUDES}",
        "hH": rf"(?i:ence){_CONCLUDES}",
        "sSſ": rf"(?i:o){_CONCLUDES}",
        "iIıİ": rf"(?i:n total|n conclusion){_CONCLUDES}",
    }
)
_MARKER = _starting(
    {
        "#": "###+",
        "\\": r"(?i:boxed)\s*\{",
        "aA": r"(?:(?i:nswer)\s*(?i:is|:|=)+\s*:?|((?i:ns)?\s*:))",
        "oO": r"((?i:utput)\s*:)",
    }
)
_FEW_MARKERS = re.compile(r"####+|\\(?i:boxed)\s*\{")
_BLANK_COLON = tuple(f"{chr(i)}:" for i in range(128) if chr(i).isspace())
_NUMBER = re.compile(
    r"[-+]?(?:\$|€|£)?\s?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s?/\s?\d+(?:\.\d+)?)?%?"
)
_DATE_BEFORE = 40
"""A date that begins later is not what the marker introduced."""
_DATE_CHARS = 12
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
    for end in _marker_ends(text)[-_MAX_MARKERS:]:
        value = _value(text[end : end + _MAX_PIECE], letters)
        if value is not None:
            found.append((value, end))
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
    ends = _ends(_CLOSING, tail)
    piece = tail[ends[-1] :] if ends else tail.rstrip().split("\n")[-1]
    line = piece.strip().split("\n", 1)[0][:_LINE_CHARS]
    dates = _DATE.findall(line)
    if dates:
        return Claim("text", dates[-1])
    if not ends and "=" not in tail:
        return _NONE
    after = line.rsplit("=", 1)[1] if "=" in line else line
    found = _NUMBER.findall(after) or _NUMBER.findall(line)
    number = parse_number(found[0] if "=" in line else found[-1]) if found else math.nan
    return _NONE if math.isnan(number) else Claim(*_number_value(number))


def _marker_ends(text: str) -> list[int]:
    """Return `_ends` of the strong markers; most answers hold no word that begins one: a tenth of the time."""
    lowered = text.lower()
    if not text.isascii() or "ans" in lowered:
        return _ends(_MARKER, text)
    if ":" in text and (
        "a:" in lowered or "output" in lowered or any(two in text for two in _BLANK_COLON)
    ):
        return _ends(_MARKER, text)
    firsts = [place for place in (text.find("####"), text.find("\\")) if place >= 0]
    if not firsts:
        return []
    return [found.end() for found in _FEW_MARKERS.finditer(text, min(firsts))]


def _ends(pattern: re.Pattern[str], text: str) -> list[int]:
    """Return where the markers in a text end.

    The pattern's group is a marker only at the start of a line, behind blanks at most.
    """
    ends: list[int] = []
    last = 0
    for found in pattern.finditer(text):
        if found.lastindex:
            line = text.rfind("\n", 0, found.start()) + 1
            if line < last or text[line : found.start()].strip():
                continue
        last = found.end()
        ends.append(last)
    return ends


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
    date = _DATE.search(line, 0, _DATE_BEFORE + _DATE_CHARS)
    if date and date.start() < _DATE_BEFORE:
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
