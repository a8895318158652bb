"""Streams over HTTP: events of both APIs, errors before and after the first byte, clients that leave."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from cascade.clock import SystemClock
from cascade.errors import ConnectFailed
from cascade.events import AnswerStarted, Done, Event, RefusalDelta, RungLeft, TextDelta
from cascade.server import streams
from cascade.server.app import make_app
from cascade.server.bodies import BodyLimits
from cascade.server.chat_stream import ChatChunks
from cascade.server.endpoint import Gate
from cascade.server.message_stream import MessageEvents
from cascade.server.served import Ladders
from cascade.testing import ScriptedClient, ScriptedScorer, reply
from cascade.types import Answer, Attempt, Chunk, ModelCall, Result, ToolCallDelta, Usage
from tests.upstream_server import UpstreamServer
from tests.upstream_streams import plan

from .serving import Serving, chat, until

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


def events_of(text: str) -> list[tuple[str | None, Any]]:
    """Return the server-sent events of a body: their names and their data."""
    found: list[tuple[str | None, Any]] = []
    assert text.endswith("\n\n")
    for block in text.removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        if "data" in fields:
            data = fields["data"]
            found.append((fields.get("event"), data if data == "[DONE]" else json.loads(data)))
    return found


def texts(events: Sequence[tuple[str | None, Any]]) -> str:
    """Return the text of OpenAI's chunks."""
    chunks = [data for _, data in events if isinstance(data, dict) and data.get("choices")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


def result(answer: Answer) -> Result:
    attempt = Attempt(
        rung=0, model="small", provider="p", verdict="accepted", reason="sure", answer=answer
    )
    return Result(
        id="a1",
        answer=answer,
        rung=0,
        confidence=0.9,
        attempts=(attempt,),
        cost_usd=0.5,
        saving_usd_estimate=None,
        latency_s=0.1,
    )


ANSWER = Answer(
    text="Hi",
    model="m",
    finish_reason="stop",
    usage=Usage(prompt_tokens=7, completion_tokens=2, cached_tokens=3),
)
STARTED = AnswerStarted(rung=0, model="small")


def told(teller: Any, *events: Event) -> list[tuple[str | None, Any]]:
    return events_of(b"".join(teller.tell(event, "a1") for event in events).decode())


def test_chunks_begin_with_the_role_and_end_with_what_it_cost() -> None:
    """A rejected draft leaves no trace; without being asked for there is no usage."""
    chunks = ChatChunks(created=5, include_usage=False, top_logprobs=None)
    left = RungLeft(rung=0, model="tiny", reason="unsure")
    found = told(chunks, left, STARTED, TextDelta(text="H"), Done(result=result(ANSWER)))
    assert found[-1] == (None, "[DONE]")
    first, second, last = (data for _, data in found[:-1])
    head = {"id": "chatcmpl-a1", "object": "chat.completion.chunk", "created": 5, "model": "small"}
    role = {"role": "assistant", "content": "", "refusal": None}
    choice = {"index": 0, "logprobs": None, "finish_reason": None}
    assert first == {**head, "choices": [{**choice, "delta": role}]}
    assert second == {**head, "choices": [{**choice, "delta": {"content": "H"}}]}
    assert last["choices"] == [{**choice, "delta": {}, "finish_reason": "stop"}]
    assert last["cascade"]["cost_usd"] == 0.5
    assert "usage" not in last


def test_a_chunk_with_the_tokens_comes_last_if_wanted() -> None:
    """All others say that they have none, as OpenAI's do."""
    chunks = ChatChunks(created=5, include_usage=True, top_logprobs=None)
    *_, finish, usage, _ = told(chunks, STARTED, Done(result=result(ANSWER)))
    assert (finish[1]["usage"], "cascade" in finish[1]) == (None, False)
    assert usage[1]["choices"] == []
    assert usage[1]["usage"]["total_tokens"] == 9
    assert usage[1]["cascade"]["id"] == "a1"


def test_refusals_and_tool_calls_come_in_their_own_fields() -> None:
    """With what the first piece of a call says, and the arguments as they come."""
    chunks = ChatChunks(created=5, include_usage=False, top_logprobs=None)
    first = ToolCallDelta(index=0, id="c1", name="weigh", kind="function", arguments="{")
    found = told(
        chunks, STARTED, RefusalDelta(text="No."), first, ToolCallDelta(index=0, arguments="}")
    )
    deltas = [data["choices"][0]["delta"] for _, data in found[1:]]
    function = {"name": "weigh", "arguments": "{"}
    assert deltas == [
        {"refusal": "No."},
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
    ]


def test_log_probabilities_are_those_of_the_piece() -> None:
    """As the provider wrote them, with no more alternatives than wanted."""
    chunks = ChatChunks(created=5, include_usage=False, top_logprobs=1)
    token = {"token": "H", "logprob": -0.1, "bytes": [72], "top_logprobs": [{"a": 1}, {"b": 2}]}
    raw = json.dumps({"content": [token]}).encode()
    found = told(chunks, STARTED, TextDelta(text="H", raw_logprobs=raw))
    shown = found[1][1]["choices"][0]["logprobs"]
    assert shown == {"content": [token | {"top_logprobs": [{"a": 1}]}], "refusal": None}


def test_a_message_is_told_block_by_block() -> None:
    """Text first, then the tool, then why it stopped and what it cost."""
    call = ToolCallDelta(index=0, id="c1", name="weigh", kind="function", arguments="{")
    found = told(
        MessageEvents(),
        STARTED,
        TextDelta(text="I "),
        TextDelta(text="look."),
        call,
        ToolCallDelta(index=0, arguments="}"),
        Done(result=result(ANSWER)),
    )
    assert all(name == data["type"] for name, data in found)
    assert [name for name, _ in found] == [
        "message_start",
        *("content_block_start", "content_block_delta", "content_block_delta"),
        "content_block_stop",
        *("content_block_start", "content_block_delta", "content_block_delta"),
        *("content_block_stop", "message_delta", "message_stop"),
    ]
    assert found[5][1]["content_block"] == {
        "type": "tool_use",
        "id": "c1",
        "name": "weigh",
        "input": {},
    }
    assert [data["index"] for _, data in found if "index" in data] == [0] * 4 + [1] * 4
    assert found[-2][1]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert found[-2][1]["usage"]["input_tokens"] == 4
    assert found[-2][1]["cascade"]["cost_usd"] == 0.5


def test_blocks_that_come_in_turns_are_told_one_after_the_other() -> None:
    """As Anthropic's events cannot go back to a block that has ended."""
    found = told(
        MessageEvents(),
        STARTED,
        ToolCallDelta(index=0, id="c0", name="a", arguments="0"),
        ToolCallDelta(index=1, id="c1", name="b", arguments="1"),
        TextDelta(text="late"),
        ToolCallDelta(index=0, arguments="00"),
        ToolCallDelta(index=1, arguments="11"),
        Done(result=result(ANSWER)),
    )
    blocks: dict[int, Any] = {}
    for name, data in found:
        if name == "content_block_start":
            assert data["index"] == len(blocks)
            blocks[data["index"]] = ""
        elif name == "content_block_delta":
            assert data["index"] == len(blocks) - 1
            delta = data["delta"]
            blocks[data["index"]] += delta.get("text") or delta.get("partial_json")
    assert blocks == {0: "000", 1: "111", 2: "late"}


class Breaks:
    """A client that says a part of an answer and then loses its connection."""

    async def complete(self, call: ModelCall) -> Answer:
        """Say it."""
        assert call.listener is not None
        call.listener.begin()
        await call.listener.take(Chunk(text="The heavier is "))
        raise ConnectFailed("connection lost", provider="p", model=call.model)

    async def aclose(self) -> None:
        """Nothing is open."""


class Stalls:
    """A client whose small model fails, and whose large one says a part of an answer and no more."""

    def __init__(self) -> None:
        self.said = anyio.Event()

    async def complete(self, call: ModelCall) -> Answer:
        """Say it."""
        if call.model == "small":
            raise ConnectFailed("connection lost", provider="p", model=call.model)
        assert call.listener is not None
        call.listener.begin()
        await call.listener.take(Chunk(text="The heavier is "))
        self.said.set()
        await anyio.sleep(60)
        raise AssertionError

    async def aclose(self) -> None:
        """Nothing is open."""


class Slow(ScriptedClient):
    """A client that takes its time between the pieces."""

    def __init__(self, seconds: float) -> None:
        said = {"small": [reply("one two", confidence=0.9)], "large": ["three four"]}
        super().__init__(said, chunk_chars=4, chunk_s=seconds)


LADDER = """
name: app
providers: {p: {kind: openai, base_url: "http://127.0.0.1:9/v1"}}
ladder: [{model: small, provider: p, accept: ACCEPT, price: {input: 1, output: 1}},
         {model: large, provider: p, price: {input: 1, output: 1}}]
"""


@asynccontextmanager
async def app_of(
    folder: Path, client: Any, accept: float = 0.8
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client of an application whose rungs are answered by `client`."""
    file = folder / "app.yaml"
    file.write_text(LADDER.replace("ACCEPT", str(accept)))
    parts = {"clients": {"p": client}, "scorer": ScriptedScorer()}
    ladders = Ladders([file], overrides=parts)
    gate = Gate(None, BodyLimits(1_000_000, 5), SystemClock())
    await ladders.open()
    transport = httpx.ASGITransport(make_app(ladders, gate))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield http
    finally:
        await ladders.aclose(0.0)


@pytest.mark.anyio
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_a_stream_that_breaks_ends_with_an_error(path: str, tmp_path: Path) -> None:
    """In the API's shape, with what was paid, and without the end of a whole answer."""
    body = chat("cascade/default", stream=True, max_tokens=9, cascade={"min_confidence": 0.0})
    async with app_of(tmp_path, Breaks()) as http:
        answer = await http.post(path, json=body)
    # The first rung is held, and fails; the last streams through, and breaks.
    assert answer.status_code == 200
    assert answer.headers["x-cascade-rung"] == "1"
    found = events_of(answer.text)
    name, last = found[-1]
    assert "heavier" in answer.text
    assert "[DONE]" not in answer.text
    assert "message_stop" not in answer.text
    error = last["error"]
    if path == CHAT:
        assert (name, error["code"], error["type"]) == (None, "stream_broken", "server_error")
    else:
        assert (name, last["type"], error["type"]) == ("error", "error", "api_error")
        assert last["request_id"] == answer.headers["request-id"]
    assert last["cascade"]["id"] == answer.headers["x-cascade-id"]
    assert [attempt["verdict"] for attempt in last["cascade"]["attempts"]] == ["failed", "failed"]
    assert last["cascade"]["cost_usd"] > 0


@pytest.mark.anyio
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_silence_is_broken_by_signs_of_life(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a draft is held; the head then says no more than the id."""
    monkeypatch.setattr(streams, "PING_S", 0.02)
    async with app_of(tmp_path, Slow(0.1)) as http:
        answer = await http.post(path, json=chat("cascade/app", stream=True, max_tokens=9))
    assert answer.text.startswith(": waiting\n\n" if path == CHAT else "event: ping\n")
    assert answer.headers["x-cascade-id"]
    assert "x-cascade-rung" not in answer.headers
    assert '"rung":0' in answer.text
    if path == CHAT:
        assert texts(events_of(answer.text.replace(": waiting\n\n", ""))) == "one two"


@pytest.mark.anyio
async def test_what_was_rejected_is_never_sent(tmp_path: Path) -> None:
    """And the head names the rung that answers."""
    async with app_of(tmp_path, Slow(0.0), accept=0.95) as http:
        answer = await http.post(CHAT, json=chat("cascade/app", stream=True))
    assert texts(events_of(answer.text)) == "three four"
    assert "one" not in answer.text.partition('"cascade"')[0]
    assert answer.headers["x-cascade-rung"] == "1"


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_errors_before_the_first_byte_have_their_status(server: Serving, path: str) -> None:
    """As without a stream."""
    for name, status in {"broken": 502, "refusing": 400, "busy": 503, "hanging": 504}.items():
        body = chat(f"cascade/{name}", stream=True, max_tokens=9)
        answer = server.post(path, body)
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]
        assert answer.headers["x-cascade-id"]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_client_that_leaves_a_stream_cancels_its_call(
    server: Serving, upstream: UpstreamServer, path: str
) -> None:
    """The log says 499."""
    before = len(upstream.seen("hang"))
    name = {"x-request-id": f"left-{path}"}
    body = chat("cascade/waiting", stream=True, max_tokens=9)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}{path}", json=body, headers=name, timeout=0.5, trust_env=False)
    until(lambda: len(upstream.seen("hang")) > before)
    assert upstream.wait_until_closed("hang")
    lines = until(
        lambda: [x for x in server.events("request") if x["request_id"] == f"left-{path}"]
    )
    assert (lines[0]["status"], lines[0]["stream"]) == (499, True)


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("name", ["streams", "claude-streams"])
def test_the_last_rung_is_passed_on_as_it_comes(
    server: Serving, upstream: UpstreamServer, path: str, name: str
) -> None:
    """Read here from an upstream that never ends; leaving it closes that one's connection too."""
    prompt = plan(["The ", "mole ", "of lead"], end="hang")
    body = chat(f"cascade/{name}", prompt, stream=True, max_tokens=9)
    said = ""
    with httpx.stream("POST", f"{server.url}{path}", json=body, timeout=20) as answer:
        assert answer.headers["x-cascade-rung"] == "0"
        for line in answer.iter_lines():
            if line.startswith("data: ") and ("delta" in line):
                data = json.loads(line[6:])
                delta = data["choices"][0]["delta"] if path == CHAT else data["delta"]
                said += delta.get("content") or delta.get("text") or ""
            if said == "The mole of lead":
                break
    behaviour = "stream" if name == "streams" else "message-stream"
    assert upstream.wait_until_closed(behaviour)


@pytest.mark.parametrize("end", ["cut", "error", "bad_json"])
def test_a_stream_that_breaks_upstream_ends_with_an_error(server: Serving, end: str) -> None:
    """And nothing of what the upstream said about it."""
    prompt = plan(["The ", "mole "], end=end)
    answer = server.post(CHAT, chat("cascade/streams", prompt, stream=True))
    found = events_of(answer.text)
    assert (answer.status_code, texts(found)) == (200, "The mole ")
    assert found[-1][1]["error"]["code"] == "stream_broken"
    assert "SECRET" not in answer.text
    held = server.post(CHAT, chat("cascade/drafts", prompt, stream=True))
    assert [attempt["verdict"] for attempt in events_of(held.text)[-1][1]["cascade"]["attempts"]]


def test_log_probabilities_come_with_their_piece(server: Serving) -> None:
    """With the names of alternatives, as the provider wrote them."""
    prompt = plan(["The ", "mole"], logprobs=[-0.1, -0.2])
    body = chat("cascade/streams", prompt, stream=True, logprobs=True, top_logprobs=1)
    events = events_of(server.post(CHAT, body).text)
    choices = [data["choices"][0] for _, data in events if isinstance(data, dict)]
    shown = [choice["logprobs"]["content"][0] for choice in choices if choice["logprobs"]]
    assert [(token["token"], token["logprob"]) for token in shown] == [
        ("The ", -0.1),
        ("mole", -0.2),
    ]
    assert [len(token["top_logprobs"]) for token in shown] == [1, 1]


def test_plain_curl_reads_a_stream(server: Serving) -> None:
    """Line by line."""
    body = json.dumps(chat("cascade/ok", stream=True))
    command = ["curl", "-sN", f"{server.url}{CHAT}", "-d", body]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    found = events_of(done.stdout)
    assert texts(found) == "lead"
    assert found[-1] == (None, "[DONE]")
    id = found[-2][1]["cascade"]["id"]
    (line,) = until(lambda: [x for x in server.events("request") if x.get("ask_id") == id])
    assert (line["status"], line["stream"], line["model"]) == (200, True, "ok-0")


BAD_STREAMS = {
    "stream_options is text": ({"stream_options": "x"}, "stream_options: str given"),
    "include_usage is a number": ({"stream_options": {"include_usage": 1}}, "include_usage"),
    "no choice": ({"n": 0}, "n: allowed: a whole number >= 1"),
}


@pytest.mark.parametrize(("fields", "words"), BAD_STREAMS.values(), ids=BAD_STREAMS.keys())
def test_a_bad_stream_is_refused(server: Serving, fields: Any, words: str) -> None:
    """As a 400, before anything is asked."""
    answer = server.post(CHAT, chat("cascade/ok", stream=True, **fields))
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


@pytest.mark.anyio
async def test_a_stream_is_ended_with_the_server(tmp_path: Path) -> None:
    """Its grace time over, it ends with an error, and not as a whole answer does."""
    client = Stalls()
    answers: list[httpx.Response] = []

    async def ask(http: httpx.AsyncClient) -> None:
        body = chat("cascade/app", stream=True, cascade={"min_confidence": 0.0})
        answers.append(await http.post(CHAT, json=body))

    async with anyio.create_task_group() as tasks, app_of(tmp_path, client) as http:
        tasks.start_soon(ask, http)
        await client.said.wait()
        # The application has been closed, without any grace.
    found = events_of(answers[0].text)
    assert texts(found) == "The heavier is "
    assert found[-1][1]["error"]["code"] == "stream_broken"
