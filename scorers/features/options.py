"""How the reasoning fits the chosen option, and which probabilities an answer states itself."""

from __future__ import annotations

import math
import re

from ..claims import Claim, json_probabilities
from .prompt import Prompt

__all__ = ["OPTION_NAMES", "STATED_NAMES", "option_values", "stated_values"]

OPTION_NAMES = (
    *("o_index", "o_valid", "o_len_rank", "o_claim_overlap", "o_best_other", "o_overlap_margin"),
    *("o_text_in_answer", "o_others_in_answer", "o_letters_named", "o_prompt_overlap"),
    "o_all_none",
)
STATED_NAMES = (
    *("s_stated", "s_second", "s_margin", "s_entropy", "s_sum", "s_fields"),
    "s_text",
)

_REASONED_CHARS = 40
"""A shorter answer only names its option: there is no reasoning to compare."""

_CONFIDENCE = re.compile(
    r"confiden\w*\W{1,6}(?:is|of|level|score|:)?\W{0,4}(\d{1,3}(?:\.\d+)?)\s*(%?)", re.IGNORECASE
)
_NO_OPTIONS = (math.nan,) * len(OPTION_NAMES)
_NOT_AN_OPTION = (math.nan, 0.0, *(math.nan,) * (len(OPTION_NAMES) - 2))
_NOTHING_STATED = (math.nan,) * (len(STATED_NAMES) - 1)


def option_values(
    claim: Claim, prompt: Prompt, lowered: str, words: frozenset[str]
) -> tuple[float, ...]:
    """Return the values of ``OPTION_NAMES``; NaN where the prompt lists no options.

    Args:
        claim: What the answer says.
        prompt: The prompt with its options.
        lowered: The answer in lower case.
        words: Its words.
    """
    options = prompt.options
    if not options:
        return _NO_OPTIONS
    chosen = claim.value if claim.kind == "letter" else ""
    if chosen not in options:
        return _NOT_AN_OPTION
    body = options[chosen]
    chosen_words = prompt.option_words[chosen]
    shorter = sum([len(other) < len(body) for other in options.values()]) / len(options)
    return (
        float(ord(chosen) - 65),
        1.0,
        shorter,
        *_reasoning_values(claim, prompt, chosen, lowered, words),
        len(chosen_words & prompt.stem_words) / max(1, len(chosen_words)),
        float("all of" in body or "none of" in body or "both" in body or "neither" in body),
    )


def _reasoning_values(
    claim: Claim, prompt: Prompt, chosen: str, lowered: str, words: frozenset[str]
) -> tuple[float, ...]:
    """Return word overlap with the chosen and the best other option, and which ones are named."""
    if len(lowered) <= _REASONED_CHARS:
        return (math.nan,) * 6
    share = {k: len(w & words) / max(1, len(w)) for k, w in prompt.option_words.items()}
    mine = share.pop(chosen)
    best_other = max(share.values(), default=math.nan)
    before_claim = lowered[: claim.start] if claim.start > 0 else lowered
    told = {k: body.rstrip(" .") in before_claim for k, body in prompt.options.items()}
    mine_told = told.pop(chosen)
    named = sum([f"({letter.lower()})" in lowered for letter in prompt.options])
    return (
        mine,
        best_other,
        mine - best_other,
        float(mine_told),
        float(sum(told.values())),
        float(named),
    )


def stated_values(claim: Claim, text: str) -> tuple[float, ...]:
    """Return the values of ``STATED_NAMES``: probabilities that the answer itself states.

    Either one a label in JSON fields, or one confidence in words; NaN where there is none.
    """
    in_words = math.nan
    if "onfiden" in text and (found := _CONFIDENCE.search(text)):
        value = float(found.group(1))
        in_words = value / 100.0 if found.group(2) or value > 1.0 else value
    has_fields = '":' in text or '" :' in text or "':" in text
    fields = json_probabilities(text) if has_fields else {}
    if not fields:
        return (*_NOTHING_STATED, in_words)
    key = claim.value.lower()
    values = sorted(fields.values(), reverse=True)
    if key in fields:
        stated = fields[key]
        second = max((v for k, v in fields.items() if k != key), default=math.nan)
    else:
        stated = values[0]
        second = values[1] if len(values) > 1 else math.nan
    total = sum(values)
    entropy = math.nan
    if total > 0:
        entropy = -sum([v / total * math.log(v / total) for v in values if v > 0])
    return (stated, second, stated - second, entropy, total, float(len(fields)), in_words)
