"""Recompute the equations an answer states: "12 / 2 = 6", "<<20*4=80>>", "3 boxes x $5 = $15".

No ``eval``: a tokenizer and recursive descent over + - * / ( ) and a per cent sign after a number,
bounded by ``MAX_EQUATIONS`` and ``WINDOW``, so an answer of 1 MB costs the same as one of 40 kB.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial

from . import native

__all__ = ["Arithmetic", "check_arithmetic", "evaluate_expression"]

MAX_CHARS = 16_000
"""Characters read from each end of a longer answer."""
MAX_EQUATIONS = 48
"""Equations recomputed in one answer: the first ones."""
WINDOW = 120
"""Characters looked at left of "="; half as many right of it."""
MAX_TOKENS = 48
"""Numbers, operators and brackets in one expression; a longer one is not an expression."""
MAX_DEPTH = 12
"""Brackets and signs inside each other."""

_NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")
_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?|\.\d+)(%?)|([-+*/()]))")
_OF_TWO = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([-+*/])\s*(\d+(?:\.\d+)?|\.\d+)")
# The end of most left sides, read backwards: two numbers, and nothing before them that belongs to them.
_REVERSED_OF_TWO = re.compile(
    r"\s*(\d+(?:\.\d+)?)\s*([-+*/xX])\s*(\d+(?:\.\d+)?)"
    r"(?=\s+\d|\s*(?:[^\d.+\-*/()%\sxX]|\Z))"
)
# The same inside one line. What would be taken off the front of an expression besides, such as the
# end of the sentence before, may stand there too.
_REVERSED_ALONE = re.compile(
    r"[^\S\n]*(\d+(?:\.\d+)?)[^\S\n]*([-+*/xX])[^\S\n]*(\d+(?:\.\d+)?)"
    r"(?=[ .*/)%+]*(?:[^\d.+\-*/()%\sxX]|\n|\Z)|[^\S\n]+\d)"
)
_RESULT = re.compile(r"\s*-?\s*(?:\d+(?:\.\d+)?|\.\d+)(?:\s*/\s*\d+(?![\d.]))?%?")
_PER_UNIT = re.compile(r"/(?<=[A-Za-z]/)(?<!(?<![A-Za-z])[xX]/)(?=[A-Za-z])")
_X_IN_WORD = re.compile(r"[xX](?:(?<=[A-Za-z].)|(?=\w))")
_THOUSANDS = re.compile(r",(?<=\d,)(?=\d{3}(?!\d))")
_REVERSED_SUFFIX = re.compile(r"[\d.+\-*/()%\sxX]*")
_SUFFIX = "0123456789.+-*/()%xX \t\n\r\f\v\x1c\x1d\x1e\x1f"
"""The same characters as far as they are ASCII."""
_NO_CONTENT = re.compile(r"\(\s*\)")
_SIDE_BY_SIDE = re.compile(r"(?<=[\d%)])\s+(?=[\d(])")
_HAS_OPERATOR = re.compile(r"[-+*/]").search
_MEANING = str.maketrans(
    {
        **dict.fromkeys(set(string.ascii_letters) - {"x", "X"}, " "),
        **dict.fromkeys("×·", "*"),
        **dict.fromkeys("−–", "-"),
        **dict.fromkeys("$€£\\", " "),
        **dict.fromkeys("[{", "("),
        **dict.fromkeys("]}", ")"),
        "÷": "/",
    }
)
_Equation = tuple[Sequence[float], float, float, bool]
"""Operands, their value, the number stated, whether that is in per cent."""
_TRIVIAL = frozenset({1.0, 2.0, 100.0})  # nobody has to explain where these come from


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The equations of one answer.

    Attributes:
        equations: How many were recomputed.
        wrong: How many of them do not hold.
        operands: Numbers on their left sides.
        unexplained: Operands that are neither known nor the result of an earlier equation.
        last_result: What the last equation states, NaN without one.
        last_wrong: Whether the last one does not hold.
        results: What each states, in order.
        worst: Largest error of a wrong one, relative to what it states (absolute below 1).
    """

    equations: int
    wrong: int
    operands: int
    unexplained: int
    last_result: float
    last_wrong: bool
    results: tuple[float, ...]
    worst: float


_NONE = Arithmetic(0, 0, 0, 0, math.nan, False, (), 0.0)


def evaluate_expression(text: str) -> float:
    """Return the value of an arithmetic expression, NaN if it is not one.

    >>> evaluate_expression("2 * (3 + 4)")
    14.0
    >>> evaluate_expression("50% * 8")
    4.0
    """
    simple = _OF_TWO.fullmatch(text)
    if simple is not None:  # most are
        left, operator, right = simple.groups()
        return _of_two(float(left), float(right), operator)
    tokens = _tokens(text)
    try:
        value, end = _sum(tokens, 0, 0)
    except (IndexError, ZeroDivisionError, _NotAnExpression, OverflowError):
        return math.nan
    return value if end == len(tokens) and math.isfinite(value) else math.nan


