"""Streams of both APIs, read by the real clients from a server in another process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from cascade.clients.anthropic import AnthropicClient
from cascade.clients.http import HttpxTransport, Limits, Transport, default_transport
from cascade.clients.openai import OpenAIClient
from cascade.errors import (
    BadResponse,
    ConnectFailed,
    ProviderError,
    ProviderTimeout,
    RequestError,
    ServerFailed,
)
from cascade.types import Answer, Chunk, Message, ModelCall, Request, ToolCallDelta
from tests.upstream_server import UpstreamServer
from tests.upstream_streams import plan

pytestmark = pytest.mark.anyio


class Ear:
    """A listener that keeps what it is told, and has enough after some chunks."""

    def __init__(self, enough: int | None = None) -> None:
        self.chunks: list[Chunk] = []
        self.begun = 0
        self.enough = enough
        self.may_repeat = True

    def begin(self) -> None:
        self.begun += 1
        self.chunks.clear()

    async def take(self, chunk: Chunk) -> bool:
        self.chunks.append(chunk)
        return len(self.chunks) != self.enough

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)


@pytest.fixture(params=["default", "httpx"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    """Give the default transport of the event loop, and the one over httpx."""
    made: Transport = default_transport() if request.param == "default" else HttpxTransport()
    yield made
    await made.aclose()


def call_of(prompt: str, listener: Ear | None, **fields: Any) -> ModelCall:
    request = Request(messages=(Message(role="user", content=prompt),), **fields)
    return ModelCall(model="m", request=request, max_tokens=50, listener=listener)


async def ask(
    transport: Transport,
    server: UpstreamServer,
    prompt: str,
    listener: Ear | None,
    behaviour: str = "stream",
    timeout_s: float = 10.0,
    **fields: Any,
) -> Answer:
    kind = AnthropicClient if behaviour == "message-stream" else OpenAIClient
    client = kind("p", server.url(behaviour), transport=transport, timeout_s=timeout_s)
    return await client.complete(call_of(prompt, listener, **fields))


@pytest.mark.parametrize("crumbs", [False, True], ids=["in-events", "byte-by-byte"])
async def test_chunks_are_told_and_make_the_whole_answer(
    transport: Transport, server: UpstreamServer, crumbs: bool
) -> None:
    """Text, log-probabilities, usage and finish reason are those of the same answer unstreamed."""
    prompt = plan(
        ["The ", "mole ", "of lead, Zürich 鉛"], logprobs=[-0.1, -0.2, -0.3], crumbs=crumbs
    )
    ear = Ear()
    streamed = await ask(transport, server, prompt, ear)
    whole = await ask(transport, server, prompt, None)
    assert [chunk.text for chunk in ear.chunks] == ["The ", "mole ", "of lead, Zürich 鉛"]
    assert streamed == whole
    assert streamed.logprobs is not None
    assert ear.begun == 1


async def test_a_request_for_a_stream_asks_for_its_usage(
    transport: Transport, server: UpstreamServer
) -> None:
    """The body says so; the user's own stream options stay."""
    await ask(transport, server, "hi", Ear(), extra={"stream_options": {"own": 1}})
    body = server.seen("stream")[-1]["body"]
    assert body["stream"] is True
    assert body["stream_options"] == {"own": 1, "include_usage": True}


async def test_a_server_that_refuses_stream_options_is_asked_without(
    transport: Transport, server: UpstreamServer
) -> None:
    """It is asked once more, and the usage is then unknown."""
    behaviour = "refuses-stream-options"
    client = OpenAIClient("p", server.url(behaviour), transport=transport)
    before = len(server.seen(behaviour))
    for _ in range(2):
        answer = await client.complete(call_of(plan(["ab"]), ear := Ear()))
        assert (answer.text, ear.text, answer.usage.prompt_tokens) == ("ab", "ab", None)
    assert len(server.seen(behaviour)) - before == 3


async def test_tool_calls_come_in_pieces(transport: Transport, server: UpstreamServer) -> None:
    """Pieces are told as they come, and joined in the answer."""
    calls = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "weigh", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"metal": '}},
        {"index": 0, "function": {"arguments": '"lead"}'}},
        {
            "index": 1,
            "id": "b",
            "type": "function",
            "function": {"name": "stop", "arguments": "{}"},
        },
    ]
    ear = Ear()
    prompt = plan(tool_calls=calls, finish_reason="tool_calls")
    answer = await ask(transport, server, prompt, ear)
    told = [piece for chunk in ear.chunks for piece in chunk.tool_calls]
    assert told[1] == ToolCallDelta(index=0, arguments='{"metal": ')
    assert answer.text is None
    assert [call["function"]["arguments"] for call in answer.tool_calls] == [
        '{"metal": "lead"}',
        "{}",
    ]
    assert (answer.tool_calls[0]["id"], answer.finish_reason) == ("a", "tool_calls")


async def test_anthropic_events_make_the_whole_answer(
    transport: Transport, server: UpstreamServer
) -> None:
    """Text, tool input and usage; pings say nothing."""
    tools = [
        {"id": "t", "name": "weigh", "parts": ['{"a"', ": 1}"]},
        {"id": "u", "name": "x", "parts": []},
    ]
    ear = Ear()
    prompt = plan(["le", "ad"], tool_calls=tools, finish_reason="tool_use")
    answer = await ask(transport, server, prompt, ear, "message-stream")
    assert (ear.text, answer.text, answer.model) == ("lead", "lead", "claude-served")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 2)
    assert answer.finish_reason == "tool_calls"
    assert [call["function"]["arguments"] for call in answer.tool_calls] == ['{"a": 1}', "{}"]


