"""The Anthropic client, against a real server in another process."""

from __future__ import annotations

from typing import Any

import pytest

from cascade.clients.anthropic import AnthropicClient
from cascade.errors import BadResponse, ConfigError, RequestError, ServerFailed
from cascade.ports import Client
from cascade.types import Message, ModelCall, Request, Usage
from tests.upstream_server import UpstreamServer

pytestmark = pytest.mark.anyio


def call(**fields: Any) -> ModelCall:
    fields.setdefault("max_tokens", 10)
    return ModelCall(
        model="m", request=Request(messages=(Message(role="user", content="hi"),), **fields)
    )


async def test_asks_and_reads(server: UpstreamServer) -> None:
    """A call is a POST with Anthropic's headers; log-probabilities are not asked for."""
    client = AnthropicClient("p", server.url("anthropic"), "SECRET-KEY")
    answer = await client.complete(call())
    await client.aclose()
    assert (answer.text, answer.model, answer.finish_reason) == ("lead", "claude-served", "stop")
    assert answer.usage == Usage(prompt_tokens=7, completion_tokens=2)
    assert answer.logprobs is None
    seen = server.seen("anthropic")[-1]
    assert seen["path"] == "/anthropic/v1/messages"
    assert seen["headers"]["x-api-key"] == "SECRET-KEY"
    assert seen["headers"]["anthropic-version"] == "2023-06-01"
    assert set(seen["body"]) == {"model", "max_tokens", "messages"}
    assert isinstance(client, Client)


@pytest.mark.parametrize(
    ("behaviour", "error"), [("overloaded", ServerFailed), ("html", BadResponse)]
)
async def test_a_bad_upstream_is_a_typed_error(
    server: UpstreamServer, behaviour: str, error: type[Exception]
) -> None:
    """Overload (529) and nonsense have their classes."""
    client = AnthropicClient("p", server.url(behaviour), "SECRET-KEY")
    with pytest.raises(error, match=r"^p/m: ") as caught:
        await client.complete(call())
    await client.aclose()
    assert "SECRET" not in str(caught.value)


def wants(schema: dict[str, Any]) -> ModelCall:
    described = {"name": "weight", "strict": True, "schema": schema}
    return call(response_format={"type": "json_schema", "json_schema": described})


async def test_the_schema_of_a_structured_answer_is_sent(server: UpstreamServer) -> None:
    """In Anthropic's words, and untouched."""
    schema = {"type": "object", "additionalProperties": False}
    client = AnthropicClient("p", server.url("anthropic-structured"), "k")
    answer = await client.complete(wants(schema))
    await client.aclose()
    assert answer.text == '{"metal": "lead", "grams": 11.3}'
    body = server.seen("anthropic-structured")[-1]["body"]
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert "response_format" not in body


async def test_a_schema_that_is_refused_is_left_out_from_then_on(server: UpstreamServer) -> None:
    """For this schema alone."""
    client = AnthropicClient("p", server.url("anthropic-structured"), "k")
    before = len(server.seen("anthropic-structured"))
    for _ in range(2):
        assert (await client.complete(wants({"type": "object"}))).finish_reason == "stop"
    await client.complete(wants({"type": "object", "additionalProperties": False}))
    await client.aclose()
    bodies = [seen["body"] for seen in server.seen("anthropic-structured")[before:]]
    assert ["output_config" in body for body in bodies] == [True, False, False, True]


async def test_an_answer_that_used_up_a_limit_asks_for_a_pause(server: UpstreamServer) -> None:
    """The rate-limit headers of a good answer reach whoever makes the next call, for an hour at most."""
    client = AnthropicClient("p", server.url("anthropic-used-up"), "SECRET-KEY")
    answer = await client.complete(call())
    await client.aclose()
    assert (answer.text, answer.pause_s) == ("lead", 3600.0)


async def test_a_missing_output_limit_is_told_before_any_call() -> None:
    """Anthropic requires one; nobody has to listen for that."""
    client = AnthropicClient("p", "http://127.0.0.1:1/v1")
    with pytest.raises(RequestError, match="max_tokens"):
        await client.complete(call(max_tokens=None))


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/v1/", "https://api.anthropic.com/v1/messages"),
        ("http://h/proxy", "http://h/proxy/messages"),
    ],
)
def test_url(base_url: str, expected: str) -> None:
    """A bare host gets `/v1`; a path is taken as it is."""
    assert AnthropicClient("p", base_url)._url == expected


def test_repr_shows_no_key() -> None:
    """Keys stay out of logs."""
    assert "SECRET" not in repr(AnthropicClient("p", api_key="SECRET"))


def test_refuses_a_key_that_cannot_be_sent() -> None:
    """A line break at the end of a key file is a common one."""
    with pytest.raises(ConfigError, match=r"providers\.p\.api_key") as caught:
        AnthropicClient("p", api_key="SECRET\n")
    assert "SECRET" not in str(caught.value)
