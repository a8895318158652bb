"""What one answer's text tells: form, tone, claim, arithmetic and use of the prompt's facts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .. import native
from ..arithmetic import Arithmetic, check_arithmetic
from ..claims import Claim, find_claim
from .options import OPTION_NAMES, STATED_NAMES, option_values, stated_values
from .phrases import PhraseCounter
from .prompt import DIGITS, Prompt, count_bytes, count_upper, written_numbers

__all__ = ["ANSWER_NAMES", "Answer", "read_answer"]

MAX_CHARS = 8_000
"""A longer answer is read at its two ends, half of this each."""

_MAX_NUMBERS = 300
_UPPER_CHARS = 400
_ECHO_CHARS = 60

_WORD = re.compile(r"\w+")
_TONE = PhraseCounter(
    {
        "hedges": (
            *("not sure", "uncertain", "unclear", "might", "may be", "perhaps", "possibly"),
            *("probably", "likely", "i think", "i believe", "approximately", "about"),
            *("roughly", "around"),
        ),
        "turns": (
            *("however", "but", "although", "wait", "actually", "instead", "correction"),
            *("mistake", "let me", "alternatively"),
        ),
        "assumes": (
            *("assum*", "suppose", "unknown", "let ? =", "cannot be determined"),
            *("not enough", "not given", "not specified", "not provided", "not mentioned"),
        ),
        "refuses": (
            *("i cannot", "i can't", "i'm sorry", "i am sorry", "as an ai", "unable to"),
            *("don't know", "no comment", "no information", "do not have"),
        ),
        "logic": (
            *("because", "therefore", "thus", "since", "so", "hence"),
            *("first", "then", "finally", "step"),
        ),
        "sure": (
            *("clearly", "certainly", "definitely", "obviously", "always", "never"),
            *("must", "exactly", "confident"),
        ),
        "rounds": ("round*", "closest*", "nearest*", "whole number*"),
    }
)

_FORM_NAMES = (
    *("a_log_chars", "a_log_words", "a_lines", "a_tokens_ratio", "a_word_len", "a_digit_share"),
    *("a_upper_share", "a_unique_share", "a_repeat3", "a_first_upper", "a_ends_stop", "a_fence"),
    *("a_json", "a_bullets", "a_quotes", "a_empty", "a_truncated", "a_non_ascii"),
)
_CLAIM_NAMES = (
    *("c_number", "c_letter", "c_text", "c_none", "c_marked", "c_json_field", "c_markers"),
    *("c_conflicts", "c_after", "c_words", "c_log_value", "c_integer", "c_negative"),
    *("c_in_prompt", "c_prompt_rank", "c_yes", "c_no"),
)
_ARITHMETIC_NAMES = (
    *("e_count", "e_wrong", "e_wrong_share", "e_worst", "e_last_wrong", "e_claim_is_last"),
    *("e_claim_is_any", "e_unexplained", "e_unexplained_share", "e_decimals", "e_negative"),
    "e_max_log",
)
_USE_NAMES = (
    *("u_numbers_used", "u_numbers_unused", "u_words_used", "u_words_new", "u_caps_used"),
    *("u_echo", "n_numbers"),
)
ANSWER_NAMES: tuple[str, ...] = (
    *_FORM_NAMES,
    *(f"a_{kind}" for kind in _TONE.names),
    "a_commas",
    *_CLAIM_NAMES,
    *_ARITHMETIC_NAMES,
    *_USE_NAMES,
    *OPTION_NAMES,
    *STATED_NAMES,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer read once.

    Attributes:
        values: The numbers named by ``ANSWER_NAMES``, same order; NaN where absent.
        claim: What the answer says in the end.
        words: Its words in lower case.
        mean_logprob: Mean natural-log probability of its tokens, NaN when unknown.
    """

    values: tuple[float, ...]
    claim: Claim
    words: frozenset[str]
    mean_logprob: float = math.nan


