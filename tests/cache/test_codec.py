"""Entries as bytes: what comes back is what went in, or nothing."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.cache.codec import decode, decode_own, encode
from cascade.cache.life import is_alive, life_s, seconds_of
from cascade.errors import ProviderTimeout
from cascade.types import CacheEntry, TokenLogprobs, Try

from .entries import NOW, entries, entry

WRITTEN = (
    b'[1,"e902da2a",{"key":"k","scope":"scope","tenant":null,"text":"What is 6 times 7?","answer":'
    b'{"text":"42","model":"small-1","finish_reason":"stop","usage":{"prompt_tokens":9,'
    b'"completion_tokens":1,"cached_tokens":null,"cache_write_tokens":null,"reasoning_tokens":null}},'
    b'"rung":0,"model":"small","confidence":0.9,"cost_usd":0.0001,"ladder":"l1","policy":"p1",'
    b'"scorer":null,"ask_id":"a1","stored_at":"2026-01-31T12:00:00.000Z"}]'
)
"""How the first version wrote `entry()`: read for as long as the schema has its number."""

_SINCE = (b'"reasoning_tokens":null', b'"reasoning_tokens":null,"estimated":false')
"""What has been added: a field with a default may come without a new number, for old files lack it."""


def forged(**fields: Any) -> bytes:
    """Bytes with a right checksum, and fields as given over those of `entry()`."""
    content = json.loads(WRITTEN)[2]
    content.update(fields)
    return checked(json.dumps(content).encode())


def checked(body: bytes) -> bytes:
    return b'[1,"%08x",%b]' % (zlib.crc32(body), body)


@given(entries)
def test_what_is_written_is_read(made: CacheEntry) -> None:
    """Every field of every entry, and the bytes are JSON."""
    data = encode(made)
    assert data is not None
    assert decode(data, made.key) == made
    assert decode_own(data, made.key) == made
    assert json.loads(data)[0] == 1


def test_the_layout_is_that_of_its_number() -> None:
    """Old files are read for as long as the number stays, and nothing changes by chance."""
    body = WRITTEN[len(b'[1,"e902da2a",') : -1]
    assert encode(entry()) == checked(body.replace(*_SINCE))
    assert decode(WRITTEN, "k") == entry()


def test_what_is_not_to_be_kept_is_left_out() -> None:
    """The body, log-probabilities and other requests are no part of an answer kept."""
    made = entry()
    full = msgspec.structs.replace(
        made.answer,
        raw=b"{}",
        logprobs=TokenLogprobs(tokens=["42"], logprobs=[-0.1]),
        tries=(
            Try(
                deployment="d",
                error=ProviderTimeout("late", provider="d", model="m"),
                latency_s=1.0,
                cost_usd=None,
            ),
        ),
        pause_s=3.0,
    )
    assert encode(msgspec.structs.replace(made, answer=full)) == encode(made)


@given(entries, st.data())
def test_a_changed_byte_is_noticed(made: CacheEntry, data: st.DataObject) -> None:
    """Every damage of up to four bytes in a row, wherever it is."""
    written = encode(made)
    assert written is not None
    at = data.draw(st.integers(0, len(written) - 1))
    length = data.draw(st.integers(1, min(4, len(written) - at)))
    instead = data.draw(st.binary(min_size=length, max_size=length))
    damaged = written[:at] + instead + written[at + length :]
    read = decode(damaged, made.key)
    assert read is None or read == made
    assert decode(written[:at], made.key) is None


@given(entries, st.text(max_size=5))
def test_another_keys_entry_is_none(made: CacheEntry, key: str) -> None:
    """Whoever has swapped rows gets a miss."""
    written = encode(made)
    assert (decode(written, key) is None) == (key != made.key)


@pytest.mark.parametrize(
    "data",
    [
        None,
        42,
        "text",
        bytearray(WRITTEN),
        b"",
        b"[]",
        b'[1,"',
        b'[1,"e902da2a",]',
        WRITTEN[1:],
        WRITTEN + b" ",
        WRITTEN.replace(b"[1,", b"[2,"),
        WRITTEN.replace(b"e902da2a", b"E902DA2A"),
        checked(b""),
        checked(b"null"),
        checked(b"{}"),
        checked(b"[" * 100_000),
        checked(b'{"key":"k"'),
        checked(b"\xff\xfe"),
        checked(b"9" * 5_000),
        b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    ],
)
def test_what_is_no_entry_is_none(data: object) -> None:
    """Other types, other schemas, torn and hostile bytes, pickles."""
    assert decode(data, "k") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"rung": -1},
        {"rung": "0"},
        {"rung": 1e999},
        {"confidence": 1.5},
        {"cost_usd": -1},
        {"stored_at": "yesterday"},
        {"stored_at": "2026-13-31T12:00:00.000Z"},
        {"expires_at": "never"},
        {"expires_at": 0},
        {"answer": None},
        {"answer": {"text": 1, "model": "m"}},
        {"answer": {"text": "x", "model": "m", "raw": "x"}},
        {"tags": "tag"},
        {"more": 1},
        {"text": "\ud800"},
    ],
)
def test_a_right_checksum_is_not_enough(fields: dict[str, Any]) -> None:
    """Fields have types and ranges, and there are no others."""
    assert decode(forged(**fields), "k") is None
    assert decode(forged(), "k") == entry()


def test_a_deep_tool_call_is_refused() -> None:
    """It neither breaks writing nor reading."""
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    answer = msgspec.structs.replace(entry().answer, tool_calls=(deep,))
    assert encode(entry(answer=answer)) is None
    body = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    hostile = WRITTEN[14:-1].replace(b'"42"', b'"42","tool_calls":[' + body + b"]")
    assert decode(checked(hostile), "k") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "\ud800"},
        {"text": "\udfff"},
        {"answer": msgspec.structs.replace(entry().answer, tool_calls=({"a": object()},))},
        {"answer": msgspec.structs.replace(entry().answer, tool_calls=({(1, 2): 1},))},
        {"answer": msgspec.structs.replace(entry().answer, tool_calls=None)},
        {"stored_at": ""},
        {"expires_at": "tomorrow"},
    ],
)
def test_what_cannot_be_written_is_none(fields: dict[str, Any]) -> None:
    """Half surrogate pairs, what is no JSON, times that are none."""
    assert encode(entry(**fields)) is None


def test_infinite_and_undefined_numbers_become_unknown() -> None:
    """JSON has none; an unknown confidence serves no demand."""
    written = encode(entry(confidence=math.nan, cost_usd=math.inf))
    read = decode(written, "k")
    assert read is not None
    assert (read.confidence, read.cost_usd) == (None, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00.000Z", 0.0),
        ("2026-01-31T12:00:00.250Z", NOW + 0.25),
        ("2026-01-31T12:00:00Z", None),
        ("2026-01-31 12:00:00.000Z", None),
        ("2026-02-31T12:00:00.000Z", None),
        ("2026-01-31T12:00:00.000+", None),
        ("", None),
        ("9" * 24, None),
    ],
)
def test_a_time_has_one_form(text: str, seconds: float | None) -> None:
    """That of the clock."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("at", "life"),
    [(0, 60.0), (59, 1.0), (60, 0.0), (61, -1.0), (-30, 60.0), (-61, 0.0)],
    ids=["now", "late", "over", "long over", "clock a bit behind", "clock set back"],
)
def test_no_entry_outlives_its_time(at: float, life: float) -> None:
    """A clock that was set back by more than a minute makes it none at all."""
    made = entry(ttl_s=60)
    assert life_s(made, NOW + at) == life
    assert is_alive(made, NOW + at) == (life > 0)
    assert is_alive(entry(), NOW + at)
