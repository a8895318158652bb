"""The official SDKs of OpenAI and Anthropic, as they are, against a running server."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx
import openai
import pydantic
import pytest

from tests.upstream_server import UpstreamServer
from tests.upstream_streams import plan

from .serving import Serving, chat, until

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
]

QUESTION: list[Any] = [{"role": "user", "content": "Which is heavier?"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weigh",
        "parameters": {"type": "object", "properties": {"metal": {"type": "string"}}},
    },
}
CLAUDE_TOOL: Any = {"name": "weigh", "input_schema": TOOL["function"]["parameters"]}


def openai_client(server: Serving) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)


def anthropic_client(server: Serving) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key="unused", max_retries=0)


def test_openai_answers(server: Serving) -> None:
    """With usage, and with what the ladder says beside it."""
    with openai_client(server) as client:
        answer = client.chat.completions.create(model="cascade/ok", messages=QUESTION)
        assert answer.choices[0].message.content == "lead"
        assert answer.usage is not None
        assert answer.usage.total_tokens == 9
        assert answer.model_extra is not None
        assert answer.model_extra["cascade"]["rung"] == 0
        assert answer._request_id
        options = {"cascade": {"min_confidence": 0.99}}
        answer = client.chat.completions.create(
            model="cascade/ok", messages=QUESTION, extra_body=options
        )
        assert answer.model_extra is not None
        assert len(answer.model_extra["cascade"]["attempts"]) == 2
        raw = client.chat.completions.with_raw_response.create(
            model="cascade/ok", messages=QUESTION, extra_headers={"x-cascade-cache": "off"}
        )
        assert raw.headers["x-cascade-rung"] == "0"


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_openai_answers_asynchronously(server: Serving) -> None:
    """As well."""
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="unused") as client:
        answer = await client.chat.completions.create(model="cascade/ok", messages=QUESTION)
        assert answer.choices[0].message.content == "lead"
        assert (await anext(aiter(client.models.list()))).id == "cascade/ok"


def test_openai_calls_tools(server: Serving) -> None:
    """And takes their results back."""
    with openai_client(server) as client:
        answer = client.chat.completions.create(
            model="cascade/tools", messages=QUESTION, tools=[TOOL]
        )
        (call,) = answer.choices[0].message.tool_calls or ()
        assert call.type == "function"
        assert call.function.name == "weigh"
        result = {"role": "tool", "tool_call_id": call.id, "content": "11 g"}
        again: list[Any] = [*QUESTION, answer.choices[0].message, result]
        after = client.chat.completions.create(model="cascade/ok", messages=again, tools=[TOOL])
        assert after.choices[0].message.content == "lead"


def test_openai_shows_log_probabilities(server: Serving) -> None:
    """With the names of alternatives."""
    with openai_client(server) as client:
        answer = client.chat.completions.create(
            model="cascade/ok", messages=QUESTION, logprobs=True, top_logprobs=2
        )
        assert answer.choices[0].logprobs is not None
        first = (answer.choices[0].logprobs.content or [])[0]
        assert (first.token, first.logprob, first.top_logprobs[0].token) == ("le", -0.1, "x")


class Weight(pydantic.BaseModel):
    """What a structured answer is to hold."""

    metal: str
    grams: float


def test_openai_reads_structured_answers(server: Serving) -> None:
    """As the model of the caller, whose schema the ladder has checked."""
    with openai_client(server) as client:
        answer = client.chat.completions.parse(
            model="cascade/recorded",
            messages=[{"role": "user", "content": "Weigh it."}],
            response_format=Weight,
        )
        assert answer.choices[0].message.parsed == Weight(metal="lead", grams=11.3)
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="cascade/recorded", messages=QUESTION)


def test_openai_streams(server: Serving) -> None:
    """Plainly, with usage, and through the SDK's own helper, which puts the pieces together."""
    with openai_client(server) as client:
        chunks = list(
            client.chat.completions.create(
                model="cascade/ok",
                messages=QUESTION,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "lead"
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.total_tokens == 9
        assert chunks[-1].model_extra is not None
        assert chunks[-1].model_extra["cascade"]["rung"] == 0
        with client.chat.completions.stream(
            model="cascade/tools", messages=QUESTION, tools=[TOOL]
        ) as stream:
            final = stream.get_final_completion()
        (call,) = final.choices[0].message.tool_calls or ()
        assert call.function.arguments == '{"metal": "lead"}'


def test_both_sdks_raise_their_own_errors_in_the_middle_of_a_stream(server: Serving) -> None:
    """After what had come."""
    broken: list[Any] = [{"role": "user", "content": plan(["The ", "mole "], end="cut")}]
    said: list[str] = []
    with openai_client(server) as client:
        stream = client.chat.completions.create(
            model="cascade/streams", messages=broken, stream=True
        )
        with pytest.raises(openai.APIError) as caught:
            said.extend(chunk.choices[0].delta.content or "" for chunk in stream)
        assert ("".join(said), caught.value.code) == ("The mole ", "stream_broken")
    said.clear()
    with (
        anthropic_client(server) as claude,
        claude.messages.stream(model="cascade/streams", max_tokens=64, messages=broken) as message,
    ):
        with pytest.raises(anthropic.APIError):
            said.extend(message.text_stream)
        assert "".join(said) == "The mole "


def test_openai_streams_log_probabilities(server: Serving) -> None:
    """Of each piece."""
    with openai_client(server) as client:
        stream = client.chat.completions.create(
            model="cascade/ok", messages=QUESTION, stream=True, logprobs=True
        )
        shown = [c.choices[0].logprobs for c in stream if c.choices[0].logprobs]
    tokens = [token.token for part in shown for token in part.content or ()]
    assert tokens == ["le", "ad"]


def test_openai_streams_structured_answers(server: Serving) -> None:
    """As the model of the caller."""
    with (
        openai_client(server) as client,
        client.chat.completions.stream(
            model="cascade/recorded",
            messages=[{"role": "user", "content": "Weigh it."}],
            response_format=Weight,
        ) as stream,
    ):
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed == Weight(metal="lead", grams=11.3)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_openai_streams_asynchronously(server: Serving) -> None:
    """And raises the same errors as without a stream."""
    async with openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key="unused", max_retries=0
    ) as client:
        stream = await client.chat.completions.create(
            model="cascade/ok", messages=QUESTION, stream=True
        )
        assert "".join([c.choices[0].delta.content or "" async for c in stream]) == "lead"
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(
                model="cascade/broken", messages=QUESTION, stream=True
            )


def test_openai_lists_models(server: Serving) -> None:
    """And describes one."""
    with openai_client(server) as client:
        assert next(iter(client.models.list())).id == "cascade/ok"
        assert client.models.retrieve("cascade/ok").owned_by == "cascade"


OPENAI_ERRORS: dict[str, tuple[dict[str, Any], type[openai.APIStatusError]]] = {
    "bad request": (chat("cascade/ok", temperature=-1), openai.BadRequestError),
    "unknown model": (chat("cascade/nothing"), openai.NotFoundError),
    "limit": (chat("cascade/spent"), openai.RateLimitError),
    "upstream down": (chat("cascade/broken"), openai.InternalServerError),
    "too late": (chat("cascade/hanging"), openai.InternalServerError),
}


@pytest.mark.parametrize(("body", "kind"), OPENAI_ERRORS.values(), ids=OPENAI_ERRORS.keys())
def test_openai_raises_its_own_errors(
    server: Serving, body: dict[str, Any], kind: type[openai.APIStatusError]
) -> None:
    """With code and request id."""
    with openai_client(server) as client, pytest.raises(kind) as caught:
        client.chat.completions.create(**body)
    assert caught.value.code
    assert caught.value.request_id


def test_openai_does_not_repeat_what_cannot_succeed(server: Serving) -> None:
    """A spent budget is asked for once."""
    named = {"x-request-id": "asked-once"}
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=3) as client,
        pytest.raises(openai.RateLimitError),
    ):
        client.chat.completions.create(
            model="cascade/spent", messages=QUESTION, extra_headers=named
        )

    def logged() -> list[dict[str, Any]]:
        return [line for line in server.events("request") if line["request_id"] == "asked-once"]

    until(logged)
    # The log is read in order: once a later request is in it, no repetition is still to come.
    httpx.get(f"{server.url}/v1/models", headers={"x-request-id": "asked-afterwards"})
    until(lambda: server.events("request")[-1]["request_id"] == "asked-afterwards")
    assert len(logged()) == 1


