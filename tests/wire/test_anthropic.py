"""The Anthropic format: what is sent, and what is made of what comes back."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.errors import BadResponse, RequestError
from cascade.types import Answer, Message, ModelCall, Request, Usage
from cascade.wire.anthropic import decode_response, encode_request, refuses_format

USER = Message(role="user", content="hi")


def sent(*messages: Message, **fields: Any) -> dict[str, Any]:
    extra = fields.pop("extra", {})
    fields.setdefault("max_tokens", 9)
    request = Request(messages=messages or (USER,), **fields)
    body: dict[str, Any] = json.loads(
        encode_request(ModelCall(model="m", request=request, extra=extra))
    )
    return body


def read(body: Any) -> Answer:
    return decode_response(json.dumps(body).encode(), provider="p", model="m")


def test_sends_no_more_than_was_asked() -> None:
    """A plain prompt is a model, a limit and a message."""
    assert sent() == {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_system_messages_are_hoisted() -> None:
    """One text becomes a string, several become blocks."""
    system = Message(role="system", content="be brief")
    assert sent(system, USER)["system"] == "be brief"
    developer = Message(role="developer", content=[{"type": "text", "text": "no lists"}])
    body = sent(system, USER, developer)
    assert [block["text"] for block in body["system"]] == ["be brief", "no lists"]
    assert [message["role"] for message in body["messages"]] == ["user"]


def test_sampling_fields_get_their_names() -> None:
    """`stop` becomes stop_sequences; seed and a format without a schema have no counterpart."""
    body = sent(temperature=0.5, stop="END", seed=1, response_format={"type": "json_object"})
    assert (body["temperature"], body["stop_sequences"]) == (0.5, ["END"])
    assert not {"seed", "response_format", "stop"} & set(body)


def test_a_schema_joins_what_else_is_said_of_the_output() -> None:
    """And never takes the place of one in Anthropic's own words."""
    wanted = {"type": "json_schema", "json_schema": {"name": "w", "schema": {"type": "object"}}}
    body = sent(response_format=wanted, extra={"output_config": {"effort": "low"}})
    schema = {"type": "json_schema", "schema": {"type": "object"}}
    assert body["output_config"] == {"effort": "low", "format": schema}
    own = {"output_config": {"format": {"type": "json_schema", "schema": {}}}}
    assert sent(response_format=wanted, extra=own)["output_config"] == own["output_config"]


@pytest.mark.parametrize(
    ("status", "words", "refused"),
    [
        (400, "output_config.format: this model knows no structured outputs", True),
        (400, "Structured outputs are not supported by this model", True),
        (400, "max_tokens: too many", False),
        (500, "output_config", False),
    ],
)
def test_a_refusal_of_a_schema_is_told_from_others(status: int, words: str, refused: bool) -> None:
    """By its status and its words."""
    body = json.dumps({"type": "error", "error": {"message": words}}).encode()
    assert refuses_format(status, body) is refused


def test_the_output_limit_is_required() -> None:
    """Anthropic demands one, and we invent none: the error says where to set it."""
    with pytest.raises(RequestError, match="max_tokens: Anthropic requires"):
        sent(max_tokens=None)
    limited = ModelCall(model="m", request=Request(messages=(USER,)), max_tokens=7)
    assert json.loads(encode_request(limited))["max_tokens"] == 7
    assert sent(max_tokens=None, extra={"max_tokens": 5})["max_tokens"] == 5


def test_openai_tools_are_converted_and_anthropics_are_not() -> None:
    """Both shapes may be given."""
    schema = {"type": "object", "properties": {"metal": {"type": "string"}}}
    function = {"name": "weigh", "description": "Weighs.", "parameters": schema}
    native = {"name": "melt", "input_schema": schema}
    body = sent(tools=[{"type": "function", "function": function}, native])
    assert body["tools"] == [
        {"name": "weigh", "description": "Weighs.", "input_schema": schema},
        native,
    ]


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"type": "tool", "name": "f"},
        ),
        ({"tool_choice": {"type": "tool", "name": "f"}}, {"type": "tool", "name": "f"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
    ],
)
def test_tool_choice(extra: dict[str, Any], expected: dict[str, Any]) -> None:
    """OpenAI's words are translated, Anthropic's left alone."""
    assert sent(tools=[{"name": "f", "input_schema": {}}], extra=extra)["tool_choice"] == expected