def read_answer(
    text: str,
    prompt: Prompt,
    *,
    finish_reason: str | None = None,
    completion_tokens: int | None = None,
    prompt_tokens: int | None = None,
    mean_logprob: float = math.nan,
) -> Answer:
    """Read one answer. Cost: about 150 µs for 200 tokens, bounded by ``MAX_CHARS``.

    Args:
        text: The answer, of any length.
        prompt: The request's prompt, read once.
        finish_reason: Why the provider stopped, or None when unknown.
        completion_tokens: Tokens of the answer, or None: words are counted instead.
        prompt_tokens: Tokens of the prompt, or None: a quarter of its characters.
        mean_logprob: Kept beside the values for comparing answers; NaN when unknown.
    """
    full_chars = len(text)
    claim = find_claim(text, letters=bool(prompt.options))
    arithmetic = check_arithmetic(text, prompt.numbers)
    if full_chars > MAX_CHARS:
        text = text[: MAX_CHARS // 2] + "\n" + text[-MAX_CHARS // 2 :]
    lowered = text.lower()
    tokens = _words(lowered)
    words = frozenset(tokens)
    length = math.log1p(completion_tokens if completion_tokens else len(tokens))
    asked = math.log1p(prompt_tokens if prompt_tokens else len(prompt.text) / 4.0)
    truncated = math.nan if finish_reason is None else float(finish_reason == "length")
    values = (
        *_form(text, lowered, tokens, len(words), full_chars, length - asked, truncated),
        *_tone(text, lowered),
        *_claim_values(claim, prompt, lowered, full_chars),
        *_arithmetic_values(arithmetic, claim),
        *_use(text, words, prompt),
        *option_values(claim, prompt, lowered, words),
        *stated_values(claim, text),
    )
    return Answer(values, claim, words, mean_logprob)


_NOT_WORDS = {i: " " for i in range(128) if not (chr(i).isalnum() or chr(i) == "_")}


def _words(lowered: str) -> list[str]:
    """Return the runs of word characters; ASCII text is split at all others, twice as fast."""
    if lowered.isascii():
        return lowered.translate(_NOT_WORDS).split()
    return _WORD.findall(lowered)


def _form(
    text: str,
    lowered: str,
    tokens: list[str],
    distinct: int,
    full_chars: int,
    log_ratio: float,
    truncated: float,
) -> tuple[float, ...]:
    """Return the values of ``_FORM_NAMES``."""
    plain = text.encode("ascii", "ignore")
    lines = text.count("\n")
    length = max(1, len(text))
    n_trigrams = len(tokens) - 2
    repeated = 0.0
    if n_trigrams > 0:
        repeated = 1.0 - _distinct_trigrams(tokens) / n_trigrams
    return (
        math.log1p(full_chars),
        math.log1p(len(tokens)),
        float(lines),
        log_ratio,
        len(lowered) / (len(tokens) + 1.0),
        count_bytes(plain, DIGITS) / length,
        count_upper(text[:_UPPER_CHARS]) / min(length, _UPPER_CHARS),
        distinct / max(1, len(tokens)),
        repeated,
        float(text[:1].isupper()),
        float(text.rstrip()[-1:] in ".!?}"),
        float("```" in text),
        float(text.lstrip()[:1] == "{" or '":' in text),
        float(text.count("\n-") + text.count("\n*") + text.count("\n1.")) if lines else 0.0,
        float(text.count('"')),
        float(not text or text.isspace()),
        truncated,
        (length - len(plain)) / length,
    )


def _distinct_trigrams(tokens: list[str]) -> int:
    if native.distinct_triples is not None:
        return native.distinct_triples(tokens)
    return len(set(zip(tokens, tokens[1:], tokens[2:], strict=False)))


def _tone(text: str, lowered: str) -> list[float]:
    """Return how often the answer hedges, turns, assumes, refuses ...; then its commas."""
    counts = [float(count) for count in _TONE(lowered)]
    counts[0] += text.count("≈")
    counts.append(float(text.count(",")))
    return counts


def _claim_values(claim: Claim, prompt: Prompt, lowered: str, full_chars: int) -> tuple[float, ...]:
    """Return the values of ``_CLAIM_NAMES``."""
    kind = claim.kind
    after = (full_chars - claim.start) / max(1, full_chars) if claim.start >= 0 else math.nan
    return (
        float(kind == "number"),
        float(kind == "letter"),
        float(kind == "text"),
        float(kind == "none"),
        float(claim.marked),
        float(claim.json_field),
        float(claim.markers),
        float(claim.conflicts),
        after,
        float(len(claim.value.split())),
        *(_claimed_number(claim.number, prompt) if kind == "number" else _NO_NUMBER),
        float(lowered[:3] == "yes"),
        float(lowered[:2] == "no" and lowered[2:3] in ("", ".", ",", " ")),
    )


_NO_NUMBER = (math.nan,) * 5


def _claimed_number(value: float, prompt: Prompt) -> tuple[float, float, float, float, float]:
    """Return size, whole or not, sign and its place among the prompt's numbers."""
    given = prompt.numbers
    return (
        math.log1p(abs(value)),
        float(value == int(value)) if abs(value) < 1e15 else math.nan,
        float(value < 0),
        float(value in given),
        sum([x < value for x in given]) / len(given) if given else math.nan,
    )


def _arithmetic_values(stated: Arithmetic, claim: Claim) -> tuple[float, ...]:
    """Return the values of ``_ARITHMETIC_NAMES``."""
    if not stated.equations:
        return _NO_ARITHMETIC
    results = stated.results
    is_last = is_any = math.nan
    if claim.kind == "number":
        slack = 1e-4 * max(1.0, abs(claim.number))
        is_last = float(abs(stated.last_result - claim.number) <= slack)
        is_any = float(any(abs(result - claim.number) <= slack for result in results))
    return (
        float(stated.equations),
        float(stated.wrong),
        stated.wrong / stated.equations,
        stated.worst,
        float(stated.last_wrong),
        is_last,
        is_any,
        float(stated.unexplained),
        stated.unexplained / stated.operands if stated.operands else math.nan,
        float(sum([result != int(result) for result in results if abs(result) < 1e15])),
        float(sum([result < 0 for result in results])),
        math.log1p(max(0.0, *results)),
    )


_NO_ARITHMETIC = (
    *(0.0, 0.0, math.nan, 0.0, 0.0, math.nan, math.nan),
    *(0.0, math.nan, 0.0, 0.0, 0.0),
)


def _use(text: str, words: frozenset[str], prompt: Prompt) -> tuple[float, ...]:
    """Return the values of ``_USE_NAMES``: how much of the prompt the answer takes up."""
    written: Sequence[str] = written_numbers(text)[:_MAX_NUMBERS]
    different = {w.replace(",", "") for w in set(written)}
    used = len(prompt.numbers.intersection(map(float, different)))
    given = len(prompt.numbers)
    shared = len(words & prompt.words)
    names = prompt.capitalised
    named = 0
    if any(name in text for name in names):
        named = len(names.intersection(text.split()))
    return (
        used / given if given else math.nan,
        float(given - used),
        shared / max(1, len(words)),
        float(len(words) - shared),
        named / len(names) if names else math.nan,
        float(len(text) > _ECHO_CHARS // 2 and text[:_ECHO_CHARS] in prompt.text),
        float(len(written)),
    )
