"""A result told in words, one line a step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .types import RANK

if TYPE_CHECKING:
    from .types import Attempt, Compression, Result

__all__ = ["explain", "explain_attempt", "explain_compression", "format_usd"]

SAID_CHARS = 100
"""Of an answer at most."""


def explain(result: Result) -> str:
    """Return the walk in words: for each rung why it was kept or left, what it cost and what it said."""
    lines = [] if result.cache_miss is None else [f"cache: no hit: {result.cache_miss}"]
    for attempt in result.attempts:
        lines.append(explain_attempt(attempt))
        if attempt.compression is not None:
            lines.append(f"  {explain_compression(attempt.compression)}")
        lines += [f"  failed {gate}" for gate in attempt.failed_gates if ":" in gate]
        said = _said(attempt)
        if said:
            lines.append(f"  said: {said}")
    if result.cache is not None and result.cache.text is not None:
        lines.append(f"  was an answer to: {_short(result.cache.text)}")
    sure = "unknown" if result.confidence is None else f"{result.confidence:.2f}"
    lines.append(
        f"→ answered by {result.model}, confidence {sure}, "
        f"{format_usd(result.cost_usd)} in all, {result.latency_s:.2f} s"
    )
    if any(
        attempt.score is not None and RANK in attempt.score.measures for attempt in result.attempts
    ):
        lines.append("  confidences are ranks among the model's logged answers, not probabilities")
    if (
        result.saving_usd_estimate
    ):  # nothing to tell where the top rung alone would have cost the same
        lines.append(
            f"  saved {format_usd(result.saving_usd_estimate)}, what it had cost"
            if result.cache is not None
            else f"  saved about {format_usd(result.saving_usd_estimate)} against always calling the top rung"
            if result.saving_usd_estimate > 0
            else f"  cost about {format_usd(-result.saving_usd_estimate)} more than the top rung alone"
        )
    if result.degraded:
        lines.append(f"  degraded: {result.degraded}")
    return "\n".join(lines)


def _said(attempt: Attempt) -> str:
    """Return the beginning of an answer on one line, "" where there is none."""
    answer = attempt.answer
    if answer is None:
        return ""
    text = answer.text or answer.refusal or ""
    if not text and answer.tool_calls:
        return f"{len(answer.tool_calls)} tool calls"
    return _short(text)


def _short(text: str) -> str:
    """Return the beginning of a text on one line."""
    text = " ".join(text.split())
    return text if len(text) <= SAID_CHARS else f"{text[:SAID_CHARS].rstrip()}…"


def explain_attempt(attempt: Attempt) -> str:
    """Return one attempt as a line: the rung, its verdict, why, cost and time."""
    spent = "" if attempt.verdict == "skipped" else f", {format_usd(attempt.cost_usd)}"
    took = "" if attempt.verdict == "skipped" else f", {attempt.latency_s:.2f} s"
    return f"rung {attempt.rung} {attempt.model}: {attempt.verdict}: {attempt.reason}{spent}{took}"


def explain_compression(done: Compression) -> str:
    """Return what was done to a prompt: tokens before and after, then what each stage removed."""
    before, after = done.tokens_before, done.tokens_after
    if before is None or after is None:
        return f"prompt not compressed: {done.note or 'there was nothing to remove'}"
    about = "about " if done.counted == "estimate" else ""
    if not any(stage.removed for stage in done.stages):
        why = done.note or "there was nothing to remove"
        return f"prompt not compressed, {about}{before:,} tokens: {why}"
    share = f" ({1 - after / before:.0%} less)" if before else ""
    stages = "; ".join(f"{s.name}: {s.removed}" for s in done.stages if s.removed)
    note = f"; {done.note}" if done.note else ""
    return f"prompt compressed from {about}{before:,} to {after:,} tokens{share}: {stages}{note}"


def format_usd(amount: float | None) -> str:
    """Return US dollars with three significant digits or cents; a price that is not known says so.

    >>> format_usd(0.0000123), format_usd(1.5), format_usd(None)
    ('$0.0000123', '$1.50', 'price unknown')
    """
    if amount is None or math.isnan(amount):
        return "price unknown"
    if amount == 0:
        return "$0"
    sign, size = ("-" if amount < 0 else ""), abs(amount)
    if size >= 1:
        return f"{sign}${size:,.2f}"
    decimals = 2 - math.floor(math.log10(size))  # three significant digits, never an exponent
    return f"{sign}${size:.{decimals}f}".rstrip("0")
