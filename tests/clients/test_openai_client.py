"""The OpenAI client, against a real server in another process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from cascade.clients.openai import OpenAIClient
from cascade.errors import (
    BadResponse,
    ConfigError,
    ConnectFailed,
    ProviderError,
    ProviderTimeout,
    RateLimited,
    RequestError,
    RequestRefused,
    ServerFailed,
    Unauthorized,
)
from cascade.ports import Client
from cascade.types import Answer, Message, ModelCall, Request, Usage
from tests.upstream_server import UpstreamServer

pytestmark = pytest.mark.anyio

Make = Callable[..., OpenAIClient]


def call(prompt: str = "hi", *, model: str = "m", top_logprobs: int = 5) -> ModelCall:
    request = Request(messages=(Message(role="user", content=prompt),))
    return ModelCall(model=model, request=request, top_logprobs=top_logprobs)


@pytest.fixture
async def make(server: UpstreamServer) -> AsyncIterator[Make]:
    """Make clients that are closed at the end."""
    made: list[OpenAIClient] = []

    def one(behaviour: str, **options: Any) -> OpenAIClient:
        made.append(OpenAIClient("p", server.url(behaviour), "SECRET-KEY", **options))
        return made[-1]

    yield one
    for client in made:
        await client.aclose()


async def test_asks_and_reads(make: Make, server: UpstreamServer) -> None:
    """A call is a POST with the key and the log-probabilities asked for."""
    client = make("ok", headers={"X-Team": "a"})
    answer = await client.complete(call())
    assert (answer.text, answer.model) == ("lead", "served-model")
    assert answer.usage == Usage(prompt_tokens=7, completion_tokens=2)
    assert answer.logprobs is not None
    seen = server.seen("ok")[-1]
    assert seen["path"] == "/ok/v1/chat/completions"
    assert seen["headers"]["authorization"] == "Bearer SECRET-KEY"
    assert seen["headers"]["x-team"] == "a"
    assert seen["body"] == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "logprobs": True,
        "top_logprobs": 5,
    }
    assert isinstance(client, Client)


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("html", BadResponse),
        ("half-json", BadResponse),
        ("no-choices", BadResponse),
        ("reset", ConnectFailed),
        ("hang", ProviderTimeout),
        ("rate-limit", RateLimited),
        ("unauthorized", Unauthorized),
        ("bad-request", RequestRefused),
        ("server-error", ServerFailed),
        ("redirect", BadResponse),
    ],
)
async def test_a_bad_upstream_is_a_typed_error(
    make: Make, behaviour: str, error: type[ProviderError]
) -> None:
    """Each failure has its class, names provider and model, and repeats no secret."""
    with pytest.raises(error, match=r"^p/m: ") as caught:
        await make(behaviour, timeout_s=0.5).complete(call())
    assert "SECRET" not in f"{caught.value} {caught.value!r}"


async def test_rate_limits_say_how_long_to_wait(make: Make) -> None:
    """`Retry-After` reaches whoever retries."""
    with pytest.raises(RateLimited) as caught:
        await make("rate-limit").complete(call())
    assert caught.value.retry_after_s == 2.0


async def test_an_answer_that_used_up_a_limit_asks_for_a_pause(make: Make) -> None:
    """The rate-limit headers of a good answer reach whoever makes the next call."""
    assert (await make("used-up").complete(call())).pause_s == 90.0
    assert (await make("ok").complete(call())).pause_s is None


async def test_a_used_up_limit_says_how_long_to_wait(make: Make) -> None:
    """Where a 429 has no `Retry-After`."""
    with pytest.raises(RateLimited) as caught:
        await make("used-up-429").complete(call())
    assert caught.value.retry_after_s == 90.0


async def test_tool_calls_without_text(make: Make) -> None:
    """`content: null` with tool calls is an answer."""
    answer = await make("tool-calls").complete(call())
    assert answer.text is None
    assert answer.tool_calls[0]["function"]["name"] == "weigh"


async def test_missing_usage_is_unknown(make: Make) -> None:
    """No usage is None, never zero."""
    assert (await make("no-usage").complete(call())).usage == Usage()


async def test_missing_logprobs_are_none(make: Make) -> None:
    """A server may ignore the wish."""
    assert (await make("no-logprobs").complete(call())).logprobs is None


async def test_goes_on_without_logprobs_and_remembers(make: Make, server: UpstreamServer) -> None:
    """A refusal costs one more call, once per model; after that they are never asked for."""
    client = make("refuses-logprobs")
    before = len(server.seen("refuses-logprobs"))
    answers = [await client.complete(call()) for _ in range(3)]
    assert [answer.text for answer in answers] == ["lead"] * 3
    assert [answer.logprobs for answer in answers] == [None] * 3
    asked = ["logprobs" in seen["body"] for seen in server.seen("refuses-logprobs")[before:]]
    assert asked == [True, False, False, False]
    await client.complete(call(model="other"))
    assert "logprobs" in server.seen("refuses-logprobs")[-2]["body"]


async def test_asks_for_as_many_alternatives_as_the_server_takes(
    make: Make, server: UpstreamServer
) -> None:
    """Where the server names a limit, it is kept to and remembered."""
    client = make("limits-top-logprobs")
    before = len(server.seen("limits-top-logprobs"))
    for _ in range(2):
        assert (await client.complete(call(top_logprobs=20))).logprobs is not None
    seen = server.seen("limits-top-logprobs")[before:]
    assert [s["body"]["top_logprobs"] for s in seen] == [20, 5, 5]


async def test_asks_for_logprobs_without_alternatives(make: Make, server: UpstreamServer) -> None:
    """A server that knows no alternatives still gives the chosen tokens."""
    assert (await make("refuses-top-logprobs").complete(call())).logprobs is not None
    assert server.seen("refuses-top-logprobs")[-1]["body"]["logprobs"] is True


async def test_an_error_that_only_mentions_logprobs_teaches_nothing(
    make: Make, server: UpstreamServer
) -> None:
    """When asking without does not help, the error is raised and the next call asks again."""
    client = make("always-blames-logprobs")
    for _ in range(2):
        before = len(server.seen("always-blames-logprobs"))
        with pytest.raises(RequestRefused):
            await client.complete(call())
        seen = server.seen("always-blames-logprobs")[before:]
        assert ["logprobs" in s["body"] for s in seen] == [True, False]


async def test_first_calls_at_once_retry_once_each(make: Make, server: UpstreamServer) -> None:
    """A crowd of first calls costs two requests each, no more."""
    client = make("refuses-logprobs")
    before = len(server.seen("refuses-logprobs"))
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(client.complete, call())
    assert len(server.seen("refuses-logprobs")) - before <= 20


async def test_never_asks_for_logprobs_when_told_so(make: Make, server: UpstreamServer) -> None:
    """`logprobs=False` holds for every call."""
    await make("ok", logprobs=False).complete(call())
    assert "logprobs" not in server.seen("ok")[-1]["body"]


async def test_a_lone_surrogate_is_never_sent(make: Make) -> None:
    """It is the caller's mistake, told before any call."""
    with pytest.raises(RequestError, match=r"messages\[0\]\.content"):
        await make("ok").complete(call("\ud800"))


