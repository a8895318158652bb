"""The decision record: one JSON object an ask, and how old ones are read.

A record holds what off-policy evaluation needs: scores, thresholds, the action taken after each
attempt and the probability of every action, costs, tokens and latency. Prompt and answers are in it
only when the log is told to keep text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from msgspec import to_builtins

from ..errors import CascadeError, LogError, ProviderError
from ..types import Attempt, CacheHit, Request

__all__ = ["SCHEMA", "Outcome", "decision_record", "upgrade"]

SCHEMA = 1
"""Version of the records written now."""

Outcome = Literal["answered", "degraded", "failed", "cancelled", "cut"]
"""An ask that was ``cut`` was still running when the engine's grace time for closing was over; it
may have ended with an answer all the same."""

_UPGRADES: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Schema n → function that makes it n + 1. Append only: any old file opens with any newer version."""


def decision_record(
    *,
    id: str,
    time: str,
    ladder: Mapping[str, Any],
    policy: str,
    scorer: str | None,
    request: Request,
    request_digest: str,
    tenant: str | None,
    metadata: Mapping[str, Any],
    outcome: Outcome,
    attempts: Sequence[Attempt],
    kept: int | None,
    degraded: str | None,
    error: BaseException | None,
    cost_usd: float | None,
    saving_usd_estimate: float | None,
    latency_s: float,
    text: bool,
    opening: Mapping[str, float] | None = None,
    cache: CacheHit | None = None,
    cache_miss: str | None = None,
) -> dict[str, Any]:
    """Return the record of one ask as plain data, ready for JSON.

    Args:
        id: Id of the ask.
        time: When it began, UTC, ISO 8601.
        ladder: Name and version of the ladder, and its metadata.
        policy: Version of the policy.
        scorer: Version of the scorer, or None without one.
        request: What was asked.
        request_digest: Its digest.
        tenant: Whose ask it was, or None.
        metadata: The caller's own fields.
        outcome: How it ended.
        attempts: Every rung tried.
        kept: Position in `attempts` of the answer returned, or None.
        degraded: Why the answer is less than was asked for, or None.
        error: What was raised, or None.
        cost_usd: All that was spent; None if unknown.
        saving_usd_estimate: Against always calling the top rung; None if unknown.
        latency_s: Wall seconds.
        opening: Probability of each action the policy could have begun with; None if unknown.
        cache: Where the answer came from, if from the cache.
        cache_miss: Why the cache had nothing to give, where it was asked.
        text: Whether prompt, answers and token log-probabilities are kept.
    """
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "decision",
        "id": id,
        "time": time,
        "ladder": ladder,
        "policy": policy,
        "scorer": scorer,
        "tenant": tenant,
        "metadata": metadata,
        "request": {"digest": request_digest, **_request_shape(request)},
        "outcome": outcome,
        "rung": None if kept is None else attempts[kept].rung,
        "model": None if kept is None else attempts[kept].model,
        "confidence": None if kept is None else attempts[kept].confidence,
        "degraded": degraded,
        "error": None if error is None else _error(error),
        "cost_usd": cost_usd,
        "saving_usd_estimate": saving_usd_estimate,
        "latency_s": round(latency_s, 6),
        "opening": opening,
        "cache": None if cache is None else _hit(cache, text),
        "cache_miss": cache_miss,
        "attempts": [_attempt(attempt, text) for attempt in attempts],
    }
    if text:
        record["messages"] = [
            {"role": m.role, "content": m.content, **m.extra} for m in request.messages
        ]
    return record


def upgrade(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of any earlier schema as one of the present schema.

    Raises:
        LogError: The record has no schema, or one that a newer version wrote.
    """
    schema = record.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise LogError(f"not a decision record: schema {schema!r:.40}; allowed: 1 to {SCHEMA}")
    if schema > SCHEMA:
        raise LogError(
            f"schema {schema} was written by a newer version; this one reads up to {SCHEMA}"
        )
    while schema < SCHEMA:
        record = _UPGRADES[schema](record)
        schema += 1
    return record


def _hit(hit: CacheHit, text: bool) -> dict[str, Any]:
    record: dict[str, Any] = {
        "kind": hit.kind,
        "key": hit.key,
        "ask_id": hit.ask_id,
        "stored_at": hit.stored_at,
        "similarity": hit.similarity,
        "p_same": hit.p_same,
    }
    return {**record, "text": hit.text} if text else record


def _request_shape(request: Request) -> dict[str, Any]:
    """Numbers about the request that give nothing of it away."""
    return {
        "messages": len(request.messages),
        "characters": sum(len(m.content) for m in request.messages if isinstance(m.content, str)),
        "tools": len(request.tools or ()),
        "response_format": None
        if request.response_format is None
        else request.response_format.get("type"),
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
    }


def _attempt(attempt: Attempt, text: bool) -> dict[str, Any]:
    answer, score = attempt.answer, attempt.score
    record: dict[str, Any] = {
        "rung": attempt.rung,
        "model": attempt.model,
        "provider": attempt.provider,
        "verdict": attempt.verdict,
        # A user's gate may quote the answer in its reason, and so may an upstream: only with the text.
        "reason": attempt.reason if text or not (attempt.failed_gates or attempt.error) else None,
        "action": attempt.action,
        "probabilities": attempt.probabilities,
        "threshold": attempt.threshold,
        "confidence": attempt.confidence,
        "measures": None if score is None else score.measures,
        "forecast": None
        if score is None or not score.forecast
        else {str(rung): p for rung, p in score.forecast.items()},
        "failed_gates": [gate.partition(":")[0] for gate in attempt.failed_gates],
        "error": None if attempt.error is None else _error(attempt.error),
        "cost_usd": attempt.cost_usd,
        "latency_s": round(attempt.latency_s, 6),
    }
    if attempt.tries:
        record["tries"] = [
            {
                "deployment": request.deployment,
                "error": None if request.error is None else _error(request.error),
                "latency_s": round(request.latency_s, 6),
                "cost_usd": request.cost_usd,
                "estimated": request.estimated,
            }
            for request in attempt.tries
        ]
    streamed = attempt.streamed
    if streamed is not None:
        record["streaming"] = {
            "mode": streamed.mode,
            "released_at_tokens": streamed.released_at_tokens,
            "stopped_at_tokens": streamed.stopped_at_tokens,
            "judged": streamed.judged,
            "first_s": None if streamed.first_s is None else round(streamed.first_s, 6),
        }
        if streamed.usage is not None:
            record |= {
                "prompt_tokens": streamed.usage.prompt_tokens,
                "completion_tokens": streamed.usage.completion_tokens,
                "tokens_estimated": streamed.usage.estimated,
            }
    if attempt.compression is not None:
        record["compression"] = to_builtins(attempt.compression)
    if answer is not None:
        usage = answer.usage
        record |= {
            "finish_reason": answer.finish_reason,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": usage.cached_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
        }
        if text:
            logprobs = answer.logprobs
            record |= {
                "text": answer.text,
                "tool_calls": answer.tool_calls,
                "logprobs": None if logprobs is None else logprobs.logprobs,
                "top_logprobs": None if logprobs is None else logprobs.top,
            }
    return record


def _error(error: BaseException) -> dict[str, Any]:
    """An error without anything an upstream or a prompt may have put into it."""
    record: dict[str, Any] = {"type": type(error).__name__}
    if isinstance(error, ProviderError):
        record |= {"status": error.status, "retry_after_s": error.retry_after_s}
    if isinstance(error, CascadeError):
        record["message"] = str(error)
    return record