def test_anthropic_answers(server: Serving) -> None:
    """Through a ladder that speaks OpenAI's language, and through one that speaks its own."""
    with anthropic_client(server) as client:
        for model in ("cascade/ok", "cascade/claude"):
            answer = client.messages.create(
                model=model, max_tokens=64, system="Be brief.", messages=QUESTION
            )
            (block,) = answer.content
            assert (block.type, block.text) == ("text", "lead")
            assert (answer.stop_reason, answer.usage.output_tokens) == ("end_turn", 2)
            assert answer.model_extra is not None
            assert answer.model_extra["cascade"]["rung"] == 0
            assert answer._request_id
        assert next(iter(client.models.list())).id == "cascade/ok"


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_anthropic_answers_asynchronously(server: Serving) -> None:
    """As well."""
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="unused") as client:
        answer = await client.messages.create(model="cascade/ok", max_tokens=64, messages=QUESTION)
        assert answer.content[0].type == "text"


def test_anthropic_calls_tools(server: Serving) -> None:
    """And takes their results back."""
    with anthropic_client(server) as client:
        answer = client.messages.create(
            model="cascade/tools", max_tokens=64, messages=QUESTION, tools=[CLAUDE_TOOL]
        )
        (block,) = answer.content
        assert block.type == "tool_use"
        assert (answer.stop_reason is not None, block.input) == (True, {"metal": "lead"})
        result = {"type": "tool_result", "tool_use_id": block.id, "content": "11 g"}
        again: list[Any] = [
            *QUESTION,
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": [result]},
        ]
        after = client.messages.create(
            model="cascade/ok", max_tokens=64, messages=again, tools=[CLAUDE_TOOL]
        )
        assert after.content[0].type == "text"