def _of_two(a: float, b: float, operator: str) -> float:
    if operator == "+":
        value = a + b
    elif operator == "-":
        value = a - b
    elif operator == "/":
        value = a / b if b else math.nan
    else:
        value = a * b
    return value if math.isfinite(value) else math.nan


class _NotAnExpression(Exception):
    """The tokens do not form an expression."""


def _tokens(text: str) -> Sequence[float | str]:
    """Split an expression; empty if it holds anything else or too much."""
    tokens: list[float | str] = []
    position = 0
    while (found := _TOKEN.match(text, position)) is not None:
        number, percent, operator = found.groups()
        if operator:
            tokens.append(operator)
        else:
            tokens.append(float(number) / 100.0 if percent else float(number))
        position = found.end()
        if len(tokens) > MAX_TOKENS:
            return ()
    return tokens if not text[position:].strip() else ()


def _sum(tokens: Sequence[float | str], i: int, depth: int) -> tuple[float, int]:
    value, i = _product(tokens, i, depth)
    while i < len(tokens) and (tokens[i] == "+" or tokens[i] == "-"):
        operator = tokens[i]
        right, i = _product(tokens, i + 1, depth)
        value = value + right if operator == "+" else value - right
    return value, i


def _product(tokens: Sequence[float | str], i: int, depth: int) -> tuple[float, int]:
    value, i = _atom(tokens, i, depth)
    while i < len(tokens) and (tokens[i] == "*" or tokens[i] == "/"):
        operator = tokens[i]
        right, i = _atom(tokens, i + 1, depth)
        value = value * right if operator == "*" else value / right
    return value, i


def _atom(tokens: Sequence[float | str], i: int, depth: int) -> tuple[float, int]:
    """Read a number, a signed atom or a bracket; what follows a bracket at once multiplies it."""
    if depth > MAX_DEPTH:
        raise _NotAnExpression
    first = tokens[i]
    if isinstance(first, float):
        if i + 1 < len(tokens) and tokens[i + 1] == "(":  # "3(4+1)"
            inner, end = _atom(tokens, i + 1, depth + 1)
            return first * inner, end
        return first, i + 1
    if first == "-":
        value, i = _atom(tokens, i + 1, depth + 1)
        return -value, i
    if first == "(":
        value, i = _sum(tokens, i + 1, depth + 1)
        if i < len(tokens) and tokens[i] == ")":
            i += 1
            if i < len(tokens) and tokens[i] == "(":
                inner, i = _atom(tokens, i, depth + 1)
                value *= inner
            return value, i
    raise _NotAnExpression


def check_arithmetic(text: str, known: AbstractSet[float] = frozenset()) -> Arithmetic:
    """Recompute every equation stated in ``text``.

    An equation is the longest arithmetic suffix, with at least one operator, left of "=" on one
    line, and a number right of it. It holds when both agree up to the rounding people write,
    also across a factor of 100 ("0.2 = 20 %").

    Args:
        text: The answer.
        known: Numbers that the prompt gives.

    Cost: O(MAX_EQUATIONS * WINDOW), about 5 µs an equation.
    """
    if "=" not in text:
        return _NONE
    if len(text) > 2 * MAX_CHARS:
        text = text[:MAX_CHARS] + "\n" + text[-MAX_CHARS:]
    text = _blanked(text)
    if native.check_equations is not None and text.isascii():
        found = native.check_equations(
            text.encode(), known, _TRIVIAL, WINDOW, MAX_EQUATIONS, partial(_read_equation, text)
        )
    else:
        found = _check(text, known)
    results, wrong, operands, unexplained, last_wrong, worst = found
    if not results:
        return _NONE
    return Arithmetic(
        len(results),
        wrong,
        operands,
        unexplained,
        results[-1],
        last_wrong,
        tuple(results),
        worst,
    )


def _blanked(text: str) -> str:
    if native.blanked is not None and text.isascii():
        return native.blanked(text.encode()).decode()
    return _blank_words(text)


def _check(text: str, known: AbstractSet[float]) -> tuple[list[float], int, int, int, bool, float]:
    """Return results, wrong ones, operands, unexplained ones, whether the last is wrong, the worst."""
    backwards = text[::-1]
    wrong = operands = unexplained = 0
    last_wrong = False
    worst = 0.0
    results: list[float] = []
    position, left_end = text.find("="), 0
    while position >= 0 and len(results) < MAX_EQUATIONS:
        following = text.find("=", position + 1)
        start = position - WINDOW if position > left_end + WINDOW else left_end
        read = _read_simple(text, backwards, start, position)
        if read is None:
            read = _read_equation(text, start, position, following)
        left_end, position = position + 1, following
        if read is None:
            continue
        operands_here, value, stated, percent = read
        last_wrong = value != stated and not (
            _near(value, stated) or _near(value * 100, stated) or _near(value, stated * 100)
        )
        if last_wrong:
            wrong += 1
            worst = max(worst, abs(value - stated) / max(1.0, abs(stated)))
        for operand in operands_here:
            operands += 1
            if operand not in known and operand not in _TRIVIAL and operand not in results:
                for result in results:
                    slack = 1e-6 * max(1.0, abs(result))
                    if -slack < operand - result < slack:
                        break
                else:
                    unexplained += 1
        results.append(stated * 100 if percent else stated)
    return results, wrong, operands, unexplained, last_wrong, worst


