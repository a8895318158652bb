"""Entries as bytes: JSON that says what it is, with a checksum. Whatever else comes back is no entry.

``[1,"e902da2a",{…}]``: the number of the schema, the CRC-32 of what follows, the entry. It tells damage
from entries; it does not tell forgers from us: who may write to the store can make up answers, but
nothing it holds is ever run.
"""

from __future__ import annotations

from typing import Annotated, Any
from zlib import crc32

import msgspec

from ..types import Answer, CacheEntry, Usage
from .life import seconds_of

__all__ = ["SCHEMA", "decode", "decode_own", "encode"]

SCHEMA = 1
"""Number of the layout. It changes with the meaning of a field; entries of another one are not read."""

_HEAD = f'[{SCHEMA},"'.encode()
_CHECK = slice(len(_HEAD), len(_HEAD) + 8)
_QUOTE = slice(_CHECK.stop, _CHECK.stop + 2)
_BODY = slice(_QUOTE.stop, -1)

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Amount = Annotated[float, msgspec.Meta(ge=0)]
_Index = Annotated[int, msgspec.Meta(ge=0)]


class _Answer(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    text: str | None
    model: str
    finish_reason: str | None = None
    usage: Usage = Usage()
    tool_calls: tuple[dict[str, Any], ...] = ()
    refusal: str | None = None
    cost_usd: _Amount | None = None
    p_true: _Share | None = None
    deployment: str | None = None


class _Entry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    key: str
    scope: str
    tenant: str | None
    text: str | None
    answer: _Answer
    rung: _Index
    model: str
    confidence: _Share | None
    cost_usd: _Amount | None
    ladder: str
    policy: str
    scorer: str | None
    ask_id: str
    stored_at: str
    expires_at: str | None = None
    tags: tuple[str, ...] = ()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Entry)


def encode(entry: CacheEntry) -> bytes | None:
    """Return an entry as bytes, or None when it cannot be written: no JSON, or a time that is none.

    The provider's body, log-probabilities, other requests made for it and its pause are left out.
    """
    if seconds_of(entry.stored_at) is None:
        return None
    if entry.expires_at is not None and seconds_of(entry.expires_at) is None:
        return None
    answer = entry.answer
    try:
        body = _encoder.encode(
            _Entry(
                entry.key,
                entry.scope,
                entry.tenant,
                entry.text,
                _Answer(
                    answer.text,
                    answer.model,
                    answer.finish_reason,
                    answer.usage,
                    tuple(answer.tool_calls),  # type: ignore[arg-type]  # any mapping is written
                    answer.refusal,
                    answer.cost_usd,
                    answer.p_true,
                    answer.deployment,
                ),
                entry.rung,
                entry.model,
                entry.confidence,
                entry.cost_usd,
                entry.ladder,
                entry.policy,
                entry.scorer,
                entry.ask_id,
                entry.stored_at,
                entry.expires_at,
                entry.tags,
            )
        )
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
        return None
    return b'%b%08x",%b]' % (_HEAD, crc32(body), body)


def decode(data: object, key: str) -> CacheEntry | None:
    """Return the entry that bytes hold, or None when they hold none of this key in this schema."""
    if not isinstance(data, bytes) or not data.startswith(_HEAD) or data[-1:] != b"]":
        return None
    body = memoryview(data)[_BODY]
    if data[_QUOTE] != b'",' or data[_CHECK] != b"%08x" % crc32(body):
        return None
    return _entry(body, key)


def decode_own(data: bytes, key: str) -> CacheEntry | None:
    """Return what `decode` does, of bytes that have never left this process."""
    return _entry(memoryview(data)[_BODY], key)


def _entry(body: memoryview, key: str) -> CacheEntry | None:
    try:
        read = _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if read.key != key or seconds_of(read.stored_at) is None:
        return None
    if read.expires_at is not None and seconds_of(read.expires_at) is None:
        return None
    answer = read.answer
    return CacheEntry(
        key=read.key,
        scope=read.scope,
        tenant=read.tenant,
        text=read.text,
        answer=Answer(
            text=answer.text,
            model=answer.model,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            tool_calls=answer.tool_calls,
            refusal=answer.refusal,
            cost_usd=answer.cost_usd,
            p_true=answer.p_true,
            deployment=answer.deployment,
        ),
        rung=read.rung,
        model=read.model,
        confidence=read.confidence,
        cost_usd=read.cost_usd,
        ladder=read.ladder,
        policy=read.policy,
        scorer=read.scorer,
        ask_id=read.ask_id,
        stored_at=read.stored_at,
        expires_at=read.expires_at,
        tags=read.tags,
    )