async def test_many_calls_at_once_are_all_answered(make: Make) -> None:
    """Nothing is lost or mixed up under concurrency."""
    client = make("ok")
    answers: list[Answer] = []

    async def one() -> None:
        answers.append(await client.complete(call()))

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(one)
    assert [answer.text for answer in answers] == ["lead"] * 200


def test_repr_shows_no_key() -> None:
    """Neither the key nor the URL's query."""
    client = OpenAIClient("p", "https://h.test/v1?key=SECRET", "SECRET")
    assert repr(client) == "OpenAIClient(name='p', url='https://h.test/v1/chat/completions')"


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"base_url": "h.test/v1"}, "base_url"),
        ({"base_url": "ftp://h.test"}, "base_url"),
        ({"base_url": "https://"}, "base_url"),
        ({"base_url": "https://h:port"}, "base_url"),
        ({"base_url": "https://user:SECRET@h.test"}, "base_url"),
        ({"api_key": "SECRET\n"}, "api_key"),
        ({"api_key": "SECRET é"}, "api_key"),
        ({"headers": {"x": "SECRET\r\ny: z"}}, r"headers\.x"),
        ({"headers": {"x: SECRET": "y"}}, "headers"),
    ],
)
def test_refuses_what_cannot_be_sent(options: dict[str, Any], place: str) -> None:
    """At construction, naming the key path and no secret."""
    with pytest.raises(ConfigError, match=rf"providers\.p\.{place}") as caught:
        OpenAIClient("p", **options)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("http://h:8080/v1/", "http://h:8080/v1/chat/completions"),
        ("http://h", "http://h/chat/completions"),
        (
            "https://[::1]/openai?api-version=1",
            "https://[::1]/openai/chat/completions?api-version=1",
        ),
    ],
)
def test_url(base_url: str, expected: str) -> None:
    """The path is appended before the query."""
    assert OpenAIClient("p", base_url)._url == expected
