"""Events of streams: however they are cut, and whatever is in them."""

from __future__ import annotations

import contextlib
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.assembly import Assembly
from cascade.errors import BadResponse, ProviderError, RateLimited, ServerFailed
from cascade.types import Chunk
from cascade.wire.anthropic_stream import MessageReader
from cascade.wire.openai_stream import ChunkReader
from cascade.wire.sse import EventReader, EventTooLarge

STREAM = (
    b"\xef\xbb\xbfdata: one\n\n: a comment\r\nevent: x\r\ndata: two\r\ndata:three\r\n\r\n"
    b"id: 7\rdata: four\r\rdata:\n\ndata: five\n\n"
)


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    """In one piece, in many, between CR and LF, byte by byte."""
    reader, found = EventReader(), []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, stop in pairwise(edges):
        found += reader.feed(STREAM[start:stop])
    assert found == [b"one", b"two\nthree", b"four", b"", b"five"]


def test_single_bytes_are_read_without_joining_them_each_time() -> None:
    """A line of a hundred thousand bytes that comes one by one is read in good time."""
    reader = EventReader()
    line = b"data: " + b"x" * 100_000
    for i in range(len(line)):
        assert reader.feed(line[i : i + 1]) == []
    assert reader.feed(b"\n\n") == [b"x" * 100_000]


def test_an_event_that_is_too_large_is_refused() -> None:
    """Before its end has come, and when it comes in one piece."""
    with pytest.raises(EventTooLarge):
        EventReader(most=100).feed(b"data: " + b"x" * 101)
    with pytest.raises(EventTooLarge):
        EventReader(most=100).feed(b"data: " + b"x" * 101 + b"\n\n")
    reader = EventReader(most=100)
    for _ in range(50):
        assert len(reader.feed(b"data: " + b"x" * 80 + b"\n\n")) == 1


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_a_bad_response(data: bytes) -> None:
    """Neither reader raises anything else."""
    for reader in (ChunkReader("p", "m"), MessageReader("p", "m")):
        with contextlib.suppress(BadResponse):
            reader.read(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "content", "index", "usage", "logprobs", "tool_calls", "type"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_an_event_or_a_provider_error(value: object) -> None:
    """Fields of the wrong kind count as absent, or the event is refused."""
    data = json.dumps(value).encode()
    for reader in (ChunkReader("p", "m"), MessageReader("p", "m")):
        with contextlib.suppress(ProviderError):
            reader.read(data)


def test_odd_fields_count_as_absent_and_the_text_stands() -> None:
    """NaN where a log-probability should be, a number for a model, text for counts."""
    reader = ChunkReader("p", "m")
    chunk = reader.read(
        b'{"model": 7, "usage": {"prompt_tokens": "x"}, "choices": [{"delta": {"content": "hi"},'
        b' "logprobs": {"content": [{"token": "hi", "logprob": NaN}]}}]}'
    )
    assert chunk == Chunk(text="hi")
    assert (reader.model, reader.usage) == ("m", None)


def test_errors_inside_a_stream_are_told_by_code_or_type() -> None:
    """Nothing of their words is quoted."""
    with pytest.raises(RateLimited) as caught:
        ChunkReader("p", "m").read(b'{"error": {"code": 429, "message": "SECRET"}}')
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ServerFailed):
        MessageReader("p", "m").read(
            b'{"type": "error", "error": {"type": "overloaded_error", "message": "SECRET"}}'
        )


def test_other_choices_than_the_first_are_left_out() -> None:
    """A server that sends several all the same."""
    data = b'{"choices": [{"index": 1, "delta": {"content": "no"}}]}'
    assert ChunkReader("p", "m").read(data) is None


@given(st.lists(st.text(max_size=6), max_size=10))
def test_an_answer_is_what_its_chunks_said(texts: list[str]) -> None:
    """In order, and without log-probabilities once one chunk has none."""
    said = Assembly()
    for text in texts:
        said.add(Chunk(text=text))
    answer = said.answer("m")
    assert (answer.text or "") == "".join(texts)
    assert answer.logprobs is None