def test_a_tool_dialogue_is_converted() -> None:
    """Calls become tool_use blocks, and the results of one turn one user message."""
    calls = [
        {"id": i, "type": "function", "function": {"name": "f", "arguments": '{"n": 1.50}'}}
        for i in ("a", "b")
    ]
    body = sent(
        USER,
        Message(role="assistant", content="Let me see.", extra={"tool_calls": calls}),
        Message(role="tool", content="one", extra={"tool_call_id": "a"}),
        Message(role="tool", content="two", extra={"tool_call_id": "b"}),
    )
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"n": 1.5}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {"n": 1.5}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "one"},
                {"type": "tool_result", "tool_use_id": "b", "content": "two"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
            },
        ),
        (
            {"type": "image_url", "image_url": "https://x.test/a.png"},
            {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        ),
        ({"type": "image", "source": {"x": 1}}, {"type": "image", "source": {"x": 1}}),
        ({"type": "text", "text": "t"}, {"type": "text", "text": "t"}),
    ],
)
def test_images(part: dict[str, Any], expected: dict[str, Any]) -> None:
    """OpenAI's images are converted, Anthropic's parts left alone."""
    body = sent(Message(role="user", content=[part]))
    assert body["messages"][0]["content"] == [expected]


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (Message(role="function", content="x"), r"messages\[0\]\.role"),
        (Message(role="tool", content="x"), r"messages\[0\]\.tool_call_id"),
        (
            Message(role="assistant", content=None, extra={"tool_calls": [{"id": "a"}]}),
            r"messages\[0\]\.tool_calls\[0\]",
        ),
        (
            Message(
                role="assistant",
                content=None,
                extra={
                    "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "SECRET"}}]
                },
            ),
            r"messages\[0\]\.tool_calls\[0\]",
        ),
        (Message(role="user", content=[{"type": "input_audio"}]), r"messages\[0\]\.content\[0\]"),
        (
            Message(role="user", content=[{"type": "image_url", "image_url": "SECRET"}]),
            r"messages\[0\]\.content\[0\]\.image_url",
        ),
        (Message(role="user", content="SECRET\ud800"), r"messages\[0\]\.content: .* character 6 "),
    ],
)
def test_refuses_what_has_no_counterpart(message: Message, place: str) -> None:
    """The error names the place, never the text."""
    with pytest.raises(RequestError, match=place) as caught:
        sent(message)
    assert "SECRET" not in str(caught.value)


def test_reads_an_answer() -> None:
    """Text blocks are joined, thinking left out, cache tokens are prompt tokens."""
    answer = read(
        {
            "model": "claude",
            "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "text", "text": "le"},
                {"type": "text", "text": "ad"},
            ],
            "stop_reason": "end_turn",
            "usage": {
                "input_tokens": 5,
                "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": 20,
                "output_tokens": 3,
            },
        }
    )
    assert answer == Answer(
        text="lead",
        model="claude",
        finish_reason="stop",
        usage=Usage(
            prompt_tokens=125, completion_tokens=3, cached_tokens=100, cache_write_tokens=20
        ),
    )


def test_tool_use_comes_in_openais_shape() -> None:
    """The input is the JSON text as the model wrote it."""
    raw = (
        b'{"content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"n": 1.50}}],'
        b' "stop_reason": "tool_use"}'
    )
    answer = decode_response(raw, provider="p", model="m")
    function = {"name": "f", "arguments": '{"n": 1.50}'}
    assert answer.tool_calls == ({"id": "t1", "type": "function", "function": function},)
    assert (answer.text, answer.finish_reason, answer.model) == (None, "tool_calls", "m")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        (None, None),
    ],
)
def test_stop_reasons(given: str | None, expected: str | None) -> None:
    """In OpenAI's words; an unknown one as it is."""
    assert read({"content": [], "stop_reason": given}).finish_reason == expected


@pytest.mark.parametrize("usage", [None, {}, "free", {"input_tokens": -1}])
def test_missing_or_odd_usage_is_unknown(usage: Any) -> None:
    """Counts are None, and the answer stands."""
    answer = read({"content": [{"type": "text", "text": "x"}], "usage": usage})
    assert (answer.text, answer.usage) == ("x", Usage())


@pytest.mark.parametrize(
    "body", [b"", b"<html>SECRET", b'{"content": "SECRET"}', b"{}", b'{"content": [{"type": "te']
)
def test_what_is_no_message_is_bad_response(body: bytes) -> None:
    """Nothing of it is quoted."""
    with pytest.raises(BadResponse) as caught:
        decode_response(body, provider="p", model="m")
    assert "SECRET" not in str(caught.value)


@given(st.binary() | st.binary().map(lambda raw: b'{"content":[{"type":"text","text":"' + raw))
def test_any_bytes_give_an_answer_or_bad_response(body: bytes) -> None:
    """Nothing else ever leaves."""
    with contextlib.suppress(BadResponse):
        decode_response(body, provider="p", model="m")


def test_what_only_openai_knows_is_not_sent() -> None:
    """A ladder of both is asked in OpenAI's words; the output limit of the newer name is kept."""
    request = Request(
        messages=(Message(role="user", content="Which?"),),
        extra={"user": "u", "logprobs": True, "max_completion_tokens": 9, "top_k": 5},
    )
    body = json.loads(encode_request(ModelCall(model="claude", request=request)))
    assert body["max_tokens"] == 9
    assert body["top_k"] == 5
    assert {"user", "logprobs", "max_completion_tokens"}.isdisjoint(body)