def test_anthropic_streams(server: Serving) -> None:
    """Event by event, and put together by the SDK; in both languages of the upstream."""
    with anthropic_client(server) as client:
        for model in ("cascade/ok", "cascade/claude"):
            with client.messages.stream(model=model, max_tokens=64, messages=QUESTION) as stream:
                assert "".join(stream.text_stream) == "lead"
                final = stream.get_final_message()
            assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 2)
            assert final.usage.input_tokens == 7
        with client.messages.stream(
            model="cascade/tools", max_tokens=64, messages=QUESTION, tools=[CLAUDE_TOOL]
        ) as stream:
            (block,) = stream.get_final_message().content
        assert block.type == "tool_use"
        assert (block.name, block.input) == ("weigh", {"metal": "lead"})
        events = list(
            client.messages.create(
                model="cascade/ok", max_tokens=64, messages=QUESTION, stream=True
            )
        )
        told = next(event for event in events if event.type == "message_delta")
        assert told.model_extra is not None
        assert told.model_extra["cascade"]["rung"] == 0


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_anthropic_streams_asynchronously(server: Serving) -> None:
    """And raises the same errors as without a stream."""
    async with anthropic.AsyncAnthropic(
        base_url=server.url, api_key="unused", max_retries=0
    ) as client:
        async with client.messages.stream(
            model="cascade/ok", max_tokens=64, messages=QUESTION
        ) as stream:
            assert "".join([text async for text in stream.text_stream]) == "lead"
        with pytest.raises(anthropic.InternalServerError):
            async with client.messages.stream(
                model="cascade/broken", max_tokens=64, messages=QUESTION
            ):
                pass


def test_anthropic_reads_structured_answers(server: Serving, upstream: UpstreamServer) -> None:
    """As the model of the caller; the upstream is given the schema in its own words."""
    weigh: list[Any] = [{"role": "user", "content": "Weigh it."}]
    with anthropic_client(server) as client:
        answer = client.messages.parse(
            model="cascade/recorded", max_tokens=64, messages=weigh, output_format=Weight
        )
        assert answer.parsed_output == Weight(metal="lead", grams=11.3)
        with pytest.raises(anthropic.NotFoundError):
            client.messages.parse(
                model="cascade/recorded", max_tokens=64, messages=QUESTION, output_format=Weight
            )
        client.messages.create(
            model="cascade/ok",
            max_tokens=64,
            messages=[{"role": "user", "content": "structured"}],
            output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
        )
    sent = [call["body"] for call in upstream.seen("ok")]
    (body,) = [b for b in sent if b["messages"][-1]["content"] == "structured"]
    wanted = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    assert body["response_format"] == {"type": "json_schema", "json_schema": wanted}


def test_both_sdks_read_structured_answers_of_claude(
    server: Serving, upstream: UpstreamServer
) -> None:
    """Whichever API the client speaks, the upstream is given the schema as Anthropic has it."""
    weigh: list[Any] = [{"role": "user", "content": "Weigh it."}]
    before = len(upstream.seen("anthropic-structured"))
    expected = Weight(metal="lead", grams=11.3)
    with openai_client(server) as client:
        answer = client.chat.completions.parse(
            model="cascade/claude-structured", messages=weigh, response_format=Weight
        )
        assert answer.choices[0].message.parsed == expected
    with anthropic_client(server) as claude:
        message = claude.messages.parse(
            model="cascade/claude-structured", max_tokens=64, messages=weigh, output_format=Weight
        )
        assert message.parsed_output == expected
    formats = [
        seen["body"]["output_config"]["format"]
        for seen in upstream.seen("anthropic-structured")[before:]
    ]
    assert len(formats) == 2
    for format in formats:
        assert format["type"] == "json_schema"
        assert set(format["schema"]["properties"]) == {"metal", "grams"}


ANTHROPIC_ERRORS: dict[str, tuple[str, type[anthropic.APIStatusError]]] = {
    "unknown model": ("cascade/nothing", anthropic.NotFoundError),
    "limit": ("cascade/spent", anthropic.RateLimitError),
    "upstream down": ("cascade/broken", anthropic.InternalServerError),
}


@pytest.mark.parametrize(("model", "kind"), ANTHROPIC_ERRORS.values(), ids=ANTHROPIC_ERRORS.keys())
def test_anthropic_raises_its_own_errors(
    server: Serving, model: str, kind: type[anthropic.APIStatusError]
) -> None:
    """With the request's id."""
    with anthropic_client(server) as client, pytest.raises(kind) as caught:
        client.messages.create(model=model, max_tokens=64, messages=QUESTION)
    assert caught.value.request_id
