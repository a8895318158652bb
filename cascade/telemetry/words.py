"""What a decision record says, in words of which there are few: labels, and never anything of a text. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..rules import BUILT_IN_GATES

__all__ = [
    "ERRORS",
    "OTHER",
    "STAGES",
    "called",
    "compressed_stages",
    "error_word",
    "escalations",
    "gate_word",
    "reason_left",
]

OTHER = "other"
"""Stands for what has no word of its own, and for what there is too much of."""

ERRORS: Mapping[str, str] = {
    "BadResponse": "bad_response",
    "BudgetExceeded": "budget",
    "CircuitOpen": "circuit_open",
    "ConfigError": "not_sendable",
    "ConnectFailed": "connect",
    "ContentRefused": "content_refused",
    "ContextTooLong": "context_too_long",
    "CoolingDown": "cooling_down",
    "DeadlineExceeded": "deadline",
    "EngineClosed": "closed",
    "LimitReached": "limit",
    "NotCalled": "not_called",
    "NotRecorded": "not_recorded",
    "PromptOverBudget": "over_budget",
    "ProviderTimeout": "timeout",
    "RateLimited": "rate_limited",
    "RequestError": "not_sendable",
    "RequestRefused": "refused",
    "ServerFailed": "server_error",
    "StreamBroken": "broken",
    "Unauthorized": "unauthorized",
}
"""The word for each class of error that ends a call."""

STAGES = frozenset({"minify", "dedupe", "boilerplate", "history", "examples", "extract"})
"""Stages of prompt compression by name; those that a package offers are ``plugin``."""

_NO_CALL = frozenset({"skipped", "cached"})
"""Verdicts of attempts for which no model was asked."""


def error_word(error: Mapping[str, Any] | None) -> str | None:
    """Return the word for an error of a record, None where there is none."""
    return None if error is None else ERRORS.get(str(error.get("type")), OTHER)


def gate_word(gate: str) -> str:
    """Return the name of a built-in gate; ``other`` for a gate of one's own, whose name may say anything."""
    return gate if gate in BUILT_IN_GATES else OTHER


def compressed_stages(attempt: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Return (stage, tokens before it, tokens after it) of each stage that a prompt went through.

    Empty where the prompt was sent as it was: then no tokens were counted.

    >>> done = {"name": "minify", "tokens_before": 90, "tokens_after": 60}
    >>> compressed_stages({"compression": {"tokens_after": 60, "stages": [done]}})
    [('minify', 90, 60)]
    """
    told = attempt.get("compression")
    if told is None or told["tokens_after"] is None:
        return []
    return [
        (
            stage["name"] if stage["name"] in STAGES else "plugin",
            stage["tokens_before"],
            stage["tokens_after"],
        )
        for stage in told["stages"]
    ]


def called(attempt: Mapping[str, Any]) -> bool:
    """Return whether a model was asked for this attempt."""
    return attempt["verdict"] not in _NO_CALL


def reason_left(attempt: Mapping[str, Any]) -> str:
    """Return why an answer was not enough.

    ``gate``: it failed one; ``unmeasured``: nobody can say how sure it is; ``unsure``: it does not reach
    its threshold; ``no_threshold``: it has none; ``policy``: another reason of the policy's, such as a
    `min_confidence` of the ask; else the word for the error of its call.

    >>> reason_left({"error": None, "failed_gates": [], "confidence": 0.4, "threshold": 0.8})
    'unsure'
    """
    error = error_word(attempt["error"])
    if error is not None:
        return error
    if attempt["failed_gates"]:
        return "gate"
    confidence, threshold = attempt["confidence"], attempt["threshold"]
    if confidence is None:
        return "unmeasured"
    if threshold is None:
        return "no_threshold"
    return "unsure" if confidence < threshold else "policy"


def escalations(attempts: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the attempts after which another model was asked because of them, in order.

    What was asked beside another (hedged) was not asked because of it.
    """
    walked = [a for a in attempts if called(a) and a["verdict"] != "hedged"]
    yield from walked[:-1]
