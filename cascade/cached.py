"""What may be taken from a cache and what may be put into it: pure decisions over values."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from .ending import Ending
from .errors import BudgetExceeded, DeadlineExceeded, EngineClosed
from .explain import format_usd
from .types import Attempt, CacheEntry, CacheHit, Demand, Request, Score

__all__ = ["Keeping", "may_share", "served", "shared", "why_not_kept", "why_not_served"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Which answers are kept.

    Attributes:
        min_confidence: Least P(right) in [0, 1] of an answer that is kept; None: whatever was accepted,
            answers without a confidence too.
        max_temperature: Answers to requests with a higher sampling temperature are not kept: whoever
            sets one wants another answer each time. A request that sets none is kept.
        tool_calls: Whether answers with tool calls are kept.
        private: Says of a request that its answer must not be kept; None: of none.
    """

    min_confidence: float | None = None
    max_temperature: float = 0.0
    tool_calls: bool = False
    private: Callable[[Request], bool] | None = None


def why_not_kept(ending: Ending, request: Request, demand: Demand, rules: Keeping) -> str | None:
    """Return why an answer must not be kept, or None when it may."""
    if demand.cache in ("off", "read"):
        return f'the ask has cache="{demand.cache}"'
    if ending.kept is None:
        return "no rung gave an answer"
    if ending.degraded is not None:
        return f"the answer is degraded: {ending.degraded}"
    kept = ending.attempts[ending.kept]
    answer = kept.answer
    if answer is None or kept.verdict == "cached":
        return "it came from the cache"
    if answer.finish_reason == "length":
        return "the answer is cut short"
    if answer.tool_calls and not rules.tool_calls:
        return "the answer calls tools"
    if (request.temperature or 0.0) > rules.max_temperature:
        return f"temperature {request.temperature:g} is above {rules.max_temperature:g}"
    least = rules.min_confidence
    if least is not None and (kept.confidence is None or kept.confidence < least):
        sure = "unknown" if kept.confidence is None else f"{kept.confidence:.2f}"
        return f"confidence {sure} is below {least:.2f}"
    if rules.private is not None and rules.private(request):
        return "it is marked private"
    return None


def why_not_served(entry: CacheEntry, demand: Demand, now: str) -> str | None:
    """Return why an entry must not be served to an ask, or None when it may.

    Args:
        entry: What is kept.
        demand: What the ask demands.
        now: The time, UTC, ISO 8601.
    """
    if entry.expires_at is not None and entry.expires_at <= now:
        return "it is past its time"
    if demand.max_age_s is not None and _age_s(entry.stored_at, now) > demand.max_age_s:
        return f"it is older than {demand.max_age_s:g} s"
    floor = demand.min_confidence
    if floor is not None and (entry.confidence is None or entry.confidence < floor):
        sure = "unknown" if entry.confidence is None else f"{entry.confidence:.2f}"
        return f"its confidence {sure} does not reach {floor:.2f}"
    return None


def served(entry: CacheEntry, hit: CacheHit) -> Ending:
    """Return the ending of an ask that the cache answers: it costs nothing."""
    if hit.kind == "near":
        why = f"near-duplicate (similarity {hit.similarity:.2f}, P(same answer) {hit.p_same:.3f})"
    else:
        why = "the same request" if hit.kind == "exact" else "the same request was in flight"
    since = "" if hit.stored_at is None else f", stored {hit.stored_at}"
    attempt = Attempt(
        rung=entry.rung,
        model=entry.model,
        provider="cache",
        verdict="cached",
        reason=f"{why}{since}, answered ask {hit.ask_id} for {format_usd(entry.cost_usd)}",
        answer=replace(entry.answer, tries=()),
        score=Score(
            confidence=entry.confidence,
            why_unknown=None if entry.confidence is not None else "unknown when it was stored",
        ),
        cost_usd=0.0,
        action="stop",
    )
    return Ending(
        attempts=(attempt,),
        kept=0,
        degraded=None,
        error=None,
        cost_usd=0.0,
        saving_usd_estimate=entry.cost_usd,
        opening={"cache": 1.0},
        cache=hit,
    )


def may_share(ending: Ending) -> bool:
    """Return whether those who asked the same meanwhile get this ending too.

    What one ask came to because of its own deadline, money or end is its own affair.
    """
    if ending.error is not None:
        own = (DeadlineExceeded, EngineClosed, BudgetExceeded)
        return not isinstance(ending.error, own)
    return ending.degraded is None


def shared(ending: Ending, key: str, ask_id: str) -> Ending:
    """Return the ending of an ask that waited for another one with the same request: it costs nothing."""
    if ending.kept is None:
        error = copy(ending.error)
        return Ending(
            attempts=(),
            kept=None,
            degraded=None,
            error=error,
            cost_usd=0.0,
            saving_usd_estimate=None,
        )
    kept = ending.attempts[ending.kept]
    hit = CacheHit(kind="shared", key=key, ask_id=ask_id, stored_at=None)
    attempt = replace(
        kept,
        verdict="cached",
        reason=f"the same request was in flight as ask {ask_id}",
        cost_usd=0.0,
        tries=(),
        action="stop",
        probabilities={},
    )
    return Ending(
        attempts=(attempt,),
        kept=0,
        degraded=None,
        error=None,
        cost_usd=0.0,
        saving_usd_estimate=ending.cost_usd,
        opening={"cache": 1.0},
        cache=hit,
    )


def _age_s(stored_at: str, now: str) -> float:
    return (datetime.fromisoformat(now) - datetime.fromisoformat(stored_at)).total_seconds()
