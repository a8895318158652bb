"""What a body asks for, whichever API it came through; and what all answers say of how they came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..errors import RequestError
from ..pricing import add_costs
from ..types import Attempt, Result
from .shapes import CascadeObject, ToldAttempt, ToldChoice, ToldHit

__all__ = [
    "Asked",
    "decode_object",
    "refuse_keywords",
    "result_headers",
    "result_object",
]


_NOT_A_FIELD = frozenset(
    {
        "cache_tags",
        "deadline_s",
        "idempotent",
        "max_age_s",
        "max_cost_usd",
        "max_total_tokens",
        "min_confidence",
        "policy",
        "prompt",
        "self",
        "session",
        "tenant",
    }
)
"""Keywords of `Cascade.ask` that no body may give as if they were fields of the API."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a ladder.

    Attributes:
        prompt: Chat messages.
        options: Further keywords of `Cascade.ask`.
        n: Answers that are wanted, >= 1.
        stream: Whether the answer is wanted as a stream.
        include_usage: Whether the stream is to end with the tokens used, in OpenAI's way.
        top_logprobs: Alternatives a token that the answer is to show; None: no log-probabilities.
    """

    prompt: Any
    options: dict[str, Any]
    n: int = 1
    stream: bool = False
    include_usage: bool = False
    top_logprobs: int | None = None


_decoder = msgspec.json.Decoder(dict[str, Any])


def decode_object(body: bytes) -> dict[str, Any]:
    """Return a body's JSON object.

    Raises:
        RequestError: It is none; the message names a byte or a kind, and quotes nothing.
    """
    if not body:
        raise RequestError("body: empty; give a JSON object")
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise RequestError(f"body: {str(exc).partition(' - at ')[0].lower()}") from None
    except msgspec.DecodeError as exc:
        raise RequestError(f"body: not JSON: {exc}") from None
    except UnicodeDecodeError:
        raise RequestError(f"body: not UTF-8 at byte {_first_bad_byte(body)}") from None
    except RecursionError:
        raise RequestError("body: not JSON: nested too deep") from None


def _first_bad_byte(body: bytes) -> int:
    """Return where UTF-8 ends to be such: the decoder of JSON counts from the beginning of its text."""
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        return exc.start
    return 0


def refuse_keywords(fields: Mapping[str, Any]) -> None:
    """Refuse fields that `Cascade.ask` would take for options of its own.

    Raises:
        RequestError: There is one; tenants above all come from keys alone.
    """
    for name in _NOT_A_FIELD.intersection(fields):
        raise RequestError(f"{name}: not a field of this API; options go into `cascade`")


def result_object(results: Sequence[Result]) -> CascadeObject:
    """Return the object `cascade` of an answer, or of several to one request.

    It says nothing of the text that a near hit was an answer to, and no failed gate's own words.
    """
    first = results[0]
    hit = first.cache
    return CascadeObject(
        id=first.id,
        rung=first.rung,
        confidence=first.confidence,
        cost_usd=add_costs(*(result.cost_usd for result in results)),
        saving_usd=add_costs(*(result.saving_usd_estimate for result in results)),
        cache=None
        if hit is None
        else ToldHit(
            kind=hit.kind,
            id=hit.ask_id,
            stored_at=hit.stored_at,
            similarity=hit.similarity,
            p_same=hit.p_same,
        ),
        attempts=[_attempt(attempt) for result in results for attempt in result.attempts],
        degraded=_degraded(results),
        choices=None if len(results) == 1 else [_choice(result) for result in results],
    )


def result_headers(results: Sequence[Result]) -> list[tuple[bytes, bytes]]:
    """Return the same as headers; what is unknown has none."""
    first = results[0]
    numbers: Mapping[bytes, float | None] = {
        b"x-cascade-confidence": first.confidence,
        b"x-cascade-cost-usd": add_costs(*(result.cost_usd for result in results)),
        b"x-cascade-saving-usd": add_costs(*(result.saving_usd_estimate for result in results)),
    }
    attempts = sum(len(result.attempts) for result in results)
    headers = [
        (b"x-cascade-id", first.id.encode("ascii", "backslashreplace")),
        (b"x-cascade-rung", b"%d" % first.rung),
        (b"x-cascade-attempts", b"%d" % attempts),
        (b"x-cascade-cache", b"miss" if first.cache is None else first.cache.kind.encode()),
    ]
    for name, number in numbers.items():
        if number is not None:
            headers.append((name, b"%.9g" % number))
    if _degraded(results) is not None:
        headers.append((b"x-cascade-degraded", b"true"))
    return headers


def _degraded(results: Sequence[Result]) -> str | None:
    """Return why the first answer that is less than was asked for is so."""
    return next((r.degraded for r in results if r.degraded is not None), None)


def _choice(result: Result) -> ToldChoice:
    return ToldChoice(
        id=result.id,
        rung=result.rung,
        model=result.model,
        confidence=result.confidence,
        cost_usd=result.cost_usd,
    )


def _attempt(attempt: Attempt) -> ToldAttempt:
    return ToldAttempt(
        rung=attempt.rung,
        model=attempt.model,
        verdict=attempt.verdict,
        reason=attempt.reason,
        confidence=attempt.confidence,
        cost_usd=attempt.cost_usd,
        latency_s=round(attempt.latency_s, 6),
    )