@pytest.mark.parametrize("behaviour", ["stream", "message-stream"])
async def test_enough_closes_the_connection_at_once(
    transport: Transport, server: UpstreamServer, behaviour: str
) -> None:
    """What has come is the answer, its tokens estimated; the server finds nobody any more."""
    prompt = plan(["abcd"] * 3, logprobs=[-0.5] * 3, end="hang")
    answer = await ask(transport, server, prompt, Ear(enough=2), behaviour)
    assert answer.text == "abcdabcd"
    assert answer.usage.estimated
    assert answer.usage.completion_tokens == 2
    assert answer.finish_reason is None
    assert await anyio.to_thread.run_sync(server.wait_until_closed, behaviour)


@pytest.mark.parametrize("behaviour", ["stream", "message-stream"])
async def test_cancelling_closes_the_connection_at_once(
    transport: Transport, server: UpstreamServer, behaviour: str
) -> None:
    """A reader that leaves stops the server too."""
    with anyio.move_on_after(0.3) as scope:
        await ask(transport, server, plan(["ab"], end="hang"), Ear(), behaviour)
    assert scope.cancelled_caught
    assert await anyio.to_thread.run_sync(server.wait_until_closed, behaviour)


async def test_connections_are_kept_after_a_stream(
    transport: Transport, server: UpstreamServer
) -> None:
    """The next request goes out on the same one."""
    for _ in range(3):
        await ask(transport, server, plan(["ab"]), Ear())
    ports = {request["connection"] for request in server.seen("stream")[-3:]}
    assert len(ports) == 1


BAD = {
    "open": ConnectFailed,
    "cut": ConnectFailed,
    "reset": ConnectFailed,
    "bad_json": BadResponse,
    "bad_utf8": BadResponse,
    "huge": BadResponse,
    "error": ServerFailed,
}


@pytest.mark.parametrize("behaviour", ["stream", "message-stream"])
@pytest.mark.parametrize("end", BAD)
async def test_bad_streams_are_typed_errors(
    transport: Transport, server: UpstreamServer, end: str, behaviour: str
) -> None:
    """Whatever a server does in the middle of an answer, and nothing of it is quoted."""
    with pytest.raises(ProviderError) as caught:
        await ask(transport, server, plan(["ab", "cd"], end=end), ear := Ear(), behaviour)
    assert type(caught.value) is BAD[end]
    assert ear.text == "abcd"
    assert "SECRET" not in str(caught.value)
    assert caught.value.sent


async def test_a_stream_without_its_last_event_is_whole_if_it_has_a_finish_reason(
    transport: Transport, server: UpstreamServer
) -> None:
    """Some servers leave `[DONE]` out."""
    answer = await ask(transport, server, plan(["ab"], end="no_done"), Ear())
    assert (answer.text, answer.finish_reason) == ("ab", "stop")


async def test_html_instead_of_a_stream_is_a_bad_response(
    transport: Transport, server: UpstreamServer
) -> None:
    """The content type is looked at before the body."""
    with pytest.raises(BadResponse):
        await ask(transport, server, plan(["ab"], content_type="text/html"), Ear())
    with pytest.raises(BadResponse):
        await ask(transport, server, "x", Ear(), "html")


async def test_a_server_without_streams_answers_as_a_whole(
    transport: Transport, server: UpstreamServer
) -> None:
    """It ignores the wish, and nothing is told before the end."""
    answer = await ask(transport, server, "x", ear := Ear(), "ok")
    assert (answer.text, ear.chunks) == ("lead", [])


async def test_errors_before_the_stream_are_those_of_any_call(
    transport: Transport, server: UpstreamServer
) -> None:
    """A status is a status."""
    with pytest.raises(ServerFailed):
        await ask(transport, server, "x", Ear(), "server-error")


async def test_a_silent_stream_ends_in_its_time(server: UpstreamServer) -> None:
    """Each of the times that are set is kept while a stream is read."""
    for limits, timeout_s, words in (
        (Limits(), 0.3, "timeout_s 0.3"),
        (Limits(between_tokens_timeout_s=0.2), 10.0, "between_tokens_timeout_s 0.2"),
    ):
        made = default_transport(limits)
        with pytest.raises(ProviderTimeout, match=words):
            await ask(made, server, plan(["ab"], end="hang"), Ear(), timeout_s=timeout_s)
        await made.aclose()


async def test_a_slow_reader_does_not_count_as_a_silent_server(server: UpstreamServer) -> None:
    """The time between pieces is the server's, not the listener's."""

    class Slow(Ear):
        async def take(self, chunk: Chunk) -> bool:
            await anyio.sleep(0.4)
            return await super().take(chunk)

    made = default_transport(Limits(between_tokens_timeout_s=0.25))
    answer = await ask(made, server, plan(["ab", "cd"]), Slow())
    await made.aclose()
    assert answer.text == "abcd"


async def test_more_than_one_answer_cannot_be_streamed(
    transport: Transport, server: UpstreamServer
) -> None:
    """`n` above 1 is refused before anything is sent."""
    with pytest.raises(RequestError, match="n: 2"):
        await ask(transport, server, "x", Ear(), extra={"n": 2})


async def test_log_probabilities_are_kept_as_written_for_who_asks_by_name(
    transport: Transport, server: UpstreamServer
) -> None:
    """Only then: they are large."""
    prompt = plan(["ab"], logprobs=[-0.5])
    await ask(transport, server, prompt, ear := Ear(), extra={"logprobs": True})
    assert b'"bytes"' in (ear.chunks[0].raw_logprobs or b"")
    await ask(transport, server, prompt, ear := Ear())
    assert ear.chunks[0].raw_logprobs is None