def _read_simple(text: str, backwards: str, start: int, equals: int) -> _Equation | None:
    """Return what `_read_equation` does of two numbers and a plain result; None for all others.

    Numbers are matched where they stand: no side is cut out, turned round or freed of commas.
    """
    length = len(text)
    left = _REVERSED_ALONE.match(backwards, length - equals, length - start)
    if left is None:
        return None
    begins = length - left.end()
    if begins > start and text[begins - 1] == ",":
        return None
    stop = equals + WINDOW // 2
    right = _RESULT.match(text, equals + 1, stop)
    if right is None:
        return None
    written, end = right.group(), right.end()
    if "\n" in written or end == stop or text[end : end + 1] == ",":
        return None
    try:
        stated = float(written)
    except ValueError:
        return None
    second, operator, first = left.groups()
    a, b = float(first[::-1]), float(second[::-1])
    value = _of_two(a, b, operator)
    return None if value != value else ((a, b), value, stated, False)


def _right_end(text: str, equals: int, following: int) -> int:
    """Return where what may be the right side of an equation ends."""
    stop = equals + WINDOW // 2
    if 0 <= following < stop:
        stop = following
    newline = text.find("\n", equals + 1, stop)
    return stop if newline < 0 else newline


def _read_equation(text: str, start: int, equals: int, following: int) -> _Equation | None:
    """Return the equation, None if there is none."""
    start = max(start, text.rfind("\n", start, equals) + 1)
    stop = _right_end(text, equals, following)
    right = _RESULT.match(_join_thousands(text[equals + 1 : stop]))
    if right is None:
        return None
    left = _join_thousands(text[start:equals])
    simple = _REVERSED_OF_TWO.match(left[::-1])
    operands: tuple[float, ...]
    if simple is not None:
        second, operator, first = simple.groups()
        operands = float(first[::-1]), float(second[::-1])
        value = _of_two(operands[0], operands[1], operator)
    else:
        expression = _expression(left)
        operands = tuple(map(float, _NUMBER.findall(expression)))
        value = evaluate_expression(expression) if expression else math.nan
    if math.isnan(value):
        return None
    written = right.group()
    try:
        stated = float(written)
    except ValueError:  # a fraction, a per cent sign, a blank after the sign
        stated = evaluate_expression(written)
        if math.isnan(stated):
            return None
    return operands, value, stated, written.endswith("%")


def _join_thousands(side: str) -> str:
    return _THOUSANDS.sub("", side) if "," in side else side


def _near(a: float, b: float) -> bool:
    """Equal up to the rounding people write: 0.6 % relative, or half a unit of the second decimal."""
    return abs(a - b) <= max(0.006 * max(abs(a), abs(b)), 0.0051)


def _blank_words(text: str) -> str:
    """Map typographic operators; blank currency and words. Every character keeps its place.

    An "x" stays where it stands alone: it may be a multiplication sign.

    >>> _blank_words("60 km/h × 3 x 2 boxes")
    '60      * 3 x 2      '
    """
    if "/" in text:
        text = _PER_UNIT.sub(" ", text)
    if "x" in text or "X" in text:
        text = _X_IN_WORD.sub(" ", text)
    return text.translate(_MEANING)


def _expression(left: str) -> str:
    """Return the longest arithmetic suffix with an operator, "" if there is none."""
    if left.isascii():
        suffix = left[len(left.rstrip(_SUFFIX)) :]
    else:
        found = _REVERSED_SUFFIX.match(left[::-1])
        suffix = left[len(left) - (found.end() if found else 0) :]
    if "x" in suffix or "X" in suffix:
        suffix = suffix.replace("x", "*").replace("X", "*")
    suffix = suffix.strip().lstrip(" .*/)%+").rstrip()
    while suffix.endswith("."):
        suffix = suffix[:-1].rstrip()
    if "(" in suffix or ")" in suffix:
        suffix = _balanced(suffix)
    *before, last = _SIDE_BY_SIDE.split(suffix)  # "5 12 * 3": the expression starts at 12
    if before and not _HAS_OPERATOR(last):
        return ""
    return last if _HAS_OPERATOR(last.lstrip("-")) else ""


def _balanced(suffix: str) -> str:
    """Cut after the last bracket without a partner; drop empty brackets."""
    depth = 0
    for i in range(len(suffix) - 1, -1, -1):
        if suffix[i] == ")":
            depth += 1
        elif suffix[i] == "(":
            depth -= 1
            if depth < 0:
                suffix = suffix[i + 1 :]
                break
    suffix = suffix.strip()
    while suffix[:1] == "(" and suffix[1:].lstrip()[:1] == ")":
        suffix = suffix[1:].lstrip()[1:].lstrip()
    if depth > 0:
        suffix = suffix[suffix.rfind(")") + 1 :].strip()
    return _NO_CONTENT.sub(" ", suffix).strip()
