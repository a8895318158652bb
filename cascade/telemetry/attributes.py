"""The attributes of spans, named by OpenTelemetry's conventions for generative AI, version 1.41. Pure.

What these have no name for is called `cascade.…`. An unknown number is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..types import Answer, CallContext, ModelCall
from .words import compressed_stages, error_word, gate_word, reason_left

__all__ = [
    "RungPlace",
    "of_answer",
    "of_ask",
    "of_attempt",
    "of_call",
    "of_decision",
    "of_record",
    "of_stages",
]

Attributes = dict[str, Any]

_SAMPLING = ("top_p", "frequency_penalty", "presence_penalty")
"""Fields of a request that the engine passes on unread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungPlace:
    """Where a rung is served.

    Attributes:
        provider: `gen_ai.provider.name`: whose API it speaks, such as ``openai``.
        url: Its address, or None when it is not behind one.
    """

    provider: str = "unknown"
    url: str | None = None

    def attributes(self) -> dict[str, str | int]:
        """Return the attributes that say so."""
        found: dict[str, str | int] = {"gen_ai.provider.name": self.provider}
        parts = urlsplit(self.url or "")
        if parts.hostname:
            found["server.address"] = parts.hostname
            found["server.port"] = parts.port or (443 if parts.scheme == "https" else 80)
        return found


def of_ask(id: str, ladder: str, context: CallContext) -> Attributes:
    """Return what is known of an ask at its beginning."""
    found: Attributes = {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": ladder,
        "cascade.ask.id": id,
    }
    _add(found, {"gen_ai.conversation.id": context.session, "cascade.tenant": context.tenant})
    return found


def of_call(call: ModelCall, place: RungPlace) -> Attributes:
    """Return what is known of a call at its beginning."""
    request = call.request
    found: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": call.model,
        "cascade.rung": call.rung,
        **place.attributes(),
    }
    stop = [request.stop] if isinstance(request.stop, str) else request.stop
    _add(
        found,
        {
            "gen_ai.request.max_tokens": request.max_tokens or call.max_tokens,
            "gen_ai.request.temperature": request.temperature,
            "gen_ai.request.seed": request.seed,
            "gen_ai.request.stop_sequences": None if stop is None else list(stop),
            "gen_ai.request.stream": None if call.listener is None else True,
            "gen_ai.conversation.id": call.context.session,
            "gen_ai.output.type": _output_type(request.response_format),
        },
    )
    for name in _SAMPLING:
        value = request.extra.get(name, call.extra.get(name))
        if isinstance(value, int | float):
            found[f"gen_ai.request.{name}"] = value
    return found


def of_answer(answer: Answer) -> Attributes:
    """Return what was answered, without its text."""
    usage, reason = answer.usage, answer.finish_reason
    found: Attributes = {"gen_ai.response.model": answer.model}
    _add(
        found,
        {
            "gen_ai.response.finish_reasons": None if reason is None else [reason],
            "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
            "cascade.deployment": answer.deployment,
        },
    )
    return found


def of_record(record: Mapping[str, Any]) -> Attributes:
    """Return what is known of an ask at its end."""
    hit = record["cache"]
    miss = None if record["cache_miss"] is None else "miss"
    found: dict[str, Any] = {"cascade.outcome": record["outcome"]}
    _add(
        found,
        {
            "cascade.policy": record["policy"],
            "cascade.scorer": record["scorer"],
            "cascade.rung": record["rung"],
            "gen_ai.response.model": record["model"],
            "cascade.confidence": record["confidence"],
            "cascade.cost_usd": record["cost_usd"],
            "cascade.saving_usd": record["saving_usd_estimate"],
            "cascade.cache": miss if hit is None else hit["kind"],
        },
    )
    return found


def _verdict(attempt: Mapping[str, Any]) -> Attributes:
    found: dict[str, Any] = {"cascade.verdict": attempt["verdict"]}
    _add(
        found,
        {
            "cascade.confidence": attempt["confidence"],
            "cascade.threshold": attempt["threshold"],
            "cascade.cost_usd": attempt["cost_usd"],
        },
    )
    return found


def of_attempt(attempt: Mapping[str, Any]) -> Attributes:
    """Return what became of a call."""
    found = _verdict(attempt)
    streaming = attempt.get("streaming")
    if streaming is not None:
        _add(found, {"gen_ai.response.time_to_first_chunk": streaming["first_s"]})
    stages = compressed_stages(attempt)
    if stages:
        found["cascade.compression.tokens_before"] = stages[0][1]
        found["cascade.compression.tokens_after"] = stages[-1][2]
    return found


def of_stages(attempt: Mapping[str, Any]) -> list[Attributes]:
    """Return what each stage did to the prompt of a call, in their order."""
    return [
        {
            "cascade.compression.stage": stage,
            "cascade.compression.tokens_before": before,
            "cascade.compression.tokens_after": after,
        }
        for stage, before, after in compressed_stages(attempt)
    ]


def of_decision(attempt: Mapping[str, Any]) -> Attributes:
    """Return what was decided after an attempt."""
    found = _verdict(attempt) | {
        "cascade.rung": attempt["rung"],
        "gen_ai.request.model": attempt["model"],
        "cascade.action": attempt["action"] or "skip",
    }
    if attempt["verdict"] in ("escalated", "rejected", "failed"):
        found["cascade.reason"] = reason_left(attempt)
    _add(
        found,
        {
            "error.type": error_word(attempt["error"]),
            "cascade.failed_gates": [gate_word(gate) for gate in attempt["failed_gates"]] or None,
        },
    )
    return found


def _output_type(response_format: Mapping[str, Any] | None) -> str | None:
    if response_format is None:
        return None
    return "json" if str(response_format.get("type")).startswith("json") else "text"


def _add(attributes: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Add what is known; an unknown number is absent, never zero."""
    attributes.update({name: value for name, value in given.items() if value is not None})
